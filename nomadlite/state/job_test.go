package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

func versions(w *world, id string) []uint64 {
	var list []uint64
	for _, v := range w.s.Snapshot().JobVersions("default", id) {
		list = append(list, v.Version)
	}
	return list
}

func TestJobVersions(t *testing.T) {
	w := newWorld(t)
	first := w.register(testJob("web", 1), testEval("e1", testJob("web", 1)))
	same := w.register(testJob("web", 1), testEval("e2", testJob("web", 1)))
	if same.NewVersion || same.Version != 0 || same.JobModifyIndex != first.JobModifyIndex {
		t.Fatalf("unchanged specification: %+v", same)
	}
	if w.s.Snapshot().Eval("e2") == nil {
		t.Fatal("an unchanged specification made no evaluation")
	}
	must(w, (*Txn).TagJob, &JobTag{Namespace: "default", JobID: "web", Version: 0, Tag: &structs.JobVersionTag{Name: "golden"}})
	for count := 2; count <= 9; count++ {
		if r := w.register(testJob("web", count), nil); !r.NewVersion || r.JobModifyIndex != w.index {
			t.Fatalf("changed specification: %+v", r)
		}
	}
	if got, want := versions(w, "web"), []uint64{8, 7, 6, 5, 4, 3, 0}; !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v: the newest six and the tagged one", got, want)
	}
	if _, err := do(w, (*Txn).SetJobStability, &JobStability{Namespace: "default", JobID: "web", Version: 8, Stable: true}); err != nil {
		t.Fatal(err)
	}
	snap := w.s.Snapshot()
	if !snap.Job("default", "web").Stable || !snap.JobVersions("default", "web")[0].Stable {
		t.Error("version 8 is not stable")
	}
	if r := w.register(testJob("web", 20), nil); r.Version != 9 || w.s.Snapshot().Job("default", "web").Stable {
		t.Error("a new version is stable")
	}
	if err := try(w, (*Txn).TagJob, wrapTag("web", 5, "golden")); structs.KindOf(err) != structs.Conflict {
		t.Errorf("second tag of that name: %v", err)
	}
}

func wrapTag(id string, version uint64, name string) *JobTag {
	return &JobTag{Namespace: "default", JobID: id, Version: version, Tag: &structs.JobVersionTag{Name: name}}
}

// TestVersionInUse: a version lives while an allocation runs it.
func TestVersionInUse(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.register(testJob("web", 1), nil)
	w.apply(w.plan("web", "e", at(0, 0)))
	for count := 2; count <= 12; count++ {
		w.register(testJob("web", count), nil)
	}
	if v := w.s.Snapshot().JobVersion("default", "web", 0); v == nil || *v.TaskGroups[0].Count != 1 {
		t.Errorf("version 0: %+v", v)
	}
	if v := w.s.Snapshot().JobVersion("default", "web", 2); v != nil {
		t.Errorf("version 2 is still there")
	}
}

func TestEnforceIndex(t *testing.T) {
	w := newWorld(t)
	enforce := func(id string, index uint64) string {
		_, err := do(w, (*Txn).RegisterJob, &JobRegister{Job: testJob(id, 7), EnforceIndex: true, JobModifyIndex: index})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	r := w.register(testJob("web", 1), nil)
	for _, c := range []struct {
		id    string
		index uint64
		want  string
	}{
		{"web", 0, "Enforcing job modify index 0: job already exists"},
		{"new", 5, "Enforcing job modify index 5: job does not exist"},
		{"web", r.JobModifyIndex + 1, fmt.Sprintf("Enforcing job modify index %d: job exists with conflicting job modify index: %d", r.JobModifyIndex+1, r.JobModifyIndex)},
		{"web", r.JobModifyIndex, ""},
		{"new", 0, ""},
	} {
		if got := enforce(c.id, c.index); got != c.want {
			t.Errorf("%s at %d: %q, want %q", c.id, c.index, got, c.want)
		}
	}
}

// TestRepeatedCommand: the same command applied twice has the first result.
func TestRepeatedCommand(t *testing.T) {
	w := newWorld(t)
	first := w.register(testJob("web", 1), testEval("e1", testJob("web", 1)))
	w.register(testJob("web", 2), nil)
	again := w.register(testJob("web", 1), testEval("e1", testJob("web", 1)))
	if again.Index != first.Index || again.JobModifyIndex != first.JobModifyIndex || w.s.Snapshot().Job("default", "web").Version != 1 {
		t.Errorf("first %+v, again %+v", first, again)
	}
}

func TestStopAndRunAgain(t *testing.T) {
	w := newWorld(t)
	w.register(testJob("web", 1), nil)
	for range 2 {
		if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "web"}); err != nil {
			t.Fatal(err)
		}
	}
	if j := w.s.Snapshot().Job("default", "web"); j.Version != 1 || !j.Stop {
		t.Errorf("stopped twice: version %d, stop %v", j.Version, j.Stop)
	}
	w.register(testJob("web", 1), nil)
	if j := w.s.Snapshot().Job("default", "web"); j.Version != 2 || j.Stop {
		t.Errorf("run again: version %d, stop %v", j.Version, j.Stop)
	}
}

