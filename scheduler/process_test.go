package scheduler

import (
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

func TestSmoke(t *testing.T) {
	w := newWorld()
	for _, n := range []string{"n1", "n2", "n3"} {
		w.addNode(testNode(n))
	}
	w.jobs["web"] = testJob("web", structs.JobTypeService, 3)
	r, err := w.process(w.eval("web", structs.EvalTriggerJobRegister))
	if err != nil {
		t.Fatal(err)
	}
	if r.Placed != 3 || r.Plan.Deployment == nil {
		t.Fatalf("placed %d, deployment %v", r.Placed, r.Plan.Deployment)
	}
	w.apply(r.Plan)
	r, err = w.process(w.eval("web", structs.EvalTriggerJobRegister))
	if err != nil || !r.NoOp() {
		t.Fatalf("err %v, plan %+v", err, r)
	}
}
