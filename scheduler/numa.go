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

// takeCores picks the cores of every task on a node; the reason says what is
// exhausted, "" when all were found. Tasks that require one NUMA node choose
// first, each the fullest NUMA node that has enough.
func (s *special) takeCores(ask *specialAsk, n *structs.Node, used []uint16) string {
	var free []uint16
	for _, c := range n.NodeResources.Cpu.ReservableCpuCores {
		if !slices.Contains(used, c) {
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
			if near := nearCores(n, free, c.count); near != nil {
				got = near
			} else if c.numa == numaRequire {
				return "numa-cores"
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

// nearCores are count of the free cores that belong to one NUMA node, nil when
// none has as many. Of several the one with the fewest free cores is taken, so
// that whole ones stay for those who need them.
func nearCores(n *structs.Node, free []uint16, count int) []uint16 {
	var best []uint16
	for id := range max(parseCount(n.Attributes["numa.node.count"]), 1) {
		cores := idSet(n.Attributes[fmt.Sprintf("numa.node%d.cores", id)])
		var near []uint16
		for _, c := range free {
			if slices.Contains(cores, c) {
				near = append(near, c)
			}
		}
		if len(near) >= count && (best == nil || len(near) < len(best)) {
			best = near
		}
	}
	if best == nil {
		return nil
	}
	return best[:count]
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
