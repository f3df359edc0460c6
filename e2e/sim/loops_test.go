package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/deploy"
	"github.com/nomadlite/nomadlite/nomadlite/drain"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/heartbeat"
	"github.com/nomadlite/nomadlite/nomadlite/periodic"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// loops are the leader's, stepped by the simulation: one command at a time.
type loops struct {
	deployments *deploy.Watcher
	drains      *drain.Watcher
	launcher    *periodic.Launcher
	heartbeat   *heartbeat.Table
}

func newLoops(c *cluster, store *state.Store) *loops {
	l := &loops{
		deployments: deploy.New(deploy.Deps{
			Store: store, NewID: c.newID, Logger: hclog.NewNullLogger(), AtOnce: 1,
			Settle:  func(_ context.Context, cmd *state.DeploymentStatus) error { return c.must(fsm.DeploymentStatus, cmd) },
			Promote: func(_ context.Context, cmd *state.DeploymentPromote) error { return c.must(fsm.DeploymentPromote, cmd) },
			Replace: func(_ context.Context, cmd *state.AllocTransition) error { return c.must(fsm.AllocTransition, cmd) },
			Evaluate: func(_ context.Context, evals []*structs.Evaluation) error {
				return c.must(fsm.EvalUpsert, &state.EvalUpsert{Evals: evals})
			},
		}),
		drains: drain.New(drain.Deps{
			Store: store, NewID: c.newID, Logger: hclog.NewNullLogger(),
			Migrate: func(_ context.Context, cmd *state.AllocTransition) error {
				if c.bugs.hurriedDrains {
					c.hurry(cmd)
				}
				return c.must(fsm.AllocTransition, cmd)
			},
			Finish: func(_ context.Context, cmd *state.NodeDrain) error { return c.must(fsm.NodeDrain, cmd) },
		}),
	}
	l.launcher = periodic.New(periodic.Config{
		Store: store, Logger: hclog.NewNullLogger(), AtOnce: 1, Launch: c.launch,
	})
	patience := ttl
	if c.bugs.hasty {
		patience = ttl / 10
	}
	l.heartbeat = heartbeat.New(heartbeat.Config{MinTTL: patience, Grace: grace, FailoverTTL: ttl + grace, Missed: c.missed,
		Now: func() time.Time { return c.now }, Jitter: c.random.Float64})
	var known []string
	for n := range store.Snapshot().Nodes() {
		if n.Status != structs.NodeStatusDown {
			known = append(known, n.ID)
		}
	}
	l.heartbeat.Begin(known)
	return l
}

// hurry lets all leave that are on the nodes which some leave.
func (c *cluster) hurry(cmd *state.AllocTransition) {
	snap := c.snapshot()
	for _, id := range slices.Sorted(maps.Keys(cmd.Transitions)) {
		for a := range snap.AllocsByNode(snap.Alloc(id).NodeID) {
			if !a.Terminal() {
				cmd.Transitions[a.ID] = cmd.Transitions[id]
			}
		}
	}
}

// must commits a command of a loop after everything that was proposed before.
// With faults the loop does not always learn what became of it, nor is it always
// written.
func (c *cluster) must(t fsm.Type, payload any) error {
	data, err := fsm.Encode(t, payload)
	if err != nil {
		c.fail("%v", err)
		return err
	}
	if c.faults && c.chance(0.05) {
		return errLost
	}
	if n := len(c.proposed); n > 0 {
		c.commit(c.proposed[n-1])
	}
	_, err = c.append(data)
	if c.faults && c.chance(0.05) {
		return errLost
	}
	return err
}

// step lets the leader's loops look once.
func (c *cluster) step() {
	ctx := context.Background()
	if !c.bugs.noDeployments {
		c.loops.deployments.Look(ctx, c.now)
	}
	if !c.bugs.noDrains {
		c.loops.drains.Look(ctx, c.now)
	}
	c.loops.launcher.Notice()
	c.loops.launcher.Look(ctx, c.now)
}

// launch commits the children of periodic jobs.
func (c *cluster) launch(_ context.Context, due []periodic.Launch) error {
	cmd := &state.ChildrenLaunch{Now: c.now.UnixNano()}
	for _, d := range due {
		one := &state.ChildLaunch{Namespace: d.Parent.Namespace, JobID: d.Parent.ID, At: d.At}
		if !d.Overlaps {
			child := d.Parent.Copy()
			child.ID = fmt.Sprintf("%s/periodic-%d", child.ID, d.At.Unix())
			child.Name, child.ParentID, child.Periodic, child.Status = child.ID, d.Parent.ID, nil, ""
			if c.bugs.doubleLaunch && c.chance(0.1) {
				child.ID += "-again"
			}
			one.Child, one.Eval = child, c.newEval(child, structs.EvalTriggerPeriodicJob)
		}
		cmd.Launches = append(cmd.Launches, one)
	}
	return c.must(fsm.ChildrenLaunch, cmd)
}

