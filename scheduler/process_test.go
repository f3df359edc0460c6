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

// TestClassIsCheckedOnce: two nodes claim one computed class though only the
// one that was seen last has what a constraint asks for. Its answer counts for
// the class, so the other node is never asked; what is unique to a node is.
func TestClassIsCheckedOnce(t *testing.T) {
	for attribute, want := range map[string]int{"${meta.rack}": 2, "${attr.unique.hostname}": 1} {
		w := newWorld()
		for _, name := range []string{"n1", "n2"} {
			n := testNode(name)
			n.Meta["rack"], n.ComputedClass = name, "v1:same"
			w.addNode(n)
		}
		j := testJob("j", structs.JobTypeBatch, 2)
		j.Constraints = []*structs.Constraint{{Operand: structs.ConstraintDistinctHosts}, {LTarget: attribute, Operand: "=", RTarget: "n2"}}
		w.jobs["j"] = j
		r, err := w.process(w.eval("j", structs.EvalTriggerJobRegister))
		if err != nil {
			t.Fatal(err)
		}
		if r.Placed != want {
			t.Errorf("%s: %d placed, want %d", attribute, r.Placed, want)
		}
	}
}
