package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// server is a state machine with its store and the log applied so far.
type server struct {
	t     testing.TB
	store *state.Store
	fsm   *FSM
	log   []*raft.Log
}

// entry is an entry of any payload.
func entry(t Type, schema, flags uint8, body []byte) []byte {
	b := append(make([]byte, headerLen), body...)
	putHeader(b, t, schema, flags)
	return b
}

func newServer(t testing.TB, halt func(uint64, error)) *server {
	s := state.New(state.Options{})
	return &server{t: t, store: s, fsm: New(s, hclog.NewNullLogger(), halt)}
}

func (s *server) raw(data []byte) Result {
	l := &raft.Log{Index: uint64(len(s.log) + 1), Type: raft.LogCommand, Data: data}
	s.log = append(s.log, l)
	return s.fsm.Apply(l).(Result)
}

func (s *server) apply(t Type, payload any) any {
	s.t.Helper()
	b, err := Encode(t, payload)
	if err != nil {
		s.t.Fatal(err)
	}
	r := s.raw(b)
	if r.Err != nil {
		s.t.Fatal(r.Err)
	}
	return r.Value
}

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	canceled bool
}

func (s *sink) ID() string    { return "test" }
func (s *sink) Close() error  { return nil }
func (s *sink) Cancel() error { s.canceled = true; return nil }

func fullJob(id string) *structs.Job {
	count := 3
	return &structs.Job{Namespace: "default", ID: id, Name: id, Type: structs.JobTypeService, Priority: 50, NodePool: "default",
		TaskGroups: []*structs.TaskGroup{{Name: "web", Count: &count, Tasks: []*structs.Task{{Name: "main", Driver: "raw_exec",
			Config: map[string]any{"command": "/bin/true", "n": 3, "f": 1.5, "list": []any{"a", true}}}}}}}
}

// fill applies one of most commands.
func (s *server) fill() {
	s.t.Helper()
	s.apply(Epoch, &state.Epoch{Term: 2, AllocKey: []byte("0123456789abcdef"), ClusterID: "c"})
	for i := range 3 {
		s.apply(NodeRegister, &state.NodeRegister{Now: 1e9, Node: &structs.Node{ID: fmt.Sprintf("node-%d", i), Name: "n", SecretID: "s", NodePool: "gpu",
			Status: structs.NodeStatusReady, NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000},
				Memory: structs.NodeMemoryResources{MemoryMB: 1000}, Disk: structs.NodeDiskResources{DiskMB: 1000}}}})
	}
	eval := &structs.Evaluation{ID: "e1", Namespace: "default", JobID: "web", Status: structs.EvalStatusPending}
	r := s.apply(JobRegister, &state.JobRegister{Job: fullJob("web"), Eval: eval, Now: 5, Submission: &structs.JobSubmission{Source: "job {}"}}).(*state.JobResult)
	done := *eval
	done.Status = structs.EvalStatusComplete
	res := s.apply(PlanApply, &structs.Plan{Epoch: 2, EvalID: "e1", Namespace: "default", JobID: "web", JobModifyIndex: r.JobModifyIndex, Now: 7, Eval: &done,
		Groups: []*structs.PlanGroup{{Group: "web", Resources: testResources(), Placements: []structs.Placement{{Node: 0}, {Node: 1, NameIndex: 1}, {Node: 2, NameIndex: 2,
			Extra: &structs.PlacementExtra{Ports: []structs.PortMapping{{Label: "http", Value: 8080}}}}}}}}).(*structs.PlanResult)
	if len(res.Refused) > 0 {
		s.t.Fatal(res.Refused)
	}
	id := s.store.Snapshot().AllocID(res.Placed[0][2] - 1)
	s.apply(AllocReports, &state.AllocUpdates{Nodes: []*state.AllocUpdate{{NodeID: "node-2", Now: 9, Updates: []*structs.AllocUpdate{{AllocID: id, Revision: 1, ClientStatus: "running",
		TaskStates: map[string]*structs.TaskState{"main": {State: "running", Events: []*structs.TaskEvent{{Type: "Started", Time: 3}}}}}}}}})
	s.apply(AllocTransition, &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{id: {Migrate: structs.Ptr(true)}}, Now: 10})
	s.apply(SchedulerConfig, &state.SchedulerConfig{Config: &structs.SchedulerConfiguration{SchedulerAlgorithm: "spread"}})
	s.apply(DeploymentUpsert, &state.DeploymentUpsert{Deployment: &structs.Deployment{ID: "d1", Namespace: "default", JobID: "web", Status: "running"}})
}

