package blocked

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"pgregory.net/rapid"

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

// status changes the status of a node.
func (w *world) status(i int, status string) {
	w.t.Helper()
	w.write(func(t *state.Txn) error {
		return t.UpdateNodeStatus(&state.NodeStatus{NodeID: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Status: status})
	})
}

func (w *world) decide(limit int) string {
	waiting, snap := NewWaiting(), w.store.Snapshot()
	waiting.Follow(snap, false)
	d := waiting.Decide(snap, limit)
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

// TestLacking: what waits is added up by node pool, all allocations that did not
// fit, and no more once it waits no more.
func TestLacking(t *testing.T) {
	w := newWorld(t)
	w.job("a", 100)
	w.job("b", 300)
	w.wait("one", "a", func(e *structs.Evaluation) {
		e.FailedTGAllocs = map[string]*structs.AllocMetric{"g": {CoalescedFailures: 4}}
	})
	w.wait("two", "b", func(e *structs.Evaluation) { e.EscapedComputedClass = true })
	waiting := NewWaiting()
	lacking := func() string {
		waiting.Follow(w.store.Snapshot(), true)
		byPool, escaped := waiting.Lacking()
		return fmt.Sprint(byPool, escaped)
	}
	pool := w.store.Snapshot().Job("default", "a").NodePool
	if got, want := lacking(), fmt.Sprintf("map[%s:{600 800}] 1", pool); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	done := *w.store.Snapshot().Eval("two")
	done.Status = structs.EvalStatusComplete
	w.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: []*structs.Evaluation{&done}}) })
	if got, want := lacking(), fmt.Sprintf("map[%s:{500 500}] 0", pool); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestNoMissedWakeUp_B23 changes nodes, jobs and what waits at random, acts on
// every decision that follows the changes step by step, and compares with one
// made from scratch: nothing is left that should have been woken, whatever it
// waits for and whenever it began to.
func TestNoMissedWakeUp_B23(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		steps := NewWaiting()
		act := func(all bool) {
			snap := w.store.Snapshot()
			steps.Follow(snap, all)
			d := steps.Decide(snap, 1000)
			if evals := d.Evals(snap, time.Unix(1, 0)); len(evals) > 0 {
				w.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: evals}) })
				steps.Woke(d)
			}
		}
		seen := uint64(0) // what the next evaluation has looked at
		next := 0
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			i := rapid.IntRange(0, 3).Draw(r, "which")
			switch rapid.IntRange(0, 6).Draw(r, "what") {
			case 0:
				w.node(i, fmt.Sprint("class", i%2), int64(rapid.IntRange(50, 2000).Draw(r, "memory")))
			case 1:
				if w.store.Snapshot().Node(fmt.Sprintf("00000000-0000-0000-0000-%012d", i)) != nil {
					w.status(i, rapid.SampledFrom([]string{structs.NodeStatusReady, structs.NodeStatusDown}).Draw(r, "status"))
				}
			case 2:
				w.job(fmt.Sprint("job", i), rapid.IntRange(20, 1500).Draw(r, "ask"))
				next++ // registering brings an evaluation
				w.wait(fmt.Sprint("eval", next), fmt.Sprint("job", i), func(e *structs.Evaluation) { e.Status = structs.EvalStatusPending })
			case 3, 4:
				next++
				w.wait(fmt.Sprint("eval", next), fmt.Sprint("job", i), func(e *structs.Evaluation) {
					e.SnapshotIndex = min(seen, w.index)
					e.Priority = rapid.IntRange(1, 3).Draw(r, "priority")
					switch rapid.IntRange(0, 2).Draw(r, "reason") {
					case 0:
						e.ClassEligibility = map[string]bool{"class0": rapid.Bool().Draw(r, "fits"), "class1": true}
					case 1:
						e.EscapedComputedClass = true
					}
				})
			case 5:
				seen = w.index
			case 6:
				act(rapid.Bool().Draw(r, "sweep"))
			}
		}
		act(false)
		act(false)
		snap, fresh := w.store.Snapshot(), NewWaiting()
		fresh.Follow(snap, false)
		if d := fresh.Decide(snap, 1000); len(d.Wake) > 0 || len(d.Cancel) > 0 {
			r.Fatalf("missed: wake %v cancel %v", d.Wake, d.Cancel)
		}
	})
}

// BenchmarkIdle_B22 is a look at a change that helps none of 100,000 that wait.
func BenchmarkIdle_B22(b *testing.B) {
	t := &testing.T{}
	w := newWorld(t)
	w.job("j", 100)
	var evals []*structs.Evaluation
	for i := range 100_000 {
		evals = append(evals, &structs.Evaluation{ID: fmt.Sprint("e", i), Namespace: "default", JobID: "j", Status: structs.EvalStatusBlocked, SnapshotIndex: 1,
			FailedTGAllocs: map[string]*structs.AllocMetric{"g": {}}})
	}
	w.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: evals}) })
	waiting := NewWaiting()
	waiting.Follow(w.store.Snapshot(), false)
	for b.Loop() {
		b.StopTimer()
		w.node(1, "a", 50)
		snap := w.store.Snapshot()
		b.StartTimer()
		waiting.Follow(snap, false)
		_ = waiting.Decide(snap, 0)
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
