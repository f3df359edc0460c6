package fingerprint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/structs"
)

func TestNearDevices(t *testing.T) {
	dir := t.TempDir()
	for bus, node := range map[string]string{"0000:01:00.0": "0\n", "0000:81:00.0": "1\n", "0000:82:00.0": "1\n", "0000:ff:00.0": "-1\n"} {
		if err := os.Mkdir(filepath.Join(dir, bus), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, bus, "numa_node"), []byte(node), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	group := &structs.NodeDeviceResource{Vendor: "v", Type: "gpu", Name: "x"}
	for _, bus := range []string{"0000:82:00.0", "0000:81:00.0", "0000:01:00.0", "0000:FF:00.0", "0000:33:00.0", "../up", ""} {
		group.Instances = append(group.Instances, &structs.NodeDevice{ID: bus, Locality: &structs.NodeDeviceLocality{PciBusID: bus}})
	}
	group.Instances = append(group.Instances, &structs.NodeDevice{ID: "nowhere"})
	n := &structs.Node{NodeResources: &structs.NodeResources{Devices: []*structs.NodeDeviceResource{group}},
		Attributes: map[string]string{"unique.numa.node7.devices": "gone", "numa.node0.cores": "0-3"}}
	nearDevices(n, dir)
	want := map[string]string{"numa.node0.cores": "0-3", "unique.numa.node0.devices": "0000:01:00.0", "unique.numa.node1.devices": "0000:81:00.0,0000:82:00.0"}
	if diff := cmp.Diff(want, n.Attributes); diff != "" {
		t.Error(diff)
	}
}
