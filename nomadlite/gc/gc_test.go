package gc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// world writes entries into a store.
type world struct {
	t     *testing.T
	store *state.Store
	index uint64
	now   time.Time
}

func newWorld(t *testing.T) *world {
	return &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}}), now: time.Unix(1_700_000_000, 0)}
}

func (w *world) write(verb func(*state.Txn) error) {
	w.t.Helper()
	w.index++
	txn := w.store.Begin(w.index)
	if err := verb(txn); err != nil {
		w.t.Fatal(err)
	}
	txn.Commit()
}

// job registers a job with an evaluation that has ended.
func (w *world) job(id, kind string, change func(*structs.Job)) {
	w.t.Helper()
	job := &structs.Job{Namespace: "default", ID: id, Name: id, Type: kind, Priority: 50, NodePool: "default", TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(1)}}}
	if change != nil {
		change(job)
	}
	w.write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: job, Now: w.now.UnixNano(), Eval: &structs.Evaluation{
			ID: "eval-" + id, Namespace: "default", JobID: id, Type: kind, Status: structs.EvalStatusComplete, ModifyTime: w.now.UnixNano()}})
		return err
	})
}

func (w *world) find(keep Thresholds, later time.Duration) string {
	c := Find(w.store.Snapshot(), keep, w.now.Add(later))
	return fmt.Sprint("jobs ", c.Jobs, " evals ", c.Evals, " nodes ", c.Nodes, " deployments ", c.Deployments)
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	w.job("dead", structs.JobTypeService, nil)
	w.job("cron", structs.JobTypeBatch, func(j *structs.Job) { j.Periodic = &structs.PeriodicConfig{Spec: "0 0 * * *"} })
	w.job("zero", structs.JobTypeService, func(j *structs.Job) { j.TaskGroups[0].Count = structs.Ptr(0) })
	w.job("tagged", structs.JobTypeService, nil)
	w.write(func(t *state.Txn) error {
		return t.TagJob(&state.JobTag{Namespace: "default", JobID: "tagged", Tag: &structs.JobVersionTag{Name: "keep"}})
	})
	for i, status := range []string{structs.NodeStatusDown, structs.NodeStatusReady} {
		w.write(func(t *state.Txn) error {
			return t.RegisterNode(&state.NodeRegister{Now: w.now.UnixNano(), Node: &structs.Node{ID: fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i), SecretID: "s", Status: status, NodePool: "default"}})
		})
	}
	keep := Thresholds{Eval: time.Hour, BatchEval: 24 * time.Hour, Job: 4 * time.Hour, Deployment: time.Hour, Node: 24 * time.Hour}
	const none = "jobs [] evals [] nodes [] deployments []"
	for _, tt := range []struct {
		later time.Duration
		want  string
	}{
		{time.Minute, none},
		{2 * time.Hour, "jobs [] evals [eval-dead eval-zero eval-tagged] nodes [] deployments []"},
		{5 * time.Hour, "jobs [{default dead}] evals [eval-dead eval-zero eval-tagged] nodes [] deployments []"},
		{25 * time.Hour, "jobs [{default dead}] evals [eval-dead eval-cron eval-zero eval-tagged] nodes [00000000-0000-0000-0000-000000000000] deployments []"},
	} {
		if got := w.find(keep, tt.later); got != tt.want {
			t.Errorf("after %v: %s, want %s", tt.later, got, tt.want)
		}
	}
}

func TestForceCollectsAndSplits(t *testing.T) {
	w := newWorld(t)
	w.job("dead", structs.JobTypeService, nil)
	var commands []*state.Collect
	c := New(Config{Store: w.store, Logger: hclog.NewNullLogger(), Collect: func(_ context.Context, c *state.Collect) error {
		commands = append(commands, c)
		w.write(func(t *state.Txn) error { return t.Collect(c) })
		return nil
	}})
	if err := c.Force(t.Context()); err != nil || len(commands) != 2 || w.store.Snapshot().Job("default", "dead") != nil {
		t.Errorf("%d commands, %v", len(commands), err)
	}
	if err := c.Force(t.Context()); err != nil || len(commands) != 2 {
		t.Errorf("collecting nothing takes %d commands, %v", len(commands)-2, err)
	}
	big := &state.Collect{Allocs: make([]string, 2*maxBatch+1), Nodes: make([]string, 1)}
	if parts := split(big); len(parts) != 4 || len(parts[0].Allocs) != maxBatch || len(parts[2].Allocs) != 1 || len(parts[3].Nodes) != 1 {
		t.Errorf("%d parts", len(parts))
	}
}
