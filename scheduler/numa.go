package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// How near to each other the cores of a task shall be.
const (
	numaPrefer  = "prefer"
	numaRequire = "require"
)

// takeCores picks the cores of every task on a node, and with them the devices
// that shall be near; the reason says what is exhausted, "" when all were found.
// Tasks that require one NUMA node choose first, each the fullest NUMA node that
// has enough. Done marks the devices that were taken.
func (s *special) takeCores(ask *specialAsk, n *structs.Node, used *usedThings, done []bool) string {
	var free []uint16
	for _, c := range n.NodeResources.Cpu.ReservableCpuCores {
		if !slices.Contains(used.cores, c) {
			free = append(free, c)
		}
	}
	if len(free) < ask.count {
		return "cores"
	}
	asks := ask.cores
	if slices.ContainsFunc(asks, func(c coreAsk) bool { return c.numa == numaRequire || c.numa == numaPrefer }) {
		asks = slices.Clone(asks)
		slices.SortStableFunc(asks, func(a, b coreAsk) int { return numaRank(a) - numaRank(b) })
	}
	s.cores = make(map[string][]uint16, len(asks))
	for _, c := range asks {
		got := free[:c.count:c.count]
		if c.numa == numaRequire || c.numa == numaPrefer {
			near, reason := s.takeNear(&c, ask, n, free, used, done)
			if reason == "" {
				got = near
			} else if c.numa == numaRequire {
				return reason
			}
		}
		s.cores[c.task] = slices.Clone(got)
		free = slices.DeleteFunc(slices.Clone(free), func(core uint16) bool { return slices.Contains(got, core) })
	}
	return ""
}

func numaRank(c coreAsk) int {
	switch c.numa {
	case numaRequire:
		return 0
	case numaPrefer:
		return 1
	}
	return 2
}

// takeNear finds the NUMA node whose free cores, and devices of those that the
// task wants near, are enough for a task, and takes the devices. Of several it
// is the one with the fewest free cores, so that whole ones stay for those who
// need them. The reason says what no NUMA node has enough of.
func (s *special) takeNear(c *coreAsk, ask *specialAsk, n *structs.Node, free []uint16, used *usedThings, done []bool) (cores []uint16, reason string) {
	type numaNode struct {
		id   int
		free []uint16
	}
	var nodes []numaNode
	for id := range max(parseCount(n.Attributes["numa.node.count"]), 1) {
		here := numaNode{id: id}
		for _, core := range idSet(n.Attributes[fmt.Sprintf("numa.node%d.cores", id)]) {
			if slices.Contains(free, core) && !slices.Contains(here.free, core) {
				here.free = append(here.free, core)
			}
		}
		if len(here.free) >= c.count {
			nodes = append(nodes, here)
		}
	}
	if len(nodes) == 0 {
		return nil, "numa-cores"
	}
	slices.SortStableFunc(nodes, func(a, b numaNode) int { return len(a.free) - len(b.free) })
	for _, here := range nodes {
		lacks := s.takeNearDevices(c, ask, n, here.id, used, done)
		if lacks == "" {
			slices.Sort(here.free)
			return here.free[:c.count], ""
		}
		reason = fmt.Sprintf("devices: no free %s near enough free cores", lacks)
	}
	return nil, reason
}

// takeNearDevices takes the devices that a task wants near from one NUMA node:
// all, or none and the name of one that it lacks.
func (s *special) takeNearDevices(c *coreAsk, ask *specialAsk, n *structs.Node, id int, used *usedThings, done []bool) (lacks string) {
	before, had, score := len(used.devices), len(s.devices[c.task]), s.score
	buses := strings.Split(n.Attributes[structs.NUMADevicesAttribute(id)], ",")
	near := func(d *structs.NodeDevice) bool {
		return d.Locality != nil && slices.Contains(buses, d.Locality.PciBusID)
	}
	for _, i := range c.near {
		if s.takeDevices(&ask.devices[i], n.NodeResources.Devices, used, near) {
			continue
		}
		used.devices, s.score = used.devices[:before], score
		if had < len(s.devices[c.task]) {
			s.devices[c.task] = s.devices[c.task][:had]
		}
		return ask.devices[i].want.Name
	}
	for _, i := range c.near {
		done[i] = true
	}
	return ""
}

// idSet reads a list such as "0-3,8"; parts that do not parse are left out.
func idSet(list string) []uint16 {
	var ids []uint16
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(high, 10, 16); err != nil {
				continue
			}
		}
		for id := first; id <= last; id++ {
			ids = append(ids, uint16(id))
		}
	}
	return ids
}
