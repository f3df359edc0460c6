package state

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

func woken(w *Watcher) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

// TestWatchScope: a watcher is woken by its key and by nothing else, and
// wake-ups coalesce.
func TestWatchScope(t *testing.T) {
	w, ids := placed(t)
	keys := map[string]Key{
		"table":       KeyTable(TableAllocs),
		"alloc":       KeyAlloc(ids[0]),
		"other alloc": KeyAlloc(ids[1]),
		"node":        KeyNodeAllocs(nodeID(0)),
		"other node":  KeyNodeAllocs(nodeID(1)),
		"job":         KeyJobAllocs("default", "web"),
		"other job":   KeyJobAllocs("default", "other"),
		"eval":        KeyEvalAllocs("e0"),
		"nodes":       KeyTable(TableNodePools),
	}
	watchers := make(map[string]*Watcher)
	for name, k := range keys {
		watchers[name] = w.s.Watch(k)
		defer watchers[name].Close()
	}
	for rev := range uint64(3) {
		w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: rev + 1, ClientStatus: structs.AllocClientStatusRunning})
	}
	want := map[string]bool{"table": true, "alloc": true, "node": true, "job": true, "eval": true}
	for name, x := range watchers {
		if got := woken(x); got != want[name] {
			t.Errorf("%s: woken %v, want %v", name, got, want[name])
		}
		if woken(x) {
			t.Errorf("%s: woken twice", name)
		}
	}
	for _, x := range watchers {
		x.Close()
		x.Close()
	}
	if n := len(w.s.hub.watchers); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestAbortWakesNobody(t *testing.T) {
	w := newWorld(t)
	x := w.s.Watch(KeyTable(TableNodes))
	defer x.Close()
	txn := w.s.Begin(5)
	if err := txn.RegisterNode(&NodeRegister{Node: &structs.Node{ID: "n"}}); err != nil {
		t.Fatal(err)
	}
	txn.Abort()
	if woken(x) || w.s.Snapshot().Node("n") != nil || w.s.Snapshot().NodeCount() != 0 {
		t.Error("an aborted transaction left a trace")
	}
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.node(0)
		start := w.index
		read := func(s *Snapshot) uint64 { return s.Node(nodeID(0)).ModifyIndex }
		keys := []Key{KeyNode(nodeID(0))}

		calls := 0
		if err := w.s.Block(context.Background(), 0, keys, func(s *Snapshot) uint64 { calls++; return read(s) }); err != nil || calls != 1 {
			t.Fatalf("index 0: %d reads, %v", calls, err)
		}

		var wg sync.WaitGroup
		var got uint64
		wg.Go(func() {
			if err := w.s.Block(context.Background(), start, keys, func(s *Snapshot) uint64 { got = read(s); return got }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		w.node(1) // not watched
		synctest.Wait()
		must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(0), Status: structs.NodeStatusDown})
		wg.Wait()
		if got != w.index {
			t.Errorf("woken at %d, want %d", got, w.index)
		}

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := w.s.Block(ctx, w.index, keys, read); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("deadline: %v after %v", err, time.Since(begin))
		}
		ctx, cancel = context.WithCancel(context.Background())
		cancel()
		if err := w.s.Block(ctx, w.index, keys, read); err == nil {
			t.Error("a canceled wait returned no error")
		}
	})
}

// TestNoLostWakeUp: readers that register, read, compare and wait see the last
// change, whatever the order of events.
func TestNoLostWakeUp(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	const changes = 300
	var wg sync.WaitGroup
	last := w.index + changes
	for range 4 {
		wg.Go(func() {
			for seen := uint64(1); seen < last; {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				_ = w.s.Block(ctx, seen, []Key{KeyNode(nodeID(0))}, func(s *Snapshot) uint64 { seen = s.Node(nodeID(0)).ModifyIndex; return seen })
				if ctx.Err() != nil {
					t.Errorf("no wake-up after index %d", seen)
					seen = last
				}
				cancel()
			}
		})
	}
	for range changes {
		must(w, (*Txn).UpdateNodeEligibility, &NodeEligibility{NodeID: nodeID(0), Eligibility: structs.NodeEligible})
	}
	wg.Wait()
}

// TestWatchBegunDuringATransaction: who begins to watch after a change was
// made and before it is published is woken as well.
func TestWatchBegunDuringATransaction(t *testing.T) {
	s := New(Options{})
	x := s.Begin(1)
	if err := x.UpsertEvals(&EvalUpsert{Evals: []*structs.Evaluation{{ID: "e", Namespace: "default", JobID: "j"}}}); err != nil {
		t.Fatal(err)
	}
	w := s.Watch(KeyEval("e"))
	defer w.Close()
	if s.Snapshot().Eval("e") != nil {
		t.Fatal("published too early")
	}
	x.Commit()
	if !woken(w) {
		t.Error("the wake-up was lost")
	}
}
