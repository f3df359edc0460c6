package nomadlite

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/gc"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// testServer is a server in memory with its HTTP API.
type testServer struct {
	*Server
	t      *testing.T
	client *api.Client
	node   *structs.Node
}

// startServer starts a server; a data directory of "" keeps everything in
// memory. The test ends it, or stop does.
func startServer(t *testing.T, dir string) (s *testServer, stop func()) {
	t.Helper()
	srv, err := New(Config{Name: "test", Dev: dir == "", DataDir: dir, RPCAddr: "127.0.0.1:4647", NumSchedulers: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	mux := api.NewMux(api.MuxConfig{Resolve: api.NoACLs, Leader: func() (bool, time.Duration) { return srv.LeaderKnown(), 0 }})
	srv.Bind(mux)
	if missing := mux.Check("client.", "agent."); missing != nil {
		t.Errorf("rows without a handler: %v", missing)
	}
	web := httptest.NewServer(mux)
	client, err := api.NewClient(api.ClientConfig{Address: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server ended with %v", err)
		}
		web.CloseClientConnections()
		web.Close()
	}
	t.Cleanup(stop)
	return &testServer{Server: srv, t: t, client: client}, stop
}

// context bounds a step of a test.
func (s *testServer) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

// join registers a node.
func (s *testServer) join() *structs.Node {
	s.t.Helper()
	s.node = &structs.Node{
		ID: newID(), SecretID: newID(), Name: "node", Datacenter: "dc1", NodePool: "default", HTTPAddr: "127.0.0.1:4646",
		Attributes: map[string]string{"driver.mock": "1", "kernel.name": "linux", "nomad.version": "2.0.6", "os.signals": "SIGINT,SIGTERM"},
		Drivers:    map[string]*structs.DriverInfo{"mock": {Detected: true, Healthy: true}},
		NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 4000, TotalCpuCores: 4}, Memory: structs.NodeMemoryResources{MemoryMB: 4096},
			Disk: structs.NodeDiskResources{DiskMB: 10_000}, MinDynamicPort: 20000, MaxDynamicPort: 32000},
	}
	if _, err := s.Register(s.context(), s.node); err != nil {
		s.t.Fatal(err)
	}
	return s.node
}

