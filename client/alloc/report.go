package alloc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/client/localdb"
	"github.com/nomadlite/nomadlite/structs"
)

// flush persists what changed, then tells the servers. One flush runs at a
// time; changes meanwhile wait for the next.
func (r *Runner) flush(now time.Time, sooner func(time.Time)) {
	if !r.dirty || r.flushing {
		return
	}
	if r.dirtySince.IsZero() {
		r.dirtySince = now
	}
	outline := r.outline()
	if due := r.dirtySince.Add(eventDelay); outline == r.flushed && now.Before(due) {
		sooner(due)
		return
	}
	r.dirty, r.dirtySince, r.flushed, r.flushing = false, time.Time{}, outline, true
	r.revision++
	r.publish()
	update, snap := r.update(), r.snapshot()
	r.act(func(ctx context.Context) {
		if err := r.persist(snap); err != nil {
			r.log.Error("cannot persist the allocation's state", "error", err)
		}
		r.deps.Report(update)
		r.postFrom(ctx, func() { r.flushing = false })
	})
}

// outline is what must not wait: states, starts and handles of tasks, and the
// verdict on health. What it leaves out are events.
func (r *Runner) outline() string {
	var b strings.Builder
	fmt.Fprint(&b, r.stop, r.expired, r.alloc.DeploymentID, r.healthTime)
	for _, t := range r.tasks {
		s := t.m.State()
		fmt.Fprint(&b, "|", s.State, s.Failed, s.Restarts, t.id, t.handle != nil)
	}
	return b.String()
}

// update is what the servers are told.
func (r *Runner) update() *structs.AllocUpdate {
	views := r.views()
	u := &structs.AllocUpdate{AllocID: r.id, Revision: r.revision, TaskStates: map[string]*structs.TaskState{}, DeploymentHealthy: r.healthy, DeploymentTime: r.healthTime, DeploymentID: r.alloc.DeploymentID}
	u.ClientStatus, u.ClientDescription = summarise(views)
	if r.expired && u.ClientStatus != structs.AllocClientStatusRunning {
		u.ClientStatus, u.ClientDescription = structs.AllocClientStatusComplete, "allocation exceeded max_run_duration"
	}
	for _, v := range views {
		u.TaskStates[v.name] = v.state
	}
	if n := r.net(); n != nil {
		u.NetworkStatus = n.Status
	}
	return u
}

// snapshot is what a restarted agent needs, with a number that rises.
type snapshot struct {
	number uint64
	run    *localdb.Run
}

// persist makes a snapshot durable, or finds that a newer one is.
func (r *Runner) persist(s snapshot) error {
	r.dbMu.Lock()
	defer r.dbMu.Unlock()
	if s.number <= r.written {
		return nil
	}
	if err := r.deps.DB.PutRun(r.id, s.run); err != nil {
		return err
	}
	r.written = s.number
	return nil
}

func (r *Runner) snapshot() snapshot {
	r.snapshots++
	run := &localdb.Run{Revision: r.revision, Began: r.began.UnixNano(), Healthy: r.healthy, HealthTime: r.healthTime,
		Deployment: r.alloc.DeploymentID, Joined: r.joined.UnixNano(), Tasks: map[string]*localdb.Task{}}
	for _, t := range r.tasks {
		run.Tasks[t.spec.Name] = &localdb.Task{State: t.m.State(), TaskID: t.id, Handle: t.handle}
	}
	return snapshot{r.snapshots, run}
}

// publish makes the state visible to Status.
func (r *Runner) publish() {
	u := r.update()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view = u
}

// Status is the allocation as it was last told.
func (r *Runner) Status() *structs.AllocUpdate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// sameReturn is within what time two words that the node is back are of one
// return.
const sameReturn = time.Minute

// Reconnected says that the servers had given the node up and hear it again.
func (r *Runner) Reconnected() { r.post(r.reconnected) }

// reconnected tells the servers the current state again: they took the
// allocation for unknown while they could not hear this node.
func (r *Runner) reconnected() {
	now := time.Now()
	r.dirty, r.flushed = true, "" // at once
	if now.Sub(r.returned) < sameReturn {
		return
	}
	r.returned = now
	for _, t := range r.tasks {
		if t.m.State().State != structs.TaskStateDead {
			r.perform(t, t.m.Note(&structs.TaskEvent{Type: structs.TaskClientReconnected}, now), false)
		}
	}
}
