package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// world is a store that a ring observes.
type world struct {
	t     *testing.T
	store *state.Store
	ring  *Ring
	index uint64
}

func newWorld(t *testing.T, size int) *world {
	w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
	w.ring = New(Config{Size: size, Cause: func(c uint16) string { return map[uint16]string{1: "JobRegistered", 2: "PlanResult"}[c] }}, 0)
	txn := w.store.Begin(0)
	if err := txn.UpsertNamespaces(&state.NamespaceUpsert{Namespaces: []*structs.Namespace{{Name: "one"}}}); err != nil {
		t.Fatal(err)
	}
	txn.Commit()
	w.store.Observe(w.ring.Observe)
	return w
}

func (w *world) write(cause uint16, verb func(*state.Txn) error) {
	w.t.Helper()
	w.index++
	txn := w.store.Begin(w.index)
	txn.Cause = cause
	if err := verb(txn); err != nil {
		w.t.Fatal(err)
	}
	txn.Commit()
}

func (w *world) job(ns, id string) {
	w.t.Helper()
	job := &structs.Job{Namespace: ns, ID: id, Name: id, Type: structs.JobTypeService, TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(1)}}}
	w.write(1, func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: job, Now: int64(w.index), Eval: &structs.Evaluation{ID: "eval-" + id, Namespace: ns, JobID: id, Status: structs.EvalStatusPending}})
		return err
	})
}

func (w *world) node() {
	w.t.Helper()
	w.write(0, func(t *state.Txn) error {
		return t.RegisterNode(&state.NodeRegister{Node: &structs.Node{ID: "node", SecretID: "hidden", Status: structs.NodeStatusReady, NodePool: "p",
			NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000}, Memory: structs.NodeMemoryResources{MemoryMB: 1000}, Disk: structs.NodeDiskResources{DiskMB: 1000}}}})
	})
}

// lines is a writer that collects the lines of a stream.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	fail error
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	return l.text.Write(p)
}

