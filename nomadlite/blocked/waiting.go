package blocked

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of one Decide, so that its cost does not grow with what waits.
const (
	maxChecks = 4096 // evaluations of a bucket that are looked at
	maxCancel = 1024
)

// Decision is what to do about the waiting evaluations.
type Decision struct {
	// Wake are to become pending, the most urgent first.
	Wake []*structs.Evaluation
	// Cancel need not wait any more, by id with the reason.
	Cancel map[string]string
	// Waiting is how many go on waiting.
	Waiting int
	// More says that there is more to do than the limits allow.
	More bool
}

// Waiting knows what waits, in buckets of evaluations that the same nodes can
// help: of a pool, of the same classes, with asks of the same magnitude. It is
// pure: it follows the snapshots that it is given, in order.
type Waiting struct {
	at      uint64 // the index that it has followed the state to
	oldest  uint64 // that an evaluation which was just taken in has seen
	evals   map[string]*waiter
	jobs    map[state.JobKey]*waiter
	buckets map[bucketKey]*bucket
	// changed is the index at which each node last changed, by its number.
	changed []uint64
	// hot are the nodes whose room may wake somebody, with what is left of it.
	hot map[uint32]amount
	// woken are the evaluations that were woken and are not settled yet.
	woken map[string]bool
	// pointless are those that need not wait any more, with the reason.
	pointless map[string]string
}

// NewWaiting returns a Waiting that has seen nothing.
func NewWaiting() *Waiting {
	return &Waiting{evals: map[string]*waiter{}, jobs: map[state.JobKey]*waiter{}, buckets: map[bucketKey]*bucket{},
		hot: map[uint32]amount{}, woken: map[string]bool{}, pointless: map[string]string{}}
}

// amount is a quantity of the plain resources, in MHz and MiB.
type amount struct{ cpu, memory int64 }

func (a amount) within(b amount) bool { return a.cpu <= b.cpu && a.memory <= b.memory }

// waiter is a blocked evaluation.
type waiter struct {
	eval   *structs.Evaluation
	asks   []amount // of the groups that did not fit
	lacks  amount   // of all allocations that did not
	spec   uint64   // JobModifyIndex of the job that asks
	bucket *bucket
}

// order is by priority, then by age.
func order(a, b *waiter) int {
	x, y := a.eval, b.eval
	return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(x.CreateIndex, y.CreateIndex), strings.Compare(x.ID, y.ID))
}

// bucketKey is what the evaluations of a bucket have in common. Those that
// escape classes have buckets of their own.
type bucketKey struct {
	pool        string
	escaped     bool
	classes     string // which classes fit and which do not, in order
	cpu, memory int    // magnitudes of the least ask
}

type bucket struct {
	key    bucketKey
	least  amount
	fits   map[string]bool // by class, nil for those that escape
	list   *btree.BTreeG[*waiter]
	cursor *waiter // to go on from, when the last look ran out of checks
}

// Follow takes in what changed since the last snapshot, or everything. all
// looks again at everything that waits and at every node, not at those alone
// that changed.
func (w *Waiting) Follow(snap *state.Snapshot, all bool) {
	evals, known := snap.EvalChangesSince(w.at)
	nodes, knownNodes := snap.ChangesSince(w.at)
	if w.at == 0 || w.at > snap.Index() || !known || !knownNodes {
		w.rebuild(snap)
		return
	}
	w.note(snap, nodes)
	w.oldest = w.at
	for _, c := range evals {
		w.take(snap, c.ID)
	}
	w.at = snap.Index()
	if all {
		for _, id := range slices.Collect(maps.Keys(w.evals)) {
			w.checkJob(snap, w.evals[id])
		}
	}
	// Nodes may have changed while an evaluation was on its way to wait.
	nodes, known = snap.ChangesSince(w.oldest)
	w.recall(snap, nodes, known)
	if all || !known || len(nodes) > len(w.changed) {
		w.heatAll(snap)
		return
	}
	for _, c := range nodes {
		w.heat(snap, c.Node)
	}
}

