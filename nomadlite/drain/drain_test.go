package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// world writes entries into a store. Allocations are called by job, index and
// node: "web0@1".
type world struct {
	t     *testing.T
	store *state.Store
	index uint64
	now   time.Time
	ids   map[string]string
	names map[string]string
}

func newWorld(t *testing.T, nodes int) *world {
	w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}}), now: time.Now(), ids: map[string]string{}, names: map[string]string{}}
	for i := range nodes {
		w.write(func(t *state.Txn) error {
			return t.RegisterNode(&state.NodeRegister{Now: w.now.UnixNano(), Node: &structs.Node{ID: nodeID(i), SecretID: "s", Status: structs.NodeStatusReady, NodePool: "default",
				NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000}, Memory: structs.NodeMemoryResources{MemoryMB: 1000}, Disk: structs.NodeDiskResources{DiskMB: 1000}}}})
		})
	}
	return w
}

func nodeID(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i) }

func (w *world) write(verb func(*state.Txn) error) {
	w.t.Helper()
	w.index++
	txn := w.store.Begin(w.index)
	if err := verb(txn); err != nil {
		w.t.Fatal(err)
	}
	txn.Commit()
}

// job registers a job and places its allocations, index by index, on nodes.
func (w *world) job(id, kind string, parallel int, nodes ...int) {
	w.t.Helper()
	g := &structs.TaskGroup{Name: "g", Count: structs.Ptr(len(nodes))}
	if kind == structs.JobTypeService {
		g.Migrate = &structs.MigrateStrategy{MaxParallel: structs.Ptr(parallel), HealthyDeadline: structs.Ptr(5 * time.Minute)}
	}
	job := &structs.Job{Namespace: "default", ID: id, Name: id, Type: kind, Priority: 50, NodePool: "default", TaskGroups: []*structs.TaskGroup{g}}
	w.write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: job, Now: w.now.UnixNano()})
		return err
	})
	plan := &structs.Plan{EvalID: "e", Namespace: "default", JobID: id, JobModifyIndex: w.store.Snapshot().Job("default", id).JobModifyIndex, Now: w.now.UnixNano(), Groups: []*structs.PlanGroup{{Group: "g"}}}
	for i, n := range nodes {
		plan.Groups[0].Placements = append(plan.Groups[0].Placements, structs.Placement{Node: uint32(n), NameIndex: uint32(i)})
	}
	w.write(func(t *state.Txn) error {
		out, err := t.ApplyPlan(plan)
		if err != nil || len(out.Refused) > 0 {
			return errors.Join(err, fmt.Errorf("refused: %+v", out))
		}
		for i, number := range out.Placed[0] {
			allocID := t.Snapshot().AllocID(number - 1)
			name := fmt.Sprintf("%s%d@%d", id, i, nodes[i])
			w.ids[name], w.names[allocID] = allocID, name
		}
		return nil
	})
}

// tell reports a client status of allocations; with health it is known.
func (w *world) tell(status string, health bool, names ...string) {
	w.t.Helper()
	for _, name := range names {
		u := &structs.AllocUpdate{AllocID: w.ids[name], Revision: w.index, ClientStatus: status}
		if health {
			u.DeploymentHealthy, u.DeploymentTime = structs.Ptr(true), w.now.UnixNano()
		}
		node := int(name[len(name)-1] - '0')
		w.write(func(t *state.Txn) error {
			return t.UpdateAllocs(&state.AllocUpdate{NodeID: nodeID(node), Updates: []*structs.AllocUpdate{u}, Now: w.now.UnixNano()})
		})
	}
}

func (w *world) drain(node int, deadline time.Duration, ignoreSystem bool) {
	w.t.Helper()
	s := &structs.DrainStrategy{DrainSpec: structs.DrainSpec{Deadline: deadline, IgnoreSystemJobs: ignoreSystem}, StartedAt: w.now}
	if deadline > 0 {
		s.ForceDeadline = w.now.Add(deadline)
	}
	w.write(func(t *state.Txn) error {
		return t.UpdateNodeDrain(&state.NodeDrain{NodeID: nodeID(node), Strategy: s, Now: w.now.UnixNano()})
	})
}

