package state

import (
	"maps"
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// putRow stores a changed row and what follows from it: counts, watches, the
// change of its node.
func (t *Txn) putRow(r alloctable.Row, now int64) {
	r.ModifyIndex = t.index
	if now != 0 {
		r.ModifyTime = now
	}
	old, ok := t.allocs().Get(r.Number)
	if !ok {
		return
	}
	t.markRow(&old)
	t.editAllocs().Put(r)
	if r.Batch != old.Batch {
		t.markRow(&r)
	}
	b := t.allocs().BatchOf(&r)
	t.countAllocs(b.Job, t.allocs().MadeBy(&r).Group, int(old.Client), int(r.Client), 1)
	if old.Live() != r.Live() {
		t.touchJob(b.Job.Namespace, b.Job.ID)
	}
	t.touchNode(r.Node)
}

// putServerChange stores a row that the servers changed, so that its node
// fetches it.
func (t *Txn) putServerChange(r alloctable.Row, now int64) {
	r.AllocModifyIndex = t.index
	t.putRow(r, now)
}

// markRow wakes the watchers of a row.
func (t *Txn) markRow(r *alloctable.Row) {
	t.root.changed[TableAllocs] = t.index
	if t.s.observer != nil {
		t.allocsChanged = append(t.allocsChanged, r.Number)
	}
	t.mark(KeyTable(TableAllocs))
	b := t.allocs().BatchOf(r)
	t.mark(KeyJobAllocs(b.Job.Namespace, b.Job.ID))
	t.mark(KeyEvalAllocs(b.EvalID))
	t.mark(KeyDeploymentAllocs(b.DeploymentID))
	if t.watched(kindNodeAllocs) {
		t.mark(KeyNodeAllocs(t.allocs().NodeOf(r.Node).ID))
	}
	if t.watched(kindAlloc) {
		t.mark(KeyAlloc(t.allocs().ID(r.Number)))
	}
}

// UpdateAllocs applies what a node reports of its allocations. An update for
// an allocation of another node or with a revision that is not newer is
// ignored, and a terminal status stays.
func (t *Txn) UpdateAllocs(c *AllocUpdate) error {
	num, ok := t.allocs().NodeNum(c.NodeID)
	if !ok {
		return structs.Errorf(structs.NotFound, "cannot update allocations of node %q: no such node", c.NodeID)
	}
	for _, u := range c.Updates {
		if u == nil {
			continue
		}
		if r, ok := t.allocs().ByID(u.AllocID); ok && r.Node == num && u.Revision > r.Revision() {
			t.updateRow(r, u, c.Now)
		}
	}
	if n := nodes.get(t.root, c.NodeID); n != nil && n.LastAllocUpdateIndex <= n.LastMissedHeartbeatIndex {
		v := *n
		v.LastAllocUpdateIndex = t.index
		t.putNode(&v, nil)
	}
	t.putEvals(c.Evals)
	return nil
}

// UpdateAllocsOfNodes applies what several nodes report; nodes that are gone
// are skipped.
func (t *Txn) UpdateAllocsOfNodes(c *AllocUpdates) error {
	for _, n := range c.Nodes {
		if n == nil {
			continue
		}
		if err := t.UpdateAllocs(n); err != nil && structs.KindOf(err) != structs.NotFound {
			return err
		}
	}
	return nil
}

func (t *Txn) updateRow(r alloctable.Row, u *structs.AllocUpdate, now int64) {
	x := r.Rare()
	if client, ok := alloctable.ClientOf(u.ClientStatus); ok && !r.ClientTerminal() {
		r.Client = client
		x.ClientDescription = u.ClientDescription
		if r.ClientTerminal() {
			t.dropServices("alloc", u.AllocID)
		}
	}
	if u.NetworkStatus != nil {
		x.Network = u.NetworkStatus
	}
	t.editAllocs().SetRare(&r, x)
	t.editAllocs().SetTasks(&r, u.TaskStates, u.Revision)
	if u.DeploymentHealthy != nil && u.DeploymentID == t.allocs().BatchOf(&r).DeploymentID {
		t.setHealth(&r, *u.DeploymentHealthy, u.DeploymentTime)
	}
	t.putRow(r, now)
}

// UpdateAllocTransitions asks for allocations to be stopped, moved or
// rescheduled; allocations that are gone are skipped.
func (t *Txn) UpdateAllocTransitions(c *AllocTransition) error {
	for _, id := range slices.Sorted(maps.Keys(c.Transitions)) {
		want := c.Transitions[id]
		r, ok := t.allocs().ByID(id)
		if !ok || want == nil {
			continue
		}
		x := r.Rare()
		mergeTransition(&x.Transition, want)
		t.editAllocs().SetRare(&r, x)
		t.putServerChange(r, c.Now)
	}
	t.putEvals(c.Evals)
	return nil
}

// mergeTransition takes over what is set in want.
func mergeTransition(have, want *structs.DesiredTransition) {
	for _, f := range []struct{ to, from **bool }{
		{&have.Migrate, &want.Migrate},
		{&have.Reschedule, &want.Reschedule},
		{&have.ForceReschedule, &want.ForceReschedule},
		{&have.NoShutdownDelay, &want.NoShutdownDelay},
		{&have.MigrateDisablePlacement, &want.MigrateDisablePlacement},
	} {
		if *f.from != nil {
			*f.to = *f.from
		}
	}
}

// Collect removes what garbage collection found dead, and skips what is not
// dead (any more) or still in use.
func (t *Txn) Collect(c *Collect) error {
	var numbers []uint64
	for _, id := range c.Allocs {
		r, ok := t.allocs().ByID(id)
		if !ok || r.Live() || !t.nodeDone(&r) {
			continue
		}
		numbers = append(numbers, r.Number)
		t.dropServices("alloc", id)
		t.markRow(&r)
		t.touchNode(r.Node)
		b := t.allocs().BatchOf(&r)
		t.touchJob(b.Job.Namespace, b.Job.ID)
	}
	if len(numbers) > 0 {
		t.editAllocs().Collect(numbers, t.index)
		t.root.allocsDeleted = t.index
	}
	for _, id := range c.Evals {
		if e := evals.get(t.root, id); e != nil && e.Terminal() {
			evals.remove(t, id)
			t.touchJob(e.Namespace, e.JobID)
		}
	}
	for _, id := range c.Deployments {
		if exists, active := t.activeDeployment(id); exists && !active {
			delete(t.deployments, id)
			deployments.remove(t, id)
		}
	}
	for _, k := range c.Jobs {
		if job := jobs.get(t.root, joinKey(k.Namespace, k.ID)); job != nil && t.jobStatus(job) == structs.JobStatusDead {
			t.purgeJob(job)
		}
	}
	for _, id := range c.Nodes {
		if n := nodes.get(t.root, id); n != nil && n.Status == structs.NodeStatusDown && t.nodeEmpty(id) {
			t.removeNode(id)
		}
	}
	return nil
}

// nodeDone reports whether the node of a row needs it no more: it reported the
// end, or the node is gone or down.
func (t *Txn) nodeDone(r *alloctable.Row) bool {
	if r.ClientTerminal() {
		return true
	}
	n := nodes.get(t.root, t.allocs().NodeOf(r.Node).ID)
	return n == nil || n.Status == structs.NodeStatusDown
}

func (t *Txn) nodeEmpty(id string) bool {
	num, ok := t.allocs().NodeNum(id)
	if !ok {
		return true
	}
	for r := range t.allocs().ByNode(num) {
		if !r.ClientTerminal() && r.Desired == DesiredRun {
			return false
		}
	}
	return true
}