func TestPurgeAndRegister(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.register(testJob("web", 1), nil)
	r := w.apply(w.plan("web", "e", at(0, 0)))
	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "web", Purge: true}); err != nil {
		t.Fatal(err)
	}
	snap := w.s.Snapshot()
	if snap.Job("default", "web") != nil || len(snap.JobVersions("default", "web")) != 0 || snap.JobSummary("default", "web") != nil {
		t.Fatal("something of the job is left")
	}
	if a := snap.Alloc(w.placed(r)[0]); a == nil || a.Job == nil {
		t.Fatal("the allocation lost its job")
	}
	w.register(testJob("web", 4), nil)
	w.report(0, &structs.AllocUpdate{AllocID: w.placed(r)[0], Revision: 1, ClientStatus: structs.AllocClientStatusRunning})
	snap = w.s.Snapshot()
	if j := snap.Job("default", "web"); j.Version != 0 {
		t.Errorf("version %d, want 0", j.Version)
	}
	if s := snap.JobSummary("default", "web").Summary["web"]; s != (structs.TaskGroupSummary{}) {
		t.Errorf("the summary counts the earlier job's allocation: %+v", s)
	}
	if n := len(slices.Collect(snap.AllocsByJob("default", "web", false))); n != 0 {
		t.Errorf("%d allocations of the new job, want 0", n)
	}
	if n := len(slices.Collect(snap.AllocsByJob("default", "web", true))); n != 1 {
		t.Errorf("%d allocations in all, want 1", n)
	}
}

func TestScale(t *testing.T) {
	w := newWorld(t)
	w.register(testJob("web", 1), nil)
	r, err := do(w, (*Txn).ScaleJob, &JobScale{Namespace: "default", JobID: "web", Group: "web", Count: 5, Eval: testEval("e", testJob("web", 1))})
	if err != nil || r.Version != 1 || r.EvalID != "e" {
		t.Fatalf("%+v, %v", r, err)
	}
	snap := w.s.Snapshot()
	if got := *snap.Job("default", "web").TaskGroups[0].Count; got != 5 {
		t.Errorf("count %d, want 5", got)
	}
	if got := *snap.JobVersion("default", "web", 0).TaskGroups[0].Count; got != 1 {
		t.Errorf("count of version 0 is %d, want 1", got)
	}
	if _, err := do(w, (*Txn).ScaleJob, &JobScale{Namespace: "default", JobID: "web", Group: "nope"}); structs.KindOf(err) != structs.NotFound {
		t.Errorf("unknown group: %v", err)
	}
}

func TestChildrenSummary(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	parent := testJob("cron", 1)
	parent.Periodic = &structs.PeriodicConfig{}
	w.register(parent, nil)
	children := func() structs.JobChildrenSummary { return *w.s.Snapshot().JobSummary("default", "cron").Children }
	child := testJob("cron/periodic-1", 1)
	child.ParentID, child.Type = "cron", structs.JobTypeBatch
	w.register(child, testEval("e1", child))
	if got := children(); got != (structs.JobChildrenSummary{Pending: 1}) {
		t.Fatalf("registered: %+v", got)
	}
	p := w.plan(child.ID, "e1", at(0, 0))
	p.Eval = testEval("e1", child)
	p.Eval.Status = structs.EvalStatusComplete
	r := w.apply(p)
	if got := children(); got != (structs.JobChildrenSummary{Running: 1}) {
		t.Fatalf("placed: %+v", got)
	}
	w.report(0, &structs.AllocUpdate{AllocID: w.placed(r)[0], Revision: 1, ClientStatus: structs.AllocClientStatusComplete})
	if got := children(); got != (structs.JobChildrenSummary{Dead: 1}) {
		t.Fatalf("finished: %+v", got)
	}
	if j := w.s.Snapshot().Job("default", "cron"); j.Status != structs.JobStatusRunning {
		t.Errorf("the parent is %s, want running", j.Status)
	}
	if n := len(slices.Collect(w.s.Snapshot().JobChildren("default", "cron"))); n != 1 {
		t.Errorf("%d children, want 1", n)
	}
	must(w, (*Txn).Collect, &Collect{Jobs: []JobKey{{"default", child.ID}}})
	if got := children(); got != (structs.JobChildrenSummary{}) {
		t.Fatalf("collected: %+v", got)
	}
}

