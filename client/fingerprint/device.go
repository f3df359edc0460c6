package fingerprint

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// pciDevices is where the kernel tells of devices on the PCI bus.
const pciDevices = "/sys/bus/pci/devices"

// NearDevices tells in a node's attributes which of its devices are near which
// NUMA node, as far as the kernel knows.
func NearDevices(n *structs.Node) { nearDevices(n, pciDevices) }

func nearDevices(n *structs.Node, dir string) {
	near := map[int][]string{}
	for _, g := range n.NodeResources.Devices {
		for _, d := range g.Instances {
			if d.Locality == nil || !plainName(d.Locality.PciBusID) {
				continue
			}
			bus := d.Locality.PciBusID
			id, err := strconv.Atoi(readLine(filepath.Join(dir, strings.ToLower(bus), "numa_node")))
			if err == nil && id >= 0 && !slices.Contains(near[id], bus) { // -1: the kernel does not know
				near[id] = append(near[id], bus)
			}
		}
	}
	maps.DeleteFunc(n.Attributes, func(name, _ string) bool {
		return strings.HasPrefix(name, "unique.numa.node") && strings.HasSuffix(name, ".devices")
	})
	for id, buses := range near {
		slices.Sort(buses)
		n.Attributes[structs.NUMADevicesAttribute(id)] = strings.Join(buses, ",")
	}
}

// plainName reports whether a plugin's word for a bus is a bare file name.
func plainName(bus string) bool {
	return bus != "" && bus != "." && bus != ".." && !strings.ContainsAny(bus, "/,")
}
