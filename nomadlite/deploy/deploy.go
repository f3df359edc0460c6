// Package deploy drives deployments to their end: it counts health, asks for
// the next step of a rolling update, promotes canaries that may be promoted,
// and settles what succeeded or failed. It decides with Decide, which is pure;
// Watcher performs the decisions.
//
// It must not know Raft: commands go through the functions in Deps.
package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Texts of outcomes (runtime.md 10).
const (
	descSuccessful = "Deployment completed successfully"
	descUnhealthy  = "Failed due to unhealthy allocations"
	descDeadline   = "Failed due to progress deadline"
	descStopped    = "Cancelled because job is stopped"
)

// Action is what a deployment needs next. The zero Action is nothing.
type Action struct {
	// Status ends the deployment when it is not "".
	Status      string
	Description string
	// Promote promotes all canaries.
	Promote bool
	// Evaluate lets the scheduler take the next step.
	Evaluate bool
	// Revert asks for the newest stable version.
	Revert bool
	// After is when to look again without a change, 0 for never.
	After time.Duration
}

// Facts are what Decide wants to know beside a deployment.
type Facts struct {
	// Job is the job's newest version, nil when it was purged.
	Job *structs.Job
	// Asked is how many allocations were healthy when the scheduler was last asked.
	Asked int
	// Spent is set when an unhealthy allocation has no attempts left.
	Spent bool
	// Living are how many of a group's healthy allocations have not ended; a group
	// that is not in it is as the deployment counts, which does not forget them.
	Living map[string]int
	// Lost is since when canaries are missing that were all healthy once, the zero
	// time when none are. Their group has its progress deadline from then on: an
	// operator may have taken longer to promote it.
	Lost time.Time
}

// Decide says what a running deployment needs. The scheduler is not asked for
// the progress of a first version: it replaces nothing, so all of it was placed
// at once.
func Decide(d *structs.Deployment, f Facts, now time.Time) Action {
	if !d.Active() || d.Status == structs.DeploymentStatusPaused {
		return Action{}
	}
	if f.Job == nil || f.Job.Stop || f.Job.CreateIndex != d.JobCreateIndex {
		return Action{Status: structs.DeploymentStatusCancelled, Description: descStopped}
	}
	c := count(d, f)
	next := c.healthy > f.Asked && d.JobVersion > 0
	switch {
	case c.complete:
		return Action{Status: structs.DeploymentStatusSuccessful, Description: descSuccessful}
	case c.hopeless || f.Spent:
		return failed(descUnhealthy, c.autoRevert)
	case c.deadline.IsZero():
		return Action{Evaluate: next, Promote: c.promote}
	case !c.deadline.After(now):
		return failed(descDeadline, c.autoRevert)
	}
	return Action{Evaluate: next, Promote: c.promote, After: c.deadline.Sub(now)}
}

func failed(description string, revert bool) Action {
	return Action{Status: structs.DeploymentStatusFailed, Description: description, Evaluate: true, Revert: revert}
}

// counts sums up the groups of a deployment.
type counts struct {
	healthy    int
	complete   bool      // every group has all it wants, canaries promoted
	hopeless   bool      // an unhealthy allocation and no deadline to wait for
	promote    bool      // all canaries are healthy and may promote themselves
	autoRevert bool      // of a group that is not complete
	deadline   time.Time // the first of the incomplete groups that move
}

func count(d *structs.Deployment, f Facts) counts {
	c := counts{complete: true}
	canaries, ready := 0, true
	for name, g := range d.TaskGroups {
		c.healthy += g.HealthyAllocs
		waits, healthy, by := g.AwaitsPromotion(), g.HealthyAllocs, g.RequireProgressBy
		if n, known := f.Living[name]; known {
			healthy = min(healthy, n)
		}
		if waits {
			canaries++
			ready = ready && g.AutoPromote && healthy >= g.DesiredCanaries
		}
		if !waits && healthy >= g.DesiredTotal {
			continue
		}
		c.complete = false
		c.autoRevert = c.autoRevert || g.AutoRevert
		c.hopeless = c.hopeless || g.UnhealthyAllocs > 0 && g.ProgressDeadline == 0
		if again := f.Lost.Add(g.ProgressDeadline); lost(g, healthy) && again.After(by) {
			by = again
		}
		waitsForOperator := waits && healthy >= g.DesiredCanaries
		if !waitsForOperator && !g.RequireProgressBy.IsZero() && (c.deadline.IsZero() || by.Before(c.deadline)) {
			c.deadline = by
		}
	}
	c.promote = canaries > 0 && ready
	return c
}

