package device

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/plugins/base"
	plugin "github.com/nomadlite/nomadlite/plugins/device"
	"github.com/nomadlite/nomadlite/structs"
)

func group(vendor string, ids ...string) *plugin.Group {
	g := &plugin.Group{Vendor: vendor, Type: "gpu", Name: "m", Attributes: map[string]base.Attribute{"memory": base.IntAttribute(8, "GiB")}}
	for _, id := range ids {
		g.Devices = append(g.Devices, &plugin.Detected{ID: id, Healthy: true, PCIBusID: "bus-" + id})
	}
	return g
}

// TestOffers: what plugins offer is one list; a group has one plugin; the
// devices of a lost plugin are there but not healthy.
func TestOffers(t *testing.T) {
	changes := 0
	m := New(hclog.NewNullLogger(), func() { changes++ })
	live := &plugin.Client{}
	if err := m.take("two", live, []*plugin.Group{group("b", "0")}); err != nil {
		t.Fatal(err)
	}
	if err := m.take("one", live, []*plugin.Group{group("a", "0", "1")}); err != nil {
		t.Fatal(err)
	}
	if err := m.take("three", live, []*plugin.Group{group("a", "9")}); err == nil || !strings.Contains(err.Error(), `device group a/gpu/m is offered by plugin "one" already`) {
		t.Errorf("a group of two plugins: %v", err)
	}
	got := m.Resources()
	if len(got) != 2 || got[0].Vendor != "a" || len(got[0].Instances) != 2 || got[1].Vendor != "b" {
		t.Fatalf("%+v", got)
	}
	if one := got[0].Instances[1]; one.ID != "1" || !one.Healthy || one.Locality.PciBusID != "bus-1" || *got[0].Attributes["memory"].IntVal != 8 || got[0].Attributes["memory"].Unit != "GiB" {
		t.Errorf("%+v", one)
	}
	m.lost("one")
	m.lost("nobody")
	if one := m.Resources()[0].Instances[0]; one.Healthy || one.HealthDescription != "device plugin does not answer" {
		t.Errorf("after the loss: %+v", one)
	}
	if !got[0].Instances[0].Healthy {
		t.Error("a list that was given out changed")
	}
	_, err := m.Reserve(t.Context(), &structs.AllocatedDeviceResource{Vendor: "a", Type: "gpu", Name: "m", DeviceIDs: []string{"0"}})
	if err == nil || err.Error() != "the device plugin of a/gpu/m does not answer" {
		t.Errorf("reserve: %v", err)
	}
	if _, err := m.Reserve(t.Context(), &structs.AllocatedDeviceResource{Vendor: "x", Type: "gpu", Name: "m"}); err == nil || err.Error() != "no device plugin of this node offers x/gpu/m" {
		t.Errorf("reserve: %v", err)
	}
	if changes != 3 {
		t.Errorf("%d changes were told, want 3", changes)
	}
}

// TestOf: an allocation sees the figures of its own devices.
func TestOf(t *testing.T) {
	figures := func(ids ...string) map[string]*api.DeviceStats {
		out := map[string]*api.DeviceStats{}
		for _, id := range ids {
			out[id] = &api.DeviceStats{}
		}
		return out
	}
	all := []*api.DeviceGroupStats{
		{Vendor: "a", Type: "gpu", Name: "m", InstanceStats: figures("0", "1", "2")},
		{Vendor: "b", Type: "gpu", Name: "m", InstanceStats: figures("0")},
	}
	got := Of(all, []*structs.AllocatedDeviceResource{{Vendor: "a", Type: "gpu", Name: "m", DeviceIDs: []string{"0", "2", "gone"}}})
	want := []*api.DeviceGroupStats{{Vendor: "a", Type: "gpu", Name: "m", InstanceStats: figures("0", "2")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := Of(all, nil); got == nil || len(got) != 0 {
		t.Errorf("without devices: %+v", got)
	}
}
