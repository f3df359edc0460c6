package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestNewerSnapshot_B88: a snapshot that needs a newer build is refused by its
// header alone, before anything of the state changes.
func TestNewerSnapshot_B88(t *testing.T) {
	w := rich(t)
	b, want := saved(t, w.s), w.s.Snapshot()
	for name, c := range map[string]struct {
		at   int
		n    uint16
		says string
	}{"needs a newer reader": {10, formatNewest + 1, "use a newer build"}, "of an earlier format": {8, formatOldest - 1, "use an older build"}} {
		other := bytes.Clone(b[:12]) // nothing but the header
		binary.LittleEndian.PutUint16(other[c.at:], c.n)
		if err := w.s.Restore(bytes.NewReader(other)); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.s.Snapshot().Index() != want.Index() || w.s.Snapshot().Hash() != want.Hash() {
		t.Error("the state changed")
	}
}

// TestChurnLeavesNothing_B86: what is placed, ends and is collected again and
// again leaves a state that is no larger than after the first rounds.
func TestChurnLeavesNothing_B86(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	round := func(i int) {
		id, eval := fmt.Sprint("job-", i%3), fmt.Sprint("eval-", i)
		job := testJob(id, 40)
		w.register(job, testEval(eval, job))
		list := make([]structs.Placement, 40)
		for k := range list {
			list[k] = at(0, uint32(k))
		}
		p := w.plan(id, eval, list...)
		p.Groups[0].Resources = ask(1, 1)
		done := *w.s.Snapshot().Eval(eval)
		done.Status = structs.EvalStatusComplete
		p.Eval = &done
		ids := w.placed(w.apply(p))
		var ends []*structs.AllocUpdate
		for _, one := range ids {
			ends = append(ends, &structs.AllocUpdate{AllocID: one, Revision: 1, ClientStatus: structs.AllocClientStatusComplete})
		}
		w.report(0, ends...)
		if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: id}); err != nil {
			t.Fatal(err)
		}
		must(w, (*Txn).Collect, &Collect{Allocs: ids, Evals: []string{eval}, Jobs: []JobKey{{"default", id}}})
	}
	for i := range 6 {
		round(i)
	}
	early := len(saved(t, w.s))
	for i := range 200 {
		round(i + 6)
	}
	if now := len(saved(t, w.s)); now > early+early/4 {
		t.Errorf("the state takes %d bytes after 206 rounds, %d after 6", now, early)
	}
	if n := w.s.Snapshot().AllocCount(); n != 0 {
		t.Errorf("%d allocations are left", n)
	}
}

// TestDeploymentThatWasNeverStored_B28: when the part of a plan that brings the
// deployment is refused, the other parts are: nothing points to what does not
// exist.
func TestDeploymentThatWasNeverStored_B28(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	job := testJob("web", 2)
	w.register(job, testEval("e", job))
	first, rest := w.plan("web", "e", at(0, 0)), w.plan("web", "e", at(0, 1))
	first.Deployment = &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusRunning}
	first.Groups[0].DeploymentID, rest.Groups[0].DeploymentID = "d", "d"
	first.Epoch++ // of another leader
	done := *w.s.Snapshot().Eval("e")
	done.Status, done.DeploymentID = structs.EvalStatusComplete, "d"
	rest.Eval = &done
	for _, p := range []*structs.Plan{first, rest} {
		if r := w.apply(p); len(r.Refused) != 1 || r.Refused[0].Group != -1 {
			t.Fatalf("the plan was not refused as a whole: %+v", r)
		}
	}
	snap := w.s.Snapshot()
	if snap.AllocCount() != 0 || snap.Deployment("d") != nil || snap.Eval("e").Status != structs.EvalStatusPending {
		t.Errorf("%d allocations, deployment %v, evaluation %s", snap.AllocCount(), snap.Deployment("d"), snap.Eval("e").Status)
	}
}
