// Package blocked wakes evaluations that wait for room: when a node has
// changed since such an evaluation looked, may run its job by its class, and
// has room for one of the groups that did not fit. It also ends waiting that
// has become pointless: the job is gone, or a later evaluation waits for it.
// (One that placed everything ends the waiting in the state itself.)
//
// Decide is pure and level-triggered: it is asked again with the state as it
// is, so a lost wake-up costs a delay. Waking an evaluation makes it pending;
// everything else is the scheduler's to say.
package blocked

import (
	"cmp"
	"context"
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

// Decision is what to do about the waiting evaluations.
type Decision struct {
	// Wake are to become pending, the most urgent first.
	Wake []*structs.Evaluation
	// Cancel need not wait any more, by id with the reason.
	Cancel map[string]string
	// Waiting is how many go on waiting.
	Waiting int
	// More says that more could be woken than the limit allows.
	More bool
}

// Decide looks at every blocked evaluation of a snapshot. Changes of nodes up
// to looked (of an evaluation that was woken before, 0 for none) are not
// looked at again; at most limit evaluations are woken.
func Decide(snap *state.Snapshot, looked map[string]uint64, limit int) Decision {
	d := Decision{Cancel: map[string]string{}}
	newest := map[state.JobKey]*structs.Evaluation{}
	var waiting []*structs.Evaluation
	for e := range snap.OpenEvals() {
		if e.Status != structs.EvalStatusBlocked {
			continue
		}
		if reason := pointless(snap, e); reason != "" {
			d.Cancel[e.ID] = reason
			continue
		}
		key := state.JobKey{Namespace: e.Namespace, ID: e.JobID}
		if other := newest[key]; other != nil {
			d.Cancel[other.ID] = descSuperseded // OpenEvals comes by age
		}
		newest[key] = e
		waiting = append(waiting, e)
	}
	waiting = slices.DeleteFunc(waiting, func(e *structs.Evaluation) bool { return d.Cancel[e.ID] != "" })
	slices.SortStableFunc(waiting, func(a, b *structs.Evaluation) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, e := range waiting {
		switch {
		case !mayFit(snap, e, max(e.SnapshotIndex, looked[e.ID])):
			d.Waiting++
		case len(d.Wake) == limit:
			d.Waiting++
			d.More = true
		default:
			d.Wake = append(d.Wake, e)
		}
	}
	return d
}

// pointless says why an evaluation need not wait any more, "" when it must.
func pointless(snap *state.Snapshot, e *structs.Evaluation) string {
	job := snap.Job(e.Namespace, e.JobID)
	if job == nil || job.Stop {
		return descGone
	}
	return ""
}

// mayFit reports whether a node that changed after an index may take one of
// the groups that an evaluation could not place.
func mayFit(snap *state.Snapshot, e *structs.Evaluation, since uint64) bool {
	job := snap.Job(e.Namespace, e.JobID)
	asks := leastAsks(job, e.FailedTGAllocs)
	changes, known := snap.ChangesSince(since)
	if !known {
		for num := range snap.NodeCount() {
			if nodeMayFit(snap, e, job, num, asks) {
				return true
			}
		}
		return false
	}
	seen := map[uint32]bool{}
	for _, c := range changes {
		if !seen[c.Node] && nodeMayFit(snap, e, job, c.Node, asks) {
			return true
		}
		seen[c.Node] = true
	}
	return false
}

// amount is a quantity of the plain resources, in MHz and MiB.
type amount struct{ cpu, memory int64 }

// leastAsks is the least that an allocation of each failed group can need: its
// main tasks together. All groups count when none is named.
func leastAsks(job *structs.Job, failed map[string]*structs.AllocMetric) []amount {
	var asks []amount
	for _, g := range job.TaskGroups {
		if failed[g.Name] == nil && len(failed) > 0 {
			continue
		}
		var a amount
		for _, t := range g.Tasks {
			if t.Lifecycle == nil && t.Resources != nil {
				if structs.Val(t.Resources.Cores) == 0 {
					a.cpu += int64(structs.Val(t.Resources.CPU))
				}
				a.memory += int64(structs.Val(t.Resources.MemoryMB))
			}
		}
		asks = append(asks, a)
	}
	return asks
}

func nodeMayFit(snap *state.Snapshot, e *structs.Evaluation, job *structs.Job, num uint32, asks []amount) bool {
	n := snap.NodeByNum(num)
	if n == nil || !n.Ready() || n.NodeResources == nil || job.NodePool != structs.NodePoolAll && job.NodePool != n.NodePool {
		return false
	}
	if fits, known := e.ClassEligibility[n.ComputedClass]; known && !fits && !e.EscapedComputedClass {
		return false
	}
	used := snap.NodeUsage(num)
	free := amount{n.NodeResources.Cpu.CpuShares - used.CPU, n.NodeResources.Memory.MemoryMB - used.MemoryMB}
	if r := n.ReservedResources; r != nil {
		free = amount{free.cpu - r.Cpu.CpuShares, free.memory - r.Memory.MemoryMB}
	}
	return slices.ContainsFunc(asks, func(a amount) bool { return a.cpu <= free.cpu && a.memory <= free.memory })
}

// Config configures a Waker.
type Config struct {
	Store *state.Store
	// Limit is how many evaluations are woken at once.
	Limit int
	// Upsert commits evaluations.
	Upsert func(ctx context.Context, evals []*structs.Evaluation) error
	Logger hclog.Logger
}

// Waker wakes blocked evaluations.
type Waker struct {
	cfg    Config
	looked map[string]uint64 // by evaluation; belongs to Run
}

// New returns a waker.
func New(cfg Config) *Waker { return &Waker{cfg: cfg} }

// Pauses of the loop.
const (
	sweep  = 5 * time.Second        // the longest time between two looks
	settle = 20 * time.Millisecond  // between looks while things change
	crowd  = 100 * time.Millisecond // before the next ones when many wait
)

// Run wakes what may fit until ctx ends.
func (w *Waker) Run(ctx context.Context) error {
	w.looked = map[string]uint64{}
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
	d := Decide(snap, w.looked, w.cfg.Limit)
	metrics.SetGauge([]string{"blocked_evals", "total_blocked"}, float32(d.Waiting))
	now := time.Now().UnixNano()
	var changed []*structs.Evaluation
	looked := map[string]uint64{}
	for _, e := range d.Wake {
		pending := *e
		pending.Status, pending.StatusDescription, pending.ModifyTime = structs.EvalStatusPending, "", now
		changed = append(changed, &pending)
		looked[e.ID] = snap.Index()
	}
	for id, reason := range d.Cancel {
		canceled := *snap.Eval(id)
		canceled.Status, canceled.StatusDescription, canceled.ModifyTime = structs.EvalStatusCanceled, reason, now
		changed = append(changed, &canceled)
	}
	if len(changed) > 0 {
		if err := w.cfg.Upsert(ctx, changed); err != nil {
			if ctx.Err() == nil {
				w.cfg.Logger.Error("cannot wake blocked evaluations; trying again", "error", err)
			}
			return sweep
		}
	}
	w.looked = looked
	if d.More {
		return crowd
	}
	return sweep
}
