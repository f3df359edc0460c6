package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// region is a store, a broker and a planner in one: what a worker works with.
type region struct {
	t     *testing.T
	store *state.Store

	mu      sync.Mutex // guards what follows
	index   uint64
	refuse  int // how many plans to refuse as a whole
	plans   []*structs.Plan
	acked   []string
	nacked  []string
	pending chan *structs.Evaluation
	settled chan string
}

func newRegion(t *testing.T) *region {
	return &region{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}}), pending: make(chan *structs.Evaluation, 8), settled: make(chan string, 8)}
}

func (r *region) write(f func(*state.Txn) error) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	txn := r.store.Begin(r.index)
	if err := f(txn); err != nil {
		txn.Abort()
		r.t.Fatal(err)
	}
	txn.Commit()
}

func (r *region) Dequeue(ctx context.Context, _ []string) (*structs.Evaluation, string, error) {
	select {
	case e := <-r.pending:
		return e, "token", nil
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

func (r *region) Ack(id, _ string) error {
	r.acked = append(r.acked, id)
	r.settled <- id
	return nil
}

func (r *region) Nack(id, _ string) error {
	r.nacked = append(r.nacked, id)
	r.settled <- id
	return nil
}

func (r *region) Submit(_ context.Context, p *structs.Plan) (*structs.PlanResult, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plans = append(r.plans, p)
	r.index++
	if r.refuse > 0 && p.Eval.Status != structs.EvalStatusFailed {
		r.refuse--
		return &structs.PlanResult{Applied: r.store.Snapshot().Index(), Refused: []structs.PlanRefusal{{Group: -1, Placement: -1, Reason: "test"}}}, nil
	}
	txn := r.store.Begin(r.index)
	result, err := txn.ApplyPlan(p)
	txn.Commit()
	return result, err
}

func (r *region) InFlight() map[uint32]state.Usage { return nil }

// run starts a worker and stops it at the end of the test.
func (r *region) run() {
	w := New(Deps{Broker: r, Planner: r, Store: r.store, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *region) nodes(n int) {
	for i := range n {
		node := &structs.Node{ID: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Name: fmt.Sprint("n", i), Datacenter: "dc1", NodePool: "default",
			Status: structs.NodeStatusReady, SchedulingEligibility: structs.NodeEligible,
			Drivers: map[string]*structs.DriverInfo{"raw_exec": {Detected: true, Healthy: true}},
			NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 100000},
				Memory: structs.NodeMemoryResources{MemoryMB: 100000}, Disk: structs.NodeDiskResources{DiskMB: 1000000}}}
		r.write(func(t *state.Txn) error { return t.RegisterNode(&state.NodeRegister{Node: node}) })
	}
}

func (r *region) register(id string, count int, edits ...func(*structs.Job)) *structs.Evaluation {
	job := &structs.Job{ID: id, Type: structs.JobTypeService, TaskGroups: []*structs.TaskGroup{{Name: "g", Count: &count,
		Tasks: []*structs.Task{{Name: "t", Driver: "raw_exec", Resources: &structs.Resources{CPU: structs.Ptr(10), MemoryMB: structs.Ptr(10)}}}}}}
	job.Canonicalize()
	job.TaskGroups[0].EphemeralDisk.SizeMB = structs.Ptr(10)
	for _, edit := range edits {
		edit(job)
	}
	eval := &structs.Evaluation{ID: "eval-" + id, Namespace: "default", JobID: id, Type: job.Type, Priority: 50,
		TriggeredBy: structs.EvalTriggerJobRegister, Status: structs.EvalStatusPending}
	r.write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: job, Eval: eval})
		return err
	})
	return r.store.Snapshot().Eval(eval.ID)
}

func (r *region) live(id string) int {
	n := 0
	for a := range r.store.Snapshot().AllocsByJob("default", id, true) {
		if !a.Terminal() {
			n++
		}
	}
	return n
}

func TestWorkerPlacesAndAcknowledges(t *testing.T) {
	r := newRegion(t)
	r.nodes(3)
	r.pending <- r.register("web", 4)
	r.run()
	<-r.settled
	if got := r.live("web"); got != 4 {
		t.Errorf("%d allocations run, want 4", got)
	}
	if e := r.store.Snapshot().Eval("eval-web"); e.Status != structs.EvalStatusComplete {
		t.Errorf("the evaluation is %s (%s)", e.Status, e.StatusDescription)
	}
	if len(r.acked) != 1 || len(r.nacked) != 0 {
		t.Errorf("acked %v, nacked %v", r.acked, r.nacked)
	}
}

