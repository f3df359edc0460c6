package structs

import (
	"fmt"
	"sort"
	"strings"
)

// NearMiss is the node that came nearest to having what was asked for of one
// resource that was exhausted.
type NearMiss struct {
	Dimension string // cpu, memory or disk
	Asked     int64  // MHz or MiB
	Free      int64  // the most that a node had left
	NodeID    string
	NodeName  string
	Largest   int64 // the most that a node has in all
}

// Text says how near it was, as "needs 5 GiB of memory, best free is 3.2 GiB
// on node-7".
func (m *NearMiss) Text() string {
	return fmt.Sprintf("needs %s of %s, best free is %s on %s", Quantity(m.Dimension, m.Asked), m.Dimension,
		Quantity(m.Dimension, max(m.Free, 0)), m.NodeName)
}

// Remedy says what would make it fit.
func (m *NearMiss) Remedy() string {
	if m.Largest < m.Asked {
		return fmt.Sprintf("no node has more than %s of %s in all: ask for less or add a larger node",
			Quantity(m.Dimension, max(m.Largest, 0)), m.Dimension)
	}
	return fmt.Sprintf("free %s of %s on a node, ask for less, or add a node",
		Quantity(m.Dimension, m.Asked-max(m.Free, 0)), m.Dimension)
}

// Quantity shows MHz of cpu, or MiB of all else, in the unit that is read most
// easily.
func Quantity(dimension string, n int64) string {
	small, large, step := "MiB", "GiB", 1024.0
	if dimension == "cpu" {
		small, large, step = "MHz", "GHz", 1000
	}
	if float64(n) < step {
		return fmt.Sprintf("%d %s", n, small)
	}
	text := strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/step), ".0")
	return text + " " + large
}

// Reason says in part of a sentence why nothing more of a group could be
// placed: what kept off the most nodes, and the nearest miss.
func (m *AllocMetric) Reason() string {
	switch {
	case m.NodesInPool == 0 && m.NodesEvaluated == 0:
		return fmt.Sprintf("no node of pool %q is ready", m.NodePool)
	case m.NodesEvaluated == 0:
		return "no node is ready in its datacenters"
	}
	key, n := most(m.ConstraintFiltered)
	if dimension, d := most(m.DimensionExhausted); d > 0 && (d >= n || m.NodesExhausted >= m.NodesFiltered) {
		for _, near := range m.NearMisses {
			if near.Dimension == dimension {
				return fmt.Sprintf("%s is exhausted on %d of %d nodes: it %s", dimension, d, m.NodesEvaluated, near.Text())
			}
		}
		return fmt.Sprintf("%d of %d nodes have not enough left (%s)", d, m.NodesEvaluated, dimension)
	}
	if n > 0 {
		return fmt.Sprintf("%d of %d nodes do not meet %q", n, m.NodesEvaluated, key)
	}
	return fmt.Sprintf("none of %d nodes takes it", m.NodesEvaluated)
}

// Remedies say what would unblock the group, the likeliest first.
func (m *AllocMetric) Remedies() []string {
	if m.NodesEvaluated == 0 {
		return []string{"start a node, or make one eligible, in the job's node pool and datacenters"}
	}
	var list []string
	for _, near := range m.NearMisses {
		list = append(list, near.Remedy())
	}
	for _, dimension := range sortedKeys(m.DimensionExhausted) {
		if m.nearMiss(dimension) == nil {
			list = append(list, fmt.Sprintf("wait until an allocation that has it ends, or add a node (%s)", dimension))
		}
	}
	if m.NodesFiltered == m.NodesEvaluated {
		for _, key := range sortedKeys(m.ConstraintFiltered) {
			list = append(list, fmt.Sprintf("change what the job asks for, or add a node that meets %q", key))
		}
	}
	return list
}

func (m *AllocMetric) nearMiss(dimension string) *NearMiss {
	for _, near := range m.NearMisses {
		if near.Dimension == dimension {
			return near
		}
	}
	return nil
}

// most is the key with the highest count, the first of equal ones.
func most(counts map[string]int) (string, int) {
	best, n := "", 0
	for _, key := range sortedKeys(counts) {
		if counts[key] > n {
			best, n = key, counts[key]
		}
	}
	return best, n
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
