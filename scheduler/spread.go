package scheduler

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// spreadValues keeps how the job's allocations are spread over the values of
// attributes. Nodes with the same values of all attributes share a combination;
// all nodes of one have the same spread score.
type spreadValues struct {
	attrs  []spreadAttr
	byNode map[uint32]int32 // combination of nodes looked at, when unique
	// byClass is 1 + the combination of a class, 0 when not known; used when no
	// attribute is unique.
	byClass []int32
	unique  bool
	combos  []int32 // value numbers, one for each attribute, -1 for a missing value
	byKey   map[string]int32
	combo   []int32 // reused
	key     []byte  // reused
}

// spreadAttr is one attribute that a spread or a distinct_property looks at.
type spreadAttr struct {
	target string
	label  string
	values map[string]int32
	names  []string
	counts []int
	// having is how many values have a count; low and high are the least and
	// the most used count, 0 when none is.
	having    []int
	low, high int
	weight    float64   // share of the spread among the spreads
	desired   []float64 // by value; only with targets
	targets   map[string]float64
	rest      float64 // desired of each value without a target, -1 for none
	even      bool
	limit     int  // of a distinct_property, 0 for a spread
	job       bool // counts all groups of the job
}

// newSpreadValues is nil when nothing is spread. There is room
// for so many values of an attribute, and more when they come.
func newSpreadValues(job *structs.Job, g *structs.TaskGroup, f *filter, values int) *spreadValues {
	spreads := slices.Concat(job.Spreads, g.Spreads)
	v := &spreadValues{}
	total := 0.0
	for _, s := range spreads {
		if s != nil {
			total += max(float64(structs.Val(s.Weight)), 0)
		}
	}
	for _, s := range spreads {
		if s == nil || s.Attribute == "" {
			continue
		}
		a := newSpreadAttr(s.Attribute, values)
		a.even = len(s.SpreadTarget) == 0
		if total > 0 {
			a.weight = max(float64(structs.Val(s.Weight)), 0) / total
		}
		a.setTargets(s.SpreadTarget, float64(structs.Val(g.Count)))
		v.attrs = append(v.attrs, a)
	}
	for _, d := range f.distinct {
		a := newSpreadAttr(d.target, values)
		a.limit, a.job, a.label = d.limit, d.job, d.label()
		v.attrs = append(v.attrs, a)
	}
	if len(v.attrs) == 0 {
		return nil
	}
	v.byKey = map[string]int32{}
	for i := range v.attrs {
		v.unique = v.unique || isUnique(v.attrs[i].target)
	}
	return v
}

func newSpreadAttr(target string, values int) spreadAttr {
	return spreadAttr{target: target, values: make(map[string]int32, values), names: make([]string, 0, values),
		counts: make([]int, 0, values), desired: make([]float64, 0, values)}
}

// setTargets turns percentages into counts. What they leave goes to every
// other value together.
func (a *spreadAttr) setTargets(targets []*structs.SpreadTarget, count float64) {
	if a.even {
		return
	}
	a.targets = map[string]float64{}
	given := 0.0
	for _, t := range targets {
		if t != nil {
			a.targets[t.Value] = float64(t.Percent) / 100 * count
			given += float64(t.Percent)
		}
	}
	a.rest = -1
	if star, ok := a.targets["*"]; ok {
		a.rest = star
	} else if given < 100 {
		a.rest = (100 - given) / 100 * count
	}
}

// of is the combination of a node.
func (v *spreadValues) of(c *Cluster, num uint32) int32 {
	if v.unique {
		return v.ofUnique(c, num)
	}
	class := c.class[num]
	if n := len(c.classes.list); len(v.byClass) < n {
		v.byClass = append(v.byClass, make([]int32, n-len(v.byClass))...)
		v.combos = slices.Grow(v.combos, n+1)
	}
	if v.byClass[class] == 0 {
		v.byClass[class] = 1 + v.find(c.rows[num].Node)
	}
	return v.byClass[class] - 1
}

func (v *spreadValues) ofUnique(c *Cluster, num uint32) int32 {
	id, ok := v.byNode[num]
	if !ok {
		if v.byNode == nil {
			v.byNode = map[uint32]int32{}
		}
		id = v.find(c.rows[num].Node)
		v.byNode[num] = id
	}
	return id
}

