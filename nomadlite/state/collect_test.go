package state

import (
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestCollectKeepsWhatLives: what is alive by the time of the command stays and
// does not even move its index.
func TestCollectKeepsWhatLives(t *testing.T) {
	w, ids := placed(t)
	must(w, (*Txn).UpsertDeployment, &DeploymentUpsert{Deployment: &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusRunning}})
	must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{testEval("e", testJob("web", 1))}})
	before := w.s.Snapshot()
	must(w, (*Txn).Collect, &Collect{Allocs: ids, Evals: []string{"e", "nope"}, Deployments: []string{"d"}, Nodes: []string{nodeID(0)}, Jobs: []JobKey{{"default", "web"}}})
	after := w.s.Snapshot()
	if after.AllocCount() != 2 || after.Eval("e") == nil || after.Node(nodeID(0)) == nil || after.Job("default", "web") == nil {
		t.Error("something that lives was collected")
	}
	if after.Deployment("d").ModifyIndex != before.Deployment("d").ModifyIndex || after.DeletedIndex(TableAllocs) != 0 {
		t.Error("an index moved without a change")
	}
}

// TestCollectOnDownNode: what a node that is down never reported can go once
// the servers stopped it.
func TestCollectOnDownNode(t *testing.T) {
	w, ids := placed(t)
	must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(0), Status: structs.NodeStatusDown, Now: w.now})
	p := w.plan("web", "e")
	p.Stops = []structs.AllocStop{{AllocID: ids[0], DesiredStatus: structs.AllocDesiredStatusStop, ClientStatus: structs.AllocClientStatusLost}}
	if r := w.apply(p); len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	if a := w.s.Snapshot().Alloc(ids[0]); a.ClientStatus != structs.AllocClientStatusLost || a.DesiredStatus != structs.AllocDesiredStatusStop {
		t.Fatalf("lost allocation: %+v", a)
	}
	if s := w.s.Snapshot().JobSummary("default", "web").Summary["web"]; s.Lost != 1 || s.Starting != 1 {
		t.Errorf("summary %+v", s)
	}
	must(w, (*Txn).Collect, &Collect{Allocs: ids})
	snap := w.s.Snapshot()
	if snap.Alloc(ids[0]) != nil || snap.Alloc(ids[1]) == nil {
		t.Error("want the lost one collected and the other kept")
	}
	if _, collected := snap.NodeSync(0); collected != w.index {
		t.Errorf("the node's list was cut at %d, want %d", collected, w.index)
	}
}

func TestTransitions(t *testing.T) {
	w, ids := placed(t)
	must(w, (*Txn).UpdateAllocTransitions, &AllocTransition{Now: w.now, Evals: []*structs.Evaluation{testEval("e", testJob("web", 1))},
		Transitions: map[string]*structs.DesiredTransition{ids[0]: {Migrate: structs.Ptr(true)}, nodeID(5): {Migrate: structs.Ptr(true)}, ids[1]: nil}})
	must(w, (*Txn).UpdateAllocTransitions, &AllocTransition{Now: w.now, Transitions: map[string]*structs.DesiredTransition{ids[0]: {NoShutdownDelay: structs.Ptr(true)}}})
	snap := w.s.Snapshot()
	a := snap.Alloc(ids[0])
	if !structs.Val(a.DesiredTransition.Migrate) || !structs.Val(a.DesiredTransition.NoShutdownDelay) || a.AllocModifyIndex != w.index {
		t.Errorf("transition: %+v", a)
	}
	if snap.Eval("e") == nil || snap.Alloc(ids[1]).ModifyIndex == w.index {
		t.Error("the evaluation is missing, or another allocation changed")
	}
}

func TestBuiltIns(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.register(testJob("web", 1), nil)
	for name, err := range map[string]error{
		"default namespace": try(w, (*Txn).DeleteNamespaces, &NamespaceDelete{Names: []string{"default"}}),
		"no namespace":      try(w, (*Txn).DeleteNamespaces, &NamespaceDelete{Names: []string{"nope"}}),
		"pool all":          try(w, (*Txn).DeleteNodePools, &NodePoolDelete{Names: []string{"all"}}),
		"change of default": try(w, (*Txn).UpsertNodePools, &NodePoolUpsert{NodePools: []*structs.NodePool{{Name: "default"}}}),
		"older term":        func() error { must(w, (*Txn).Epoch, &Epoch{Term: 4}); return try(w, (*Txn).Epoch, &Epoch{Term: 3}) }(),
		"stale settings":    try(w, (*Txn).SetSchedulerConfig, &SchedulerConfig{Config: &structs.SchedulerConfiguration{}, CheckIndex: true, ModifyIndex: 99}),
	} {
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	key := w.s.Snapshot().AllocID(0)
	must(w, (*Txn).Epoch, &Epoch{Term: 5, AllocKey: []byte("another key 1234"), ClusterID: "c"})
	if w.s.Snapshot().AllocID(0) != key || w.s.Snapshot().ClusterID() != "c" {
		t.Error("a later epoch changed the key of ids, or did not name the cluster")
	}
}
