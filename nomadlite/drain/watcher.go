package drain

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Deps is what a Watcher needs. The functions commit commands.
type Deps struct {
	Store *state.Store
	// Migrate marks allocations that leave, with an evaluation of each job.
	Migrate func(ctx context.Context, c *state.AllocTransition) error
	// Finish ends a drain.
	Finish func(ctx context.Context, c *state.NodeDrain) error
	NewID  func() string
	Logger hclog.Logger
}

// Watcher moves the drains of a region on.
type Watcher struct{ deps Deps }

// New returns a watcher.
func New(d Deps) *Watcher { return &Watcher{deps: d} }

const (
	idle       = time.Hour              // without a drain
	pace       = 200 * time.Millisecond // between two looks while nodes drain
	errorPause = time.Second            // after a command that failed
	// maxBatch bounds the allocations of one command.
	maxBatch = 1024
)

// Run watches until ctx ends and returns nil then. What it decides follows
// from the state alone, so a new leader goes on where the last one was.
func (w *Watcher) Run(ctx context.Context) error {
	nodes := w.deps.Store.Watch(state.KeyTable(state.TableNodes))
	defer nodes.Close()
	allocs := w.deps.Store.Watch(state.KeyTable(state.TableAllocs), state.KeyTable(state.TableJobs))
	defer func() { allocs.Close() }()
	watching := true
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		pause, busy := w.Look(ctx, time.Now())
		if busy != watching { // nobody else pays for watching every allocation
			allocs.Close()
			if watching = busy; busy {
				allocs = w.deps.Store.Watch(state.KeyTable(state.TableAllocs), state.KeyTable(state.TableJobs))
				continue // something may have changed before the watch
			}
		}
		if busy && !wait(ctx, min(pace, pause)) {
			return nil
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-nodes.C():
		case <-allocs.C():
		case <-timer.C:
		}
	}
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Look moves every drain on and returns when to look again without a change,
// and whether a drain goes on. Run calls it.
func (w *Watcher) Look(ctx context.Context, now time.Time) (time.Duration, bool) {
	d := Decide(w.deps.Store.Snapshot(), now)
	for batch := range slices.Chunk(d.Migrate, maxBatch) {
		if err := w.migrate(ctx, batch, now); err != nil {
			w.deps.Logger.Warn("cannot move allocations off draining nodes; trying again", "allocations", len(batch), "error", err)
			return errorPause, true
		}
	}
	for _, done := range d.Done {
		if err := w.finish(ctx, done, now); err != nil {
			w.deps.Logger.Warn("cannot end a drain; trying again", "node_id", done.Node.ID, "error", err)
			return errorPause, true
		}
	}
	pause := idle
	if !d.Next.IsZero() {
		pause = min(max(d.Next.Sub(now), time.Millisecond), idle)
	}
	return pause, d.Draining > 0
}

func (w *Watcher) migrate(ctx context.Context, batch []*structs.Allocation, now time.Time) error {
	cmd := &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{}, Now: now.UnixNano()}
	seen := map[state.JobKey]bool{}
	snap := w.deps.Store.Snapshot()
	for _, a := range batch {
		cmd.Transitions[a.ID] = &structs.DesiredTransition{Migrate: structs.Ptr(true)}
		key := state.JobKey{Namespace: a.Namespace, ID: a.JobID}
		job := snap.Job(a.Namespace, a.JobID)
		if job == nil {
			job = a.Job
		}
		if seen[key] || job == nil {
			continue
		}
		seen[key] = true
		cmd.Evals = append(cmd.Evals, &structs.Evaluation{ID: w.deps.NewID(), Namespace: a.Namespace, JobID: a.JobID, Type: job.Type,
			Priority: job.Priority, TriggeredBy: structs.EvalTriggerNodeDrain, JobModifyIndex: job.JobModifyIndex,
			Status: structs.EvalStatusPending, CreateTime: now.UnixNano(), ModifyTime: now.UnixNano()})
	}
	return w.deps.Migrate(ctx, cmd)
}

func (w *Watcher) finish(ctx context.Context, d Done, now time.Time) error {
	w.deps.Logger.Info("a node is drained", "node_id", d.Node.ID, "deadline_reached", d.Forced)
	return w.deps.Finish(ctx, &state.NodeDrain{NodeID: d.Node.ID, Complete: true, Now: now.UnixNano(), Event: &structs.NodeEvent{
		Message: "Node drain complete", Subsystem: structs.NodeEventSubsystemDrain, Timestamp: now.UTC(),
		Details: map[string]string{"deadline_reached": strconv.FormatBool(d.Forced)},
	}})
}
