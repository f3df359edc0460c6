package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// life is what an allocation was told and told last.
type life struct {
	desired, client string
	leaves          bool // told to leave its node
}

// lived checks that what has ended stays so (I-09).
func (k *checker) lived(c *cluster, a *structs.Allocation) {
	was, known := k.lives[a.ID]
	leaves := structs.Val(a.DesiredTransition.Migrate)
	k.lives[a.ID] = life{a.DesiredStatus, a.ClientStatus, leaves}
	if leaves && !was.leaves && a.Job.Type == structs.JobTypeService {
		k.told = append(k.told, a)
	}
	switch {
	case !known:
	case structs.ClientStatusTerminal(was.client) && a.ClientStatus != was.client:
		c.fail("I-09: allocation %s was %s and is %s", a.ID, was.client, a.ClientStatus)
	case was.desired != structs.AllocDesiredStatusRun && a.DesiredStatus == structs.AllocDesiredStatusRun:
		c.fail("I-09: allocation %s shall run again after %s", a.ID, was.desired)
	}
}

// paced checks that of a group no more are on their way off the nodes that are
// drained than its migrate block allows, unless the deadline of a drain is over
// (I-18). Told are those that were told to leave by the last entry.
func (k *checker) paced(c *cluster, snap *state.Snapshot) {
	forced := map[string]bool{}
	asked := map[groupKey]bool{}
	for _, a := range k.told {
		if n := snap.Node(a.NodeID); n == nil || n.DrainStrategy == nil || !n.DrainStrategy.ForceDeadline.After(c.now) {
			forced[a.ID] = true
		} else {
			asked[groupKey{a.Namespace, a.JobID, a.TaskGroup}] = true
		}
	}
	k.told = nil
	for key := range asked {
		job := snap.Job(key.ns, key.job)
		if job == nil || job.Stop {
			continue
		}
		g := job.LookupGroup(key.group)
		away := k.away(c, snap, job, g, forced)
		if parallel := structs.Val(g.Migrate.MaxParallel); len(away) > parallel {
			c.fail("I-18: %v of %s.%s are away from drained nodes at once, %d may be", away, key.job, key.group, parallel)
		}
	}
}

