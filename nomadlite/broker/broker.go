// Package broker hands pending evaluations to workers: one of a job at a time,
// by priority and age, each under a lease. A lease that ends without an ack
// makes the evaluation be delivered again, at most Config.DeliveryLimit times;
// then it is given up and a follow-up evaluation takes over later.
//
// The broker is fed from committed state, level-triggered: it compares what is
// pending there with what it knows, so a lost wake-up costs a delay and never
// an evaluation. Nothing waits for the broker.
package broker

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Defaults of Config (runtime.md 16).
const (
	DefaultLease         = 60 * time.Second
	DefaultDeliveryLimit = 3
	// nackDelay times the number of deliveries is the wait after a nack.
	nackDelay = time.Second
	// resync is the longest time between two looks at the state.
	resync = 5 * time.Second
)

// Config configures a Broker.
type Config struct {
	Store         *state.Store
	Lease         time.Duration // 0 is DefaultLease
	DeliveryLimit int           // 0 is DefaultDeliveryLimit
	// GiveUp commits that an evaluation failed, with its follow-up.
	GiveUp func(ctx context.Context, eval *structs.Evaluation) error
	Logger hclog.Logger // nil logs nothing
}

// Broker hands out evaluations while Run runs.
type Broker struct {
	cfg   Config
	wake  chan struct{} // cap 1: something changed that Run must look at
	mu    sync.Mutex    // guards what follows
	queue *queue
	on    bool
	token uint64
	// at is the index that the queue has followed the state to, 0 for none;
	// paused is what the configuration said there.
	at     uint64
	paused bool
	full   time.Time // of the last look at all that is open
	// recheck are evaluations whose delivery ended: what became of them is read
	// from the state, whether it changed or not.
	recheck []string
	// more is closed when something became ready.
	more chan struct{}
}