// TestReplayAndRestore_B82 proves that the same log makes the same state (I-16):
// straight, with other numbers of processors, a hundred years later, and across
// a snapshot in its middle, after which it goes on alike.
func TestReplayAndRestore_B82(t *testing.T) {
	a := newServer(t, nil)
	a.fill()
	want := a.store.Snapshot().Hash()
	replay := func(t *testing.T) {
		b := newServer(t, nil)
		b.fsm.ApplyBatch(a.log)
		if b.store.Snapshot().Hash() != want {
			t.Error("replay of the log made another state")
		}
	}
	before := runtime.GOMAXPROCS(0)
	for _, n := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(n)
		replay(t)
	}
	runtime.GOMAXPROCS(before)
	synctest.Test(t, func(t *testing.T) { // its clock begins in 2000
		time.Sleep(100 * 365 * 24 * time.Hour)
		replay(t)
	})
	for cut := range a.log {
		c := newServer(t, nil)
		c.fsm.ApplyBatch(a.log[:cut])
		snap, err := c.fsm.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var out sink
		if err := snap.Persist(&out); err != nil {
			t.Fatal(err)
		}
		d := newServer(t, nil)
		replaced := d.store.Replaced()
		if err := d.fsm.Restore(io.NopCloser(&out)); err != nil {
			t.Fatalf("snapshot after %d entries: %v", cut, err)
		}
		<-replaced
		d.fsm.ApplyBatch(a.log[cut:])
		if d.store.Snapshot().Hash() != want {
			t.Errorf("snapshot after %d entries: another state", cut)
		}
	}
}

// TestMachineIsPure_B82: no clock and no chance is read where entries are
// applied; the one exception measures how long that took.
func TestMachineIsPure_B82(t *testing.T) {
	const measure = "defer metrics.MeasureSince(measureKeys[t], time.Now())"
	for _, dir := range []string{".", "../state", "../state/alloctable"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(text), "\n") {
				if strings.HasSuffix(f, "_test.go") || strings.TrimSpace(line) == measure {
					continue
				}
				for _, bad := range []string{"time.Now(", "time.Since(", "time.Until(", "math/rand", "crypto/rand"} {
					if strings.Contains(line, bad) {
						t.Errorf("%s:%d uses %s", f, i+1, bad)
					}
				}
			}
		}
	}
}

// TestUnknownCommand: an ignorable command is skipped and counted, any other
// halts the server with its index and nothing later is applied.
func TestUnknownCommand(t *testing.T) {
	var at uint64
	var why error
	s := newServer(t, func(index uint64, err error) { at, why = index, err })
	s.apply(Epoch, &state.Epoch{Term: 1})
	if r := s.raw(entry(9999, 1, flagIgnorable, []byte("x"))); r.Err != nil || s.fsm.Skipped() != 1 {
		t.Fatalf("ignorable command: %v, %d skipped", r.Err, s.fsm.Skipped())
	}
	if r := s.raw(entry(9999, 1, 0, nil)); r.Err == nil || at != 3 || !strings.Contains(why.Error(), "entry 3") {
		t.Fatalf("unknown command: %v, halted at %d: %v", r.Err, at, why)
	}
	b, _ := Encode(Epoch, &state.Epoch{Term: 5})
	if r := s.raw(b); r.Err == nil || s.store.Snapshot().Epoch() != 1 {
		t.Fatal("an entry was applied after the halt")
	}
}

