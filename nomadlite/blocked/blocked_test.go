package blocked

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

type world struct {
	t     *testing.T
	store *state.Store
	index uint64
}

func newWorld(t *testing.T) *world {
	return &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
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

func (w *world) node(i int, class string, memory int64) {
	w.t.Helper()
	w.write(func(t *state.Txn) error {
		return t.RegisterNode(&state.NodeRegister{Node: &structs.Node{ID: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), SecretID: "s", NodePool: "default",
			Status: structs.NodeStatusReady, ComputedClass: class, SchedulingEligibility: structs.NodeEligible,
			NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000}, Memory: structs.NodeMemoryResources{MemoryMB: memory}}}})
	})
}

// job registers a job whose only group needs memory.
func (w *world) job(id string, memory int) {
	w.t.Helper()
	w.write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: &structs.Job{Namespace: "default", ID: id, Type: structs.JobTypeService, NodePool: "default",
			TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(1), Tasks: []*structs.Task{{Name: "t", Resources: &structs.Resources{CPU: structs.Ptr(100), MemoryMB: &memory}}}}}}})
		return err
	})
}

// wait adds a blocked evaluation that has seen everything up to now.
func (w *world) wait(id, job string, change func(*structs.Evaluation)) {
	w.t.Helper()
	e := &structs.Evaluation{ID: id, Namespace: "default", JobID: job, Type: structs.JobTypeService, Priority: 50, Status: structs.EvalStatusBlocked,
		TriggeredBy: structs.EvalTriggerQueuedAllocs, SnapshotIndex: w.index, FailedTGAllocs: map[string]*structs.AllocMetric{"g": {}}}
	if change != nil {
		change(e)
	}
	w.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: []*structs.Evaluation{e}}) })
}

func (w *world) decide(limit int) string {
	d := Decide(w.store.Snapshot(), nil, limit)
	var woken []string
	for _, e := range d.Wake {
		woken = append(woken, e.ID)
	}
	return fmt.Sprintf("wake %v cancel %v waiting %d more %v", woken, d.Cancel, d.Waiting, d.More)
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(w *world)
		want  string
	}{
		{"nothing changed", func(w *world) { w.node(1, "a", 500); w.job("j", 100); w.wait("e", "j", nil) }, "wake [] cancel map[] waiting 1 more false"},
		{"a new node", func(w *world) { w.job("j", 100); w.wait("e", "j", nil); w.node(1, "a", 500) }, "wake [e] cancel map[] waiting 0 more false"},
		{"a new node that is too small", func(w *world) { w.job("j", 100); w.wait("e", "j", nil); w.node(1, "a", 50) }, "wake [] cancel map[] waiting 1 more false"},
		{"a node of a class that does not fit", func(w *world) {
			w.job("j", 100)
			w.wait("e", "j", func(e *structs.Evaluation) { e.ClassEligibility = map[string]bool{"a": false} })
			w.node(1, "a", 500)
		}, "wake [] cancel map[] waiting 1 more false"},
		{"the class says nothing", func(w *world) {
			w.job("j", 100)
			w.wait("e", "j", func(e *structs.Evaluation) {
				e.ClassEligibility, e.EscapedComputedClass = map[string]bool{"a": false}, true
			})
			w.node(1, "a", 500)
		}, "wake [e] cancel map[] waiting 0 more false"},
		{"purged", func(w *world) { w.wait("e", "none", nil) }, "wake [] cancel map[e:" + descGone + "] waiting 0 more false"},
		{"two of a job", func(w *world) { w.job("j", 100); w.wait("old", "j", nil); w.wait("new", "j", nil) },
			"wake [] cancel map[old:" + descSuperseded + "] waiting 1 more false"},
		{"more than the limit", func(w *world) {
			for i, p := range []int{50, 90, 70} {
				job := fmt.Sprint("j", p)
				w.job(job, 100)
				w.wait(fmt.Sprint("e", i), job, func(e *structs.Evaluation) { e.Priority = p })
			}
			w.node(1, "a", 500)
		}, "wake [e1 e2] cancel map[] waiting 1 more true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.setup(w)
			if got := w.decide(2); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestWaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.job("j", 100)
		w.wait("e", "j", nil)
		waker := New(Config{Store: w.store, Limit: 2, Logger: hclog.NewNullLogger(), Upsert: func(_ context.Context, evals []*structs.Evaluation) error {
			w.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: evals}) })
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- waker.Run(ctx) }()
		synctest.Wait()
		if got := w.store.Snapshot().Eval("e").Status; got != structs.EvalStatusBlocked {
			t.Fatalf("woken by nothing: %s", got)
		}
		w.node(1, "a", 500)
		watch := w.store.Watch(state.KeyEval("e"))
		defer watch.Close()
		<-watch.C()
		if got := w.store.Snapshot().Eval("e").Status; got != structs.EvalStatusPending {
			t.Errorf("a new node leaves the evaluation %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
