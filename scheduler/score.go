package scheduler

import (
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// maxScoreMeta is how many nodes an explanation names.
const maxScoreMeta = 5

// terms are the contract's scores beside the algorithm's.
type terms struct {
	// desired is the group's count, by which anti-affinity is divided.
	desired      float64
	antiAffinity bool
	// antiAffinityWeight is 1 where scores are averaged.
	antiAffinityWeight float64
	affinities         []condition
	weight             float64 // sum of the absolute weights
	unique             bool    // some affinity looks at what is unique to a node
	always             uint8   // terms of a node that the job does not use, 0 when scores are sums
}

func newTerms(p *pass, g *structs.TaskGroup) terms {
	t := terms{desired: float64(max(structs.Val(g.Count), 1)), antiAffinity: !p.batch || !p.algorithm.PackBatch}
	add := func(list []*structs.Affinity) {
		for _, a := range list {
			if a == nil || structs.Val(a.Weight) == 0 {
				continue
			}
			c := compileAffinity(a)
			t.affinities = append(t.affinities, c)
			t.weight += abs(c.weight)
			t.unique = t.unique || c.unique
		}
	}
	add(p.job.Affinities)
	add(g.Affinities)
	for _, task := range g.Tasks {
		add(task.Affinities)
	}
	part := min(smallJob/t.desired, 1)
	t.antiAffinityWeight = sumAntiAffinity * part * part
	if !p.algorithm.Additive {
		t.antiAffinityWeight = 1
		t.always = 1
		if len(t.affinities) > 0 {
			t.always++
		}
		t.always += uint8(len(p.algorithm.scorers))
	}
	return t
}

func abs(x float64) float64 { return max(x, -x) }

// classAffinity is the affinity score of all nodes like n from what their class
// decides.
func (t *terms) classAffinity(n *structs.Node) float64 { return t.affinity(n, false) }

// ownAffinity is the affinity score from what is unique to the node.
func (t *terms) ownAffinity(n *structs.Node) float64 {
	if !t.unique {
		return 0
	}
	return t.affinity(n, true)
}

func (t *terms) affinity(n *structs.Node, unique bool) float64 {
	total := 0.0
	for i := range t.affinities {
		if c := &t.affinities[i]; c.unique == unique && c.holds(n) {
			total += c.weight
		}
	}
	if total == 0 {
		return 0
	}
	return total / t.weight
}

// scoreMeta shows a node's scores under the contract's names. The normalized
// score is the contract's mean of the terms that count.
func (e *engine) scoreMeta(num uint32) *structs.NodeScoreMeta {
	var view NodeView
	e.cluster.show(num, &view)
	s := &e.work.slots[num]
	scores := map[string]float64{"job-anti-affinity": 0, "node-reschedule-penalty": 0, "node-affinity": 0}
	sum, n := 0.0, 0.0
	put := func(name string, score float64) {
		scores[name] = score
		sum += score
		n++
	}
	if e.algorithm.Name == structs.SchedulerAlgorithmSpread {
		put("binpack", spreadAlgorithmScore(e.ask.on(view.Node), &view))
	} else {
		put("binpack", binpackScore(e.ask.on(view.Node), &view))
	}
	if e.ask.special.weight > 0 {
		given, _ := e.assignSpecial(num)
		put("devices", given.score/e.ask.special.weight)
	}
	if s.collide > 0 {
		put("job-anti-affinity", -float64(s.collide+1)/e.terms.desired)
	}
	if slices.Contains(e.penalty, num) {
		put("node-reschedule-penalty", -1)
	}
	if len(e.terms.affinities) > 0 {
		put("node-affinity", e.terms.classAffinity(view.Node)+e.terms.ownAffinity(view.Node))
	}
	if e.values != nil {
		if spread := e.values.score(e.value(num)); spread != 0 {
			put("allocation-spread", spread)
		}
	}
	for i := range e.algorithm.scorers {
		put(e.algorithm.scorers[i].Name, e.extraScore(i, num))
	}
	if e.preemption > 0 && num == e.grantOn {
		put("preemption", e.preemption)
	}
	return &structs.NodeScoreMeta{NodeID: view.Node.ID, Scores: scores, NormScore: sum / n}
}

// filtered counts nodes that a check refuses.
func filtered(m *structs.AllocMetric, n *structs.Node, reason string, count int) {
	m.NodesFiltered += count
	bump(&m.ConstraintFiltered, reason, count)
	if n.NodeClass != "" {
		bump(&m.ClassFiltered, n.NodeClass, count)
	}
}

// exhausted counts a node that fits but has not enough left.
func exhausted(m *structs.AllocMetric, n *structs.Node, dimension string) {
	m.NodesExhausted++
	bump(&m.DimensionExhausted, dimension, 1)
	if n.NodeClass != "" {
		bump(&m.ClassExhausted, n.NodeClass, 1)
	}
}

func bump(m *map[string]int, key string, by int) {
	if *m == nil {
		*m = map[string]int{}
	}
	(*m)[key] += by
}

// eligibility says which computed classes could take what was not placed.
type eligibility struct {
	classes map[string]bool
	escaped bool
}

func (e *eligibility) set(class string, eligible bool) {
	if e.classes == nil {
		e.classes = map[string]bool{}
	}
	e.classes[class] = e.classes[class] || eligible
}