func (l *lines) string() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// show words every line: "3: Job/JobRegistered/web Evaluation/…".
func (l *lines) show(t *testing.T) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(l.string()) {
		var f struct {
			Index  uint64
			Events []struct{ Topic, Type, Key string }
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(f.Events) == 0 {
			out = append(out, "{}")
			continue
		}
		parts := []string{fmt.Sprintf("%d:", f.Index)}
		for _, e := range f.Events {
			parts = append(parts, e.Topic+"/"+e.Type+"/"+e.Key)
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

// follow streams to lines until the test ends.
func (w *world) follow(f *Filter, from uint64) (out *lines, ended chan error) {
	out, ended = &lines{}, make(chan error, 1)
	go func() { ended <- w.ring.Stream(w.t.Context(), f, from, out) }()
	return out, ended
}

func all(topics ...string) *Filter {
	keys, err := ParseTopics(topics)
	if err != nil {
		panic(err)
	}
	return &Filter{Keys: keys, Namespace: "*"}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.node()
		everything, _ := w.follow(all(), 0)
		jobs, _ := w.follow(all("Job"), 0)
		ofWeb, _ := w.follow(all("Evaluation:web", "Allocation:web"), 0)
		one := all()
		one.Namespace = "one"
		inOne, _ := w.follow(one, 0)
		past, _ := w.follow(all("Node", "NodePool"), 1)
		blind := all()
		blind.Allows = func(topic, _ string) bool { return topic == TopicNode }
		nothing, _ := w.follow(blind, 0)
		synctest.Wait()
		w.job("default", "web")
		w.job("one", "sum")
		w.write(2, func(t *state.Txn) error {
			out, err := t.ApplyPlan(&structs.Plan{EvalID: "e", Namespace: "default", JobID: "web", JobModifyIndex: w.store.Snapshot().Job("default", "web").JobModifyIndex,
				Groups: []*structs.PlanGroup{{Group: "g", Placements: []structs.Placement{{}}}}})
			if err == nil && len(out.Refused) > 0 {
				err = fmt.Errorf("%+v", out.Refused)
			}
			return err
		})
		w.write(0, func(t *state.Txn) error { return t.DeleteNodes(&state.NodeDelete{IDs: []string{"node"}}) })
		time.Sleep(2 * Pace)
		synctest.Wait()
		alloc := ""
		for a := range w.store.Snapshot().Allocs() {
			alloc = a.ID
		}
		for _, tt := range []struct {
			name string
			got  *lines
			want []string
		}{
			{"everything", everything, []string{"{}", "2: Job/JobRegistered/web Evaluation/JobRegistered/eval-web", "3: Job/JobRegistered/sum Evaluation/JobRegistered/eval-sum",
				"4: Job/PlanResult/web Allocation/PlanResult/" + alloc, "5: Node/NodeDeregistration/node"}},
			{"jobs", jobs, []string{"{}", "2: Job/JobRegistered/web", "3: Job/JobRegistered/sum", "4: Job/PlanResult/web"}},
			{"of one job", ofWeb, []string{"{}", "2: Evaluation/JobRegistered/eval-web", "4: Allocation/PlanResult/" + alloc}},
			{"one namespace", inOne, []string{"{}", "3: Job/JobRegistered/sum Evaluation/JobRegistered/eval-sum", "5: Node/NodeDeregistration/node"}},
			{"from the start", past, []string{"{}", "1: NodePool/NodePoolUpserted/p Node/NodeStreamEvent/node", "5: Node/NodeDeregistration/node"}},
			{"nodes alone are allowed", nothing, []string{"{}", "5: Node/NodeDeregistration/node"}},
		} {
			if got := tt.got.show(t); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		if text := everything.string(); strings.Contains(text, "hidden") || strings.Contains(text, `"Allocation":{"Job":{`) {
			t.Error("a secret or a job that belongs to an allocation is in the stream")
		}
		time.Sleep(2 * Heartbeat)
		synctest.Wait()
		if got := jobs.show(t); len(got) != 6 || got[5] != "{}" {
			t.Errorf("after two heartbeats: %q", got)
		}
	})
}

// TestGap: who asks for what is gone, is too slow, or sees the state replaced
// is told so, and may go on from the index that the gap names.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		slow := &blockedWriter{open: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- w.ring.Stream(t.Context(), all("Job"), 0, slow) }()
		synctest.Wait()
		for i := range 6 {
			w.job("default", fmt.Sprint("j", i))
		}
		old, oldEnded := w.follow(all("Job"), 1)
		synctest.Wait()
		if got := old.show(t); !slices.Equal(got, []string{"{}", "3: Stream/Gap/gap"}) || <-oldEnded != nil {
			t.Errorf("old: %q", got)
		}
		again, againEnded := w.follow(all("Job"), 4)
		synctest.Wait()
		if got := again.show(t); !slices.Equal(got, []string{"{}", "4: Job/JobRegistered/j3", "5: Job/JobRegistered/j4", "6: Job/JobRegistered/j5"}) {
			t.Errorf("again: %q", got)
		}
		close(slow.open)
		if err := <-ended; err != nil || !slices.Equal(slow.show(t), []string{"{}", "3: Stream/Gap/gap"}) {
			t.Errorf("slow: %v %q", err, slow.show(t))
		}
		var saved bytes.Buffer
		if err := w.store.Snapshot().Save(&saved); err != nil {
			t.Fatal(err)
		}
		w.job("default", "more")
		synctest.Wait()
		if err := w.store.Restore(&saved); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := again.show(t); <-againEnded != nil || got[len(got)-1] != "6: Stream/Gap/gap" {
			t.Errorf("restored: %q", got)
		}
	})
}

// TestPace: the first change goes out at once, those that follow it fast
// together, and a burst that would overwrite the ring before the pause is over
// does not lose a reader that keeps up.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 40)
		var writes atomic.Int32
		got := &lines{}
		go func() {
			_ = w.ring.Stream(t.Context(), all("Job"), 0, writerFunc(func(p []byte) (int, error) {
				writes.Add(1)
				return got.Write(p)
			}))
		}()
		synctest.Wait()
		for i := range 3 {
			w.job("default", fmt.Sprint("j", i))
			synctest.Wait()
		}
		if n := len(got.show(t)); writes.Load() != 2 || n != 2 {
			t.Errorf("at once: %d writes of %d lines, want the heartbeat and the first change", writes.Load(), n)
		}
		time.Sleep(Pace)
		synctest.Wait()
		if n := len(got.show(t)); writes.Load() != 3 || n != 4 {
			t.Errorf("after the pause: %d writes of %d lines, want 3 of 4", writes.Load(), n)
		}
		for i := range 200 {
			w.job("default", fmt.Sprint("k", i))
			synctest.Wait()
		}
		time.Sleep(Pace)
		synctest.Wait()
		if text := got.show(t); len(text) != 204 || strings.Contains(text[len(text)-1], "Gap") {
			t.Errorf("after a burst longer than the ring: %d lines, the last %q", len(text), text[len(text)-1])
		}
		if writes.Load() > 30 {
			t.Errorf("%d writes for 200 changes", writes.Load())
		}
	})
}

