package scheduler

import (
	"cmp"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// engine places allocations of one group. It scores every node that fits once;
// after a placement only the nodes that it touched are scored again. Nodes
// stand in heaps, one for each combination of spread values and number of
// score terms, because inside one of those a placement elsewhere never changes
// the order.
type engine struct {
	*pass
	ask    *groupAsk
	filter *filter
	terms  terms
	values *spreadValues // nil without spreads and distinct properties
	work   *scratch

	buckets  []bucket
	byKey    map[bucketKey]int32
	last     int32 // the bucket that add used last, which it mostly uses again
	heaped   bool
	penalty  []uint32    // nodes of earlier failures of the placement at hand
	grantOn  uint32      // the node where granted ports may be taken
	granted  []portClaim // ports that pass on from the predecessor
	handover string      // the predecessor whose cores and devices pass on
	exclude  []uint32    // nodes without dynamic ports left
	eligible *eligibility
	byClass  map[uint32]float64 // affinity scores
	view     NodeView           // reused, because what an algorithm is shown escapes
}

// bucketKey names a heap: nodes of one spread value and one count of terms.
type bucketKey struct {
	value int32
	terms uint8
}

type bucket struct {
	bucketKey
	entries []entry
}

// entry is one node in a heap.
type entry struct {
	score float64
	num   uint32
	tie   uint32
}

// before is the order of a heap: the better score, then the seeded tie.
func (a *entry) before(b *entry) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.num < b.num
}

// scratch holds arrays by node number that engines reuse.
type scratch struct {
	slots []slot
	dirty []uint32 // slots that are not zero
	spare [][]entry
}

// entries returns an empty list of entries, a used one when there is one.
func (s *scratch) entries() []entry {
	last := len(s.spare) - 1
	if last < 0 {
		return nil
	}
	list := s.spare[last]
	s.spare = s.spare[:last]
	return list[:0]
}

// slot is what an engine knows of one node.
type slot struct {
	bucket  int32 // 1 + index in engine.buckets, 0 for none
	pos     int32
	member  bool  // passed the filter
	collide int32 // allocations of the job's group on the node
	jobs    int32 // allocations of the job, whatever the group
	value   int32 // its combination of spread values
}

func (s *scratch) reset() {
	for _, num := range s.dirty {
		s.slots[num] = slot{}
	}
	s.dirty = s.dirty[:0]
}

// at returns the slot of a node for writing.
func (s *scratch) at(num uint32) *slot {
	sl := &s.slots[num]
	if *sl == (slot{}) {
		s.dirty = append(s.dirty, num)
	}
	return sl
}

// newEngine prepares a group: counts what runs already and scores all nodes.
func newEngine(p *pass, gd *groupDecision, live []*structs.Allocation) *engine {
	e := &engine{pass: p, ask: newGroupAsk(p.job, gd.group, p.config.oversub), filter: newFilter(p.job, gd.group),
		byKey: map[bucketKey]int32{}, byClass: map[uint32]float64{}, work: &p.cluster.work, heaped: len(gd.asks) > 2, eligible: &p.blocking}
	e.terms = newTerms(p, gd.group)
	e.work.reset()
	if n := p.cluster.Len(); len(e.work.slots) < n {
		e.work.slots = make([]slot, n)
	}
	e.values = newSpreadValues(p.job, gd.group, e.filter)
	for _, a := range live {
		e.count(a, 1)
	}
	for _, pl := range p.placements {
		e.countOn(pl.num, pl.group == gd.name, 1)
	}
	return e
}

// count adds an allocation of the job to what anti-affinity, distinct_hosts,
// spreads and distinct properties look at.
func (e *engine) count(a *structs.Allocation, by int32) {
	num, ok := e.snap.NodeNum(a.NodeID)
	if !ok || int(num) >= e.cluster.Len() || e.cluster.rows[num].Node == nil {
		return
	}
	e.countOn(num, a.TaskGroup == e.ask.Group.Name, by)
}

