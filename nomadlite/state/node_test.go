package state

import (
	"slices"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

func TestNodeKeepsWhatServersDecided(t *testing.T) {
	w := newWorld(t)
	n := w.node(0)
	if n.Events[0].Message != "Node registered" || n.SchedulingEligibility != structs.NodeEligible || n.StatusUpdatedAt == 0 {
		t.Fatalf("registered: %+v", n)
	}
	must(w, (*Txn).UpdateNodeDrain, &NodeDrain{NodeID: n.ID, Strategy: &structs.DrainStrategy{DrainSpec: structs.DrainSpec{Deadline: time.Hour}}, Now: w.now,
		Event: &structs.NodeEvent{Message: "Node drain strategy set", Subsystem: structs.NodeEventSubsystemDrain}})
	w.node(0)
	n = w.s.Snapshot().Node(n.ID)
	if !n.Drain || n.DrainStrategy == nil || n.SchedulingEligibility != structs.NodeIneligible || n.LastDrain.Status != "draining" || len(n.Events) != 2 {
		t.Fatalf("registered again: %+v", n)
	}
	if err := try(w, (*Txn).UpdateNodeEligibility, &NodeEligibility{NodeID: n.ID, Eligibility: structs.NodeEligible}); err == nil {
		t.Error("a draining node was made eligible")
	}
	must(w, (*Txn).UpdateNodeDrain, &NodeDrain{NodeID: n.ID, Complete: true, Now: w.now})
	if n = w.s.Snapshot().Node(n.ID); n.Drain || n.LastDrain.Status != "complete" || n.SchedulingEligibility != structs.NodeIneligible {
		t.Fatalf("drained: %+v", n)
	}
	for range 12 {
		must(w, (*Txn).UpdateNodeEligibility, &NodeEligibility{NodeID: n.ID, Eligibility: structs.NodeEligible, Event: &structs.NodeEvent{Message: "m"}})
	}
	if n = w.s.Snapshot().Node(n.ID); len(n.Events) != structs.MaxNodeEvents {
		t.Errorf("%d events, want %d", len(n.Events), structs.MaxNodeEvents)
	}
	thief := *n
	thief.SecretID = "other"
	if err := try(w, (*Txn).RegisterNode, &NodeRegister{Node: &thief}); structs.KindOf(err) != structs.Denied {
		t.Errorf("another secret: %v", err)
	}
}

func TestNodeNumbersAreNotReused(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.node(1)
	must(w, (*Txn).DeleteNodes, &NodeDelete{IDs: []string{nodeID(0)}})
	w.node(2)
	snap := w.s.Snapshot()
	if num, ok := snap.NodeNum(nodeID(2)); !ok || num != 2 || snap.NodeCount() != 3 || snap.NodeByNum(0) != nil || snap.NodeByNum(1).ID != nodeID(1) {
		t.Errorf("number %d %v, count %d", num, ok, snap.NodeCount())
	}
}

func TestUpdatesOfNodes(t *testing.T) {
	w, ids := placed(t)
	get := func() *structs.Allocation { return w.s.Snapshot().Alloc(ids[0]) }
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 5, ClientStatus: structs.AllocClientStatusRunning})
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 4, ClientStatus: structs.AllocClientStatusFailed})
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 5, ClientStatus: structs.AllocClientStatusFailed})
	if s := get().ClientStatus; s != structs.AllocClientStatusRunning {
		t.Errorf("older revisions were applied: %s", s)
	}
	w.report(1, &structs.AllocUpdate{AllocID: ids[0], Revision: 9, ClientStatus: structs.AllocClientStatusFailed})
	if s := get().ClientStatus; s != structs.AllocClientStatusRunning {
		t.Errorf("another node's update was applied: %s", s)
	}
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 6, ClientStatus: structs.AllocClientStatusFailed, ClientDescription: "exit 1"})
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 7, ClientStatus: structs.AllocClientStatusRunning})
	if a := get(); a.ClientStatus != structs.AllocClientStatusFailed || a.ClientDescription != "exit 1" {
		t.Errorf("a terminal status did not stay: %s %q", a.ClientStatus, a.ClientDescription)
	}
	if s := w.s.Snapshot().JobSummary("default", "web").Summary["web"]; s != (structs.TaskGroupSummary{Failed: 1, Starting: 1}) {
		t.Errorf("summary %+v", s)
	}
}

