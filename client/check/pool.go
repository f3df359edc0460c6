package check

import (
	"container/heap"
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// workers bounds how many probes look at once on a node. A probe that hangs
// holds one for its timeout at most.
const workers = 64

// Spec is one check.
type Spec struct {
	ID       string
	Probe    Probe
	Interval time.Duration
	Timeout  time.Duration
	// Done is told each result; it must not block.
	Done func(Result)
}

// Pool runs checks at their intervals. Without checks it has no goroutine.
type Pool struct {
	ctx context.Context

	mu    sync.Mutex // guards what follows
	items map[string]*item
	queue queue
	timer *time.Timer
	busy  int
	wg    sync.WaitGroup
}

// item is one check; due orders the queue.
type item struct {
	spec    Spec
	due     time.Time
	pos     int  // in the queue, -1 while it looks
	removed bool // while it looks
	cancel  context.CancelFunc
}

// NewPool makes a pool that works until ctx ends.
func NewPool(ctx context.Context) *Pool {
	return &Pool{ctx: ctx, items: map[string]*item{}}
}

// Set adds a check, or replaces the one of the same id. The first look is at
// once, but for a spread over a tenth of the interval.
func (p *Pool) Set(s Spec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(s.ID)
	it := &item{spec: s, due: time.Now().Add(spread(s)), pos: -1}
	p.items[s.ID] = it
	heap.Push(&p.queue, it)
	p.schedule()
}

// spread keeps checks that begin together from looking together for ever.
func spread(s Spec) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(s.ID))
	return time.Duration(float64(s.Interval) / 10 * float64(h.Sum32()%1000) / 1000)
}

// Remove ends a check; its Done is not called any more once Remove returned,
// except by a look that is just telling.
func (p *Pool) Remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(id)
	p.schedule()
}

func (p *Pool) removeLocked(id string) {
	it := p.items[id]
	if it == nil {
		return
	}
	delete(p.items, id)
	if it.pos >= 0 {
		heap.Remove(&p.queue, it.pos)
		return
	}
	it.removed = true
	it.cancel()
}

// Len is how many checks there are.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.items)
}

// Wait returns when all looks have ended. Call it after ctx has ended.
func (p *Pool) Wait() { p.wg.Wait() }

// schedule starts what is due and sets the timer for the next. The caller
// holds mu.
func (p *Pool) schedule() {
	if p.timer != nil {
		p.timer.Stop()
	}
	now := time.Now()
	for len(p.queue) > 0 && p.busy < workers && !p.queue[0].due.After(now) && p.ctx.Err() == nil {
		it := heap.Pop(&p.queue).(*item)
		it.pos = -1
		ctx, cancel := context.WithTimeout(p.ctx, it.spec.Timeout)
		it.cancel = cancel
		p.busy++
		p.wg.Add(1)
		go p.look(ctx, it)
	}
	if len(p.queue) == 0 || p.busy >= workers || p.ctx.Err() != nil {
		return // the end of a look schedules again
	}
	p.timer = time.AfterFunc(time.Until(p.queue[0].due), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.schedule()
	})
}

// look runs one probe and puts the check back into the queue.
func (p *Pool) look(ctx context.Context, it *item) {
	defer p.wg.Done()
	r := guarded(ctx, it.spec)
	it.cancel()
	r.Time = time.Now()
	p.mu.Lock()
	p.busy--
	gone := it.removed
	if !gone {
		it.due = it.due.Add(it.spec.Interval)
		if it.due.Before(r.Time) { // late: do not make up for what was missed
			it.due = r.Time.Add(it.spec.Interval)
		}
		heap.Push(&p.queue, it)
	}
	p.schedule()
	p.mu.Unlock()
	if !gone && p.ctx.Err() == nil {
		it.spec.Done(r)
	}
}

// guarded keeps a panic of a probe to itself.
func guarded(ctx context.Context, s Spec) (r Result) {
	defer func() {
		if v := recover(); v != nil {
			r = Result{Status: Failure, Output: fmt.Sprint("nomad: the check failed inside: ", v)}
		}
	}()
	return s.Probe.Look(ctx)
}

// queue is a heap of waiting checks.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}

func (q *queue) Push(x any) {
	it := x.(*item)
	it.pos = len(*q)
	*q = append(*q, it)
}

func (q *queue) Pop() any {
	old := *q
	it := old[len(old)-1]
	*q = old[:len(old)-1]
	return it
}
