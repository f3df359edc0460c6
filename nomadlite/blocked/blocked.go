// Package blocked wakes evaluations that wait for room: when a node has
// changed since such an evaluation looked, may run its job by its class, and
// has room for one of the groups that did not fit. It also ends waiting that
// has become pointless: the job is gone, or a later evaluation waits for it.
// (One that placed everything ends the waiting in the state itself.)
//
// What waits is kept in buckets, so that a change of a node costs a look at what
// it may help and not at all that waits. It is level-triggered all the same:
// every few seconds everything is compared with the state as it is, so a lost
// wake-up costs a delay. Waking an evaluation makes it pending; everything else
// is the scheduler's to say.
package blocked

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Texts of evaluations that need not wait any more.
const (
	descGone       = "canceled: its job is stopped or gone"
	descSuperseded = "canceled: a later evaluation of its job waits"
)

// Config configures a Waker.
type Config struct {
	Store *state.Store
	// Limit is how many evaluations may be woken and not settled at a time.
	Limit int
	// Upsert commits evaluations.
	Upsert func(ctx context.Context, evals []*structs.Evaluation) error
	Logger hclog.Logger
}

// Waker wakes blocked evaluations.
type Waker struct {
	cfg     Config
	waiting *Waiting // belongs to Run
	swept   time.Time
	pools   map[string]Lacking // of which measures were told
}

// New returns a waker.
func New(cfg Config) *Waker { return &Waker{cfg: cfg} }

// Pauses of the loop.
const (
	sweep  = 5 * time.Second      // the longest time between two looks at everything
	settle = 5 * time.Millisecond // between looks while things change
)

// Run wakes what may fit until ctx ends.
func (w *Waker) Run(ctx context.Context) error {
	w.waiting, w.swept, w.pools = NewWaiting(), time.Now(), map[string]Lacking{}
	watch := w.cfg.Store.Watch(state.KeyTable(state.TableNodes), state.KeyTable(state.TableAllocs), state.KeyTable(state.TableEvals))
	defer watch.Close()
	timer := time.NewTimer(sweep)
	defer timer.Stop()
	for {
		timer.Reset(w.look(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			timer.Reset(settle)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		case <-timer.C:
		}
	}
}

// look acts on the newest state and returns when to look again.
func (w *Waker) look(ctx context.Context) time.Duration {
	snap := w.cfg.Store.Snapshot()
	all := time.Since(w.swept) >= sweep
	if all {
		w.swept = time.Now()
	}
	w.waiting.Follow(snap, all)
	d := w.waiting.Decide(snap, w.cfg.Limit)
	metrics.SetGauge([]string{"nomad", "blocked_evals", "total_blocked"}, float32(d.Waiting))
	if all {
		w.tell()
	}
	changed := d.Evals(snap, time.Now())
	if len(changed) > 0 {
		if err := w.cfg.Upsert(ctx, changed); err != nil {
			if ctx.Err() == nil {
				w.cfg.Logger.Error("cannot wake blocked evaluations; trying again", "error", err)
			}
			return sweep
		}
		w.waiting.Woke(d)
	}
	if d.More && len(changed) > 0 {
		return settle
	}
	return sweep
}

// tell tells the measures that cost a look at all that waits.
func (w *Waker) tell() {
	now, escaped := w.waiting.Lacking()
	metrics.SetGauge([]string{"nomad", "blocked_evals", "total_escaped"}, float32(escaped))
	for pool := range w.pools {
		if _, still := now[pool]; !still {
			w.tellPool(pool, Lacking{})
		}
	}
	for pool, l := range now {
		w.tellPool(pool, l)
	}
	w.pools = now
}

func (w *Waker) tellPool(pool string, l Lacking) {
	labels := []metrics.Label{{Name: "node_pool", Value: pool}}
	metrics.SetGaugeWithLabels([]string{"nomad", "blocked_evals", "cpu"}, float32(l.CPU), labels)
	metrics.SetGaugeWithLabels([]string{"nomad", "blocked_evals", "memory"}, float32(l.MemoryMB), labels)
}

// Evals are the evaluations as the decision leaves them.
func (d *Decision) Evals(snap *state.Snapshot, now time.Time) []*structs.Evaluation {
	var changed []*structs.Evaluation
	for _, e := range d.Wake {
		pending := *e
		pending.Status, pending.StatusDescription, pending.ModifyTime = structs.EvalStatusPending, "", now.UnixNano()
		changed = append(changed, &pending)
	}
	for _, id := range slices.Sorted(maps.Keys(d.Cancel)) {
		canceled := *snap.Eval(id)
		canceled.Status, canceled.StatusDescription, canceled.ModifyTime = structs.EvalStatusCanceled, d.Cancel[id], now.UnixNano()
		changed = append(changed, &canceled)
	}
	return changed
}