// find is the combination of a node's values.
func (v *spreadValues) find(n *structs.Node) int32 {
	if len(v.attrs) == 1 {
		return v.only(v.attrs[0].number(n))
	}
	v.combo, v.key = v.combo[:0], v.key[:0]
	for i := range v.attrs {
		value := v.attrs[i].number(n)
		v.combo = append(v.combo, value)
		v.key = binary.AppendVarint(v.key, int64(value))
	}
	id, ok := v.byKey[string(v.key)]
	if !ok {
		id = int32(len(v.combos) / len(v.attrs))
		v.combos = append(v.combos, v.combo...)
		v.byKey[string(v.key)] = id
	}
	return id
}

// only is the combination of one attribute's value: the missing one comes
// first, then the values by number.
func (v *spreadValues) only(value int32) int32 {
	for int32(len(v.combos)) <= value+1 {
		v.combos = append(v.combos, int32(len(v.combos))-1)
	}
	return value + 1
}

// values are the value numbers of a combination.
func (v *spreadValues) values(combo int32) []int32 {
	n := int32(len(v.attrs))
	return v.combos[combo*n : (combo+1)*n]
}

// number is the number of a node's value, -1 when it has none.
func (a *spreadAttr) number(n *structs.Node) int32 {
	value, ok := resolveTarget(a.target, n)
	if !ok {
		return -1
	}
	id, known := a.values[value]
	if !known {
		id = int32(len(a.counts))
		a.values[value] = id
		a.names = append(a.names, value)
		a.counts = append(a.counts, 0)
		desired := a.rest
		if d, ok := a.targets[value]; ok {
			desired = d
		}
		a.desired = append(a.desired, desired)
	}
	return id
}

// count adds an allocation on a node to its values, or takes one away.
func (v *spreadValues) count(c *Cluster, num uint32, sameGroup bool, by int) {
	for i, value := range v.values(v.of(c, num)) {
		if a := &v.attrs[i]; value >= 0 && (sameGroup || a.job) {
			was := a.counts[value]
			a.counts[value] += by
			a.bounds(was, was+by)
		}
	}
}

// bounds keeps the least and the most used count when one count changes.
func (a *spreadAttr) bounds(was, is int) {
	for len(a.having) <= max(was, is) {
		a.having = append(a.having, 0)
	}
	if was > 0 {
		a.having[was]--
	}
	if is > 0 {
		a.having[is]++
		a.high = max(a.high, is)
		if a.low == 0 || is < a.low {
			a.low = is
		}
	}
	for a.high > 0 && a.having[a.high] == 0 {
		a.high--
	}
	if a.low = min(a.low, a.high); a.high == 0 {
		return
	}
	for a.having[a.low] == 0 {
		a.low++
	}
}

// blocked reports whether a distinct_property forbids another allocation on
// the nodes of a combination.
func (v *spreadValues) blocked(combo int32) bool {
	for i, value := range v.values(combo) {
		if a := &v.attrs[i]; a.limit > 0 && (value < 0 || a.counts[value] >= a.limit) {
			return true
		}
	}
	return false
}

// reason says which distinct_property forbids a node.
func (v *spreadValues) reason(c *Cluster, num uint32) string {
	for i, value := range v.values(v.of(c, num)) {
		a := &v.attrs[i]
		switch {
		case a.limit == 0:
		case value < 0:
			return fmt.Sprintf("distinct_property: missing property %q", a.target)
		case a.counts[value] >= a.limit:
			return fmt.Sprintf("distinct_property: %s=%s used by %d allocs", a.target, a.names[value], a.counts[value])
		}
	}
	return structs.ConstraintDistinctProperty
}

// score is the spread score of a combination: the sum over its spreads.
func (v *spreadValues) score(combo int32) float64 {
	total, lowest := 0.0, -1.0
	for i, value := range v.values(combo) {
		a := &v.attrs[i]
		if a.limit > 0 {
			continue
		}
		if a.even {
			total += a.evenScore(value)
			continue
		}
		boost := a.targetScore(value, lowest)
		lowest = min(lowest, boost)
		total += boost
	}
	return total
}

// targetScore is the contract's score of a spread with targets.
func (a *spreadAttr) targetScore(value int32, lowest float64) float64 {
	switch {
	case value < 0 || a.desired[value] < 0:
		return -1
	case a.desired[value] == 0:
		return lowest
	}
	desired := a.desired[value]
	return (desired - float64(a.counts[value]+1)) / desired * a.weight
}

// evenScore is the contract's score of a spread without targets.
func (a *spreadAttr) evenScore(value int32) float64 {
	if a.high == 0 {
		return 0
	}
	if value < 0 {
		return -1
	}
	current := a.counts[value]
	switch {
	case current != a.low:
		return float64(a.low-current) / float64(a.low)
	case a.low == a.high:
		return -1
	}
	return float64(a.high-a.low) / float64(a.low)
}