func TestWorkerSplitsLongPlans(t *testing.T) {
	r := newRegion(t)
	r.nodes(10)
	r.pending <- r.register("big", 2*fsm.MaxPlacements+10)
	r.run()
	<-r.settled
	if got := r.live("big"); got != 2*fsm.MaxPlacements+10 {
		t.Errorf("%d allocations run", got)
	}
	if len(r.plans) != 3 {
		t.Fatalf("%d plans, want 3", len(r.plans))
	}
	if r.plans[0].Deployment == nil || r.plans[0].Eval != nil || r.plans[2].Eval == nil {
		t.Error("the deployment belongs into the first plan, the outcome into the last")
	}
}

func TestWorkerLooksAgainAfterARefusal(t *testing.T) {
	r := newRegion(t)
	r.nodes(1)
	r.refuse = 2
	r.pending <- r.register("web", 1)
	r.run()
	<-r.settled
	if got := r.live("web"); got != 1 || len(r.plans) != 3 {
		t.Errorf("%d allocations after %d plans", got, len(r.plans))
	}
}

func TestWorkerGivesUpWithABlockedEvaluation_B37(t *testing.T) {
	r := newRegion(t)
	r.nodes(1)
	r.refuse = 100
	r.pending <- r.register("web", 1)
	r.run()
	<-r.settled
	e := r.store.Snapshot().Eval("eval-web")
	if e.Status != structs.EvalStatusFailed || e.StatusDescription != "maximum attempts reached (5)" || e.BlockedEval == "" {
		t.Fatalf("evaluation %+v", e)
	}
	b := r.store.Snapshot().Eval(e.BlockedEval)
	if b == nil || b.Status != structs.EvalStatusBlocked || b.TriggeredBy != structs.EvalTriggerMaxPlans {
		t.Errorf("blocked evaluation %+v", b)
	}
}

func TestWorkerFailsWhatItCannotSchedule(t *testing.T) {
	r := newRegion(t)
	eval := &structs.Evaluation{ID: "odd", Namespace: "default", JobID: "x", Type: "odd", Status: structs.EvalStatusPending}
	r.write(func(t *state.Txn) error { return t.UpsertEvals(&state.EvalUpsert{Evals: []*structs.Evaluation{eval}}) })
	r.pending <- r.store.Snapshot().Eval("odd")
	r.run()
	<-r.settled
	if e := r.store.Snapshot().Eval("odd"); e.Status != structs.EvalStatusFailed {
		t.Errorf("the evaluation is %s", e.Status)
	}
}

// TestPanicFailsItsEvaluationOnly_N21_B26: an algorithm panics in the middle of
// a placement. That evaluation fails and says so; those before and behind it
// are placed by the same worker, on an index that keeps no trace.
func TestPanicFailsItsEvaluationOnly_N21_B26(t *testing.T) {
	calls := 0
	panics := scheduler.Algorithm{Name: "panics", Score: func(*scheduler.Ask, *scheduler.NodeView) float64 {
		if calls++; calls > 3 { // the first placement is taken by then
			panic("planted")
		}
		return 0.5
	}}
	if err := scheduler.RegisterAlgorithm(panics); err != nil {
		t.Fatal(err)
	}
	r := newRegion(t)
	r.nodes(2)
	bad := func(j *structs.Job) { j.Meta = map[string]string{scheduler.MetaAlgorithm: "panics"} }
	for _, eval := range []*structs.Evaluation{r.register("before", 2), r.register("bad", 5, bad), r.register("behind", 3)} {
		r.pending <- eval
	}
	r.run()
	for range 3 {
		<-r.settled
	}
	if e := r.store.Snapshot().Eval("eval-bad"); e.Status != structs.EvalStatusFailed || !strings.Contains(e.StatusDescription, "planted") {
		t.Errorf("the evaluation is %s: %s", e.Status, e.StatusDescription)
	}
	if a, b, c := r.live("before"), r.live("bad"), r.live("behind"); a != 2 || b != 0 || c != 3 {
		t.Errorf("%d, %d and %d allocations run, want 2, 0 and 3", a, b, c)
	}
	used := int64(0)
	for num := range uint32(2) {
		used += r.store.Snapshot().NodeUsage(num).CPU
	}
	if used != 50 {
		t.Errorf("%d MHz are used, want 50", used)
	}
}

