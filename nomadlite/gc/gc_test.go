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

// TestBatchResultsStay: what a batch job has completed stays as long as the job
// is not over, however old it is, because the scheduler would run it again
// without it. It may go once the job is stopped.
func TestBatchResultsStay(t *testing.T) {
	const node = "00000000-0000-0000-0000-000000000001"
	for _, tt := range []struct {
		kind string
		stop bool
		want string // evaluations that may go; the first placed nothing
	}{{structs.JobTypeBatch, false, "[eval-work]"}, {structs.JobTypeSysBatch, false, "[eval-work]"}, {structs.JobTypeBatch, true, "[eval-work eval-first]"}} {
		w := newWorld(t)
		w.write(func(txn *state.Txn) error {
			return txn.RegisterNode(&state.NodeRegister{Now: w.now.UnixNano(), Node: &structs.Node{ID: node, SecretID: "s", Status: structs.NodeStatusReady, NodePool: "default"}})
		})
		w.job("work", tt.kind, func(j *structs.Job) { j.TaskGroups[0].Count = structs.Ptr(2) })
		w.place(node, "eval-first", 0, structs.AllocClientStatusComplete)
		w.place(node, "eval-rest", 1, structs.AllocClientStatusRunning) // so that the job is not over
		if tt.stop {
			job := *w.store.Snapshot().Job("default", "work")
			job.Stop = true
			w.write(func(txn *state.Txn) error {
				_, err := txn.RegisterJob(&state.JobRegister{Job: &job, Now: w.now.UnixNano()})
				return err
			})
		}
		keep := Thresholds{Eval: time.Hour, BatchEval: time.Hour, Job: time.Hour, Deployment: time.Hour, Node: time.Hour}
		c := Find(w.store.Snapshot(), keep, w.now.Add(100*time.Hour))
		if got := fmt.Sprint(c.Evals); got != tt.want || len(c.Allocs) != len(c.Evals)-1 || len(c.Jobs) > 0 {
			t.Errorf("%s, stopped %v: evaluations %s and %d allocations may go, want %s", tt.kind, tt.stop, got, len(c.Allocs), tt.want)
		}
	}
}

// place puts an allocation of job "work" on a node, where it gets a status.
func (w *world) place(node, eval string, index uint32, status string) {
	w.t.Helper()
	job := w.store.Snapshot().Job("default", "work")
	e := structs.Evaluation{ID: eval, Namespace: "default", JobID: "work", Type: job.Type, Status: structs.EvalStatusPending}
	w.write(func(txn *state.Txn) error {
		return txn.UpsertEvals(&state.EvalUpsert{Evals: []*structs.Evaluation{&e}})
	})
	done := e
	done.Status, done.ModifyTime = structs.EvalStatusComplete, w.now.UnixNano()
	w.write(func(txn *state.Txn) error {
		r, err := txn.ApplyPlan(&structs.Plan{EvalID: eval, Namespace: "default", JobID: "work", Now: w.now.UnixNano(),
			JobVersion: job.Version, JobModifyIndex: job.JobModifyIndex, Eval: &done,
			Groups: []*structs.PlanGroup{{Group: "g", Resources: &structs.AllocatedResources{}, Metrics: &structs.AllocMetric{},
				Placements: []structs.Placement{{NameIndex: index}}}}})
		if err == nil && len(r.Refused) > 0 {
			w.t.Fatalf("refused: %+v", r.Refused)
		}
		return err
	})
	for a := range w.store.Snapshot().AllocsByEval(eval) {
		w.write(func(txn *state.Txn) error {
			return txn.UpdateAllocs(&state.AllocUpdate{NodeID: node, Now: w.now.UnixNano(), Updates: []*structs.AllocUpdate{{AllocID: a.ID, ClientStatus: status, Revision: 1}}})
		})
	}
}
