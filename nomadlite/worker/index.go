package worker

import (
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// view is a state snapshot as the scheduler reads it.
type view struct {
	*state.Snapshot
	// job stands for the stored one in dry runs.
	job *structs.Job
}

// Job implements scheduler.Snapshot.
func (v view) Job(ns, id string) *structs.Job {
	if v.job != nil && v.job.Namespace == ns && v.job.ID == id {
		return v.job
	}
	return v.Snapshot.Job(ns, id)
}

// JobAllocs implements scheduler.Snapshot.
func (v view) JobAllocs(ns, id string) []*structs.Allocation {
	return slices.Collect(v.AllocsByJob(ns, id, true))
}

// NodeAllocs implements scheduler.Snapshot.
func (v view) NodeAllocs(num uint32) []*structs.Allocation {
	var list []*structs.Allocation
	for row := range v.Snapshot.NodeAllocs(num) {
		if row.Client < state.ClientComplete {
			list = append(list, v.AllocByNumber(row.Number))
		}
	}
	return list
}

// index is a worker's cluster index and how far it is.
type index struct {
	store    *state.Store
	cluster  *scheduler.Cluster
	at       uint64 // the index of the snapshot that it describes
	built    bool
	replaced <-chan struct{} // closed when the state was restored
	// rows are the nodes as the snapshot has them; beyond are those of which
	// cluster has less, because plans in flight take it.
	rows   []scheduler.NodeRow
	beyond []uint32
}

func newIndex(store *state.Store) *index {
	return &index{store: store, cluster: scheduler.NewCluster()}
}

// drop makes the next sync build the index anew.
func (x *index) drop() { x.built = false }

// sync brings the index exactly to a snapshot, and then counts as used what
// plans in flight take.
func (x *index) sync(snap *state.Snapshot, inFlight map[uint32]state.Usage) {
	for _, num := range x.beyond {
		x.cluster.Set(num, x.rows[num])
	}
	x.beyond = x.beyond[:0]
	x.follow(snap)
	for num, u := range inFlight {
		if int(num) >= len(x.rows) || x.rows[num].Node == nil {
			continue
		}
		row := x.rows[num]
		row.Usage.CPU += u.CPU
		row.Usage.MemoryMB += u.MemoryMB
		row.Usage.DiskMB += u.DiskMB
		row.Usage.Allocs += u.Allocs
		x.cluster.Set(num, row)
		x.beyond = append(x.beyond, num)
	}
}

// follow brings the index to a snapshot: from the ring of changes, or from
// scratch after a restore or when the ring does not reach back.
func (x *index) follow(snap *state.Snapshot) {
	select {
	case <-x.replaced:
		x.built = false
	default:
	}
	if x.built && snap.Index() < x.at {
		x.built = false
	}
	if x.built {
		changes, ok := snap.ChangesSince(x.at)
		if ok {
			x.replay(snap, changes)
			return
		}
	}
	x.build(snap)
}

func (x *index) replay(snap *state.Snapshot, changes []state.NodeChange) {
	seen := make(map[uint32]struct{}, len(changes))
	for _, c := range changes {
		if _, again := seen[c.Node]; !again {
			seen[c.Node] = struct{}{}
			x.set(snap, c.Node)
		}
	}
	x.at = snap.Index()
}

func (x *index) build(snap *state.Snapshot) {
	x.replaced = x.store.Replaced()
	x.cluster.Reset()
	x.rows = nil
	for num := range snap.NodeCount() {
		x.set(snap, num)
	}
	x.at, x.built = snap.Index(), true
}

// set copies one node of a snapshot.
func (x *index) set(snap *state.Snapshot, num uint32) {
	if int(num) >= len(x.rows) {
		x.rows = append(x.rows, make([]scheduler.NodeRow, int(num)+1-len(x.rows))...)
	}
	x.rows[num] = nodeRow(snap, num)
	x.cluster.Set(num, x.rows[num])
}

// nodeRow is one node of a snapshot as the scheduler's index has it; a row
// without a node stands for one that is gone.
func nodeRow(snap *state.Snapshot, num uint32) scheduler.NodeRow {
	node := snap.NodeByNum(num)
	if node == nil {
		return scheduler.NodeRow{}
	}
	u := snap.NodeUsage(num)
	usage := scheduler.NodeUsage{CPU: u.CPU, MemoryMB: u.MemoryMB, DiskMB: u.DiskMB, Allocs: u.Allocs}
	for row := range snap.NodeHolders(num) {
		if holds(row, node) {
			usage.Held = append(usage.Held, snap.AllocByNumber(row.Number))
		}
	}
	return scheduler.NodeRow{Node: node, Usage: usage}
}

// holds reports whether an allocation still has its ports, cores and devices:
// until its client is done, and when it was given up as lost, until its node
// has come back and synced without it.
func holds(row state.AllocRow, node *structs.Node) bool {
	if row.Client == state.ClientLost {
		return node.LastMissedHeartbeatIndex > node.LastAllocUpdateIndex
	}
	return row.Client < state.ClientComplete
}

// DryRun says what registering a canonical job would do, without doing it: the
// plan has annotations and is never committed. Indexes and version of the job
// are worked out from the stored one.
func DryRun(snap *state.Snapshot, job *structs.Job, now time.Time) (*scheduler.Result, error) {
	trial := *job
	trial.Stop = false
	trial.CreateIndex, trial.ModifyIndex, trial.JobModifyIndex = snap.Index()+1, snap.Index()+1, snap.Index()+1
	if old := snap.Job(job.Namespace, job.ID); old != nil {
		trial.CreateIndex, trial.Version = old.CreateIndex, old.Version
		if old.Stop || structs.SpecChanged(old, job) {
			trial.Version++
		} else {
			trial.JobModifyIndex = old.JobModifyIndex
		}
	}
	cluster := scheduler.NewCluster()
	for num := range snap.NodeCount() {
		cluster.Set(num, nodeRow(snap, num))
	}
	eval := &structs.Evaluation{ID: "dry-run", Namespace: job.Namespace, JobID: job.ID, Type: job.Type, Priority: job.Priority,
		TriggeredBy: structs.EvalTriggerJobRegister, Status: structs.EvalStatusPending, AnnotatePlan: true}
	return scheduler.Process(view{Snapshot: snap, job: &trial}, cluster, eval, scheduler.Options{Now: now, Seed: snap.Index(), Dry: true})
}
