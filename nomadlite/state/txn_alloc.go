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
	old, was, ok := t.editAllocs().Put(r)
	if !ok {
		return
	}
	b := t.allocs().BatchOf(&r)
	t.markRow(&r, b)
	if was != b {
		t.markRow(&r, was)
	}
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

// markRow wakes the watchers of a row that belongs, or belonged, to a batch.
func (t *Txn) markRow(r *alloctable.Row, b *alloctable.Batch) {
	t.root.changed[TableAllocs] = t.index
	t.advance(TableAllocs, b.Job.Namespace)
	if t.s.observer != nil {
		t.allocsChanged = append(t.allocsChanged, r.Number)
	}
	t.mark(KeyTable(TableAllocs))
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

// UpdateAllocs applies what a node reports of its allocations.
func (t *Txn) UpdateAllocs(c *AllocUpdate) error {
	if _, ok := t.allocs().NodeNum(c.NodeID); !ok {
		return structs.Errorf(structs.NotFound, "cannot update allocations of node %q: no such node", c.NodeID)
	}
	return t.ApplyReports((&AllocUpdates{Nodes: []*AllocUpdate{c}}).Reports())
}

// ApplyReports applies what nodes report of their allocations; nodes that are
// gone are skipped. A report of an allocation of another node or with a
// revision that is not newer is ignored, and a terminal status stays.
func (t *Txn) ApplyReports(nodeReports []NodeReport) error {
	for i := range nodeReports {
		c := &nodeReports[i]
		num, ok := t.allocs().NodeNum(c.NodeID)
		if !ok {
			continue
		}
		for j := range c.Reports {
			u := &c.Reports[j]
			if r, ok := t.allocs().ByRawID(u.ID); ok && r.Node == num && u.Revision > r.Revision() {
				t.report(r, u, c.Now)
			}
		}
		if n := nodes.get(t.root, c.NodeID); n != nil && n.LastAllocUpdateIndex <= n.LastMissedHeartbeatIndex {
			v := *n
			v.LastAllocUpdateIndex = t.index
			t.putNode(&v, nil)
		}
		t.putEvals(c.Evals)
	}
	return nil
}

func (t *Txn) report(r alloctable.Row, u *AllocReport, now int64) {
	description := ""
	if !r.Plain() {
		description = r.Rare().ClientDescription
	}
	if client, ok := alloctable.ClientOf(u.Status); ok && !r.ClientTerminal() {
		r.Client, description = client, u.Description
		if r.ClientTerminal() {
			t.dropServices("alloc", t.allocs().ID(r.Number))
		}
	}
	if description != "" || u.Network != nil || !r.Plain() {
		x := r.Rare()
		x.ClientDescription = description
		if u.Network != nil {
			x.Network = u.Network
		}
		t.editAllocs().SetRare(&r, x)
	}
	t.editAllocs().SetTasks(&r, u.Tasks, u.Revision)
	if u.Healthy != nil && u.DeploymentID == t.allocs().BatchOf(&r).DeploymentID {
		t.setHealth(&r, *u.Healthy, u.DeploymentNow)
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
		b := t.allocs().BatchOf(&r)
		t.markRow(&r, b)
		t.touchNode(r.Node)
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
		if job := jobs.get(t.root, joinKey(k.Namespace, k.ID)); job != nil && t.jobStatus(job) == structs.JobStatusDead && !job.ScaledToZero() {
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
