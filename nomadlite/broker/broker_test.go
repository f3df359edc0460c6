package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
	"pgregory.net/rapid"
)

var allTypes = []string{structs.JobTypeService, structs.JobTypeBatch}

// world is a store with a running broker, in virtual time.
type world struct {
	t      *testing.T
	store  *state.Store
	broker *Broker
	index  uint64
	given  []string
}

func run(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: state.New(state.Options{}), index: 1}
		w.broker = New(Config{Store: w.store, GiveUp: func(_ context.Context, e *structs.Evaluation) error {
			w.given = append(w.given, e.ID)
			failed := *e
			failed.Status = structs.EvalStatusFailed
			w.put(&failed)
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.broker.Run(ctx) }()
		synctest.Wait()
		test(w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) put(evals ...*structs.Evaluation) {
	w.index++
	txn := w.store.Begin(w.index)
	if err := txn.UpsertEvals(&state.EvalUpsert{Evals: evals}); err != nil {
		w.t.Fatal(err)
	}
	txn.Commit()
}

func eval(id, job string, priority int) *structs.Evaluation {
	return &structs.Evaluation{ID: id, Namespace: "default", JobID: job, Type: structs.JobTypeService, Priority: priority, Status: structs.EvalStatusPending}
}

// take returns the id of the next evaluation and its token, "" when there is
// none for a second.
func (w *world) take() (id, token string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	e, token, err := w.broker.Dequeue(ctx, allTypes)
	if errors.Is(err, context.DeadlineExceeded) {
		return "", ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return e.ID, token
}

// finish commits an evaluation's outcome and acknowledges it.
func (w *world) finish(id, token string) {
	done := *w.store.Snapshot().Eval(id)
	done.Status = structs.EvalStatusComplete
	w.put(&done)
	if err := w.broker.Ack(id, token); err != nil {
		w.t.Fatal(err)
	}
}

func TestPriorityThenAge(t *testing.T) {
	run(t, func(w *world) {
		w.put(eval("old", "a", 50))
		w.put(eval("new", "b", 50))
		w.put(eval("urgent", "c", 80))
		synctest.Wait()
		for _, want := range []string{"urgent", "old", "new", ""} {
			if id, _ := w.take(); id != want {
				t.Errorf("got %q, want %q", id, want)
			}
		}
	})
}

func TestOneOfAJobAtATime(t *testing.T) {
	run(t, func(w *world) {
		w.put(eval("first", "a", 50))
		w.put(eval("second", "a", 50), eval("third", "a", 60))
		id, token := w.take()
		if id != "first" {
			t.Fatalf("got %q", id)
		}
		if other, _ := w.take(); other != "" {
			t.Fatalf("%q beside %q", other, id)
		}
		if d := w.broker.Depths(); d != (Depths{Behind: 2, Delivered: 1}) {
			t.Errorf("depths %+v", d)
		}
		w.finish(id, token)
		if err := w.broker.Ack(id, token); structs.KindOf(err) != structs.Conflict {
			t.Errorf("a second ack: %v", err)
		}
		if id, _ = w.take(); id != "third" {
			t.Errorf("got %q, want the one of higher priority", id)
		}
	})
}

func TestLostAndRefusedDeliveries(t *testing.T) {
	run(t, func(w *world) {
		w.put(eval("e", "a", 50))
		id, token := w.take()
		if id != "e" {
			t.Fatalf("got %q", id)
		}
		time.Sleep(DefaultLease + 2*nackDelay) // its worker is gone
		id, second := w.take()
		if id != "e" || second == token {
			t.Fatalf("got %q under %q after a lost lease", id, second)
		}
		if err := w.broker.Ack("e", token); structs.KindOf(err) != structs.Conflict {
			t.Errorf("an ack under the old lease: %v", err)
		}
		if err := w.broker.Nack("e", second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * nackDelay)
		id, third := w.take()
		if id != "e" {
			t.Fatalf("got %q after a nack", id)
		}
		if err := w.broker.Nack("e", third); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if fmt.Sprint(w.given) != "[e]" || w.store.Snapshot().Eval("e").Status != structs.EvalStatusFailed {
			t.Errorf("given up: %v", w.given)
		}
		if d := w.broker.Depths(); d != (Depths{}) {
			t.Errorf("depths %+v", d)
		}
	})
}

// TestLook: people see what workers have, then what comes next, then what waits.
func TestLook(t *testing.T) {
	run(t, func(w *world) {
		later := eval("later", "d", 90)
		later.WaitUntil = structs.Ptr(time.Now().Add(time.Hour))
		w.put(later)
		w.put(eval("old", "a", 50))
		w.put(eval("behind", "a", 50))
		w.put(eval("new", "b", 50))
		w.put(eval("urgent", "c", 80))
		synctest.Wait()
		look := func(limit int) string {
			depths, first := w.broker.Look(limit)
			text := fmt.Sprint(depths)
			for _, q := range first {
				text += fmt.Sprintf(" %s:%d:%d", q.Eval.ID, q.Place, q.Deliveries)
				if timed := q.Place == Unacked || q.Place == Waiting; timed == q.Until.IsZero() || q.Since.IsZero() {
					t.Errorf("%s: since %v until %v", q.Eval.ID, q.Since, q.Until)
				}
			}
			return text
		}
		if got, want := look(9), fmt.Sprintf("{3 1 1 0} urgent:%d:0 old:%d:0 new:%d:0 behind:%d:0 later:%d:0", Ready, Ready, Ready, Pending, Waiting); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		w.take()
		w.take()
		if got, want := look(3), fmt.Sprintf("{1 1 1 2} urgent:%d:1 old:%d:1 new:%d:0", Unacked, Unacked, Ready); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestWaitUntil(t *testing.T) {
	run(t, func(w *world) {
		e := eval("later", "a", 50)
		at := time.Now().Add(time.Minute)
		e.WaitUntil = &at
		w.put(e)
		if id, _ := w.take(); id != "" {
			t.Fatalf("got %q too early", id)
		}
		time.Sleep(time.Minute)
		if id, _ := w.take(); id != "later" {
			t.Errorf("got %q", id)
		}
	})
}

func TestPause(t *testing.T) {
	run(t, func(w *world) {
		pause := func(on bool) {
			w.index++
			txn := w.store.Begin(w.index)
			if err := txn.SetSchedulerConfig(&state.SchedulerConfig{Config: &structs.SchedulerConfiguration{PauseEvalBroker: on}}); err != nil {
				t.Fatal(err)
			}
			txn.Commit()
		}
		pause(true)
		w.put(eval("e", "a", 50))
		if id, _ := w.take(); id != "" {
			t.Fatalf("got %q while paused", id)
		}
		pause(false)
		if id, _ := w.take(); id != "e" {
			t.Errorf("got %q", id)
		}
	})
}

func TestBlockedAndEndedAreNotDelivered(t *testing.T) {
	run(t, func(w *world) {
		blocked, ended := eval("blocked", "a", 50), eval("ended", "b", 50)
		blocked.Status = structs.EvalStatusBlocked
		w.put(blocked, ended)
		synctest.Wait()
		ended.Status = structs.EvalStatusCanceled
		w.put(ended)
		synctest.Wait()
		if id, _ := w.take(); id != "" {
			t.Errorf("got %q", id)
		}
	})
}

// lease is a delivery as a worker knows it: another token is another delivery.
type lease struct {
	entry *entry
	token string
}

// TestQueueKeepsItsRules_B21: whatever happens, an evaluation is in one place, of
// a job at most one is ready or delivered, and none is lost.
func TestQueueKeepsItsRules_B21(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, now, known, held := newQueue(), time.Unix(1000, 0), map[string]bool{}, []lease{}
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				e := eval(fmt.Sprint("e", n), fmt.Sprint("job", rapid.IntRange(0, 3).Draw(t, "job")), rapid.IntRange(1, 3).Draw(t, "priority"))
				e.Type = rapid.SampledFrom(allTypes).Draw(t, "type")
				if rapid.Bool().Draw(t, "wait") {
					at := now.Add(time.Second)
					e.WaitUntil = &at
				}
				q.add(e, now)
				known[e.ID] = true
			case 2:
				if got := q.take(allTypes, fmt.Sprint(n), now.Add(3*time.Second)); got != nil {
					held = append(held, lease{got, got.token})
				}
			case 3:
				now = now.Add(time.Second)
				for _, e := range q.due(now) {
					q.settle(e, true, now.Add(time.Second))
				}
			case 4:
				if len(held) > 0 && held[0].entry.token == held[0].token {
					q.settle(held[0].entry, false, now)
					delete(known, held[0].entry.eval.ID)
				}
				held = held[min(1, len(held)):]
			case 5:
				if len(known) == 0 {
					continue
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(known))).Draw(t, "removed")
				if e := q.entries[id]; e.place != delivered {
					q.remove(e)
					delete(known, id)
				}
			}
			checkQueue(t, q, known)
		}
	})
}

func checkQueue(t *rapid.T, q *queue, known map[string]bool) {
	if len(q.entries) != len(known) {
		t.Fatalf("%d entries, %d known", len(q.entries), len(known))
	}
	places, active := map[place]int{}, map[jobKey]int{}
	for _, e := range q.entries {
		places[e.place]++
		if e.place == ready || e.place == delivered {
			active[keyOf(e.eval)]++
		}
	}
	for key, n := range active {
		if n > 1 || q.active[key] == nil {
			t.Fatalf("job %v has %d active evaluations", key, n)
		}
	}
	inReady, inBehind := 0, 0
	for _, h := range q.ready {
		inReady += len(*h)
	}
	for key, list := range q.behind {
		inBehind += len(list)
		if q.active[key] == nil {
			t.Fatalf("evaluations of job %v wait for nothing", key)
		}
	}
	if inReady != places[ready] || inBehind != places[behind] || q.waiting.Len() != places[waiting] || q.leases.Len() != places[delivered] {
		t.Fatalf("places %v, but %d ready, %d behind, %d waiting, %d delivered", places, inReady, inBehind, q.waiting.Len(), q.leases.Len())
	}
}
