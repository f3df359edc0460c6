package fingerprint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/structs"
)

// Topology is the layout of a node's cores, as drivers are told it: of a node
// that was looked at before, with what the kernel says of each core. What is
// not known is 0.
func Topology(cfg *Config, n *structs.Node) *base.Topology {
	cpu, held := n.NodeResources.Cpu, n.ReservedResources.Cpu
	t := &base.Topology{OverrideTotalCompute: uint64(max(cfg.CPUTotalCompute, 0)), OverrideWithheldCompute: uint64(max(held.CpuShares, 0))}
	nodeOf := map[uint16]uint32{}
	count, _ := strconv.Atoi(n.Attributes["numa.node.count"])
	for id := uint32(0); len(t.NodeIDs) < count && id < maxCores; id++ { // their numbers may have gaps
		list, known := n.Attributes[fmt.Sprintf("numa.node%d.cores", id)]
		if !known {
			continue
		}
		t.NodeIDs = append(t.NodeIDs, id)
		cores, _ := parseSet(list, maxCores)
		for _, c := range cores {
			nodeOf[c] = id
		}
	}
	t.Distances = distances("/sys/devices/system/node", t.NodeIDs)
	_, efficiency := coreKinds(cpu.ReservableCpuCores)
	guess, _ := strconv.ParseUint(n.Attributes["cpu.frequency"], 10, 64)
	for _, c := range cpu.ReservableCpuCores {
		dir := filepath.Join(cpuDir, fmt.Sprintf("cpu%d", c))
		t.Cores = append(t.Cores, base.Core{
			SocketID: uint32(number(filepath.Join(dir, "topology", "physical_package_id"))), NodeID: nodeOf[c], CoreID: uint32(c),
			Efficiency: slices.Contains(efficiency, c), Disabled: slices.Contains(held.ReservedCpuCores, c),
			BaseSpeed: number(filepath.Join(dir, "cpufreq", "base_frequency")) / 1000,
			MaxSpeed:  number(filepath.Join(dir, "cpufreq", "cpuinfo_max_freq")) / 1000, GuessSpeed: guess,
		})
	}
	return t
}

// number is the number that a file of the kernel holds; 0 for none.
func number(path string) uint64 {
	v, _ := strconv.ParseUint(readLine(path), 10, 32)
	return v
}

// distances are the kernel's between NUMA nodes; nil where it tells none, or
// others than those.
func distances(dir string, nodes []uint32) [][]uint32 {
	var out [][]uint32
	for _, id := range nodes {
		var row []uint32
		for text := range strings.FieldsSeq(readLine(filepath.Join(dir, fmt.Sprintf("node%d", id), "distance"))) {
			v, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return nil
			}
			row = append(row, uint32(v))
		}
		if len(row) != len(nodes) {
			return nil
		}
		out = append(out, row)
	}
	return out
}
