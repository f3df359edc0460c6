package deploy

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// TestLostCanaryIsNoticed: a canary that is lost changes no deployment. While
// canaries wait for their promotion the watcher looks again all the same, and
// the deployment fails when the canary was not replaced within its deadline.
func TestLostCanaryIsNoticed(t *testing.T) {
	const node = "00000000-0000-0000-0000-000000000001"
	store, index, now := state.New(state.Options{AllocKey: [16]byte{1}}), uint64(0), time.Unix(1000, 0)
	write := func(verb func(*state.Txn) error) {
		t.Helper()
		index++
		txn := store.Begin(index)
		if err := verb(txn); err != nil {
			t.Fatal(err)
		}
		txn.Commit()
	}
	write(func(t *state.Txn) error {
		return t.RegisterNode(&state.NodeRegister{Now: now.UnixNano(), Node: &structs.Node{ID: node, SecretID: "s", Status: structs.NodeStatusReady, NodePool: "default"}})
	})
	write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Now: now.UnixNano(), Job: &structs.Job{Namespace: "default", ID: "web", Name: "web", Type: structs.JobTypeService,
			Priority: 50, NodePool: "default", TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(2)}}}})
		return err
	})
	job := store.Snapshot().Job("default", "web")
	plan := &structs.Plan{EvalID: "e", Namespace: "default", JobID: "web", JobModifyIndex: job.JobModifyIndex, Now: now.UnixNano(),
		Deployment: &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", JobCreateIndex: job.CreateIndex, Status: structs.DeploymentStatusRunning,
			TaskGroups: map[string]*structs.DeploymentState{"g": {DesiredTotal: 2, DesiredCanaries: 1, ProgressDeadline: time.Minute}}},
		Groups: []*structs.PlanGroup{{Group: "g", DeploymentID: "d", Placements: []structs.Placement{{Canary: true}}}}}
	var canary string
	write(func(t *state.Txn) error {
		out, err := t.ApplyPlan(plan)
		if err == nil {
			canary = t.Snapshot().AllocID(out.Placed[0][0] - 1)
		}
		return err
	})
	tell := func(u structs.AllocUpdate) {
		t.Helper()
		u.AllocID, u.Revision, u.DeploymentID = canary, index, "d"
		write(func(t *state.Txn) error {
			return t.UpdateAllocs(&state.AllocUpdate{NodeID: node, Updates: []*structs.AllocUpdate{&u}, Now: now.UnixNano()})
		})
	}
	ended := ""
	w := New(Deps{Store: store, Logger: hclog.NewNullLogger(), NewID: func() string { return "e" }, Settle: func(_ context.Context, c *state.DeploymentStatus) error {
		ended = c.Update.StatusDescription
		return nil
	}})
	look := func(what string, later, want time.Duration) {
		t.Helper()
		now = now.Add(later)
		if got := w.Look(t.Context(), now); got != want {
			t.Errorf("%s: looks again in %v, want %v", what, got, want)
		}
	}
	tell(structs.AllocUpdate{ClientStatus: structs.AllocClientStatusRunning, DeploymentHealthy: structs.Ptr(true), DeploymentTime: now.UnixNano()})
	look("an operator decides", 0, allocPause)
	look("he takes his time", time.Hour, allocPause)
	tell(structs.AllocUpdate{ClientStatus: structs.AllocClientStatusFailed})
	look("a canary is lost", allocPause, allocPause)
	look("its replacement is late", time.Minute-time.Second, time.Second)
	if ended != "" {
		t.Fatalf("the deployment ended too early: %s", ended)
	}
	look("too late", time.Second, allocPause)
	if ended != descDeadline {
		t.Errorf("the deployment ended with %q, want %q", ended, descDeadline)
	}
}
