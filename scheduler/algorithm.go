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
	// DevicesUsed counts the device instances that allocations hold, those that
	// this plan gives away included; 0 on nodes without devices.
	DevicesUsed int
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
	// sparing takes the price of rare nodes from Score.
	sparing bool
	// columnar is set when alignAsk scores hot rows as Score scores views.
	columnar bool
}

// Filter keeps allocations off nodes.
type Filter struct {
	Name string
	// Reason says why no allocation of the ask may run on the node, "" when it
	// may; it is counted under that text in explanations. It depends on the ask
	// and the node alone and must be pure.
	Reason func(ask *Ask, n *structs.Node) string
}

// Scorer adds a score of its own to an algorithm's.
type Scorer struct {
	Name string
	// Score rates a node as Algorithm.Score does, -1 (worst) to 1 (best). It
	// shows up in the scores of a placement under Name.
	Score func(ask *Ask, n *NodeView) float64
}

// registry holds what there is to choose from, by name. A name means one thing
// among algorithms, filters and scorers.
var registry = struct {
	sync.RWMutex // guards the maps
	algorithms   map[string]Algorithm
	filters      map[string]Filter
	scorers      map[string]Scorer
}{algorithms: map[string]Algorithm{}, filters: map[string]Filter{}, scorers: map[string]Scorer{}}

func init() {
	for _, a := range []Algorithm{
		{Name: structs.SchedulerAlgorithmBinpack, Score: alignmentScore, Additive: true, PackBatch: true, sparing: true, columnar: true},
		{Name: structs.SchedulerAlgorithmBinpackExp, Score: func(ask *Ask, n *NodeView) float64 { return binpackScore(ask.Amount, n) }},
		{Name: structs.SchedulerAlgorithmSpread, Score: func(ask *Ask, n *NodeView) float64 { return spreadAlgorithmScore(ask.Amount, n) }},
	} {
		if err := RegisterAlgorithm(a); err != nil {
			panic(err)
		}
	}
}

// RegisterAlgorithm adds an algorithm under its name, to be selected by the
// scheduler configuration, a node pool, a job or Options. It fails when the
// name is taken or cannot be written in a selection, or there is no Score.
func RegisterAlgorithm(a Algorithm) error {
	return register("algorithm", a.Name, a.Score != nil, func() { registry.algorithms[a.Name] = a })
}

// RegisterFilter adds a filter under its name, to be selected with an algorithm
// as "algorithm+filter". It fails as RegisterAlgorithm does.
func RegisterFilter(f Filter) error {
	return register("filter", f.Name, f.Reason != nil, func() { registry.filters[f.Name] = f })
}

// RegisterScorer adds a scorer under its name, to be selected with an algorithm
// as "algorithm+scorer". It fails as RegisterAlgorithm does.
func RegisterScorer(s Scorer) error {
	return register("scorer", s.Name, s.Score != nil, func() { registry.scorers[s.Name] = s })
}

func register(kind, name string, complete bool, add func()) error {
	registry.Lock()
	defer registry.Unlock()
	if name == "" || strings.ContainsAny(name, "+, \t\n") || !complete {
		return structs.Errorf(structs.Invalid, "cannot register scheduler %s %q: it needs a function, and a name without blanks, commas and plus signs", kind, name)
	}
	_, isAlgorithm := registry.algorithms[name]
	_, isFilter := registry.filters[name]
	_, isScorer := registry.scorers[name]
	if isAlgorithm || isFilter || isScorer {
		return structs.Errorf(structs.Conflict, "cannot register scheduler %s %q: the name is taken", kind, name)
	}
	add()
	return nil
}

// AlgorithmNames are the registered algorithms in order.
func AlgorithmNames() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.algorithms))
}

// CheckAlgorithm reports what is wrong with a selection: the name of an
// algorithm, and the names of filters and scorers to go with it, joined by plus
// signs.
func CheckAlgorithm(selection string) error {
	_, err := lookupAlgorithm(selection)
	return err
}

// selected is an algorithm with what was selected beside it.
type selected struct {
	Algorithm
	filters []Filter
	scorers []Scorer
}

func lookupAlgorithm(selection string) (selected, error) {
	name, rest, more := strings.Cut(selection, "+")
	registry.RLock()
	defer registry.RUnlock()
	a, ok := registry.algorithms[name]
	if !ok {
		return selected{}, structs.Errorf(structs.Invalid, "no scheduler algorithm %q: use one of %s",
			name, strings.Join(slices.Sorted(maps.Keys(registry.algorithms)), ", "))
	}
	s := selected{Algorithm: a}
	for more {
		name, rest, more = strings.Cut(rest, "+")
		if f, ok := registry.filters[name]; ok {
			s.filters = append(s.filters, f)
		} else if sc, ok := registry.scorers[name]; ok {
			s.scorers = append(s.scorers, sc)
		} else {
			known := slices.Sorted(maps.Keys(registry.filters))
			known = append(known, slices.Sorted(maps.Keys(registry.scorers))...)
			return selected{}, structs.Errorf(structs.Invalid, "no scheduler filter or scorer %q in %q: this build has %q", name, selection, known)
		}
	}
	return s, nil
}

// Weights of alignmentScore, tuned with BenchmarkPacking (docs/design/scheduler.md
// names the seeds, and has the figures on others).
const (
	alignmentWeight = 32
	// fitWeight is for what stays free, in parts of the node, of both resources.
	fitWeight = 0.5
	// balanceWeight is for how far those parts differ: a node that keeps
	// processors without memory, or the reverse, is of little use.
	balanceWeight  = 4
	emptyNodePrice = 8
	// rarityPrice is the price of a node whose kind hardly any node is of: what
	// may run anywhere leaves such nodes to work that can run nowhere else.
	rarityPrice = 32
	// smallJob is the count up to which job anti-affinity counts in full where
	// scores are sums; beyond it fades with the square of the count. The few
	// allocations of a small job are spread for safety, the many of a large one
	// are packed.
	smallJob = 4
	// sumAntiAffinity is its weight there: the allocations of a small job
	// rather open an empty node, or take one of a rarer kind, than share one. Of
	// four the second has two quarters of it against those prices.
	sumAntiAffinity = 42.0 / alignmentMax
	// memoryPerMHz brings MHz and MiB to one scale: a machine of 64 GHz has
	// about 256 GiB.
	memoryPerMHz = 262144.0 / 64000
	// alignmentMax is the cost of the worst node: perpendicular, free in one
	// resource and full in the other, empty, rare.
	alignmentMax = alignmentWeight + fitWeight + balanceWeight + emptyNodePrice + rarityPrice
)

// alignmentScore prefers nodes whose free resources have the proportions of
// what is asked, then those that it leaves balanced and full, then nodes that
// run something already.
func alignmentScore(ask *Ask, n *NodeView) float64 {
	x, y := float64(ask.CPU), float64(ask.MemoryMB)/memoryPerMHz
	a, b := float64(n.Free.CPU), float64(n.Free.MemoryMB)/memoryPerMHz
	cpu, memory := fraction(n.Free.CPU-ask.CPU, n.Total.CPU), fraction(n.Free.MemoryMB-ask.MemoryMB, n.Total.MemoryMB)
	cost := fitWeight*(cpu+memory) + balanceWeight*abs(cpu-memory)
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