func (e *engine) countOn(num uint32, sameGroup bool, by int32) {
	s := e.work.at(num)
	s.jobs += by
	if sameGroup {
		s.collide += by
	}
	if e.values != nil {
		e.values.count(e.cluster, num, sameGroup, int(by))
	}
}

// survey looks at every node: it fills the metric and, with insert, the heaps.
func (e *engine) survey(insert bool) *structs.AllocMetric {
	m := &structs.AllocMetric{NodePool: e.job.NodePool, NodesAvailable: map[string]int{}}
	for id := range e.cluster.classes.list {
		class := &e.cluster.classes.list[id]
		if len(class.nodes) == 0 || !e.filter.inPool(class.sample) {
			continue
		}
		m.NodesInPool += len(class.nodes)
		if !e.filter.inDatacenters(class.sample) {
			continue
		}
		m.NodesAvailable[class.sample.Datacenter] += len(class.nodes)
		m.NodesEvaluated += len(class.nodes)
		if reason, byClass := e.filter.classReason(class.sample); reason != "" {
			e.eligible.set(class.computed, !byClass)
			filtered(m, class.sample, reason, len(class.nodes))
			continue
		}
		e.eligible.set(class.computed, true)
		e.surveyClass(m, class, insert)
	}
	if insert && e.heaped {
		for i := range e.buckets {
			e.heapify(&e.buckets[i])
		}
	}
	return m
}

func (e *engine) surveyClass(m *structs.AllocMetric, class *nodeClass, insert bool) {
	perNode := e.filter.perNode()
	affinity := e.affinity(class.nodes[0])
	for _, num := range class.nodes {
		n := e.cluster.rows[num].Node
		if perNode {
			if reason := e.filter.ownReason(n); reason != "" {
				filtered(m, n, reason, 1)
				continue
			}
		}
		if reason, isFilter := e.fits(num); reason != "" {
			if isFilter {
				filtered(m, n, reason, 1)
			} else {
				exhausted(m, n, reason)
			}
			if insert {
				e.work.at(num).member = true
			}
			continue
		}
		if !insert {
			if e.values != nil && e.values.blocked(e.values.of(e.cluster, num)) {
				filtered(m, n, e.values.reason(e.cluster, num), 1)
			}
			continue
		}
		s := e.work.at(num)
		s.member = true
		if e.values != nil {
			s.value = e.values.of(e.cluster, num)
		}
		score, terms := e.score(num, s, affinity)
		e.add(num, s, bucketKey{s.value, terms}, score)
	}
}

// fits says why an allocation does not fit on a node now, "" when it does; a
// filter counts as filtered, all else as exhausted.
func (e *engine) fits(num uint32) (reason string, isFilter bool) {
	free, cost := &e.cluster.free[num], e.cost(num)
	switch {
	case free.CPU < cost:
		return "cpu", false
	case free.MemoryMB < e.ask.MemoryMB:
		return "memory", false
	case free.DiskMB < e.ask.DiskMB:
		return "disk", false
	}
	if e.ask.memoryMax > e.cluster.total[num].MemoryMB {
		return "memory", false
	}
	if e.filter.hostsOfJob && e.work.slots[num].jobs > 0 || e.filter.hostsOfGroup && e.work.slots[num].collide > 0 {
		return structs.ConstraintDistinctHosts, true
	}
	if limit := e.cluster.rows[num].Node.NodeMaxAllocs; limit > 0 && int(e.cluster.used[num]) >= limit {
		return "max allocation exceeded", false
	}
	if len(e.ask.ports.static) > 0 && !e.cluster.portsOf(num).staticFree(&e.ask.ports, e.grantsFor(num)) {
		return "network: port collision", false
	}
	if len(e.exclude) > 0 && slices.Contains(e.exclude, num) {
		return "network: no dynamic port is free", false
	}
	if !e.ask.special.empty() {
		_, reason := e.assignSpecial(num)
		return reason, false
	}
	return "", false
}

// cost is the CPU that an allocation takes on a node.
func (e *engine) cost(num uint32) int64 {
	if e.ask.special.count == 0 {
		return e.ask.CPU
	}
	return e.ask.on(e.cluster.rows[num].Node).CPU
}

