package scheduler

import (
	"cmp"
	"math"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// engine places allocations of one group. It scores every node that fits once
// (scan.go); after a placement only the nodes that it touched are scored again.
// Nodes stand in buckets (heap.go).
type engine struct {
	*pass
	ask    *groupAsk
	filter *filter
	terms  terms
	values *spreadValues // nil without spreads and distinct properties
	older  bool          // an earlier version is placed, which evicts nobody: it had another priority
	work   *scratch

	// columnar is set when the pass over the nodes needs nothing but hot rows.
	columnar bool
	align    alignAsk
	need     [3]int32     // cpu, memory, disk
	short    [4]int       // nodes short of them, or full
	classes  []classState // by class
	wanted   int          // placements that are to come, at least
	asks     int          // placements that are asked for

	buckets  []bucket
	byKey    bucketIndex
	penalty  []uint32    // nodes of earlier failures of the placement at hand
	grantOn  uint32      // the node where granted ports may be taken
	granted  []portClaim // ports that pass on to the placement at hand
	handover []string    // allocations whose cores and devices pass on to it
	// previousOn is the node of the predecessor; preemption is the score of the
	// evictions for the placement at hand, 0 for none.
	previousOn uint32
	preemption float64
	rooms      []room     // by node, once something had to be evicted
	view       NodeView   // reused, because what an algorithm is shown escapes
	assigned   assignment // reused, the ports of the placement at hand
	slabs      extraSlabs
}

// classState is what an engine knows of a class of nodes.
type classState struct {
	fits      bool
	bucket    int32 // of its untouched nodes; only when columnar
	exhausted int
	affinity  float64 // what the class decides of its nodes' score: affinity, rarity
}

// scratch holds arrays by node number that engines reuse.
type scratch struct {
	slots   []slot
	dirty   []uint32 // slots that are not zero
	spare   [][]entry
	buckets []bucket // none
	classes []classState
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

// slot is what an engine knows of one node that something happened to.
type slot struct {
	dirty   bool
	scored  bool  // entries are alive only if they have the score and bucket
	full    bool  // has no dynamic port left
	collide int32 // allocations of the job's group on the node
	jobs    int32 // allocations of the job, whatever the group
	bucket  int32 // 1 + index in engine.buckets, 0 for none
	score   float64
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
	if !sl.dirty {
		sl.dirty = true
		s.dirty = append(s.dirty, num)
	}
	return sl
}

// newEngine prepares a group: counts what runs already.
func newEngine(p *pass, gd *groupDecision, live []*structs.Allocation) *engine {
	job := gd.job
	if job == nil {
		job = p.job
	}
	e := &engine{pass: p, ask: newGroupAsk(job, gd.group, p.config.oversub), filter: p.filterFor(job, gd.group),
		buckets: p.cluster.work.buckets[:0], work: &p.cluster.work, wanted: len(gd.asks) + 8, asks: len(gd.asks)}
	if len(gd.group.Volumes) > 0 {
		index := uint32(0) // of the first; with per_alloc there is one
		if len(gd.asks) > 0 {
			index = gd.asks[0].index
		}
		e.filter.volumes = hostVolumes(gd.group, index)
		e.ask.special.volumes = writerClaims(e.filter.volumes)
	}
	e.older = gd.job != nil
	e.terms = newTerms(p, gd.group)
	e.slabs.expect(len(gd.asks), e.ask)
	e.work.reset()
	if n := p.cluster.Len(); len(e.work.slots) < n {
		e.work.slots = make([]slot, n)
	}
	e.values = newSpreadValues(job, gd.group, e.filter, min(len(p.cluster.classes.list), 128))
	e.columnar = p.algorithm.columnar && len(p.algorithm.scorers) == 0 && e.plain()
	e.align = newAlignAsk(e.ask.Amount)
	e.need = [3]int32{cut(e.ask.CPU), cut(e.ask.MemoryMB), cut(e.ask.DiskMB)}
	for _, a := range live {
		e.count(a, 1)
	}
	for _, pl := range p.placements {
		e.countOn(pl.num, pl.group == gd.name, 1)
	}
	return e
}

// plain reports whether the columns say everything about a node that the job
// does not use yet.
func (e *engine) plain() bool {
	a := e.ask
	return a.special.empty() && len(a.ports.static) == 0 && a.memoryMax == 0 && !e.filter.perNode() && !e.terms.unique &&
		(e.values == nil || !e.values.unique) && max(a.CPU, a.MemoryMB, a.DiskMB) < math.MaxInt32
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

// survey decides which classes fit, and puts the nodes of those in the
// buckets.
func (e *engine) survey() *structs.AllocMetric {
	m := e.surveyClasses(nil)
	e.collect(m)
	return m
}

// surveyClasses counts the nodes that are there and checks each class once.
// Eligible is told which computed classes fit, if there is one.
func (e *engine) surveyClasses(eligible *eligibility) *structs.AllocMetric {
	m := &structs.AllocMetric{NodePool: e.job.NodePool, NodesAvailable: map[string]int{}}
	list := e.cluster.classes.list
	e.classes = slices.Grow(e.work.classes[:0], len(list))[:len(list)]
	e.work.classes = e.classes
	available, inDC := 0, ""
	for id := range list {
		class, state := &list[id], &e.classes[id]
		*state = classState{}
		if len(class.nodes) == 0 || !e.filter.inPool(class.sample) {
			continue
		}
		m.NodesInPool += len(class.nodes)
		if !e.filter.inDatacenters(class.sample) {
			continue
		}
		if class.sample.Datacenter != inDC && available > 0 {
			m.NodesAvailable[inDC] += available
			available = 0
		}
		inDC = class.sample.Datacenter
		available += len(class.nodes)
		m.NodesEvaluated += len(class.nodes)
		reason, byClass := e.filter.classReason(class.sample)
		if eligible != nil {
			eligible.set(class.computed, reason == "" || !byClass)
		}
		if reason != "" {
			filtered(m, class.sample, reason, len(class.nodes))
			continue
		}
		state.fits = true
		e.prepareClass(state, class)
	}
	if available > 0 {
		m.NodesAvailable[inDC] += available
	}
	if e.algorithm.sparing {
		e.spare()
	}
	return m
}

// spare takes the price of rare nodes from the classes that fit: the smaller
// the part of a class in all of them, the dearer it is.
func (e *engine) spare() {
	all := 0
	for id := range e.classes {
		if e.classes[id].fits {
			all += len(e.cluster.classes.list[id].nodes)
		}
	}
	for id := range e.classes {
		if e.classes[id].fits {
			others := all - len(e.cluster.classes.list[id].nodes)
			e.classes[id].affinity -= rarityPrice * float64(others) / float64(all) / alignmentMax
		}
	}
}

func (e *engine) prepareClass(state *classState, class *nodeClass) {
	if len(e.terms.affinities) > 0 {
		state.affinity = e.terms.classAffinity(class.sample)
	}
	if e.columnar {
		state.bucket = e.bucketOf(e.value(class.nodes[0]), e.terms.always)
	}
}

// explain says why no node takes another allocation of the group now.
func (e *engine) explain(eligible *eligibility) *structs.AllocMetric {
	m := e.surveyClasses(eligible)
	var near nearest
	for id := range e.classes {
		if !e.classes[id].fits {
			continue
		}
		for _, num := range e.cluster.classes.list[id].nodes {
			reason, isFilter := e.refuses(num)
			if v := e.values; reason == "" && v != nil && v.blocked(v.of(e.cluster, num)) {
				reason, isFilter = v.reason(e.cluster, num), true
			}
			e.counted(m, num, reason, isFilter)
			if reason != "" && !isFilter {
				near.see(e, num)
			}
		}
	}
	m.NearMisses = near.list()
	return m
}

// counted tells the metric why a node does not fit, if it does not.
func (e *engine) counted(m *structs.AllocMetric, num uint32, reason string, isFilter bool) {
	switch n := e.cluster.rows[num].Node; {
	case reason == "":
	case isFilter:
		filtered(m, n, reason, 1)
	default:
		exhausted(m, n, reason)
	}
}

// value is the combination of spread values of a node.
func (e *engine) value(num uint32) int32 {
	if e.values == nil {
		return 0
	}
	return e.values.of(e.cluster, num)
}

// tie orders nodes of one score by chance.
func tie(seed uint64, num uint32) uint32 { return uint32(mix(seed ^ uint64(num))) }

// feasible reports whether the node may run the group, whatever is free.
func (e *engine) feasible(num uint32) bool {
	return e.cluster.ready[num] && e.classes[e.cluster.class[num]].fits &&
		(!e.filter.perNode() || e.filter.ownReason(e.cluster.rows[num].Node) == "")
}

// takes reports whether a node could take an allocation now.
func (e *engine) takes(num uint32) bool {
	if int(num) >= e.cluster.Len() || !e.feasible(num) {
		return false
	}
	reason, _ := e.fits(num)
	return reason == "" && (e.values == nil || !e.values.blocked(e.value(num)))
}

// refuses says why a node of a fitting class does not take an allocation, ""
// when it does; a filter counts as filtered, all else as exhausted.
func (e *engine) refuses(num uint32) (reason string, isFilter bool) {
	if e.filter.perNode() {
		if reason := e.filter.ownReason(e.cluster.rows[num].Node); reason != "" {
			return reason, true
		}
	}
	return e.fits(num)
}

// fits says why an allocation does not fit on a node now, "" when it does.
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
	slot := &e.work.slots[num]
	if e.filter.hostsOfJob && slot.jobs > 0 || e.filter.hostsOfGroup && slot.collide > 0 {
		return structs.ConstraintDistinctHosts, true
	}
	if limit := e.cluster.rows[num].Node.NodeMaxAllocs; limit > 0 && int(e.cluster.used[num]) >= limit {
		return reasonMaxAllocs, false
	}
	if len(e.ask.ports.static) > 0 && !e.cluster.portsOf(num).staticFree(&e.ask.ports, e.grantsFor(num)) {
		return "network: port collision", false
	}
	if slot.full && (len(e.grantsFor(num)) == 0 || !e.assignPorts(num)) {
		return "network: no dynamic port is free", false
	}
	if !e.ask.special.empty() {
		_, reason := e.assignSpecial(num)
		return reason, false
	}
	return "", false
}

// reasonMaxAllocs is the dimension of nodes that run as many as they may.
const reasonMaxAllocs = "max allocation exceeded"

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
// number of its terms, 0 when scores are sums.
func (e *engine) score(num uint32) (float64, uint8) {
	s, class := &e.work.slots[num], &e.classes[e.cluster.class[num]]
	score, terms := e.algorithmScore(num), uint8(1)
	if e.ask.special.weight > 0 {
		given, _ := e.assignSpecial(num)
		score += given.score / e.ask.special.weight
		terms++
	}
	if s.collide > 0 && e.terms.antiAffinity {
		score -= e.terms.antiAffinityWeight * float64(s.collide+1) / e.terms.desired
		terms++
	}
	if len(e.penalty) > 0 && slices.Contains(e.penalty, num) {
		score--
		terms++
	}
	score += class.affinity
	if len(e.terms.affinities) > 0 {
		score += e.terms.ownAffinity(e.cluster.rows[num].Node)
		terms++
	}
	for i := range e.algorithm.scorers {
		score += e.extraScore(i, num)
		terms++
	}
	if e.algorithm.Additive {
		terms = 0
	}
	return score, terms
}

// algorithmScore is the algorithm's score of a node.
func (e *engine) algorithmScore(num uint32) float64 {
	if e.columnar {
		return e.align.score(&e.cluster.hot[num])
	}
	return checkScore(e.algorithm.Name, e.algorithm.Score(e.show(num), &e.view))
}

// extraScore is the score of the i-th scorer that was selected.
func (e *engine) extraScore(i int, num uint32) float64 {
	s := &e.algorithm.scorers[i]
	return checkScore(s.Name, s.Score(e.show(num), &e.view))
}

// show fills the engine's view with a node and returns what is asked of it.
func (e *engine) show(num uint32) *Ask {
	e.cluster.show(num, &e.view)
	if r := e.view.Node.NodeResources; r != nil && len(r.Devices) > 0 {
		e.view.DevicesUsed = len(e.usedOn(num).devices)
	}
	if e.ask.special.count == 0 {
		return &e.ask.Ask
	}
	own := e.ask.Ask
	own.Amount = e.ask.on(e.view.Node)
	return &own
}

// show fills in what an algorithm sees of a node.
func (c *Cluster) show(num uint32, v *NodeView) {
	*v = NodeView{Node: c.rows[num].Node, Total: c.total[num], Free: c.free[num], Allocs: int(c.used[num])}
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

// spread is the score of a bucket's values; ok is false when a distinct
// property forbids them.
func (e *engine) spread(b *bucket) (score float64, ok bool) {
	if e.values == nil {
		return 0, true
	}
	if e.values.blocked(b.value) {
		return 0, false
	}
	return e.values.score(b.value), true
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
		spread, ok := e.spread(b)
		if !ok {
			continue
		}
		first := e.first(int32(i))
		if first == nil {
			continue
		}
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

// first is the best live entry of a bucket, nil when there is none.
func (e *engine) first(i int32) *entry {
	b := &e.buckets[i]
	for {
		for b.heap > 0 && !e.alive(i, &b.entries[0]) {
			b.pop()
		}
		switch {
		case len(b.entries) == 0:
			return nil
		case b.heap == len(b.entries), b.heap > 0 && !b.limit.before(&b.entries[0]):
			return &b.entries[0]
		}
		b.arrange(len(b.entries))
	}
}

// alive reports whether an entry of a bucket shows how its node is now.
func (e *engine) alive(bucket int32, x *entry) bool {
	s := &e.work.slots[x.num]
	return !s.scored || s.bucket == bucket+1 && s.score == x.score
}

// refresh scores a node again after something about it changed.
func (e *engine) refresh(num uint32) {
	s := e.work.at(num)
	e.forget(num)
	was := *s
	s.scored, s.bucket = true, 0
	if !e.feasible(num) {
		return
	}
	if reason, _ := e.fits(num); reason != "" {
		return
	}
	score, terms := e.score(num)
	s.score, s.bucket = score, e.bucketOf(e.value(num), terms)+1
	if was.bucket != s.bucket || was.score != score {
		e.buckets[s.bucket-1].push(entry{score: score, tie: tie(e.opts.Seed, num), num: num})
	}
}

func (e *engine) bucketOf(value int32, terms uint8) int32 {
	key := bucketKey{value, terms}
	at := e.byKey.at(key)
	if *at == 0 {
		e.buckets = append(e.buckets, bucket{bucketKey: key, entries: e.work.entries()})
		*at = int32(len(e.buckets))
	}
	return *at - 1
}

// close gives the engine's memory back for the next one.
func (e *engine) close() {
	for i := range e.buckets {
		e.work.spare = append(e.work.spare, e.buckets[i].entries)
	}
	e.work.buckets = e.buckets[:0]
	e.work.reset()
}

// topNodes are the best five nodes now, best first.
func (e *engine) topNodes() []*structs.NodeScoreMeta {
	type candidate struct {
		entry
		total float64
	}
	order := func(x, y *candidate) int {
		return cmp.Or(cmp.Compare(y.total, x.total), cmp.Compare(x.tie, y.tie), cmp.Compare(x.num, y.num))
	}
	var top []candidate
	for i := range e.buckets {
		b := &e.buckets[i]
		spread, ok := e.spread(b)
		if !ok || len(top) == maxScoreMeta && top[maxScoreMeta-1].total > e.total(b.most(), b.terms, spread) {
			continue
		}
		for k := range b.entries {
			if k == b.heap && len(top) == maxScoreMeta && top[maxScoreMeta-1].total > e.total(b.limit.score, b.terms, spread) {
				break // the others are worse
			}
			c := candidate{b.entries[k], e.total(b.entries[k].score, b.terms, spread)}
			// Most nodes are as good as others, and end here.
			if len(top) == maxScoreMeta && order(&c, &top[maxScoreMeta-1]) >= 0 || !e.alive(int32(i), &c.entry) ||
				slices.ContainsFunc(top, func(t candidate) bool { return t.num == c.num }) {
				continue
			}
			at, _ := slices.BinarySearchFunc(top, c, func(x, y candidate) int { return order(&x, &y) })
			top = slices.Insert(top, at, c)[:min(len(top)+1, maxScoreMeta)]
		}
	}
	metas := make([]*structs.NodeScoreMeta, len(top))
	for i, c := range top {
		metas[i] = e.scoreMeta(c.num)
	}
	return metas
}
