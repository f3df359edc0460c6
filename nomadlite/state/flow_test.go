package state

import (
	"slices"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestJobLife follows a job from registration to collection.
func TestJobLife(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.node(1)
	job := testJob("web", 2)
	e := testEval("e1", job)
	r := w.register(job, e)
	snap := w.s.Snapshot()
	if j := snap.Job("default", "web"); j.Status != structs.JobStatusPending || j.Version != 0 || j.JobModifyIndex != r.JobModifyIndex {
		t.Fatalf("registered job: %+v", j)
	}
	if got := snap.Eval("e1"); got.JobModifyIndex != r.JobModifyIndex || got.CreateIndex != w.index {
		t.Fatalf("evaluation: %+v", got)
	}

	p := w.plan("web", "e1", structs.Placement{Node: 0, NameIndex: 0}, structs.Placement{Node: 1, NameIndex: 1})
	done := *snap.Eval("e1")
	done.Status = structs.EvalStatusComplete
	done.QueuedAllocations = map[string]int{"web": 0}
	p.Eval = &done
	result := w.apply(p)
	if len(result.Refused) > 0 {
		t.Fatal(result.Refused)
	}
	snap = w.s.Snapshot()
	a := snap.Alloc(w.placed(result)[1])
	if a == nil || a.Name != "web.web[1]" || a.NodeID != nodeID(1) || a.NodeName != "node-1" || a.Job.ID != "web" || a.EvalID != "e1" || a.CreateIndex != w.index {
		t.Fatalf("placed allocation: %+v", a)
	}
	if j := snap.Job("default", "web"); j.Status != structs.JobStatusRunning || j.ModifyIndex != w.index || j.JobModifyIndex != r.JobModifyIndex {
		t.Fatalf("running job: %+v", j)
	}
	if s := snap.JobSummary("default", "web").Summary["web"]; s.Starting != 2 {
		t.Fatalf("summary: %+v", s)
	}
	if u := snap.NodeUsage(1); u.CPU != 100 || u.MemoryMB != 64 || u.DiskMB != 10 || u.Allocs != 1 {
		t.Fatalf("usage: %+v", u)
	}

	at := time.Unix(1_700_000_100, 5).UTC()
	w.report(1, &structs.AllocUpdate{AllocID: a.ID, Revision: 1, ClientStatus: structs.AllocClientStatusRunning,
		TaskStates: map[string]*structs.TaskState{"main": {State: structs.TaskStateRunning, StartedAt: &at,
			Events: []*structs.TaskEvent{{Type: structs.TaskStarted, Time: at.UnixNano(), Details: map[string]string{}}}}}})
	b := w.s.Snapshot().Alloc(a.ID)
	if b.ClientStatus != structs.AllocClientStatusRunning || !b.TaskStates["main"].StartedAt.Equal(at) || b.AllocModifyIndex != a.AllocModifyIndex || b.ModifyIndex != w.index {
		t.Fatalf("running allocation: %+v", b)
	}
	if a.ClientStatus != structs.AllocClientStatusPending {
		t.Fatal("an earlier value changed")
	}

	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "web", Eval: testEval("e2", job), Now: w.now}); err != nil {
		t.Fatal(err)
	}
	if j := w.s.Snapshot().Job("default", "web"); !j.Stop || j.Version != 1 || j.Status != structs.JobStatusRunning {
		t.Fatalf("stopped job: %+v", j)
	}
	p = w.plan("web", "e2")
	for _, id := range w.placed(result) {
		p.Stops = append(p.Stops, structs.AllocStop{AllocID: id, DesiredStatus: structs.AllocDesiredStatusStop})
	}
	done = *w.s.Snapshot().Eval("e2")
	done.Status = structs.EvalStatusComplete
	p.Eval = &done
	if r := w.apply(p); len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	if j := w.s.Snapshot().Job("default", "web"); j.Status != structs.JobStatusDead {
		t.Fatalf("status %s, want dead", j.Status)
	}
	for i, id := range w.placed(result) {
		w.report(i, &structs.AllocUpdate{AllocID: id, Revision: 9, ClientStatus: structs.AllocClientStatusComplete})
	}
	must(w, (*Txn).Collect, &Collect{Allocs: w.placed(result), Evals: []string{"e1", "e2"}, Jobs: []JobKey{{"default", "web"}}})
	snap = w.s.Snapshot()
	if snap.Job("default", "web") != nil || snap.AllocCount() != 0 || snap.Eval("e1") != nil || snap.DeletedIndex(TableAllocs) != w.index {
		t.Fatal("something is left")
	}
	if got := len(slices.Collect(snap.AllocsByNode(nodeID(0)))); got != 0 {
		t.Fatalf("node lists %d collected allocations", got)
	}
}
