package scheduler

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/nomadlite/nomadlite/structs"
)

// Ask is what one allocation of a group wants.
type Ask struct {
	Amount
	Job   *structs.Job
	Group *structs.TaskGroup
}

// NodeView is a node as an algorithm sees it, before the placement.
type NodeView struct {
	Node   *structs.Node
	Total  Amount // what allocations may use
	Free   Amount // of Total, never less than what is asked
	Allocs int    // running on it
}

// Algorithm chooses among nodes where an allocation may run. Score depends on
// the ask and the one node alone; the engine relies on that and asks again
// only for nodes that changed.
type Algorithm struct {
	Name string
	// Score rates a node for one more allocation, 0 (worst) to 1 (best). It is
	// called from several goroutines, must not keep n and must be pure.
	Score func(ask *Ask, n *NodeView) float64
	// Additive adds the contract's other scores (anti-affinity, affinity,
	// spread, reschedule penalty) to Score instead of averaging all of them,
	// so that a job of many allocations is not scattered by the average.
	Additive bool
	// PackBatch leaves job anti-affinity out for batch jobs.
	PackBatch bool
	// columnar is set when alignAsk scores hot rows as Score scores views.
	columnar bool
}

// registry holds the algorithms by name.
var registry = struct {
	sync.RWMutex // guards byName
	byName       map[string]Algorithm
}{byName: map[string]Algorithm{}}

func init() {
	for _, a := range []Algorithm{
		{Name: structs.SchedulerAlgorithmBinpack, Score: alignmentScore, Additive: true, PackBatch: true, columnar: true},
		{Name: structs.SchedulerAlgorithmBinpackExp, Score: func(ask *Ask, n *NodeView) float64 { return binpackScore(ask.Amount, n) }},
		{Name: structs.SchedulerAlgorithmSpread, Score: func(ask *Ask, n *NodeView) float64 { return spreadAlgorithmScore(ask.Amount, n) }},
	} {
		if err := RegisterAlgorithm(a); err != nil {
			panic(err)
		}
	}
}

// RegisterAlgorithm adds an algorithm under its name, to be selected by the
// scheduler configuration, a node pool or Options. It fails when the name is
// empty or taken or there is no Score.
func RegisterAlgorithm(a Algorithm) error {
	registry.Lock()
	defer registry.Unlock()
	if a.Name == "" || a.Score == nil {
		return structs.Errorf(structs.Invalid, "cannot register scheduler algorithm %q: it needs a name and a Score", a.Name)
	}
	if _, taken := registry.byName[a.Name]; taken {
		return structs.Errorf(structs.Conflict, "cannot register scheduler algorithm %q: the name is taken", a.Name)
	}
	registry.byName[a.Name] = a
	return nil
}

// AlgorithmNames are the registered names in order.
func AlgorithmNames() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.byName))
}

func lookupAlgorithm(name string) (Algorithm, error) {
	registry.RLock()
	a, ok := registry.byName[name]
	registry.RUnlock()
	if !ok {
		return Algorithm{}, structs.Errorf(structs.Invalid, "no scheduler algorithm %q: use one of %s",
			name, strings.Join(AlgorithmNames(), ", "))
	}
	return a, nil
}

// Weights of alignmentScore; performance.md 2.5 has the measurements.
const (
	alignmentWeight = 8
	emptyNodePrice  = 0.5
	// memoryPerMHz brings MHz and MiB to one scale: a machine of 64 GHz has
	// about 256 GiB.
	memoryPerMHz = 262144.0 / 64000
	// alignmentMax is the cost of the worst node: perpendicular and empty.
	alignmentMax = alignmentWeight + 2 + emptyNodePrice
)

// alignmentScore prefers nodes whose free resources have the proportions of
// what is asked, then full nodes, then nodes that run something already.
func alignmentScore(ask *Ask, n *NodeView) float64 {
	x, y := float64(ask.CPU), float64(ask.MemoryMB)/memoryPerMHz
	a, b := float64(n.Free.CPU), float64(n.Free.MemoryMB)/memoryPerMHz
	cost := fraction(n.Free.CPU-ask.CPU, n.Total.CPU) + fraction(n.Free.MemoryMB-ask.MemoryMB, n.Total.MemoryMB)
	if length := math.Sqrt((a*a + b*b) * (x*x + y*y)); length > 0 {
		cost += alignmentWeight * (1 - (a*x+b*y)/length)
	}
	if n.Allocs == 0 {
		cost += emptyNodePrice
	}
	return 1 - cost/alignmentMax
}

// fraction is part/whole within 0 and 1, 0 when there is no whole.
func fraction(part, whole int64) float64 {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return min(float64(part)/float64(whole), 1)
}

// binpackScore is the contract's score of a fit: 0 for an empty node to 1 for
// a node that the placement fills.
func binpackScore(ask Amount, n *NodeView) float64 {
	return clampScore(20 - freeExp(ask, n))
}

// spreadAlgorithmScore is the contract's score of the spread algorithm.
func spreadAlgorithmScore(ask Amount, n *NodeView) float64 {
	return clampScore(freeExp(ask, n) - 2)
}

func freeExp(ask Amount, n *NodeView) float64 {
	return math.Pow(10, fraction(n.Free.CPU-ask.CPU, n.Total.CPU)) +
		math.Pow(10, fraction(n.Free.MemoryMB-ask.MemoryMB, n.Total.MemoryMB))
}

func clampScore(fit float64) float64 { return min(max(fit, 0), 18) / 18 }

// checkScore keeps a third party's mistakes out of the heap order.
func checkScore(name string, score float64) float64 {
	if score-score != 0 { // NaN and both infinities
		panic(fmt.Sprintf("scheduler algorithm %q returned the score %v", name, score))
	}
	return score
}
