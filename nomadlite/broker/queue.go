package broker

import (
	"container/heap"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// jobKey names the job of an evaluation.
type jobKey struct{ namespace, id string }

func keyOf(e *structs.Evaluation) jobKey { return jobKey{e.Namespace, e.JobID} }

// entry is a pending evaluation that the queue knows.
type entry struct {
	eval       *structs.Evaluation
	place      place
	deliveries int
	since      time.Time // when it was first to be worked on
	taken      time.Time // when it was delivered last
	notBefore  time.Time // of waiting entries
	token      string    // of delivered entries
	deadline   time.Time // of delivered entries
	position   int       // in the heap that it is in
}

// place is where an entry is.
type place uint8

const (
	ready     place = iota // may be delivered
	behind                 // waits for another evaluation of its job
	waiting                // waits for a time
	delivered              // a worker has it
)

// queue is the pure core of the broker: no clock, no locks, no goroutines. An
// evaluation is in exactly one place, and of a job at most one is ready or
// delivered.
type queue struct {
	entries map[string]*entry
	ready   map[string]*byRank // by evaluation type
	behind  map[jobKey][]*entry
	active  map[jobKey]*entry // the ready or delivered one of a job
	waiting *byTime
	leases  *byTime
}

func newQueue() *queue {
	return &queue{
		entries: map[string]*entry{}, ready: map[string]*byRank{}, behind: map[jobKey][]*entry{}, active: map[jobKey]*entry{},
		waiting: &byTime{at: func(e *entry) time.Time { return e.notBefore }},
		leases:  &byTime{at: func(e *entry) time.Time { return e.deadline }},
	}
}

// add takes a pending evaluation in; one that is known is left as it is.
func (q *queue) add(e *structs.Evaluation, now time.Time) {
	if q.entries[e.ID] != nil {
		return
	}
	n := &entry{eval: e, since: now}
	q.entries[e.ID] = n
	if e.WaitUntil != nil && e.WaitUntil.After(now) {
		n.since = *e.WaitUntil
		q.wait(n, *e.WaitUntil)
		return
	}
	q.enter(n)
}

func (q *queue) wait(n *entry, until time.Time) {
	n.place, n.notBefore = waiting, until
	heap.Push(q.waiting, n)
}

// enter makes an entry ready, or puts it behind the one of its job.
func (q *queue) enter(n *entry) {
	key := keyOf(n.eval)
	if q.active[key] != nil {
		n.place = behind
		q.behind[key] = append(q.behind[key], n)
		return
	}
	q.active[key] = n
	n.place = ready
	h := q.ready[n.eval.Type]
	if h == nil {
		h = &byRank{}
		q.ready[n.eval.Type] = h
	}
	heap.Push(h, n)
}

// take delivers the best ready entry of the given types, nil for none.
func (q *queue) take(types []string, token string, deadline time.Time) *entry {
	var best *entry
	for _, t := range types {
		if h := q.ready[t]; h != nil && len(*h) > 0 && (best == nil || before((*h)[0], best)) {
			best = (*h)[0]
		}
	}
	if best == nil {
		return nil
	}
	heap.Pop(q.ready[best.eval.Type])
	best.place, best.token, best.deadline = delivered, token, deadline
	best.deliveries++
	heap.Push(q.leases, best)
	return best
}

// settle ends a delivery: with again the entry waits for another one.
func (q *queue) settle(n *entry, again bool, until time.Time) {
	heap.Remove(q.leases, n.position)
	n.token = ""
	q.leave(n)
	if again {
		q.wait(n, until)
	} else {
		delete(q.entries, n.eval.ID)
	}
}

// expire ends the lease of a delivered entry now.
func (q *queue) expire(n *entry) {
	n.deadline = time.Time{}
	heap.Fix(q.leases, n.position)
}

// leave frees the job of an entry for the next one: the best of those behind.
func (q *queue) leave(n *entry) {
	key := keyOf(n.eval)
	delete(q.active, key)
	list := q.behind[key]
	if len(list) == 0 {
		return
	}
	best := 0
	for i := range list {
		if before(list[i], list[best]) {
			best = i
		}
	}
	next := list[best]
	if list = slices.Delete(list, best, best+1); len(list) == 0 {
		delete(q.behind, key)
	} else {
		q.behind[key] = list
	}
	q.enter(next)
}

// remove forgets an evaluation that is no longer pending. A delivered one
// stays until its worker is done.
func (q *queue) remove(n *entry) {
	switch n.place {
	case delivered:
		return
	case waiting:
		heap.Remove(q.waiting, n.position)
	case behind:
		key := keyOf(n.eval)
		q.behind[key] = slices.DeleteFunc(q.behind[key], func(e *entry) bool { return e == n })
		if len(q.behind[key]) == 0 {
			delete(q.behind, key)
		}
	case ready:
		heap.Remove(q.ready[n.eval.Type], n.position)
		q.leave(n)
	}
	delete(q.entries, n.eval.ID)
}

// due moves entries whose time has come, and returns deliveries that ran out.
func (q *queue) due(now time.Time) (expired []*entry) {
	for q.waiting.Len() > 0 && !q.waiting.list[0].notBefore.After(now) {
		q.enter(heap.Pop(q.waiting).(*entry))
	}
	for _, n := range q.leases.list {
		if !n.deadline.After(now) {
			expired = append(expired, n)
		}
	}
	return expired
}

// next is the first time at which due has something to do.
func (q *queue) next() (at time.Time, ok bool) {
	for _, h := range []*byTime{q.waiting, q.leases} {
		if h.Len() > 0 && (!ok || h.at(h.list[0]).Before(at)) {
			at, ok = h.at(h.list[0]), true
		}
	}
	return at, ok
}

// before orders by priority, then by age.
func before(a, b *entry) bool {
	if a.eval.Priority != b.eval.Priority {
		return a.eval.Priority > b.eval.Priority
	}
	if a.eval.CreateIndex != b.eval.CreateIndex {
		return a.eval.CreateIndex < b.eval.CreateIndex
	}
	return a.eval.ID < b.eval.ID
}

// byRank is a heap of ready entries, the best first.
type byRank []*entry

func (h byRank) Len() int           { return len(h) }
func (h byRank) Less(i, j int) bool { return before(h[i], h[j]) }
func (h byRank) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].position, h[j].position = i, j }
func (h *byRank) Push(x any)        { n := x.(*entry); n.position = len(*h); *h = append(*h, n) }
func (h *byRank) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return n
}

// byTime is a heap of entries by a time, the earliest first.
type byTime struct {
	list []*entry
	at   func(*entry) time.Time
}

func (h *byTime) Len() int           { return len(h.list) }
func (h *byTime) Less(i, j int) bool { return h.at(h.list[i]).Before(h.at(h.list[j])) }
func (h *byTime) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].position, h.list[j].position = i, j
}
func (h *byTime) Push(x any) { n := x.(*entry); n.position = len(h.list); h.list = append(h.list, n) }
func (h *byTime) Pop() any {
	last := len(h.list) - 1
	n := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return n
}