func TestChangesSince(t *testing.T) {
	w, ids := placed(t)
	since := w.index
	w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 1, ClientStatus: structs.AllocClientStatusRunning})
	must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(1), Status: structs.NodeStatusDown})
	snap := w.s.Snapshot()
	got, ok := snap.ChangesSince(since)
	if want := []NodeChange{{since + 1, 0}, {since + 2, 1}}; !ok || !slices.Equal(got, want) {
		t.Errorf("changes %v %v, want %v", got, ok, want)
	}
	if got, ok := snap.ChangesSince(w.index); !ok || len(got) != 0 {
		t.Errorf("changes since now: %v %v", got, ok)
	}
	if changed, _ := snap.NodeSync(0); changed != since {
		t.Errorf("the node would fetch its own update: server change at %d, want %d", changed, since)
	}
	for range 3 * maxChanges / 2 {
		w.index++
		txn := w.s.Begin(w.index)
		txn.touchNode(0)
		txn.touchNode(1)
		txn.Commit()
	}
	snap = w.s.Snapshot()
	if _, ok := snap.ChangesSince(since); ok {
		t.Error("a change that was forgotten is not reported as such")
	}
	if got, ok := snap.ChangesSince(w.index - 1000); !ok || len(got) != 2000 || got[0].Index != w.index-999 {
		t.Errorf("%d changes of the last 1,000 entries, ok %v", len(got), ok)
	}
}

func TestDeploymentCounters(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.register(testJob("web", 2), nil)
	p := w.plan("web", "e", at(0, 0), structs.Placement{Node: 0, NameIndex: 1, Canary: true})
	p.Deployment = &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", JobVersion: 0, Status: structs.DeploymentStatusRunning,
		TaskGroups: map[string]*structs.DeploymentState{"web": {DesiredTotal: 2, DesiredCanaries: 1, ProgressDeadline: time.Minute}}}
	p.Groups[0].DeploymentID = "d"
	r := w.apply(p)
	group := func() *structs.DeploymentState { return w.s.Snapshot().Deployment("d").TaskGroups["web"] }
	if g := group(); g.PlacedAllocs != 2 || !slices.Equal(g.PlacedCanaries, []string{w.placed(r)[1]}) || g.RequireProgressBy.IsZero() {
		t.Fatalf("placed: %+v (%+v)", g, r)
	}
	if err := try(w, (*Txn).PromoteDeployment, &DeploymentPromote{DeploymentID: "d"}); err == nil {
		t.Error("an unhealthy canary was promoted")
	}
	health := func(id string, rev uint64, ok bool) {
		w.report(0, &structs.AllocUpdate{AllocID: id, Revision: rev, ClientStatus: structs.AllocClientStatusRunning, DeploymentHealthy: &ok, DeploymentTime: w.now, DeploymentID: "d"})
	}
	before := group().RequireProgressBy
	health(w.placed(r)[0], 1, false)
	health(w.placed(r)[1], 1, true)
	if g := group(); g.HealthyAllocs != 1 || g.UnhealthyAllocs != 1 || !g.RequireProgressBy.After(before) {
		t.Fatalf("health: %+v", g)
	}
	health(w.placed(r)[0], 2, true)
	if g := group(); g.HealthyAllocs != 2 || g.UnhealthyAllocs != 0 {
		t.Fatalf("health changed: %+v", g)
	}
	if err := try(w, (*Txn).PromoteDeployment, &DeploymentPromote{DeploymentID: "d"}); err != nil {
		t.Fatal(err)
	}
	if a := w.s.Snapshot().Alloc(w.placed(r)[1]); a.DeploymentStatus.Canary || !group().Promoted {
		t.Error("the canary was not promoted")
	}
	must(w, (*Txn).UpdateDeploymentStatus, &DeploymentStatus{Update: &structs.DeploymentStatusUpdate{DeploymentID: "d", Status: structs.DeploymentStatusSuccessful}})
	if !w.s.Snapshot().Job("default", "web").Stable {
		t.Error("a successful deployment did not make its version stable")
	}
}

// TestHealthOfDrivers: what became better or worse is told, the latest last,
// beside the event of the registration itself.
func TestHealthOfDrivers(t *testing.T) {
	w := newWorld(t)
	n := w.node(0)
	health := []*structs.NodeEvent{{Message: "worse"}, {Message: "better"}}
	must(w, (*Txn).RegisterNode, &NodeRegister{Node: n, Now: w.now, Health: health, Event: &structs.NodeEvent{Message: "Node re-registered"}})
	var got []string
	for _, e := range w.s.Snapshot().Node(n.ID).Events {
		got = append(got, e.Message)
	}
	if want := []string{"Node registered", "worse", "better", "Node re-registered"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