// away are the names of a group of which one was told to leave its node, and
// nothing that came after it is settled; none while two versions are mixed.
func (k *checker) away(c *cluster, snap *state.Snapshot, job *structs.Job, g *structs.TaskGroup, forced map[string]bool) (names []string) {
	left, settled := map[string]uint64{}, map[string]uint64{} // when the last of a name was made
	for a := range snap.AllocsByJob(job.Namespace, job.ID, true) {
		switch {
		case a.TaskGroup != g.Name || a.Job.CreateIndex != job.CreateIndex:
		case a.Job.Version != job.Version:
			if !a.Terminal() {
				return nil
			}
		case structs.Val(a.DesiredTransition.Migrate):
			if !forced[a.ID] && int(a.Index()) < *g.Count {
				left[a.Name] = max(left[a.Name], a.CreateIndex)
			}
		case a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil || !c.now.Before(time.Unix(0, a.CreateTime).Add(*g.Migrate.HealthyDeadline)):
			settled[a.Name] = max(settled[a.Name], a.CreateIndex)
		}
	}
	for name, made := range left {
		if settled[name] <= made {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// placed checks where a new allocation is, and what an evicted one made room for
// (I-18, I-19).
func (k *checker) placed(c *cluster, snap *state.Snapshot, a *structs.Allocation) {
	now := uint64(len(c.log))
	if a.CreateIndex == now {
		k.followed(snap, a)
		if n := snap.Node(a.NodeID); n == nil || n.Drain || n.SchedulingEligibility != structs.NodeEligible {
			c.fail("I-18: allocation %s was placed on node %s, which takes none", a.ID, a.NodeID)
		}
		if d := snap.Deployment(a.DeploymentID); d != nil && isNew(snap, a) && a.Job.Type == structs.JobTypeService {
			if g := d.TaskGroups[a.TaskGroup]; g.AwaitsPromotion() && !slices.Contains(g.PlacedCanaries, a.ID) {
				c.fail("I-07: allocation %s of version %d was placed before its canaries were promoted", a.ID, a.Job.Version)
			}
		}
	}
	if a.DesiredStatus != structs.AllocDesiredStatusEvict || a.ModifyIndex != now || k.lives[a.ID].desired == structs.AllocDesiredStatusEvict {
		return
	}
	by := snap.Alloc(a.PreemptedByAllocation)
	switch {
	case by == nil || by.CreateIndex != now || by.NodeID != a.NodeID:
		c.fail("I-19: allocation %s was evicted for %q, which was not placed there with it", a.ID, a.PreemptedByAllocation)
	case by.Job.Priority-a.Job.Priority < 10:
		c.fail("I-19: allocation %s of priority %d was evicted for one of priority %d", a.ID, a.Job.Priority, by.Job.Priority)
	}
}

// followed notes whether a new allocation replaces one of a job of its name that
// was purged since, or what replaced one: it can only run the present one. What it
// replaces may be collected later.
func (k *checker) followed(snap *state.Snapshot, a *structs.Allocation) {
	if before := snap.Alloc(a.PreviousAllocation); before != nil && (before.Job.CreateIndex != a.Job.CreateIndex || k.foreign[before.ID]) {
		k.foreign[a.ID] = true
	}
}

// isNew reports whether an allocation replaces nothing, or an older version of its
// job: while canaries wait for promotion it must be one of them.
func isNew(snap *state.Snapshot, a *structs.Allocation) bool {
	if a.PreviousAllocation == "" {
		return true
	}
	before := snap.Alloc(a.PreviousAllocation)
	return before != nil && before.Job.CreateIndex == a.Job.CreateIndex && before.Job.Version < a.Job.Version
}

// once checks that what has completed of a batch job is not placed again (B-06),
// unless the job is another one since.
func (k *checker) once(c *cluster, a *structs.Allocation) {
	if a.Job.Type != structs.JobTypeBatch {
		return
	}
	key := fmt.Sprint(a.JobID, a.Job.CreateIndex, " ", a.Job.Version, " ", a.Name)
	if a.CreateIndex == uint64(len(c.log)) && k.completed[key] {
		c.fail("B-06: %s of version %d has completed, and is placed again as %s", a.Name, a.Job.Version, a.ID)
	}
	if a.ClientStatus == structs.AllocClientStatusComplete && a.DesiredStatus == structs.AllocDesiredStatusRun {
		k.completed[key] = true
	}
}

// deployments checks that a job has one active deployment and that nobody is
// promoted before all canaries are healthy (I-07).
func (k *checker) deployments(c *cluster, snap *state.Snapshot) {
	active := map[state.JobKey]string{}
	for d := range snap.Deployments() {
		k.moved(c, "deployment "+d.ID, d.CreateIndex, d.ModifyIndex)
		key := state.JobKey{Namespace: d.Namespace, ID: d.JobID}
		if d.Active() && snap.Job(d.Namespace, d.JobID) == nil && !waits(snap, key) {
			c.fail("I-20: the active deployment %s has no job, and nobody is asked to end it", d.ID)
		}
		if d.Active() {
			if other := active[key]; other != "" {
				c.fail("I-07: job %q has two active deployments, %s and %s", d.JobID, other, d.ID)
			}
			active[key] = d.ID
		}
		if was, known := k.ended[d.ID]; known && was != d.Status {
			c.fail("I-07: deployment %s was %s and is %s", d.ID, was, d.Status)
		}
		if !d.Active() {
			k.ended[d.ID] = d.Status
		}
		for name, g := range d.TaskGroups {
			if g.Promoted && g.DesiredCanaries > 0 && !k.promoted[d.ID+name] {
				k.promoted[d.ID+name] = true
				if healthy := healthyCanaries(snap, g); healthy < g.DesiredCanaries {
					c.fail("I-07: deployment %s is promoted with %d of %d healthy canaries", d.ID, healthy, g.DesiredCanaries)
				}
			}
		}
	}
}

// waits reports whether a job has an evaluation that has not ended.
func waits(snap *state.Snapshot, job state.JobKey) bool {
	for e := range snap.EvalsByJob(job.Namespace, job.ID) {
		if !e.Terminal() {
			return true
		}
	}
	return false
}

// launches checks the children of periodic jobs (I-12).
func (k *checker) launches(c *cluster, snap *state.Snapshot) {
	living := map[string]int{}
	for child := range snap.Jobs("", "") {
		if child.ParentID == "" {
			continue
		}
		parent := snap.Job(child.Namespace, child.ParentID)
		if child.CreateIndex == uint64(len(c.log)) {
			second := strings.TrimPrefix(child.ID, child.ParentID+"/periodic-")
			switch {
			case parent == nil || parent.Stop:
				c.fail("I-12: %q was launched, and its parent is stopped", child.ID)
			case strings.Trim(second, "0123456789") != "":
				c.fail("I-12: %q is of no tick", child.ID)
			}
		}
		if child.Status != structs.JobStatusDead {
			living[child.ParentID]++
		}
	}
	for id, n := range living {
		if parent := snap.Job("default", id); parent != nil && parent.Periodic != nil && parent.Periodic.ProhibitOverlap && n > 1 && k.living[id] < n {
			c.fail("I-12: %d children of %q live, which prohibits overlaps", n, id)
		}
	}
	k.living = living
}

// unplaced reports whether nothing of a deployment was placed: its time has not
// begun.
func unplaced(d *structs.Deployment) bool {
	for _, g := range d.TaskGroups {
		if g.PlacedAllocs > 0 || !g.RequireProgressBy.IsZero() {
			return false
		}
	}
	return true
}

// livesOn tells what has not ended on a node.
func livesOn(snap *state.Snapshot, id string) string {
	var out []string
	for a := range snap.AllocsByNode(id) {
		if !a.ClientTerminal() {
			out = append(out, a.Name+" "+describe(a))
		}
	}
	return strings.Join(out, ", ")
}

// loopsRest says which loop of the leader has not done its work, "" for none.
func (c *cluster) loopsRest(snap *state.Snapshot, open map[string]string) string {
	for d := range snap.ActiveDeployments() {
		if open[d.JobID] != "" && unplaced(d) {
			continue
		}
		return "I-07: deployment " + d.ID + " of job " + d.JobID + " is " + d.Status + ": " + d.StatusDescription
	}
	for n := range snap.Nodes() {
		switch {
		case n.Drain:
			return fmt.Sprintf("I-18: node %s is still drained, forced since %v: %s", n.ID, n.DrainStrategy.ForceDeadline.Format("15:04:05"), livesOn(snap, n.ID))
		case !n.Ready():
			return "node " + n.ID + " takes no work"
		}
		for job := range snap.Jobs("", "") {
			if job.Type != structs.JobTypeSystem || job.Stop {
				continue
			}
			live := 0
			for a := range snap.AllocsByNode(n.ID) {
				if a.JobID == job.ID && !a.Terminal() {
					live++
				}
			}
			if live > 1 || live == 0 && open[job.ID] == "" {
				return "I-08: node " + n.ID + " has not one allocation of the system job " + job.ID
			}
		}
	}
	return ""
}
