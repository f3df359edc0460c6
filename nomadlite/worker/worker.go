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

// Worker schedules one evaluation at a time.
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
	for {
		start := time.Now()
		eval, token, err := w.deps.Broker.Dequeue(ctx, w.deps.Types)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.log.Debug("cannot dequeue an evaluation", "error", err)
			pause(ctx)
			continue
		}
		metrics.MeasureSince([]string{"worker", "dequeue_eval"}, start)
		w.handle(ctx, eval, token)
	}
}

// handle schedules one delivered evaluation and settles its lease.
func (w *Worker) handle(ctx context.Context, eval *structs.Evaluation, token string) {
	err := w.schedule(ctx, eval)
	start := time.Now()
	defer metrics.MeasureSince([]string{"worker", "send_ack"}, start)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("cannot process an evaluation, it will be tried again", "eval_id", eval.ID, "job_id", eval.JobID, "error", err)
		}
		if nackErr := w.deps.Broker.Nack(eval.ID, token); nackErr != nil {
			w.log.Debug("cannot give an evaluation back", "eval_id", eval.ID, "error", nackErr)
		}
		pause(ctx)
		return
	}
	if err := w.deps.Broker.Ack(eval.ID, token); err != nil {
		w.log.Warn("cannot acknowledge an evaluation", "eval_id", eval.ID, "error", err)
	}
}

func pause(ctx context.Context) {
	t := time.NewTimer(errorPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// schedule looks at the job until everything that it decided was committed, or
// nothing moves any more.
func (w *Worker) schedule(ctx context.Context, eval *structs.Evaluation) error {
	limit := attemptsService
	if eval.Type == structs.JobTypeBatch || eval.Type == structs.JobTypeSysBatch {
		limit = attemptsBatch
	}
	from := eval.ModifyIndex
	for attempt := 0; attempt < limit; {
		snap, err := w.snapshot(ctx, from)
		if err != nil {
			return err
		}
		result, err := w.process(snap, eval)
		if err != nil {
			return w.fail(ctx, snap, eval, err)
		}
		done, err := w.submit(ctx, snap, result.Plan)
		if err != nil {
			return err
		}
		if done.complete {
			return nil
		}
		w.log.Debug("parts of a plan were refused", "eval_id", eval.ID, "job_id", eval.JobID, "reason", done.reason)
		from = max(from, done.index)
		if !done.progress {
			attempt++
		}
	}
	return w.giveUp(ctx, eval, from, limit)
}

// snapshot returns a state that is at least as new as index.
func (w *Worker) snapshot(ctx context.Context, index uint64) (*state.Snapshot, error) {
	defer metrics.MeasureSince([]string{"worker", "wait_for_index"}, time.Now())
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

// process runs the scheduler on a snapshot.
func (w *Worker) process(snap *state.Snapshot, eval *structs.Evaluation) (*scheduler.Result, error) {
	defer metrics.MeasureSince([]string{"worker", "invoke_scheduler", eval.Type}, time.Now())
	w.index.sync(snap)
	result, err := scheduler.Process(view{Snapshot: snap}, w.index.cluster, eval, scheduler.Options{
		Now: w.deps.Now(), Seed: seed(eval.ID, snap.Index()), NewID: w.deps.NewID,
	})
	if err != nil {
		// Whatever a panic left behind in the index is thrown away.
		w.index.drop()
	}
	return result, err
}

// outcome is what became of a plan.
type outcome struct {
	complete bool   // everything was applied
	progress bool   // something was
	index    uint64 // to look again from
	reason   string // of the first refusal
}

// submit commits a plan, in several entries when it is long.
func (w *Worker) submit(ctx context.Context, snap *state.Snapshot, plan *structs.Plan) (outcome, error) {
	plan.Epoch = snap.Epoch()
	out := outcome{complete: true}
	for _, part := range split(plan) {
		start := time.Now()
		result, err := w.deps.Planner.Submit(ctx, part)
		metrics.MeasureSince([]string{"worker", "submit_plan"}, start)
		if err != nil {
			return out, err
		}
		out.index = max(out.index, result.Applied)
		if len(result.Refused) > 0 {
			out.complete = false
			out.reason = result.Refused[0].Reason
			out.progress = out.progress || applied(part, result)
			return out, nil
		}
		out.progress = true
	}
	return out, nil
}

// applied reports whether some placement of a plan was not refused.
func applied(plan *structs.Plan, result *structs.PlanResult) bool {
	placements := 0
	for _, g := range plan.Groups {
		placements += len(g.Placements)
	}
	return result.Refused[0].Group >= 0 && len(result.Refused) < placements && !plan.AllAtOnce
}

// fail ends an evaluation that the scheduler cannot process.
func (w *Worker) fail(ctx context.Context, snap *state.Snapshot, eval *structs.Evaluation, cause error) error {
	w.log.Error("cannot schedule a job", "eval_id", eval.ID, "job_id", eval.JobID, "error", cause)
	return w.settle(ctx, snap, eval, cause.Error(), nil)
}

// giveUp ends an evaluation whose plans were refused again and again; a blocked
// one looks at the job when the cluster has changed.
func (w *Worker) giveUp(ctx context.Context, eval *structs.Evaluation, from uint64, limit int) error {
	snap, err := w.snapshot(ctx, from)
	if err != nil {
		return err
	}
	now := w.deps.Now().UnixNano()
	blocked := &structs.Evaluation{ID: w.deps.NewID(), Namespace: eval.Namespace, JobID: eval.JobID, Type: eval.Type,
		Priority: eval.Priority, JobModifyIndex: eval.JobModifyIndex, TriggeredBy: structs.EvalTriggerMaxPlans,
		Status: structs.EvalStatusBlocked, StatusDescription: descConflicts, PreviousEval: eval.ID,
		EscapedComputedClass: true, SnapshotIndex: snap.Index(), CreateTime: now, ModifyTime: now}
	return w.settle(ctx, snap, eval, fmt.Sprintf(descMaxAttempts, limit), blocked)
}

// settle commits a failed evaluation, and the blocked one that takes over.
func (w *Worker) settle(ctx context.Context, snap *state.Snapshot, eval *structs.Evaluation, description string, blocked *structs.Evaluation) error {
	failed := *eval
	failed.Status, failed.StatusDescription = structs.EvalStatusFailed, description
	failed.SnapshotIndex = snap.Index()
	now := w.deps.Now().UnixNano()
	failed.ModifyTime = now
	plan := &structs.Plan{EvalID: eval.ID, Namespace: eval.Namespace, JobID: eval.JobID, SnapshotIndex: snap.Index(), Now: now, Eval: &failed}
	if job := snap.Job(eval.Namespace, eval.JobID); job != nil {
		plan.JobVersion, plan.JobModifyIndex = job.Version, job.JobModifyIndex
	}
	if blocked != nil {
		failed.BlockedEval = blocked.ID
		plan.NewEvals = []*structs.Evaluation{blocked}
	}
	out, err := w.submit(ctx, snap, plan)
	if err != nil {
		return err
	}
	if !out.complete {
		return structs.Errorf(structs.Conflict, "cannot record that evaluation %s failed: %s", eval.ID, out.reason)
	}
	return nil
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
