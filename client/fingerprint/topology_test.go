package fingerprint

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/structs"
)

// TestTopology: drivers learn which cores there are, which memory they are near,
// and which of them tasks do not get.
func TestTopology(t *testing.T) {
	n := &structs.Node{
		Attributes:        map[string]string{"numa.node.count": "2", "numa.node0.cores": "0-1", "numa.node2.cores": "2,3", "cpu.frequency": "2400"},
		NodeResources:     &structs.NodeResources{Cpu: structs.NodeCpuResources{ReservableCpuCores: []uint16{0, 1, 2, 3}}},
		ReservedResources: &structs.NodeReservedResources{Cpu: structs.NodeReservedCpuResources{CpuShares: 500, ReservedCpuCores: []uint16{3}}},
	}
	got := Topology(&Config{CPUTotalCompute: 9000}, n)
	var cores []string
	for _, c := range got.Cores {
		cores = append(cores, fmt.Sprint(c.CoreID, " near ", c.NodeID, " ", c.Disabled, " ", c.GuessSpeed))
	}
	want := []string{"0 near 0 false 2400", "1 near 0 false 2400", "2 near 2 false 2400", "3 near 2 true 2400"}
	if diff := cmp.Diff(want, cores); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]uint32{0, 2}, got.NodeIDs); diff != "" || got.OverrideTotalCompute != 9000 || got.OverrideWithheldCompute != 500 {
		t.Errorf("%+v: %s", got, diff)
	}
}

// TestDistances reads the kernel's square, and nothing that is none.
func TestDistances(t *testing.T) {
	dir := t.TempDir()
	write := func(node, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, node), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, node, "distance"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("node0", "10 21\n")
	write("node2", "21 10\n")
	if diff := cmp.Diff([][]uint32{{10, 21}, {21, 10}}, distances(dir, []uint32{0, 2})); diff != "" {
		t.Error(diff)
	}
	for _, nodes := range [][]uint32{{0}, {0, 1}, nil} {
		if got := distances(dir, nodes); got != nil {
			t.Errorf("%v: %v", nodes, got)
		}
	}
	write("node2", "far away\n")
	if got := distances(dir, []uint32{0, 2}); got != nil {
		t.Errorf("nonsense: %v", got)
	}
}
