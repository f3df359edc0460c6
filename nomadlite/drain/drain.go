// Package drain empties nodes. Decide, which is pure, says which allocations
// leave a draining node now and which nodes are done; Watcher performs that.
//
// Services leave at the pace of their migrate block, batch work when it has
// ended or at the deadline, system jobs after everything else. A drain is done
// when nothing runs on the node, not when everything was told to stop.
//
// It must not know Raft: commands go through the functions in Deps.
package drain

import (
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Decision is what the draining nodes need.
type Decision struct {
	// Migrate are the allocations that leave now, in order of node and creation.
	Migrate []*structs.Allocation
	// Done are the nodes on which nothing runs any more.
	Done []Done
	// Next is when to look again without a change; zero for never.
	Next time.Time
	// Draining is how many nodes are not done.
	Draining int
}

// Done is a node that is drained.
type Done struct {
	Node *structs.Node
	// Forced is set when the drain ended after its deadline.
	Forced bool
}

// decider works through one snapshot.
type decider struct {
	snap   *state.Snapshot
	now    time.Time
	groups map[groupKey]*room
	out    Decision
}

type groupKey struct{ namespace, job, group string }

// room is how many more allocations of a group may leave now, wherever they
// are.
type room struct{ left int }

// Decide looks at all draining nodes of a snapshot.
func Decide(snap *state.Snapshot, now time.Time) Decision {
	d := &decider{snap: snap, now: now, groups: map[groupKey]*room{}}
	for n := range snap.Nodes() {
		if n.DrainStrategy != nil {
			d.node(n)
		}
	}
	return d.out
}

// sooner remembers a time at which to look again.
func (d *decider) sooner(at time.Time) {
	if d.out.Next.IsZero() || at.Before(d.out.Next) {
		d.out.Next = at
	}
}

func (d *decider) node(n *structs.Node) {
	forced := d.forced(n.DrainStrategy)
	var work, system []*structs.Allocation
	for a := range d.snap.AllocsByNode(n.ID) {
		switch {
		case gone(n, a):
		case !everywhere(a.Job):
			work = append(work, a)
		case !n.DrainStrategy.IgnoreSystemJobs:
			system = append(system, a)
		}
	}
	if len(work)+len(system) == 0 {
		d.out.Done = append(d.out.Done, Done{Node: n, Forced: forced})
		return
	}
	d.out.Draining++
	for _, a := range work {
		if !leaving(a) && (forced || d.mayLeave(a)) {
			d.out.Migrate = append(d.out.Migrate, a)
		}
	}
	if len(work) > 0 && !forced {
		return
	}
	for _, a := range system {
		if !leaving(a) {
			d.out.Migrate = append(d.out.Migrate, a)
		}
	}
}

// forced reports whether a drain waits no longer.
func (d *decider) forced(s *structs.DrainStrategy) bool {
	switch {
	case s.Deadline < 0:
		return true
	case s.ForceDeadline.IsZero():
		return false
	case s.ForceDeadline.After(d.now):
		d.sooner(s.ForceDeadline)
		return false
	}
	return true
}

// gone reports whether an allocation is no longer on its node, as far as
// anybody can know: a node that is down reports no end.
func gone(n *structs.Node, a *structs.Allocation) bool {
	return a.ClientTerminal() || n.Status == structs.NodeStatusDown && a.ServerTerminal()
}

// leaving reports whether an allocation has been told to go.
func leaving(a *structs.Allocation) bool {
	return a.ServerTerminal() || structs.Val(a.DesiredTransition.Migrate)
}

func everywhere(job *structs.Job) bool {
	return job != nil && (job.Type == structs.JobTypeSystem || job.Type == structs.JobTypeSysBatch)
}

// mayLeave takes room for an allocation whose deadline has not come.
func (d *decider) mayLeave(a *structs.Allocation) bool {
	if a.Job == nil || a.Job.Type != structs.JobTypeService {
		return false
	}
	key := groupKey{a.Namespace, a.JobID, a.TaskGroup}
	r := d.groups[key]
	if r == nil {
		r = &room{left: d.room(key)}
		d.groups[key] = r
	}
	if r.left <= 0 {
		return false
	}
	r.left--
	return true
}

// room is how many allocations of a group may leave: as many as are settled
// beyond count less max_parallel. Of a job that is over the scheduler ends all.
func (d *decider) room(key groupKey) int {
	job := d.snap.Job(key.namespace, key.job)
	if job == nil || job.Stop {
		return 0
	}
	g := job.LookupGroup(key.group)
	if g == nil {
		return 0
	}
	parallel, wait := 1, time.Duration(0)
	if g.Migrate != nil {
		parallel, wait = max(structs.Val(g.Migrate.MaxParallel), 1), structs.Val(g.Migrate.HealthyDeadline)
	}
	settled := 0
	for a := range d.snap.AllocsByJob(key.namespace, key.job, false) {
		if a.TaskGroup == key.group && !a.Terminal() && !leaving(a) && d.settled(a, wait) {
			settled++
		}
	}
	return settled - (structs.Val(g.Count) - parallel)
}

// settled reports whether the health of an allocation is known. One that says
// nothing for as long as it may take to become healthy is not waited for.
func (d *decider) settled(a *structs.Allocation, wait time.Duration) bool {
	if a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil {
		return true
	}
	if silent := time.Unix(0, a.CreateTime).Add(wait); silent.After(d.now) {
		d.sooner(silent)
		return false
	}
	return true
}