// TestPanicHalts: an applier that panics halts the server with index and type
// of the entry. The state stays as it was, nothing later is applied, and there
// is no snapshot that would count the entry as applied.
func TestPanicHalts(t *testing.T) {
	const boom Type = 60000
	commands[boom] = command{name: "Boom", schema: 1, apply: func(x *state.Txn, _ []byte) (any, error) {
		if err := x.Epoch(&state.Epoch{Term: 7}); err != nil {
			return nil, err
		}
		panic("planted")
	}}
	defer delete(commands, boom)
	var at uint64
	var why error
	s := newServer(t, func(index uint64, err error) { at, why = index, err })
	s.apply(Epoch, &state.Epoch{Term: 1})
	var corrupt *CorruptError
	if r := s.raw(entry(boom, 1, 0, nil)); !errors.As(r.Err, &corrupt) || at != 2 {
		t.Fatalf("halted at %d with %v", at, r.Err)
	}
	for _, part := range []string{"entry 2", "Boom", "planted"} {
		if !strings.Contains(why.Error(), part) {
			t.Errorf("%q does not name %q", why, part)
		}
	}
	b, _ := Encode(Epoch, &state.Epoch{Term: 9})
	if r := s.raw(b); r.Err == nil || s.store.Snapshot().Epoch() != 1 {
		t.Errorf("after the halt the state has term %d", s.store.Snapshot().Epoch())
	}
	if _, err := s.fsm.Snapshot(); err == nil {
		t.Error("a halted server took a snapshot")
	}
}

// TestBrokenEntries: what cannot be read halts and changes nothing.
func TestBrokenEntries(t *testing.T) {
	good, err := Encode(Epoch, &state.Epoch{Term: 5})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":         {},
		"short header":  good[:5],
		"cut short":     good[:len(good)-1],
		"too long":      append(bytes.Clone(good), 0),
		"newer schema":  entry(Epoch, 2, 0, good[headerLen:]),
		"schema 0":      entry(Epoch, 0, 0, good[headerLen:]),
		"unknown flags": entry(Epoch, 1, 0x80, good[headerLen:]),
		"no msgpack":    entry(Epoch, 1, 0, []byte{0xc1}),
		"no plan":       entry(PlanApply, 1, 0, []byte{0xff}),
	} {
		halted := false
		s := newServer(t, func(uint64, error) { halted = true })
		before := s.store.Snapshot().Hash()
		var corrupt *CorruptError
		if r := s.raw(data); !halted || !errors.As(r.Err, &corrupt) || corrupt.Index != 1 {
			t.Errorf("%s: halted %v, %v", name, halted, r.Err)
		}
		if s.store.Snapshot().Hash() != before {
			t.Errorf("%s: the state changed", name)
		}
	}
}

