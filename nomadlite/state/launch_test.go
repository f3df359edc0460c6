package state

import (
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestLaunchChildren: a time is launched once, whatever is committed again and
// whoever was collected; what is left out is remembered; what is gone is passed
// over and keeps nothing else from starting.
func TestLaunchChildren(t *testing.T) {
	w := newWorld(t)
	cron := func(id string) *structs.Job {
		return &structs.Job{Namespace: "default", ID: id, Name: id, Type: structs.JobTypeBatch, Periodic: &structs.PeriodicConfig{Spec: "* * * * *"}}
	}
	for _, id := range []string{"one", "two", "stopped"} {
		if _, err := do(w, (*Txn).RegisterJob, &JobRegister{Job: cron(id)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "stopped"}); err != nil {
		t.Fatal(err)
	}
	minute := time.Unix(60, 0)
	due := func(parent, child string, at time.Time) *ChildLaunch {
		l := &ChildLaunch{Namespace: "default", JobID: parent, At: at}
		if child != "" {
			l.Child = &structs.Job{Namespace: "default", ID: child, Name: child, ParentID: parent, Type: structs.JobTypeBatch}
			l.Eval = &structs.Evaluation{ID: "eval of " + child, Namespace: "default", JobID: child, Status: structs.EvalStatusPending}
		}
		return l
	}
	launch := func(l ...*ChildLaunch) { must(w, (*Txn).LaunchChildren, &ChildrenLaunch{Launches: l, Now: 7}) }
	have := func(id string) bool { return w.s.Snapshot().Job("default", id) != nil }

	launch(due("gone", "gone/a", minute), due("stopped", "stopped/a", minute), due("one", "one/a", minute), due("two", "", minute))
	if have("gone/a") || have("stopped/a") || !have("one/a") || w.s.Snapshot().Eval("eval of one/a") == nil {
		t.Error("not what was due was launched")
	}
	if job := w.s.Snapshot().Job("default", "one/a"); job.SubmitTime != 7 || job.Status != structs.JobStatusPending {
		t.Errorf("the child: %+v", job)
	}
	for _, id := range []string{"one", "two"} {
		if at, ok := w.s.Snapshot().PeriodicLaunch("default", id); !ok || !at.Equal(minute) {
			t.Errorf("the last launch of %s is %v %v", id, at, ok)
		}
	}
	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "one/a", Purge: true}); err != nil {
		t.Fatal(err)
	}
	launch(due("one", "one/a", minute), due("two", "two/a", minute))
	if have("one/a") || have("two/a") {
		t.Error("a time was launched twice")
	}
	launch(due("two", "two/b", minute.Add(time.Minute)))
	if !have("two/b") {
		t.Error("the next time was not launched")
	}
}