func (w *world) mark(names ...string) {
	w.t.Helper()
	c := &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{}, Now: w.now.UnixNano()}
	for _, name := range names {
		c.Transitions[w.ids[name]] = &structs.DesiredTransition{Migrate: structs.Ptr(true)}
	}
	w.write(func(t *state.Txn) error { return t.UpdateAllocTransitions(c) })
}

// decide words a decision: "move …; done …; next …".
func (w *world) decide(later time.Duration) string {
	d := Decide(w.store.Snapshot(), w.now.Add(later))
	var out []string
	for _, a := range d.Migrate {
		out = append(out, w.names[a.ID])
	}
	for _, done := range d.Done {
		out = append(out, "done "+done.Node.ID[35:])
		if done.Forced {
			out = append(out, "forced")
		}
	}
	if !d.Next.IsZero() {
		out = append(out, "in "+d.Next.Sub(w.now.Add(later)).String())
	}
	return strings.Join(out, " ")
}

func (w *world) want(what string, later time.Duration, want string) {
	w.t.Helper()
	if got := w.decide(later); got != want {
		w.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

const running, complete = structs.AllocClientStatusRunning, structs.AllocClientStatusComplete

// TestDrainServicePace: a group loses at most max_parallel at a time, over all
// draining nodes together, and only while the rest is known to be well.
func TestDrainServicePace(t *testing.T) {
	w := newWorld(t, 3)
	w.job("web", structs.JobTypeService, 2, 0, 0, 0, 1, 2)
	w.drain(0, time.Hour, false)
	w.drain(1, time.Hour, false)
	w.want("nothing is known to be healthy", 0, "in 5m0s")
	w.tell(running, true, "web0@0", "web1@0", "web2@0", "web3@1", "web4@2")
	w.want("two of five", 0, "web0@0 web1@0 in 1h0m0s")
	w.mark("web0@0", "web1@0")
	w.want("two are on their way", 0, "in 1h0m0s")
	w.tell(complete, false, "web0@0", "web1@0")
	w.want("their successors are not there yet", 0, "in 1h0m0s")
	w.want("the deadline", time.Hour, "web2@0 web3@1")
}

// TestDrainSilentHealth: an allocation that says nothing of its health holds
// a drain up for its healthy_deadline, not for ever.
func TestDrainSilentHealth(t *testing.T) {
	w := newWorld(t, 2)
	w.job("web", structs.JobTypeService, 1, 0, 1)
	w.tell(running, false, "web0@0", "web1@1")
	w.drain(0, 0, false)
	w.want("young", time.Minute, "in 4m0s")
	w.want("old", 5*time.Minute, "web0@0")
}

// TestDrainDoneMeansGone_B32: a drain ends when the clients have reported the
// end, not when they were told to stop.
func TestDrainDoneMeansGone_B32(t *testing.T) {
	w := newWorld(t, 2)
	w.job("web", structs.JobTypeService, 1, 0)
	w.tell(running, true, "web0@0")
	w.drain(0, time.Hour, false)
	w.mark("web0@0")
	w.write(func(t *state.Txn) error {
		_, err := t.ApplyPlan(&structs.Plan{EvalID: "e", Namespace: "default", JobID: "web", JobModifyIndex: w.store.Snapshot().Job("default", "web").JobModifyIndex, Now: w.now.UnixNano(),
			Stops: []structs.AllocStop{{AllocID: w.ids["web0@0"], DesiredStatus: structs.AllocDesiredStatusStop}}})
		return err
	})
	w.want("told to stop", 0, "in 1h0m0s")
	w.tell(complete, false, "web0@0")
	w.want("stopped", 0, "done 0 in 1h0m0s")
	w.want("stopped late", 2*time.Hour, "done 0 forced")
}

// TestDrainBatchWaits: batch work is left alone until the deadline.
func TestDrainBatchWaits(t *testing.T) {
	w := newWorld(t, 2)
	w.job("job", structs.JobTypeBatch, 0, 0, 0)
	w.tell(running, false, "job0@0", "job1@0")
	w.drain(0, time.Hour, false)
	w.want("before", 59*time.Minute, "in 1m0s")
	w.tell(complete, false, "job1@0")
	w.want("after", time.Hour, "job0@0")
}

// TestDrainSystemLast: system jobs leave after the rest, or stay when asked.
func TestDrainSystemLast(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		w := newWorld(t, 2)
		w.job("web", structs.JobTypeService, 1, 0)
		w.job("log", structs.JobTypeSystem, 0, 0, 1)
		w.tell(running, true, "web0@0")
		w.tell(running, false, "log0@0", "log1@1")
		w.drain(0, 0, ignore)
		w.want("the service first", 0, "web0@0")
		w.mark("web0@0")
		w.want("then nothing", 0, "")
		w.tell(complete, false, "web0@0")
		w.want("then system", 0, map[bool]string{false: "log0@0", true: "done 0"}[ignore])
	}
}

// TestDrainForce: a negative deadline moves everything at once.
func TestDrainForce(t *testing.T) {
	w := newWorld(t, 2)
	w.job("web", structs.JobTypeService, 1, 0, 0)
	w.job("job", structs.JobTypeBatch, 0, 0)
	w.job("log", structs.JobTypeSystem, 0, 0)
	w.drain(0, -1, false)
	w.want("all", 0, "web0@0 web1@0 job0@0 log0@0")
}

// TestDrainNodeThatIsDown_B33: nobody will report the end of what ran there.
func TestDrainNodeThatIsDown_B33(t *testing.T) {
	w := newWorld(t, 2)
	w.job("web", structs.JobTypeService, 1, 0)
	w.tell(running, true, "web0@0")
	w.drain(0, time.Hour, false)
	w.mark("web0@0")
	w.write(func(t *state.Txn) error {
		_, err := t.ApplyPlan(&structs.Plan{EvalID: "e", Namespace: "default", JobID: "web", JobModifyIndex: w.store.Snapshot().Job("default", "web").JobModifyIndex, Now: w.now.UnixNano(),
			Stops: []structs.AllocStop{{AllocID: w.ids["web0@0"], DesiredStatus: structs.AllocDesiredStatusStop}}})
		return err
	})
	w.write(func(t *state.Txn) error {
		return t.UpdateNodeStatus(&state.NodeStatus{NodeID: nodeID(0), Status: structs.NodeStatusDown, Now: w.now.UnixNano()})
	})
	w.want("down", 0, "done 0 in 1h0m0s")
}

// TestWatcher runs a drain in virtual time: the first commands fail, an
// operator's cancelation is respected, an empty node is done at once.
func TestWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.job("job", structs.JobTypeBatch, 0, 0)
		w.tell(running, false, "job0@0")
		var refuse atomic.Bool
		var evals atomic.Int64
		refuse.Store(true)
		watcher := New(Deps{
			Store: w.store, NewID: func() string { return "e" }, Logger: hclog.NewNullLogger(),
			Migrate: func(_ context.Context, c *state.AllocTransition) error {
				if refuse.Load() {
					return errors.New("no leader")
				}
				evals.Add(int64(len(c.Evals)))
				w.write(func(t *state.Txn) error { return t.UpdateAllocTransitions(c) })
				return nil
			},
			Finish: func(_ context.Context, c *state.NodeDrain) error {
				w.write(func(t *state.Txn) error { return t.UpdateNodeDrain(c) })
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- watcher.Run(ctx) }()
		synctest.Wait()
		w.drain(1, time.Hour, false)
		time.Sleep(time.Second)
		if n := w.store.Snapshot().Node(nodeID(1)); n.DrainStrategy != nil || n.LastDrain.Status != "complete" || n.Events[len(n.Events)-1].Message != "Node drain complete" {
			t.Errorf("the empty node: %+v, %+v", n.DrainStrategy, n.LastDrain)
		}
		w.now = time.Now()
		w.drain(0, 10*time.Minute, false)
		time.Sleep(10*time.Minute + 5*time.Second)
		refuse.Store(false)
		time.Sleep(5 * time.Second)
		if a := w.store.Snapshot().Alloc(w.ids["job0@0"]); evals.Load() != 1 || !structs.Val(a.DesiredTransition.Migrate) {
			t.Errorf("%d evaluations, %+v", evals.Load(), a.DesiredTransition)
		}
		w.tell(complete, false, "job0@0")
		time.Sleep(5 * time.Second)
		if n := w.store.Snapshot().Node(nodeID(0)); n.DrainStrategy != nil || n.Events[len(n.Events)-1].Details["deadline_reached"] != "true" || n.SchedulingEligibility != structs.NodeIneligible {
			t.Errorf("%+v", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