func TestEvaluations(t *testing.T) {
	w := newWorld(t)
	job := testJob("web", 3)
	w.register(job, testEval("e1", job))
	blocked := testEval("b1", job)
	blocked.Status = structs.EvalStatusBlocked
	done := testEval("e1", job)
	done.Status, done.BlockedEval, done.QueuedAllocations = structs.EvalStatusComplete, "b1", map[string]int{"web": 2}
	must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{done, blocked}})
	snap := w.s.Snapshot()
	if s := snap.JobSummary("default", "web").Summary["web"]; s.Queued != 2 {
		t.Errorf("queued %d, want 2", s.Queued)
	}
	if j := snap.Job("default", "web"); j.Status != structs.JobStatusPending {
		t.Errorf("status %s with a blocked evaluation, want pending", j.Status)
	}
	if e := snap.Eval("b1"); e.Status != structs.EvalStatusBlocked {
		t.Errorf("the evaluation that blocked canceled its own: %s", e.Status)
	}
	success := testEval("e2", job)
	success.Status = structs.EvalStatusComplete
	must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{success}})
	snap = w.s.Snapshot()
	if e := snap.Eval("b1"); e.Status != structs.EvalStatusCanceled || !strings.Contains(e.StatusDescription, "e2") {
		t.Errorf("blocked evaluation after a success: %s %q", e.Status, e.StatusDescription)
	}
	var order []string
	for e := range snap.EvalsByJob("default", "web") {
		order = append(order, e.ID)
	}
	if !slices.Equal(order, []string{"e1", "b1", "e2"}) {
		t.Errorf("order %v", order)
	}
	if n := len(slices.Collect(snap.OpenEvals())); n != 0 {
		t.Errorf("%d open evaluations, want 0", n)
	}
}

func TestSameSpec(t *testing.T) {
	base := testJob("web", 1)
	for name, c := range map[string]struct {
		change func(*structs.Job)
		same   bool
	}{
		"nothing":      {func(j *structs.Job) {}, true},
		"status":       {func(j *structs.Job) { j.Status, j.Version, j.SubmitTime = "dead", 9, 9 }, true},
		"empty is nil": {func(j *structs.Job) { j.Meta, j.Datacenters = map[string]string{}, []string{} }, true},
		"count":        {func(j *structs.Job) { j.TaskGroups[0].Count = structs.Ptr(2) }, false},
		"stop":         {func(j *structs.Job) { j.Stop = true }, false},
		"config":       {func(j *structs.Job) { j.TaskGroups[0].Tasks[0].Config["args"] = []any{"1", "2"} }, false},
		"config type":  {func(j *structs.Job) { j.TaskGroups[0].Tasks[0].Config["command"] = 5 }, false},
		"nil group":    {func(j *structs.Job) { j.TaskGroups[0] = nil }, false},
	} {
		j := testJob("web", 1)
		c.change(j)
		if got := SameSpec(base, j); got != c.same {
			t.Errorf("%s: same is %v, want %v", name, got, c.same)
		}
	}
}

// TestChildOfAStoppedJob_I12: a launch that was decided before its job was stopped
// or purged has no effect.
func TestChildOfAStoppedJob_I12(t *testing.T) {
	w := newWorld(t)
	child := testJob("cron/periodic-1", 1)
	child.ParentID = "cron"
	launch := func() error {
		_, err := do(w, (*Txn).RegisterJob, &JobRegister{Job: child, Now: w.now, EnforceIndex: true, Launched: true})
		return err
	}
	if err := launch(); structs.KindOf(err) != structs.Conflict || w.s.Snapshot().Job("default", child.ID) != nil {
		t.Errorf("without a parent: %v", err)
	}
	w.register(testJob("cron", 1), nil)
	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "cron", Now: w.now}); err != nil {
		t.Fatal(err)
	}
	if err := launch(); structs.KindOf(err) != structs.Conflict || w.s.Snapshot().Job("default", child.ID) != nil {
		t.Errorf("of a stopped parent: %v", err)
	}
	w.register(testJob("cron", 2), nil)
	if err := launch(); err != nil {
		t.Errorf("of one that runs again: %v", err)
	}
}