// TestRefusedCommand: an error of a verb is a result and changes nothing.
func TestRefusedCommand(t *testing.T) {
	s := newServer(t, nil)
	s.fill()
	before := s.store.Snapshot().Hash()
	b, _ := Encode(JobDeregister, &state.JobDeregister{Namespace: "default", JobID: "nope"})
	if r := s.raw(b); structs.KindOf(r.Err) != structs.NotFound {
		t.Fatalf("got %v", r.Err)
	}
	if s.store.Snapshot().Hash() != before {
		t.Fatal("the state changed")
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, f := range map[string]func() ([]byte, error){
		"unknown type":  func() ([]byte, error) { return Encode(0, nil) },
		"wrong payload": func() ([]byte, error) { return Encode(Epoch, &state.JobTag{}) },
		"nil payload":   func() ([]byte, error) { return Encode(PlanApply, (*structs.Plan)(nil)) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

// TestEntriesAreBounded_B84: what is too long for an entry is refused by name
// and limit, or cut when it is a list.
func TestEntriesAreBounded_B84(t *testing.T) {
	large := func(what string, err error, parts ...string) {
		t.Helper()
		if structs.KindOf(err) != structs.TooLarge {
			t.Fatalf("%s: %v", what, err)
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", what, err, part)
			}
		}
	}
	long := strings.Repeat("x", MaxJobEntry)
	_, err := Encode(JobRegister, &state.JobRegister{Job: fullJob("web"), Submission: &structs.JobSubmission{Source: long}})
	large("a job", err, `job "web"`, fmt.Sprint(MaxJobEntry))
	_, err = Encode(NodeRegister, &state.NodeRegister{Node: &structs.Node{ID: "n1", Name: long}})
	large("a node", err, "node n1", fmt.Sprint(MaxEntry))
	many := &structs.Plan{JobID: "web", Groups: []*structs.PlanGroup{{Placements: make([]structs.Placement, MaxPlacements+1)}}}
	_, err = Encode(PlanApply, many)
	large("placements", err, `job "web"`, fmt.Sprint(MaxPlacements))
	many.AllAtOnce = true
	if _, err := Encode(PlanApply, many); err != nil {
		t.Errorf("a plan of all or nothing: %v", err)
	}
	stops := &structs.Plan{JobID: "web"}
	for i := range 20_000 {
		stops.Stops = append(stops.Stops, structs.AllocStop{AllocID: fmt.Sprintf("00000000-0000-0000-0000-%012x", i)})
	}
	_, err = Encode(PlanApply, stops)
	large("stops", err, `job "web"`, fmt.Sprint(MaxPlan))

	id := func(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012x", i) }
	updates := &state.AllocUpdate{NodeID: "n1", Evals: []*structs.Evaluation{{ID: "e"}}}
	for i := range 3000 {
		updates.Updates = append(updates.Updates, &structs.AllocUpdate{AllocID: id(i), ClientDescription: strings.Repeat("d", 1000) + fmt.Sprint(i)})
	}
	entries, err := EncodeAll(AllocReports, &state.AllocUpdates{Nodes: []*state.AllocUpdate{updates}})
	if err != nil || len(entries) < 3 {
		t.Fatalf("a list of updates: %d entries, %v", len(entries), err)
	}
	next := 0
	for i, e := range entries {
		_, body, _, err := open(e)
		if err != nil || len(body) > MaxEntry {
			t.Fatalf("entry %d of %d: %d bytes, %v", i, len(entries), len(body), err)
		}
		c, err := decodeReports(body)
		if err != nil || len(c) != 1 || (len(c[0].Evals) > 0) != (i == len(entries)-1) {
			t.Fatalf("entry %d of %d: %d nodes, %v", i, len(entries), len(c), err)
		}
		for _, u := range c[0].Reports {
			if got := formatUUID(u.ID[:]); got != id(next) {
				t.Fatalf("update %s comes at %d", got, next)
			}
			next++
		}
	}
	if next != len(updates.Updates) {
		t.Errorf("%d of %d updates were encoded", next, len(updates.Updates))
	}
	_, err = EncodeAll(AllocReports, &state.AllocUpdates{Nodes: []*state.AllocUpdate{{Updates: []*structs.AllocUpdate{{AllocID: id(1), ClientDescription: strings.Repeat("d", MaxEntry)}}}}})
	large("one update", err)
}

func TestAllAtOnceIsBounded(t *testing.T) {
	job := fullJob("web")
	job.TaskGroups[0].Count = structs.Ptr(30_000)
	if err := CheckWhole(job); err != nil {
		t.Errorf("a job that may be placed in parts: %v", err)
	}
	job.AllAtOnce = true
	if err := CheckWhole(job); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), fmt.Sprint(MaxEntry)) {
		t.Errorf("too many allocations: %v", err)
	}
	job.TaskGroups[0].Count = structs.Ptr(MaxEntry / placementBytes)
	if err := CheckWhole(job); err != nil {
		t.Errorf("as many as fit: %v", err)
	}
	job.TaskGroups[0].Networks = []*structs.NetworkResource{{DynamicPorts: []structs.Port{{Label: "http"}}}}
	if err := CheckWhole(job); err == nil {
		t.Error("ports take no room")
	}
}

// FuzzApply feeds entries of any content to a filled server: it must never
// panic, and what it cannot read must not change the state.
func FuzzApply(f *testing.F) {
	seed := newServer(f, nil)
	seed.fill()
	for _, l := range seed.log {
		f.Add(l.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newServer(t, func(uint64, error) {})
		s.fsm.ApplyBatch(seed.log)
		r := s.fsm.Apply(&raft.Log{Index: 100, Type: raft.LogCommand, Data: data}).(Result)
		if r.Err != nil && strings.Contains(r.Err.Error(), "panicked") {
			t.Fatal(r.Err)
		}
		var out bytes.Buffer
		if err := s.store.Snapshot().Save(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := state.Verify(&out); err != nil {
			t.Fatal(err)
		}
	})
}
