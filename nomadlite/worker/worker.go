// Package worker turns evaluations into committed plans: it takes one from the
// broker, waits until the state has it, lets the pure scheduler decide, submits
// the plan and looks again when parts of it were refused.
//
// A worker owns its index of the cluster and replays it exactly to the
// snapshot that it schedules from. It writes nothing itself: whatever becomes
// of an evaluation travels in a plan.
package worker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of a pass; see reference runtime 11.
const (
	attemptsService = 5 // service and system
	attemptsBatch   = 2 // batch and sysbatch
	waitForIndex    = 5 * time.Second
	// errorPause keeps a worker from spinning when the broker or the planner
	// fails at once again and again.
	errorPause = 100 * time.Millisecond
)

const (
	descMaxAttempts = "maximum attempts reached (%d)"
	descConflicts   = "created due to placement conflicts"
)

// Broker hands out evaluations, one a job at a time.
type Broker interface {
	// Dequeue blocks until there is an evaluation of one of the types.
	Dequeue(ctx context.Context, types []string) (*structs.Evaluation, string, error)
	Ack(id, token string) error
	// Nack returns the evaluation for another delivery.
	Nack(id, token string) error
}

// Planner commits plans.
type Planner interface {
	// Submit returns once the plan was applied or refused.
	Submit(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error)
	// InFlight is what the plans in flight take, by node.
	InFlight() map[uint32]state.Usage
}

// Deps is what a worker needs.
type Deps struct {
	Broker  Broker
	Planner Planner
	Store   *state.Store
	Logger  hclog.Logger // named "worker" by the caller; nil logs nothing
	// Types are the evaluation types to take; empty takes those of all jobs.
	Types []string
	// Now is the clock, nil for time.Now.
	Now func() time.Time
	// NewID makes ids of evaluations and deployments, nil for random UUIDs.
	NewID func() string
}

// MaxPasses and maxPlacing limit what a worker has in flight: while plans
// commit, it plans on.
const (
	MaxPasses  = 8
	maxPlacing = 4096 // placements, beyond the first plan
)

// Worker schedules evaluations, several at a time: one is being planned while
// the plans of others commit.
type Worker struct {
	deps  Deps
	log   hclog.Logger
	index *index
}

// New returns a worker; Run starts it.
func New(d Deps) *Worker {
	if d.Logger == nil {
		d.Logger = hclog.NewNullLogger()
	}
	if len(d.Types) == 0 {
		d.Types = []string{structs.JobTypeService, structs.JobTypeBatch, structs.JobTypeSystem, structs.JobTypeSysBatch}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.NewID == nil {
		d.NewID = randomID
	}
	return &Worker{deps: d, log: d.Logger, index: newIndex(d.Store)}
}

// Run schedules until the context ends, and returns nil then. Failures of
// single evaluations are logged and given back to the broker.
func (w *Worker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	fresh, back := make(chan *Pass), make(chan *Pass, MaxPasses)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { w.dequeue(ctx, fresh) })
	passes, placing := 0, 0 // in flight
	for {
		in := fresh
		if passes == MaxPasses || passes > 0 && placing >= maxPlacing {
			in = nil
		}
		var p *Pass
		select {
		case <-ctx.Done():
			return nil
		case p = <-back:
			passes, placing = passes-1, placing-p.placing
		case p = <-in:
		}
		if w.advance(ctx, p) {
			w.end(ctx, p)
			continue
		}
		passes, placing = passes+1, placing+p.placing
		all.Go(func() {
			w.submit(ctx, p)
			back <- p
		})
	}
}

// dequeue hands out passes for what the broker delivers until ctx ends.
func (w *Worker) dequeue(ctx context.Context, fresh chan<- *Pass) {
	for {
		start := time.Now()
		eval, token, err := w.deps.Broker.Dequeue(ctx, w.deps.Types)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.log.Debug("cannot dequeue an evaluation", "error", err)
			pause(ctx)
			continue
		}
		metrics.MeasureSince([]string{"nomad", "worker", "dequeue_eval"}, start)
		p := w.Begin(eval)
		p.token = token
		select {
		case fresh <- p:
		case <-ctx.Done():
			return
		}
	}
}