// lost reports whether canaries of a group are missing that were all healthy
// once; healthy are those that live.
func lost(g *structs.DeploymentState, healthy int) bool {
	return g.AwaitsPromotion() && g.HealthyAllocs >= g.DesiredCanaries && healthy < g.DesiredCanaries
}

func anyLost(d *structs.Deployment, living map[string]int) bool {
	for name, g := range d.TaskGroups {
		if n, known := living[name]; known && lost(g, n) {
			return true
		}
	}
	return false
}

// Deps is what a Watcher needs. The functions commit commands.
type Deps struct {
	Store    *state.Store
	Settle   func(ctx context.Context, c *state.DeploymentStatus) error
	Promote  func(ctx context.Context, c *state.DeploymentPromote) error
	Evaluate func(ctx context.Context, evals []*structs.Evaluation) error
	// Replace lets the scheduler place failed allocations of a deployment again.
	Replace func(ctx context.Context, c *state.AllocTransition) error
	NewID   func() string
	Logger  hclog.Logger
	// AtOnce is how many commands are under way at the same time; 0 is 64.
	AtOnce int
}

// Watcher watches the active deployments of a region.
type Watcher struct {
	deps Deps
	seen map[string]*seen // by deployment; it belongs to Look
}

// seen is a deployment as it was last looked at.
type seen struct {
	d     *structs.Deployment
	job   *structs.Job
	asked int       // how many allocations were healthy when the scheduler was last asked
	lost  time.Time // since when canaries are missing, zero when none are
	again time.Time // when to look without a change
}

// New returns a watcher.
func New(d Deps) *Watcher {
	if d.AtOnce == 0 {
		d.AtOnce = atOnce
	}
	return &Watcher{deps: d, seen: map[string]*seen{}}
}

const (
	// idle is how long a watcher without deadlines waits for a change.
	idle = time.Hour
	// settle is between two looks while things change.
	settle = 20 * time.Millisecond
	// allocPause is how soon to look again where an allocation may end without a
	// change of the deployment.
	allocPause = 2 * time.Second
	// errorPause is how soon to look again after a command failed.
	errorPause = time.Second
	// atOnce is how many commands are under way at the same time.
	atOnce = 64
)

// Run watches until ctx ends and returns nil then. It looks again whenever
// deployments change, so a lost notice costs nothing.
func (w *Watcher) Run(ctx context.Context) error {
	w.seen = map[string]*seen{}
	watch := w.deps.Store.Watch(state.KeyTable(state.TableDeployments), state.KeyTable(state.TableJobs))
	defer watch.Close()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		looked := time.Now()
		timer.Reset(w.Look(ctx, looked))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			continue
		case <-watch.C():
		}
		timer.Reset(time.Until(looked.Add(settle)))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Look acts on the active deployments that changed or are due, and returns when
// to look again. Run calls it; without Run it is not safe for concurrent use.
func (w *Watcher) Look(ctx context.Context, now time.Time) time.Duration {
	snap := w.deps.Store.Snapshot()
	active := make(map[string]*seen, len(w.seen))
	var acts errgroup.Group
	acts.SetLimit(w.deps.AtOnce)
	for d := range snap.ActiveDeployments() {
		job, before := snap.Job(d.Namespace, d.JobID), w.seen[d.ID]
		if before != nil && before.d == d && before.job == job && now.Before(before.again) {
			active[d.ID] = before
			continue
		}
		one := &seen{d: d, job: job, asked: count(d, Facts{}).healthy, again: now.Add(idle)}
		active[d.ID] = one
		acts.Go(func() error { w.act(ctx, snap, before, one, now); return nil })
	}
	_ = acts.Wait()
	w.seen = active
	next := idle
	for _, one := range active {
		next = min(next, one.again.Sub(now))
	}
	return next
}