func (e *engine) grantsFor(num uint32) []portClaim {
	if len(e.granted) > 0 && num == e.grantOn {
		return e.granted
	}
	return nil
}

// score is the part of a node's score that the node alone decides, and the
// number of its terms.
func (e *engine) score(num uint32, s *slot, affinity float64) (float64, uint8) {
	e.cluster.show(num, &e.view)
	ask := &e.ask.Ask
	if e.ask.special.count > 0 {
		own := e.ask.Ask
		own.Amount = e.ask.on(e.view.Node)
		ask = &own
	}
	score, terms := checkScore(e.algorithm.Name, e.algorithm.Score(ask, &e.view)), uint8(1)
	if e.ask.special.weight > 0 {
		given, _ := e.assignSpecial(num)
		score += given.score / e.ask.special.weight
		terms++
	}
	if s.collide > 0 && e.terms.antiAffinity {
		score -= float64(s.collide+1) / e.terms.desired
		terms++
	}
	if len(e.penalty) > 0 && slices.Contains(e.penalty, num) {
		score--
		terms++
	}
	if len(e.terms.affinities) > 0 {
		score += affinity + e.terms.ownAffinity(e.view.Node)
		terms++
	}
	return score, terms
}

// affinity is what a node's class decides of its affinity score.
func (e *engine) affinity(num uint32) float64 {
	if len(e.terms.affinities) == 0 {
		return 0
	}
	class := e.cluster.class[num]
	score, known := e.byClass[class]
	if !known {
		score = e.terms.classAffinity(e.cluster.rows[num].Node)
		e.byClass[class] = score
	}
	return score
}

// show fills in what an algorithm sees of a node.
func (c *Cluster) show(num uint32, v *NodeView) {
	v.Node, v.Total, v.Free, v.Allocs = c.rows[num].Node, c.total[num], c.free[num], int(c.used[num])
}

// total combines a node's own score with that of its spread value.
func (e *engine) total(score float64, terms uint8, spread float64) float64 {
	if e.algorithm.Additive {
		return score + spread
	}
	if spread != 0 {
		return (score + spread) / float64(terms+1)
	}
	return score / float64(terms)
}

// best finds the best node now; ok is false when none fits.
func (e *engine) best() (num uint32, ok bool) {
	var winner *entry
	var top float64
	for i := range e.buckets {
		b := &e.buckets[i]
		if len(b.entries) == 0 {
			continue
		}
		spread := 0.0
		if e.values != nil {
			if e.values.blocked(b.value) {
				continue
			}
			spread = e.values.score(b.value)
		}
		first := e.first(b)
		total := e.total(first.score, b.terms, spread)
		if winner == nil || total > top || total == top && (first.tie < winner.tie || first.tie == winner.tie && first.num < winner.num) {
			winner, top = first, total
		}
	}
	if winner == nil {
		return 0, false
	}
	return winner.num, true
}

// first is the best entry of a bucket that is not empty.
func (e *engine) first(b *bucket) *entry {
	if e.heaped {
		return &b.entries[0]
	}
	first := &b.entries[0]
	for i := 1; i < len(b.entries); i++ {
		if b.entries[i].before(first) {
			first = &b.entries[i]
		}
	}
	return first
}

// refresh scores a node again after something about it changed.
func (e *engine) refresh(num uint32) {
	s := &e.work.slots[num]
	if !s.member {
		return
	}
	reason, _ := e.fits(num)
	if reason != "" {
		e.drop(num, s)
		return
	}
	if e.values != nil {
		s.value = e.values.of(e.cluster, num)
	}
	score, terms := e.score(num, s, e.affinity(num))
	key := bucketKey{s.value, terms}
	if s.bucket != 0 && e.buckets[s.bucket-1].bucketKey == key {
		b := &e.buckets[s.bucket-1]
		b.entries[s.pos].score = score
		e.fix(b, int(s.pos))
		return
	}
	e.drop(num, s)
	e.add(num, s, key, score)
	if e.heaped {
		b := &e.buckets[s.bucket-1]
		e.up(b, int(s.pos))
	}
}

