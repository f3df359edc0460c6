// Package leastgpu is an example of what a third party adds to the scheduler
// without touching it: an algorithm, a filter and a scorer. A build that wants
// them imports this package and calls Register before its server starts.
package leastgpu

import (
	"errors"

	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// Names under which Register adds what the package has.
const (
	Algorithm = "least-loaded-gpu"
	Filter    = "no-cpu-work-on-gpus"
	Scorer    = "few-allocations"
)

// Register adds the algorithm, the filter and the scorer to the scheduler's
// registry. It fails when a name is taken.
func Register() error {
	return errors.Join(
		scheduler.RegisterAlgorithm(scheduler.Algorithm{Name: Algorithm, Score: leastLoaded}),
		scheduler.RegisterFilter(scheduler.Filter{Name: Filter, Reason: keepFree}),
		scheduler.RegisterScorer(scheduler.Scorer{Name: Scorer, Score: few}),
	)
}

// leastLoaded prefers the node with the largest part of its devices free, so
// that heat and bandwidth are shared evenly; nodes without devices come last.
func leastLoaded(_ *scheduler.Ask, n *scheduler.NodeView) float64 {
	total := devices(n.Node)
	if total == 0 {
		return 0
	}
	return float64(total-n.DevicesUsed) / float64(total)
}

// keepFree keeps work that asks for no device off nodes that have some.
func keepFree(ask *scheduler.Ask, n *structs.Node) string {
	if devices(n) == 0 {
		return ""
	}
	for _, t := range ask.Group.Tasks {
		if t.Resources != nil && len(t.Resources.Devices) > 0 {
			return ""
		}
	}
	return "kept for work with devices"
}

// few prefers nodes that run little.
func few(_ *scheduler.Ask, n *scheduler.NodeView) float64 {
	return 1 / float64(1+n.Allocs)
}

func devices(n *structs.Node) int {
	total := 0
	if n.NodeResources != nil {
		for _, d := range n.NodeResources.Devices {
			total += len(d.Instances)
		}
	}
	return total
}