// act does what a deployment needs, and sets when to look at it again.
func (w *Watcher) act(ctx context.Context, snap *state.Snapshot, before, one *seen, now time.Time) {
	asked := 0
	if before != nil {
		asked = before.asked
	}
	sick, living := examine(snap, one.d), living(snap, one.d, one.job)
	if anyLost(one.d, living) {
		one.lost = now
		if before != nil && !before.lost.IsZero() {
			one.lost = before.lost
		}
	}
	a := Decide(one.d, Facts{Job: one.job, Asked: asked, Spent: sick.spent, Living: living, Lost: one.lost}, now)
	a.Evaluate = a.Evaluate || len(sick.replace) > 0
	if a.After > 0 {
		one.again = now.Add(a.After)
	}
	if soon := now.Add(allocPause); (sick.waits || len(living) > 0) && soon.Before(one.again) {
		one.again = soon
	}
	err := w.replace(ctx, sick.replace, now)
	if err == nil {
		err = w.perform(ctx, snap, one.d, a, now)
	}
	if err != nil {
		w.deps.Logger.Warn("cannot move a deployment on; trying again", "deployment_id", one.d.ID, "error", err)
		one.asked, one.again = asked, now.Add(errorPause)
	}
}

func (w *Watcher) perform(ctx context.Context, snap *state.Snapshot, d *structs.Deployment, a Action, now time.Time) error {
	var eval *structs.Evaluation
	job := snap.Job(d.Namespace, d.JobID)
	if job != nil && (a.Evaluate || a.Promote) {
		eval = &structs.Evaluation{ID: w.deps.NewID(), Namespace: d.Namespace, JobID: d.JobID, Type: job.Type, Priority: job.Priority,
			TriggeredBy: structs.EvalTriggerDeploymentWatcher, DeploymentID: d.ID, JobModifyIndex: job.JobModifyIndex,
			Status: structs.EvalStatusPending, CreateTime: now.UnixNano(), ModifyTime: now.UnixNano()}
	}
	switch {
	case a.Status != "":
		cmd := &state.DeploymentStatus{Eval: eval, Now: now.UnixNano(), Update: &structs.DeploymentStatusUpdate{
			DeploymentID: d.ID, Status: a.Status, StatusDescription: a.Description, UpdatedAt: now.UnixNano()}}
		if a.Revert {
			var suffix string
			cmd.Job, suffix = RevertTo(snap, d, job)
			cmd.Update.StatusDescription += suffix
		}
		return w.deps.Settle(ctx, cmd)
	case a.Promote:
		return w.deps.Promote(ctx, &state.DeploymentPromote{DeploymentID: d.ID, Eval: eval, Now: now.UnixNano()})
	case a.Evaluate:
		return w.deps.Evaluate(ctx, []*structs.Evaluation{eval})
	}
	return nil
}

// RevertTo is the specification that a job goes back to when its deployment d
// fails, nil when there is none, with what the description says of it. It is
// the newest stable version, never the one that failed nor one of the same
// specification, so that reverts do not chase each other. A job that has moved
// on is left alone.
func RevertTo(snap *state.Snapshot, d *structs.Deployment, job *structs.Job) (*structs.Job, string) {
	if job == nil || job.Version != d.JobVersion {
		return nil, ""
	}
	for _, v := range snap.JobVersions(d.Namespace, d.JobID) {
		if !v.Stable || v.Version >= d.JobVersion {
			continue
		}
		if !structs.SpecChanged(v, job) {
			return nil, fmt.Sprintf(" - not rolling back to stable job version %d as current job has same specification", v.Version)
		}
		back := v.Copy()
		back.Stop, back.VersionTag = false, nil
		return back, fmt.Sprintf(" - rolling back to job version %d", v.Version)
	}
	return nil, " - no stable job version to auto revert to"
}