// allocs waits for a change of the node's allocations after an index.
func (s *testServer) allocs(since uint64) *api.NodeAllocsResponse {
	s.t.Helper()
	out, err := s.Allocs(s.context(), api.NodeAllocsRequest{NodeID: s.node.ID, SecretID: s.node.SecretID, Since: since, Wait: 10 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// report says what became of an allocation.
func (s *testServer) report(revision uint64, id, status string) {
	s.t.Helper()
	err := s.UpdateAllocs(s.context(), api.NodeAllocUpdateRequest{NodeID: s.node.ID, SecretID: s.node.SecretID, Updates: []*structs.AllocUpdate{{
		AllocID: id, Revision: revision, ClientStatus: status,
		TaskStates: map[string]*structs.TaskState{"t": {State: structs.TaskStateRunning, Events: []*structs.TaskEvent{{Type: structs.TaskStarted, Time: 1}}}},
	}}})
	if err != nil {
		s.t.Fatal(err)
	}
}

func testJob(id, kind string) *structs.Job {
	return &structs.Job{ID: id, Type: kind, Datacenters: []string{"*"}, TaskGroups: []*structs.TaskGroup{{
		Name: "g", Count: structs.Ptr(1), Tasks: []*structs.Task{{Name: "t", Driver: "mock", Config: map[string]any{"run_for": "1s"},
			Resources: &structs.Resources{CPU: structs.Ptr(100), MemoryMB: structs.Ptr(64)}}},
	}}}
}

// TestLifeOfAJob runs a job over the API and a node that is played by the
// test: placed, running, stopped by a new version, stopped for good.
func TestLifeOfAJob(t *testing.T) {
	s, _ := startServer(t, "")
	s.join()
	first := s.allocs(0)
	if !first.Full || len(first.Allocs) != 0 {
		t.Fatalf("a new node has %+v", first)
	}
	ctx := s.context()
	registered, _, err := s.client.Jobs().Register(ctx, &api.JobRegisterRequest{Job: testJob("web", structs.JobTypeService)}, nil)
	if err != nil || registered.EvalID == "" || registered.JobModifyIndex == 0 || registered.Index == 0 {
		t.Fatalf("%+v %v", registered, err)
	}
	placed := s.allocs(first.Index)
	if placed.Full || len(placed.Allocs) != 1 || placed.Allocs[0].JobID != "web" || placed.Allocs[0].Job == nil {
		t.Fatalf("placed %+v", placed)
	}
	id := placed.Allocs[0].ID
	s.report(1, id, structs.AllocClientStatusRunning)
	alloc, meta, err := s.client.Allocations().Get(ctx, id, nil)
	if err != nil || alloc.ClientStatus != structs.AllocClientStatusRunning || meta.LastIndex == 0 || !meta.KnownLeader {
		t.Fatalf("%+v %+v %v", alloc, meta, err)
	}
	if e := alloc.TaskStates["t"].Events[0]; e.DisplayMessage == "" || e.Details == nil {
		t.Errorf("event %+v", e)
	}
	job, _, err := s.client.Jobs().Get(ctx, "web", nil)
	if err != nil || job.Status != structs.JobStatusRunning {
		t.Errorf("job is %q, %v", job.Status, err)
	}
	if _, _, err := s.client.Jobs().Stop(ctx, "web", api.StopOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	stopped := s.allocs(placed.Index)
	if len(stopped.Allocs) != 1 || stopped.Allocs[0].DesiredStatus != structs.AllocDesiredStatusStop {
		t.Fatalf("stopped %+v", stopped)
	}
	s.report(2, id, structs.AllocClientStatusComplete)
	if job, _, err = s.client.Jobs().Get(ctx, "web", nil); err != nil || job.Status != structs.JobStatusDead || !job.Stop {
		t.Errorf("job is %q, stop %v, %v", job.Status, job.Stop, err)
	}
	if young := gc.Find(s.store.Snapshot(), gc.Thresholds{Eval: time.Hour, BatchEval: time.Hour, Job: time.Hour, Deployment: time.Hour, Node: time.Hour}, time.Now()); len(young.Jobs)+len(young.Evals)+len(young.Allocs) > 0 {
		t.Errorf("collected at once: %+v", young)
	}
	if err := s.client.SystemGC(ctx); err != nil {
		t.Fatal(err)
	}
	if snap := s.store.Snapshot(); snap.Job("default", "web") != nil || snap.Alloc(id) != nil || snap.Eval(registered.EvalID) != nil {
		t.Error("a dead job survives a forced collection")
	}
	if left := s.allocs(stopped.Index); !left.Full || len(left.Allocs) != 0 {
		t.Errorf("the node still has %+v", left)
	}
}

// TestFailedAllocIsReplaced: an allocation that fails is placed again.
func TestFailedAllocIsReplaced(t *testing.T) {
	s, _ := startServer(t, "")
	s.join()
	job := testJob("web", structs.JobTypeService)
	job.TaskGroups[0].ReschedulePolicy = &structs.ReschedulePolicy{Delay: structs.Ptr(5 * time.Second), DelayFunction: structs.Ptr("constant"), Unlimited: structs.Ptr(true)}
	if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: job}, nil); err != nil {
		t.Fatal(err)
	}
	placed := s.allocs(s.store.Snapshot().Index() - 1)
	for len(placed.Allocs) == 0 {
		placed = s.allocs(placed.Index)
	}
	id := placed.Allocs[0].ID
	s.report(1, id, structs.AllocClientStatusFailed)
	ctx := s.context()
	evals, _, err := s.client.Jobs().Evaluations(ctx, "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	triggers := map[string]bool{}
	for _, e := range evals {
		triggers[e.TriggeredBy] = true
	}
	if !triggers[structs.EvalTriggerRetryFailedAlloc] {
		t.Errorf("evaluations by %v", triggers)
	}
}

// TestBlockedJobIsPlacedLater: a job that finds no node waits for one.
func TestBlockedJobIsPlacedLater(t *testing.T) {
	s, _ := startServer(t, "")
	out := s.register(testJob("web", structs.JobTypeService))
	ctx := s.context()
	if err := s.store.Block(ctx, out.Index, []state.Key{state.KeyEval(out.EvalID)}, func(snap *state.Snapshot) uint64 { return snap.Eval(out.EvalID).ModifyIndex }); err != nil {
		t.Fatal(err)
	}
	eval, _, err := s.client.Evaluations().Get(ctx, out.EvalID, nil)
	if err != nil || eval.Status != structs.EvalStatusComplete || eval.BlockedEval == "" || len(eval.RelatedEvals) != 1 || eval.FailedTGAllocs["g"] == nil {
		t.Fatalf("%+v %v", eval, err)
	}
	s.join()
	placed := s.allocs(1)
	if len(placed.Allocs) != 1 {
		t.Errorf("placed %+v", placed)
	}
}

// TestBlockingQueryWakesUp: a query that waits is answered by the change.
func TestBlockingQueryWakesUp(t *testing.T) {
	s, _ := startServer(t, "")
	ctx := s.context()
	jobs, meta, err := s.client.Jobs().List(ctx, nil)
	if err != nil || len(jobs) != 0 || meta.LastIndex == 0 {
		t.Fatalf("%v %+v %v", jobs, meta, err)
	}
	type answer struct {
		jobs []*structs.JobListStub
		err  error
	}
	waiting := make(chan answer, 1)
	go func() {
		jobs, _, err := s.client.Jobs().List(ctx, &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: time.Minute})
		waiting <- answer{jobs, err}
	}()
	if _, _, err := s.client.Jobs().Register(ctx, &api.JobRegisterRequest{Job: testJob("web", structs.JobTypeService)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; got.err != nil || len(got.jobs) != 1 || got.jobs[0].JobSummary == nil {
		t.Errorf("%+v", got)
	}
	_, _, err = s.client.Jobs().Get(ctx, "none", &api.QueryOptions{WaitIndex: 1 << 40, WaitTime: time.Millisecond})
	if err == nil || err.Error() != "Unexpected response code: 404 (job not found)" {
		t.Error(err)
	}
}

// TestRestartKeepsTheState: what was acknowledged is there after a restart,
// the same to the last byte.
func TestRestartKeepsTheState(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	s.join()
	if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: testJob("web", structs.JobTypeService)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.allocs(1); len(got.Allocs) != 1 {
		t.Fatalf("%+v", got)
	}
	id, node := s.ID(), s.node
	stop()
	before := s.store.Snapshot()
	again, _ := startServer(t, dir)
	again.node = node
	if again.ID() != id {
		t.Errorf("the server has the id %s, had %s", again.ID(), id)
	}
	if err := again.ReadBarrier(again.context()); err != nil {
		t.Fatal(err)
	}
	after := again.store.Snapshot()
	if a, b := before.Job("default", "web"), after.Job("default", "web"); b == nil || a.ModifyIndex != b.ModifyIndex {
		t.Errorf("job %+v, was %+v", b, a)
	}
	if got := again.allocs(0); len(got.Allocs) != 1 {
		t.Errorf("allocations after the restart: %+v", got)
	}
	if _, err := again.Heartbeat(again.context(), api.NodeHeartbeat{NodeID: node.ID, SecretID: node.SecretID}); err != nil {
		t.Error(err)
	}
}

// TestWholeListWaitsForTheLog_B08: a node ends what is not in a whole list, so a
// server that has not replayed its log yet must not answer with one.
func TestWholeListWaitsForTheLog_B08(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	s.join()
	if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: testJob("web", structs.JobTypeService)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.allocs(1); len(got.Allocs) != 1 {
		t.Fatalf("%+v", got)
	}
	node := s.node
	stop()
	again, _ := startServer(t, dir)
	again.node = node
	if got := again.allocs(0); !got.Full || len(got.Allocs) != 1 {
		t.Errorf("the first list after a restart: %+v", got)
	}
}

func TestNodesAreChecked(t *testing.T) {
	s, _ := startServer(t, "")
	n := s.join()
	stranger := *n
	stranger.SecretID = newID()
	ctx := s.context()
	if _, err := s.Register(ctx, &stranger); structs.KindOf(err) != structs.Denied {
		t.Errorf("another secret: %v", err)
	}
	if _, err := s.Heartbeat(ctx, api.NodeHeartbeat{NodeID: n.ID, SecretID: "x"}); structs.KindOf(err) != structs.Denied {
		t.Errorf("heartbeat with another secret: %v", err)
	}
	if _, err := s.Heartbeat(ctx, api.NodeHeartbeat{NodeID: newID(), SecretID: "x"}); structs.KindOf(err) != structs.NotFound {
		t.Errorf("heartbeat of an unknown node: %v", err)
	}
	if _, err := s.Allocs(ctx, api.NodeAllocsRequest{NodeID: n.ID}); structs.KindOf(err) != structs.Denied {
		t.Errorf("allocations without a secret: %v", err)
	}
	if err := s.UpdateAllocs(ctx, api.NodeAllocUpdateRequest{NodeID: n.ID}); structs.KindOf(err) != structs.Denied {
		t.Errorf("update without a secret: %v", err)
	}
	if _, err := s.missed(ctx, n.ID); err != nil || s.store.Snapshot().Node(n.ID).Status != structs.NodeStatusDown {
		t.Errorf("a missed node is %s, %v", s.store.Snapshot().Node(n.ID).Status, err)
	}
	if _, err := s.Heartbeat(ctx, api.NodeHeartbeat{NodeID: n.ID, SecretID: n.SecretID}); err != nil || s.store.Snapshot().Node(n.ID).Status != structs.NodeStatusReady {
		t.Errorf("a node that is back is %s, %v", s.store.Snapshot().Node(n.ID).Status, err)
	}
}