// operate is what operators do to nodes and deployments.
func (c *cluster) operate() {
	n := c.nodes[c.random.IntN(len(c.nodes))]
	have := c.snapshot().Node(n.id)
	if have == nil {
		return
	}
	switch c.random.IntN(6) {
	case 0, 5:
		c.drain(n, c.some(time.Second, 4*time.Second))
	case 1:
		c.propose(fsm.NodeDrain, &state.NodeDrain{NodeID: n.id, MarkEligible: true, Evals: c.evalsOf(n.id, structs.EvalTriggerNodeUpdate), Now: c.now.UnixNano()}, nil)
	case 2:
		eligibility := structs.NodeIneligible
		if have.SchedulingEligibility == structs.NodeIneligible {
			eligibility = structs.NodeEligible
		}
		c.propose(fsm.NodeEligibility, &state.NodeEligibility{NodeID: n.id, Eligibility: eligibility, Evals: c.evalsOf(n.id, structs.EvalTriggerNodeUpdate), Now: c.now.UnixNano()}, nil)
	default:
		c.meddle()
	}
}

func (c *cluster) drain(n *node, deadline time.Duration) {
	spec := structs.DrainSpec{Deadline: deadline, IgnoreSystemJobs: c.chance(0.3)}
	c.propose(fsm.NodeDrain, &state.NodeDrain{NodeID: n.id, Now: c.now.UnixNano(), Strategy: &structs.DrainStrategy{
		DrainSpec: spec, StartedAt: c.now, ForceDeadline: c.now.Add(deadline)}}, nil)
}

// meddle changes a deployment by hand.
func (c *cluster) meddle() {
	snap := c.snapshot()
	for d := range snap.ActiveDeployments() {
		if c.chance(0.5) {
			continue
		}
		status := func(status, description string, eval bool) {
			cmd := &state.DeploymentStatus{Now: c.now.UnixNano(), Update: &structs.DeploymentStatusUpdate{
				DeploymentID: d.ID, Status: status, StatusDescription: description, UpdatedAt: c.now.UnixNano()}}
			if job := snap.Job(d.Namespace, d.JobID); eval && job != nil {
				cmd.Eval = c.deploymentEval(d, job)
			}
			c.propose(fsm.DeploymentStatus, cmd, nil)
		}
		switch n := c.random.IntN(4); {
		case n == 0:
			status(structs.DeploymentStatusFailed, structs.DeploymentDescFailed, true)
		case n == 1 && d.Status == structs.DeploymentStatusRunning:
			status(structs.DeploymentStatusPaused, structs.DeploymentDescPaused, false)
		case d.Status == structs.DeploymentStatusPaused:
			status(structs.DeploymentStatusRunning, d.RunningDescription(), true)
		default:
			c.promote(d)
		}
		return
	}
}

func (c *cluster) promote(d *structs.Deployment) {
	cmd := &state.DeploymentPromote{DeploymentID: d.ID, Now: c.now.UnixNano()}
	if job := c.snapshot().Job(d.Namespace, d.JobID); job != nil {
		cmd.Eval = c.deploymentEval(d, job)
	}
	c.propose(fsm.DeploymentPromote, cmd, nil)
}

func (c *cluster) deploymentEval(d *structs.Deployment, job *structs.Job) *structs.Evaluation {
	eval := c.newEval(job, structs.EvalTriggerDeploymentWatcher)
	eval.DeploymentID = d.ID
	return eval
}

// tidy is what operators do once the faults are over: nodes become eligible,
// deployments go on, canaries are promoted when they may be.
func (c *cluster) tidy() {
	snap := c.snapshot()
	for _, n := range c.nodes {
		if have := snap.Node(n.id); have != nil && have.SchedulingEligibility == structs.NodeIneligible && !have.Drain {
			c.propose(fsm.NodeEligibility, &state.NodeEligibility{NodeID: n.id, Eligibility: structs.NodeEligible, Evals: c.evalsOf(n.id, structs.EvalTriggerNodeUpdate), Now: c.now.UnixNano()}, nil)
		}
	}
	for d := range snap.ActiveDeployments() {
		job := snap.Job(d.Namespace, d.JobID)
		switch {
		case job == nil:
		case d.Status == structs.DeploymentStatusPaused:
			c.propose(fsm.DeploymentStatus, &state.DeploymentStatus{Now: c.now.UnixNano(), Eval: c.deploymentEval(d, job), Update: &structs.DeploymentStatusUpdate{
				DeploymentID: d.ID, Status: structs.DeploymentStatusRunning, StatusDescription: d.RunningDescription(), UpdatedAt: c.now.UnixNano()}}, nil)
		case d.RunningDescription() != "" && c.mayPromote(snap, d):
			c.promote(d)
		}
	}
}

// mayPromote reports whether a deployment waits for its canaries to be promoted,
// and all of them are healthy.
func (c *cluster) mayPromote(snap *state.Snapshot, d *structs.Deployment) bool {
	waits := false
	for _, g := range d.TaskGroups {
		if g.AwaitsPromotion() {
			waits = true
			if healthyCanaries(snap, g) < g.DesiredCanaries {
				return false
			}
		}
	}
	return waits
}

func healthyCanaries(snap *state.Snapshot, g *structs.DeploymentState) int {
	healthy := 0
	for _, id := range g.PlacedCanaries {
		if a := snap.Alloc(id); a != nil && a.DeploymentHealthy() {
			healthy++
		}
	}
	return healthy
}