// rebuild begins anew from a snapshot.
func (w *Waiting) rebuild(snap *state.Snapshot) {
	*w = *NewWaiting()
	oldest := snap.Index()
	for e := range snap.OpenEvals() {
		if e.Status == structs.EvalStatusBlocked {
			oldest = min(oldest, e.SnapshotIndex)
		}
	}
	nodes, known := snap.ChangesSince(oldest)
	w.recall(snap, nodes, known)
	for e := range snap.OpenEvals() {
		w.take(snap, e.ID)
	}
	w.at = snap.Index()
	w.heatAll(snap)
}

// recall remembers when nodes changed before Follow began, as far as the state
// knows; else any of them may just have.
func (w *Waiting) recall(snap *state.Snapshot, nodes []state.NodeChange, known bool) {
	w.note(snap, nodes)
	if known {
		return
	}
	for num := range w.changed {
		w.changed[num] = snap.Index()
	}
}

// note remembers when nodes changed.
func (w *Waiting) note(snap *state.Snapshot, nodes []state.NodeChange) {
	if n := int(snap.NodeCount()); n > len(w.changed) {
		w.changed = append(w.changed, make([]uint64, n-len(w.changed))...)
	}
	for _, c := range nodes {
		w.changed[c.Node] = c.Index
	}
}

func (w *Waiting) heatAll(snap *state.Snapshot) {
	for num := range w.changed {
		w.heat(snap, uint32(num))
	}
}

// heat lets the room of a node wake somebody.
func (w *Waiting) heat(snap *state.Snapshot, num uint32) {
	if len(w.evals) == 0 {
		return
	}
	if n := snap.NodeByNum(num); n != nil && n.Ready() && n.NodeResources != nil {
		w.hot[num] = freeOn(snap, n, num)
	} else {
		delete(w.hot, num)
	}
}

func freeOn(snap *state.Snapshot, n *structs.Node, num uint32) amount {
	used := snap.NodeUsage(num)
	free := amount{n.NodeResources.Cpu.CpuShares - used.CPU, n.NodeResources.Memory.MemoryMB - used.MemoryMB}
	if r := n.ReservedResources; r != nil {
		free = amount{free.cpu - r.Cpu.CpuShares, free.memory - r.Memory.MemoryMB}
	}
	return free
}

// take brings one evaluation up to date.
func (w *Waiting) take(snap *state.Snapshot, id string) {
	if old := w.evals[id]; old != nil {
		w.forget(old)
	}
	e := snap.Eval(id)
	if e == nil || e.Status != structs.EvalStatusPending {
		delete(w.woken, id)
	}
	if e == nil {
		return
	}
	if e.Status != structs.EvalStatusBlocked {
		if n := w.jobs[jobOf(e)]; n != nil {
			w.checkJob(snap, n)
		}
		return
	}
	n := &waiter{eval: e}
	if job := snap.Job(e.Namespace, e.JobID); job != nil {
		n.asks, n.lacks = leastAsks(job, e.FailedTGAllocs)
		n.spec = job.JobModifyIndex
	}
	w.evals[id] = n
	w.enter(n, snap)
	w.checkJob(snap, n)
	w.oldest = min(w.oldest, e.SnapshotIndex)
}

// checkJob finds out whether it is pointless that an evaluation waits, or that
// another one of its job does.
func (w *Waiting) checkJob(snap *state.Snapshot, n *waiter) {
	job := snap.Job(n.eval.Namespace, n.eval.JobID)
	switch {
	case job == nil || job.Stop:
		w.pointless[n.eval.ID] = descGone
		return
	case job.JobModifyIndex != n.spec: // it asks for something else now
		w.take(snap, n.eval.ID)
		return
	}
	older, newer := n, w.jobs[jobOf(n.eval)]
	if newer == nil || newer == n {
		w.jobs[jobOf(n.eval)] = n
		return
	}
	if newer.eval.CreateIndex < older.eval.CreateIndex {
		older, newer = newer, older
	}
	w.pointless[older.eval.ID] = descSuperseded
	w.jobs[jobOf(n.eval)] = newer
}