// TestStubs: who asks for stubs gets what lists show, in less than a KiB, under
// the same key; each form is encoded once.
func TestStubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.ring.cfg.AllocStub = func(a *structs.Allocation) any { return a.Stub() }
		slim := all("Job", "Node", "Evaluation")
		slim.Stubs = true
		stubs, _ := w.follow(slim, 0)
		again, _ := w.follow(slim, 0)
		whole, _ := w.follow(all("Job", "Node", "Evaluation"), 0)
		synctest.Wait()
		w.node()
		time.Sleep(Pace)
		synctest.Wait()
		w.job("default", "web")
		time.Sleep(Pace)
		synctest.Wait()
		w.write(0, func(t *state.Txn) error {
			_, err := t.DeregisterJob(&state.JobDeregister{Namespace: "default", JobID: "web", Purge: true})
			return err
		})
		time.Sleep(Pace)
		synctest.Wait()
		if a, b := stubs.string(), again.string(); a != b {
			t.Errorf("two readers of stubs differ:\n%s\n%s", a, b)
		}
		if a, b := fmt.Sprint(stubs.show(t)), fmt.Sprint(whole.show(t)); a != b {
			t.Errorf("stubs show %s, whole events %s", a, b)
		}
		for line := range strings.Lines(stubs.string()) {
			if strings.Contains(line, "TaskGroups") || strings.Contains(line, "SecretID") || len(line) > 1200 {
				t.Errorf("not a stub, of %d bytes: %s", len(line), line)
			}
		}
		for _, want := range []string{`"JobSummary":{`, `"Payload":{"Node":{"Address"`, `"Payload":{"Evaluation":{`, `"Deleted":true`} {
			if !strings.Contains(stubs.string(), want) {
				t.Errorf("no %s in %s", want, stubs.string())
			}
		}
		if !strings.Contains(whole.string(), "TaskGroups") {
			t.Errorf("whole events are not whole: %s", whole.string())
		}
		for _, e := range w.ring.entries {
			for _, ev := range e.events {
				first, err := ev.encoded(true)
				second, _ := ev.encoded(true)
				if err != nil || &first[0] != &second[0] {
					t.Errorf("%s is encoded twice: %v", ev.Topic, err)
				}
			}
		}
	})
}

// blockedWriter takes nothing until it is opened.
type blockedWriter struct {
	lines
	open chan struct{}
}

func (b *blockedWriter) Write(p []byte) (int, error) {
	<-b.open
	return b.lines.Write(p)
}

func TestStreamEndsWithItsReader(t *testing.T) {
	w := newWorld(t, 3)
	if err := w.ring.Stream(t.Context(), all(), 0, &lines{fail: io.ErrClosedPipe}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.ring.Stream(ctx, all(), 0, io.Discard); err != nil {
		t.Errorf("a context that ended: %v", err)
	}
}

func TestParseTopics(t *testing.T) {
	for text, want := range map[string]string{
		"": "map[*:[*]]", "Job": "map[Job:[*]]", "Job:web Job:a/b": "map[Job:[web a/b]]", "*:*": "map[*:[*]]", "Node:": "map[Node:[*]]",
		"Job:a:b": `error Invalid topic query: "Job:a:b" is not of the form Topic or Topic:key`,
		"Bogus":   `error Invalid topic query: no topic "Bogus"; there are Allocation, Deployment, Evaluation, HostVolume, Job, Node, NodePool, Service, Variable`,
	} {
		got, err := ParseTopics(strings.Fields(text))
		shown := fmt.Sprint(got)
		if err != nil {
			shown = "error " + err.Error()
		}
		if shown != want {
			t.Errorf("%q: %s, want %s", text, shown, want)
		}
	}
}

// BenchmarkSubscribers is 1,000 readers of the Job topic: the time of a quarter
// of a ring of changes, which no reader pauses in, until the last has all.
func BenchmarkSubscribers(b *testing.B) {
	store := state.New(state.Options{AllocKey: [16]byte{1}})
	const size = 100
	ring := New(Config{Size: size}, 0)
	store.Observe(ring.Observe)
	ctx, cancel := context.WithCancel(b.Context())
	const readers = 1000
	seen := make(chan int, readers)
	var group sync.WaitGroup
	for range readers {
		group.Add(1)
		go func() {
			defer group.Done()
			_ = ring.Stream(ctx, &Filter{Keys: map[string][]string{TopicJob: {"*"}}, Namespace: "*"}, 0, writerFunc(func(p []byte) (int, error) {
				seen <- bytes.Count(p, []byte("\n"))
				return len(p), nil
			}))
		}()
	}
	for range readers {
		<-seen
	}
	index := uint64(0)
	for b.Loop() {
		for range size / 4 {
			index++
			txn := store.Begin(index)
			if _, err := txn.RegisterJob(&state.JobRegister{Job: &structs.Job{Namespace: "default", ID: "web", Name: "web", Meta: map[string]string{"n": fmt.Sprint(index)}}}); err != nil {
				b.Fatal(err)
			}
			txn.Commit()
		}
		for left := readers * size / 4; left > 0; {
			left -= <-seen
		}
	}
	cancel()
	group.Wait()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