// add appends a node to its bucket without ordering it.
func (e *engine) add(num uint32, s *slot, key bucketKey, score float64) {
	i := e.last
	if int(i) >= len(e.buckets) || e.buckets[i].bucketKey != key {
		i = e.bucketOf(key)
		e.last = i
	}
	b := &e.buckets[i]
	s.bucket, s.pos = i+1, int32(len(b.entries))
	b.entries = append(b.entries, entry{score: score, num: num, tie: uint32(mix(e.opts.Seed ^ uint64(num)))})
}

func (e *engine) bucketOf(key bucketKey) int32 {
	i, ok := e.byKey[key]
	if !ok {
		i = int32(len(e.buckets))
		e.byKey[key] = i
		e.buckets = append(e.buckets, bucket{bucketKey: key, entries: e.work.entries()})
	}
	return i
}

// drop takes a node out of its bucket.
func (e *engine) drop(num uint32, s *slot) {
	if s.bucket == 0 {
		return
	}
	b := &e.buckets[s.bucket-1]
	i, last := int(s.pos), len(b.entries)-1
	e.swap(b, i, last)
	b.entries = b.entries[:last]
	s.bucket, s.pos = 0, 0
	if i < last {
		e.fix(b, i)
	}
}

func (e *engine) heapify(b *bucket) {
	for i := len(b.entries)/2 - 1; i >= 0; i-- {
		e.down(b, i)
	}
}

func (e *engine) fix(b *bucket, i int) {
	if e.heaped && !e.down(b, i) {
		e.up(b, i)
	}
}

func (e *engine) swap(b *bucket, i, j int) {
	if i == j {
		return
	}
	x := b.entries
	x[i], x[j] = x[j], x[i]
	e.work.slots[x[i].num].pos = int32(i)
	e.work.slots[x[j].num].pos = int32(j)
}

func (e *engine) up(b *bucket, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !b.entries[i].before(&b.entries[parent]) {
			return
		}
		e.swap(b, i, parent)
		i = parent
	}
}

func (e *engine) down(b *bucket, i int) bool {
	start := i
	for {
		child := 2*i + 1
		if child >= len(b.entries) {
			break
		}
		if child+1 < len(b.entries) && b.entries[child+1].before(&b.entries[child]) {
			child++
		}
		if !b.entries[child].before(&b.entries[i]) {
			break
		}
		e.swap(b, i, child)
		i = child
	}
	return i > start
}

// close gives the engine's memory back for the next one.
func (e *engine) close() {
	for i := range e.buckets {
		e.work.spare = append(e.work.spare, e.buckets[i].entries)
	}
	e.work.reset()
}

// topNodes are the best five nodes now, best first.
func (e *engine) topNodes() []*structs.NodeScoreMeta {
	type candidate struct {
		entry
		total float64
	}
	var top []candidate
	for i := range e.buckets {
		b := &e.buckets[i]
		spread := 0.0
		if e.values != nil {
			if e.values.blocked(b.value) {
				continue
			}
			spread = e.values.score(b.value)
		}
		for k := range b.entries {
			c := candidate{b.entries[k], e.total(b.entries[k].score, b.terms, spread)}
			if len(top) == maxScoreMeta && top[maxScoreMeta-1].total > c.total {
				continue
			}
			at, _ := slices.BinarySearchFunc(top, c, func(x, y candidate) int {
				return cmp.Or(cmp.Compare(y.total, x.total), cmp.Compare(x.tie, y.tie), cmp.Compare(x.num, y.num))
			})
			if at < maxScoreMeta {
				top = slices.Insert(top, at, c)[:min(len(top)+1, maxScoreMeta)]
			}
		}
	}
	metas := make([]*structs.NodeScoreMeta, len(top))
	for i, c := range top {
		metas[i] = e.scoreMeta(c.num)
	}
	return metas
}