// New returns a broker that has nothing until it runs.
func New(cfg Config) *Broker {
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.DeliveryLimit == 0 {
		cfg.DeliveryLimit = DefaultDeliveryLimit
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Broker{cfg: cfg, wake: make(chan struct{}, 1), queue: newQueue(), more: make(chan struct{})}
}

// Run keeps the broker in step with the state until ctx ends. It begins empty:
// deliveries of an earlier run cannot be settled any more.
func (b *Broker) Run(ctx context.Context) error {
	b.Begin()
	defer func() {
		b.mu.Lock()
		b.on = false
		b.mu.Unlock()
	}()
	watch := b.cfg.Store.Watch(state.KeyTable(state.TableEvals), state.KeyTable(state.TableSchedulerConfig))
	defer watch.Close()
	timer := time.NewTimer(resync)
	defer timer.Stop()
	for {
		next := b.Sync(ctx, time.Now())
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// Begin empties the broker and lets it deliver. Run begins with it; who steps
// a broker by hand calls it, then Sync and Take.
func (b *Broker) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue, b.on, b.at = newQueue(), true, 0
}

// Sync takes in what is pending, drops what is not any more, and settles what
// ran out. It returns when to look again.
func (b *Broker) Sync(ctx context.Context, now time.Time) time.Duration {
	b.mu.Lock()
	// Taken under the lock, the snapshot holds the outcome of everything that
	// was acknowledged before.
	snap := b.cfg.Store.Snapshot()
	b.follow(snap, now)
	var hopeless []*structs.Evaluation
	for _, n := range b.queue.due(now) {
		b.cfg.Logger.Warn("a worker did not finish an evaluation in time", "eval_id", n.eval.ID, "job_id", n.eval.JobID)
		if eval := b.redeliver(n, now); eval != nil {
			hopeless = append(hopeless, eval)
		}
	}
	b.announce()
	at, timed := b.queue.next()
	b.gauges()
	b.mu.Unlock()
	for _, eval := range hopeless {
		b.giveUp(ctx, eval)
	}
	if !timed {
		return resync
	}
	return min(resync, max(at.Sub(now), time.Millisecond))
}

// follow brings the queue to a snapshot: by what changed since the last one,
// or by all that is open.
func (b *Broker) follow(snap *state.Snapshot, now time.Time) {
	paused := snap.SchedulerConfig().PauseEvalBroker
	changes, known := snap.EvalChangesSince(b.at)
	if known && b.at > 0 && b.at <= snap.Index() && paused == b.paused && now.Sub(b.full) < resync {
		look := func(id string) {
			e := snap.Eval(id)
			b.keep(id, e, e != nil && e.Status == structs.EvalStatusPending && !paused, now)
		}
		for _, c := range changes {
			look(c.ID)
		}
		for _, id := range b.recheck {
			look(id)
		}
	} else {
		b.full = now
		pending := map[string]bool{}
		for e := range snap.OpenEvals() {
			if e.Status == structs.EvalStatusPending && !paused {
				pending[e.ID] = true
				b.queue.add(e, now)
			}
		}
		for id := range b.queue.entries {
			b.keep(id, nil, pending[id], now)
		}
	}
	b.at, b.paused, b.recheck = snap.Index(), paused, b.recheck[:0]
}

// keep adds an evaluation that is pending, and removes one that is not.
func (b *Broker) keep(id string, e *structs.Evaluation, pending bool, now time.Time) {
	n := b.queue.entries[id]
	switch {
	case pending && n == nil:
		b.queue.add(e, now)
	case !pending && n != nil:
		b.queue.remove(n)
	}
}

// redeliver ends a delivery that failed. It returns the evaluation when it was
// the last one that it gets; the entry then waits for GiveUp to be committed.
func (b *Broker) redeliver(n *entry, now time.Time) *structs.Evaluation {
	b.recheck = append(b.recheck, n.eval.ID)
	if n.deliveries < b.cfg.DeliveryLimit {
		b.queue.settle(n, true, now.Add(time.Duration(n.deliveries)*nackDelay))
		return nil
	}
	b.queue.settle(n, true, now.Add(b.cfg.Lease))
	return n.eval
}

func (b *Broker) giveUp(ctx context.Context, eval *structs.Evaluation) {
	b.cfg.Logger.Error("giving up an evaluation", "eval_id", eval.ID, "job_id", eval.JobID, "deliveries", b.cfg.DeliveryLimit)
	if err := b.cfg.GiveUp(ctx, eval); err != nil && ctx.Err() == nil {
		b.cfg.Logger.Error("cannot record that an evaluation failed; trying it again", "eval_id", eval.ID, "error", err)
	}
}

// announce wakes the workers when something is ready.
func (b *Broker) announce() {
	for _, h := range b.queue.ready {
		if len(*h) > 0 {
			close(b.more)
			b.more = make(chan struct{})
			return
		}
	}
}

// Dequeue blocks until an evaluation of one of the types may be worked on, and
// returns it with the token of its lease.
func (b *Broker) Dequeue(ctx context.Context, types []string) (*structs.Evaluation, string, error) {
	for {
		b.mu.Lock()
		more := b.more
		b.mu.Unlock()
		if eval, token := b.Take(types, time.Now()); eval != nil {
			return eval, token, nil
		}
		select {
		case <-ctx.Done():
			return nil, "", ctx.Err()
		case <-more:
		}
	}
}

// Take returns the best evaluation of one of the types that may be worked on,
// with the token of its lease, or nil.
func (b *Broker) Take(types []string, now time.Time) (*structs.Evaluation, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.token++
	token := strconv.FormatUint(b.token, 36)
	if !b.on {
		return nil, ""
	}
	n := b.queue.take(types, token, now.Add(b.cfg.Lease))
	if n == nil {
		return nil, ""
	}
	n.taken = now
	sample("wait_time", now.Sub(n.since))
	return n.eval, token
}

// Ack ends a delivery well: the evaluation's outcome is committed.
func (b *Broker) Ack(id, token string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.held(id, token)
	if err != nil {
		return err
	}
	sample("process_time", time.Since(n.taken))
	sample("response_time", time.Since(n.since))
	b.queue.settle(n, false, time.Time{})
	b.recheck = append(b.recheck, id)
	b.announce()
	b.poke()
	return nil
}

// Nack ends a delivery badly: the evaluation is delivered again after a while,
// or given up.
func (b *Broker) Nack(id, token string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.held(id, token)
	if err != nil {
		return err
	}
	// Run sees a lease that has ended and does what is to be done.
	b.queue.expire(n)
	b.poke()
	return nil
}

func (b *Broker) held(id, token string) (*entry, error) {
	n := b.queue.entries[id]
	if n == nil || n.place != delivered || n.token != token {
		return nil, structs.Errorf(structs.Conflict, "evaluation %s is not held under this lease any more", id)
	}
	return n, nil
}

// poke makes Run look again: an acknowledged evaluation may still be pending
// in the state when its worker committed nothing.
func (b *Broker) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Depths counts the evaluations by where they are.
type Depths struct {
	Ready, Behind, Waiting, Delivered int
}

// Depths returns how much is queued.
func (b *Broker) Depths() Depths {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.depths()
}

func (b *Broker) depths() Depths {
	d := Depths{Waiting: b.queue.waiting.Len(), Delivered: b.queue.leases.Len()}
	for _, h := range b.queue.ready {
		d.Ready += len(*h)
	}
	d.Behind = len(b.queue.entries) - d.Ready - d.Waiting - d.Delivered
	return d
}

func (b *Broker) gauges() {
	d := b.depths()
	metrics.SetGauge([]string{"nomad", "broker", "total_ready"}, float32(d.Ready))
	metrics.SetGauge([]string{"nomad", "broker", "total_unacked"}, float32(d.Delivered))
	metrics.SetGauge([]string{"nomad", "broker", "total_pending"}, float32(d.Behind))
	metrics.SetGauge([]string{"nomad", "broker", "total_waiting"}, float32(d.Waiting))
	unacked := map[string]int{}
	for _, n := range b.queue.leases.list {
		unacked[n.eval.Type]++
	}
	for kind, h := range b.queue.ready { // of all types that were ever ready
		metrics.SetGauge([]string{"nomad", "broker", kind, "ready"}, float32(len(*h)))
		metrics.SetGauge([]string{"nomad", "broker", kind, "unacked"}, float32(unacked[kind]))
	}
}

// sample tells how long something of an evaluation took. Dashboards know these
// with labels for the job, of which there is no end.
func sample(what string, d time.Duration) {
	metrics.AddSample([]string{"nomad", "broker", what}, float32(d)/float32(time.Millisecond))
}