// advance plans what a pass is to submit. It reports whether the pass is done.
func (w *Worker) advance(ctx context.Context, p *Pass) bool {
	if p.again && !p.done {
		// What is in flight first: what a newer state has too is counted twice,
		// which is safe, rather than not at all.
		inFlight := w.deps.Planner.InFlight()
		snap, err := w.snapshot(ctx, p.need)
		if err != nil {
			p.Fail(err)
		} else {
			p.Plan(snap, inFlight)
		}
	}
	return p.done
}

// submit commits the plans of a pass.
func (w *Worker) submit(ctx context.Context, p *Pass) {
	for part := p.Next(); part != nil; part = p.Next() {
		start := time.Now()
		result, err := w.deps.Planner.Submit(ctx, part)
		metrics.MeasureSince([]string{"nomad", "worker", "submit_plan"}, start)
		if err != nil {
			p.Fail(err)
			return
		}
		p.Result(result)
	}
}

// end settles the lease of a pass that is done.
func (w *Worker) end(ctx context.Context, p *Pass) {
	start := time.Now()
	defer metrics.MeasureSince([]string{"nomad", "worker", "send_ack"}, start)
	if p.err == nil {
		if err := w.deps.Broker.Ack(p.eval.ID, p.token); err != nil {
			w.log.Warn("cannot acknowledge an evaluation", "eval_id", p.eval.ID, "error", err)
		}
		return
	}
	if ctx.Err() == nil {
		w.log.Error("cannot process an evaluation, it will be tried again", "eval_id", p.eval.ID, "job_id", p.eval.JobID, "error", p.err)
	}
	if err := w.deps.Broker.Nack(p.eval.ID, p.token); err != nil {
		w.log.Debug("cannot give an evaluation back", "eval_id", p.eval.ID, "error", err)
	}
	pause(ctx)
}

func count(what string) { metrics.IncrCounter([]string{"nomad", "worker", what}, 1) }

func pause(ctx context.Context) {
	t := time.NewTimer(errorPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// snapshot returns a state that is at least as new as index.
func (w *Worker) snapshot(ctx context.Context, index uint64) (*state.Snapshot, error) {
	defer metrics.MeasureSince([]string{"nomad", "worker", "wait_for_index"}, time.Now())
	snap := w.deps.Store.Snapshot()
	if snap.Index() >= index {
		return snap, nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitForIndex)
	defer cancel()
	keys := []state.Key{state.KeyTable(state.TableEvals), state.KeyTable(state.TableAllocs)}
	err := w.deps.Store.Block(ctx, index-1, keys, func(s *state.Snapshot) uint64 {
		snap = s
		return s.Index()
	})
	if err != nil {
		return nil, err
	}
	if snap.Index() < index {
		return nil, structs.Errorf(structs.Unavailable, "the state is at index %d after %v, the evaluation needs %d", snap.Index(), waitForIndex, index)
	}
	return snap, nil
}

// process runs the scheduler on a snapshot, around what is in flight.
func (w *Worker) process(snap *state.Snapshot, eval *structs.Evaluation, inFlight map[uint32]state.Usage) (*scheduler.Result, error) {
	defer metrics.MeasureSince([]string{"nomad", "worker", "invoke_scheduler", eval.Type}, time.Now())
	w.index.sync(snap, inFlight)
	result, err := scheduler.Process(view{Snapshot: snap}, w.index.cluster, eval, scheduler.Options{
		Now: w.deps.Now(), Seed: seed(eval.ID, snap.Index()), NewID: w.deps.NewID,
	})
	if err != nil {
		// Whatever a panic left behind in the index is thrown away.
		w.index.drop()
	}
	return result, err
}

// seed makes a pass reproducible from its evaluation and state.
func seed(evalID string, index uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(evalID)) // a hash never fails
	_ = binary.Write(h, binary.LittleEndian, index)
	return h.Sum64()
}

// randomID is a random UUID (version 4).
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