func (w *Waiting) enter(n *waiter, snap *state.Snapshot) {
	e := n.eval
	key := bucketKey{escaped: e.EscapedComputedClass}
	if job := snap.Job(e.Namespace, e.JobID); job != nil {
		key.pool = job.NodePool
	}
	var fits map[string]bool
	if !e.EscapedComputedClass {
		fits = e.ClassEligibility
		var b strings.Builder
		for _, class := range slices.Sorted(maps.Keys(fits)) {
			b.WriteString(class)
			b.WriteByte(map[bool]byte{true: '+', false: '-'}[fits[class]])
		}
		key.classes = b.String()
	}
	least := amount{}
	for i, a := range n.asks {
		if i == 0 {
			least = a
		}
		least = amount{min(least.cpu, a.cpu), min(least.memory, a.memory)}
	}
	key.cpu, key.memory = bits.Len64(uint64(max(least.cpu, 0))), bits.Len64(uint64(max(least.memory, 0)))
	b := w.buckets[key]
	if b == nil {
		b = &bucket{key: key, least: amount{floor(key.cpu), floor(key.memory)}, fits: fits,
			list: btree.NewBTreeGOptions(func(a, b *waiter) bool { return order(a, b) < 0 }, btree.Options{NoLocks: true})}
		w.buckets[key] = b
	}
	n.bucket = b
	b.list.Set(n)
}

// floor is the least number with so many bits.
func floor(n int) int64 {
	if n == 0 {
		return 0
	}
	return 1 << (n - 1)
}

func (w *Waiting) forget(n *waiter) {
	delete(w.evals, n.eval.ID)
	delete(w.pointless, n.eval.ID)
	if key := jobOf(n.eval); w.jobs[key] == n {
		delete(w.jobs, key)
	}
	n.bucket.list.Delete(n)
	if n.bucket.cursor == n {
		n.bucket.cursor = nil
	}
	if n.bucket.list.Len() == 0 {
		delete(w.buckets, n.bucket.key)
	}
}

func jobOf(e *structs.Evaluation) state.JobKey {
	return state.JobKey{Namespace: e.Namespace, ID: e.JobID}
}

// leastAsks is the least that an allocation of each failed group can need: its
// main tasks together, and that of all allocations of them. All groups count
// when none is named.
func leastAsks(job *structs.Job, failed map[string]*structs.AllocMetric) (asks []amount, all amount) {
	for _, g := range job.TaskGroups {
		if failed[g.Name] == nil && len(failed) > 0 {
			continue
		}
		var a amount
		for _, t := range g.Tasks {
			if t.Lifecycle == nil && t.Resources != nil {
				if structs.Val(t.Resources.Cores) == 0 {
					a.cpu += int64(structs.Val(t.Resources.CPU))
				}
				a.memory += int64(structs.Val(t.Resources.MemoryMB))
			}
		}
		asks = append(asks, a)
		n := int64(1)
		if m := failed[g.Name]; m != nil {
			n += int64(m.CoalescedFailures)
		}
		all = amount{all.cpu + n*a.cpu, all.memory + n*a.memory}
	}
	return asks, all
}

// Lacking is what the blocked evaluations of a node pool ask for.
type Lacking struct {
	CPU      int64 // MHz
	MemoryMB int64
}

// Lacking counts what waits: by node pool what it asks for, and how many
// evaluations escape the classes of nodes, so that any node may help them.
func (w *Waiting) Lacking() (byPool map[string]Lacking, escaped int) {
	byPool = map[string]Lacking{}
	for _, n := range w.evals {
		key := n.bucket.key
		l := byPool[key.pool]
		byPool[key.pool] = Lacking{l.CPU + n.lacks.cpu, l.MemoryMB + n.lacks.memory}
		if key.escaped {
			escaped++
		}
	}
	return byPool, escaped
}