func TestIndexReplaysToTheSnapshot(t *testing.T) {
	r := newRegion(t)
	r.nodes(4)
	eval := r.register("web", 9)
	w := New(Deps{Broker: r, Planner: r, Store: r.store})
	// What is in flight counts while it is, and leaves no trace.
	w.index.sync(r.store.Snapshot(), map[uint32]state.Usage{1: {CPU: 90_000, Allocs: 1}, 77: {CPU: 1}})
	if free := w.index.cluster.Free(1); free.CPU != 10_000 {
		t.Errorf("free beside what is in flight: %+v", free)
	}
	p := w.Begin(eval)
	w.advance(context.Background(), p)
	w.submit(context.Background(), p)
	if done, err := p.Done(); !done || err != nil {
		t.Fatalf("the pass is done: %v, %v", done, err)
	}
	snap := r.store.Snapshot()
	w.index.sync(snap, nil)
	fresh := newIndex(r.store)
	fresh.sync(snap, nil)
	for num := range snap.NodeCount() {
		if got, want := w.index.cluster.Free(num), fresh.cluster.Free(num); got != want {
			t.Errorf("node %d: replayed %+v, built %+v", num, got, want)
		}
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	r := newRegion(t)
	r.nodes(2)
	eval := r.register("web", 2)
	before := r.store.Snapshot().Index()
	job := r.store.Snapshot().Job("default", eval.JobID).Copy()
	job.TaskGroups[0].Count = structs.Ptr(5)
	result, err := DryRun(r.store.Snapshot(), job, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if u := result.Plan.Annotations.DesiredTGUpdates["g"]; u == nil || u.Place != 5 {
		t.Errorf("annotations %+v", u)
	}
	if r.store.Snapshot().Index() != before {
		t.Error("the state changed")
	}
}

// TestCollisionIsNoAttempt_B27: a plan that lost its room to one in flight is
// made again on the newer state, as often as that takes, and what is in flight
// never makes an evaluation wait for room that there is.
func TestCollisionIsNoAttempt_B27(t *testing.T) {
	r := newRegion(t)
	r.nodes(1)
	w := New(Deps{Broker: r, Planner: r, Store: r.store})
	p := w.Begin(r.register("web", 2))
	for range 3 * attemptsService {
		p.Plan(r.store.Snapshot(), map[uint32]state.Usage{0: {CPU: 100_000}})
		part := p.Next()
		if part == nil || len(part.NewEvals) > 0 {
			t.Fatalf("the plan %+v waits for room", part)
		}
		p.Result(&structs.PlanResult{Collided: true, Applied: 3})
		if done, err := p.Done(); done {
			t.Fatalf("a collision ended the pass, %v", err)
		}
	}
	p.Plan(r.store.Snapshot(), nil)
	w.submit(context.Background(), p)
	if done, err := p.Done(); !done || err != nil || r.live("web") != 2 {
		t.Errorf("done %v, %v, %d allocations", done, err, r.live("web"))
	}
}

// TestPlansSeeWhatCameBefore_B25: a plan is made on a state that has the
// evaluation and whatever became of the plan before.
func TestPlansSeeWhatCameBefore_B25(t *testing.T) {
	r := newRegion(t)
	r.nodes(1)
	w := New(Deps{Broker: r, Planner: r, Store: r.store})
	eval := r.register("web", 1)
	old := r.store.Snapshot()
	p := w.Begin(eval)
	if p.Need() != eval.ModifyIndex {
		t.Errorf("the first plan needs index %d, the evaluation has %d", p.Need(), eval.ModifyIndex)
	}
	p.Plan(old, nil)
	if plan := p.Next(); plan == nil || plan.SnapshotIndex < eval.ModifyIndex {
		t.Fatalf("plan %+v", plan)
	}
	p.Result(&structs.PlanResult{Applied: old.Index() + 5, Refused: []structs.PlanRefusal{{Group: -1, Reason: "stale"}}})
	if p.Need() != old.Index()+5 {
		t.Errorf("the next plan needs index %d, the last one was applied at %d", p.Need(), old.Index()+5)
	}
	// It is not made before the state is there.
	ctx, cancel := context.WithCancel(context.Background())
	advanced := make(chan struct{})
	go func() { w.advance(ctx, p); close(advanced) }()
	for i := range 5 {
		r.register(fmt.Sprint("other", i), 1)
	}
	<-advanced
	cancel()
	if plan := p.Next(); plan == nil || plan.SnapshotIndex < old.Index()+5 {
		t.Errorf("plan %+v", plan)
	}
}