// Decide says what to do, on the snapshot that Follow was given last. At most
// limit evaluations are woken and not settled at a time.
func (w *Waiting) Decide(snap *state.Snapshot, limit int) Decision {
	d := Decision{Cancel: map[string]string{}}
	for _, id := range slices.Sorted(maps.Keys(w.pointless)) {
		if len(d.Cancel) == maxCancel {
			d.More = true
			break
		}
		d.Cancel[id] = w.pointless[id]
	}
	room := max(limit-len(w.woken), 0)
	var found []*waiter
	if len(w.hot) > 0 {
		for _, b := range w.ordered() {
			list, more := w.candidates(snap, b, room)
			found = append(found, list...)
			d.More = d.More || more
		}
	}
	slices.SortFunc(found, order)
	if len(found) > room {
		found, d.More = found[:room], true
	}
	for _, n := range found {
		d.Wake = append(d.Wake, n.eval)
	}
	if !d.More {
		clear(w.hot)
	}
	d.Waiting = len(w.evals) - len(d.Wake) - len(d.Cancel)
	return d
}

// Woke notes that what a decision wakes has been committed.
func (w *Waiting) Woke(d Decision) {
	for _, e := range d.Wake {
		w.woken[e.ID] = true
	}
}

// ordered lists the buckets in an order that depends on them alone.
func (w *Waiting) ordered() []*bucket {
	return slices.SortedFunc(maps.Values(w.buckets), func(a, b *bucket) int {
		x, y := a.key, b.key
		return cmp.Or(strings.Compare(x.pool, y.pool), strings.Compare(x.classes, y.classes), cmp.Compare(x.cpu, y.cpu),
			cmp.Compare(x.memory, y.memory), cmp.Compare(len(a.fits), len(b.fits)))
	})
}

// candidates finds the first evaluations of a bucket, one more than limit at
// most, that some hot node may help. more says that the bucket was not looked
// through.
func (w *Waiting) candidates(snap *state.Snapshot, b *bucket, limit int) (found []*waiter, more bool) {
	nodes := w.helpful(snap, b)
	if len(nodes) == 0 {
		b.cursor = nil
		return nil, false
	}
	checks := maxChecks
	look := func(n *waiter) bool {
		if checks == 0 || len(found) > limit {
			more = true
			return false
		}
		b.cursor = n
		checks--
		if w.pointless[n.eval.ID] == "" && w.helps(nodes, n) {
			found = append(found, n)
		}
		return true
	}
	from := b.cursor
	if from != nil {
		b.list.Ascend(from, look)
	} else {
		b.list.Scan(look)
	}
	if !more && from != nil {
		more = true // what is before the cursor comes next
	}
	if !more || checks > 0 {
		b.cursor = nil
	}
	return found, more
}

// helpful lists the hot nodes that fit something in a bucket.
func (w *Waiting) helpful(snap *state.Snapshot, b *bucket) []uint32 {
	var nodes []uint32
	for num, free := range w.hot {
		n := snap.NodeByNum(num)
		if n == nil || !b.least.within(free) || b.key.pool != structs.NodePoolAll && b.key.pool != n.NodePool {
			continue
		}
		if fits, known := b.fits[n.ComputedClass]; known && !fits {
			continue
		}
		nodes = append(nodes, num)
	}
	return nodes
}

// helps reports whether one of the nodes changed since an evaluation looked,
// and has room for one of its asks.
func (w *Waiting) helps(nodes []uint32, n *waiter) bool {
	return slices.ContainsFunc(nodes, func(num uint32) bool {
		return w.changed[num] > n.eval.SnapshotIndex && slices.ContainsFunc(n.asks, func(a amount) bool { return a.within(w.hot[num]) })
	})
}
