package state

import (
	"iter"
	"sort"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// AllocRow is an allocation as capacity checks and indexes need it.
type AllocRow struct {
	Number                uint64 // never reused; AllocID makes the id of it
	CPU, MemoryMB, DiskMB int64
	Desired               uint8 // Desired…
	Client                uint8 // Client…
	// Special is set for allocations with ports, devices or cores.
	Special          bool
	ModifyIndex      uint64
	AllocModifyIndex uint64
}

// Desired statuses in an AllocRow.
const (
	DesiredRun   = alloctable.DesiredRun
	DesiredStop  = alloctable.DesiredStop
	DesiredEvict = alloctable.DesiredEvict
)

// Client statuses in an AllocRow. Those from ClientComplete on are terminal.
const (
	ClientPending  = alloctable.ClientPending
	ClientRunning  = alloctable.ClientRunning
	ClientUnknown  = alloctable.ClientUnknown
	ClientComplete = alloctable.ClientComplete
	ClientFailed   = alloctable.ClientFailed
	ClientLost     = alloctable.ClientLost
)

// Live reports whether the allocation counts against its node's capacity.
func (r AllocRow) Live() bool { return r.Desired == DesiredRun && r.Client < ClientComplete }

// Usage is what the allocations of a node occupy: those that the servers want
// and whose client is not done with them.
type Usage = alloctable.Usage

// NodeChange says that a node, or an allocation on it, changed at an index.
type NodeChange struct {
	Index uint64
	Node  uint32
}

// Alloc returns an allocation, or nil.
func (s *Snapshot) Alloc(id string) *structs.Allocation {
	r, ok := s.r.allocs.ByID(id)
	if !ok {
		return nil
	}
	return s.r.allocs.Alloc(&r)
}

// AllocByNumber returns the allocation with a number, or nil.
func (s *Snapshot) AllocByNumber(number uint64) *structs.Allocation {
	r, ok := s.r.allocs.Get(number)
	if !ok {
		return nil
	}
	return s.r.allocs.Alloc(&r)
}

// AllocClient is the client status of an allocation, false when there is none.
func (s *Snapshot) AllocClient(id string) (client uint8, ok bool) {
	r, ok := s.r.allocs.ByID(id)
	return r.Client, ok
}

// AllocID is the id of an allocation's number.
func (s *Snapshot) AllocID(number uint64) string { return s.r.allocs.ID(number) }

// AllocCount is the number of allocations.
func (s *Snapshot) AllocCount() int { return s.r.allocs.Len() }

func (s *Snapshot) materialize(rows iter.Seq[alloctable.Row]) iter.Seq[*structs.Allocation] {
	return func(yield func(*structs.Allocation) bool) {
		for r := range rows {
			if !yield(s.r.allocs.Alloc(&r)) {
				return
			}
		}
	}
}

// Allocs yields all allocations in order of creation.
func (s *Snapshot) Allocs() iter.Seq[*structs.Allocation] { return s.materialize(s.r.allocs.Rows()) }

// AllocsByJob yields the allocations of a job in order of creation. Without
// all, allocations of an earlier job of that name (purged and registered
// again) are left out.
func (s *Snapshot) AllocsByJob(ns, id string, all bool) iter.Seq[*structs.Allocation] {
	job := s.Job(ns, id)
	seq := s.materialize(s.r.allocs.ByJob(ns, id))
	if all || job == nil {
		return seq
	}
	return where(seq, func(a *structs.Allocation) bool { return a.Job.CreateIndex == job.CreateIndex })
}

// AllocsByNode yields the allocations of a node in order of creation.
func (s *Snapshot) AllocsByNode(nodeID string) iter.Seq[*structs.Allocation] {
	num, ok := s.NodeNum(nodeID)
	if !ok {
		return func(func(*structs.Allocation) bool) {}
	}
	return s.materialize(s.r.allocs.ByNode(num))
}

// AllocsByEval yields the allocations of an evaluation in order of creation.
func (s *Snapshot) AllocsByEval(evalID string) iter.Seq[*structs.Allocation] {
	return s.materialize(s.r.allocs.ByEval(evalID))
}

// AllocsByDeployment yields the allocations of a deployment in order of
// creation.
func (s *Snapshot) AllocsByDeployment(id string) iter.Seq[*structs.Allocation] {
	return s.materialize(s.r.allocs.ByDeployment(id))
}

// AllocsByIDPrefix yields the allocations whose id begins with prefix, by id.
func (s *Snapshot) AllocsByIDPrefix(prefix string) iter.Seq[*structs.Allocation] {
	return s.materialize(s.r.allocs.WithPrefix(prefix))
}

// NodeAllocs yields the rows of a node's allocations without making
// structs.Allocation values of them.
func (s *Snapshot) NodeAllocs(node uint32) iter.Seq[AllocRow] {
	return s.allocRows(s.r.allocs.ByNode(node))
}

// NodeHolders yields the rows of a node that have ports, devices, cores or
// volumes and that their client is not done with.
func (s *Snapshot) NodeHolders(node uint32) iter.Seq[AllocRow] {
	return s.allocRows(s.r.allocs.HeldOn(node))
}

// NodeChanges yields the allocations of a node that the servers changed after
// an index. It costs what changed.
func (s *Snapshot) NodeChanges(node uint32, since uint64) iter.Seq[*structs.Allocation] {
	return s.materialize(s.r.allocs.ChangedOn(node, since))
}

func (s *Snapshot) allocRows(rows iter.Seq[alloctable.Row]) iter.Seq[AllocRow] {
	return func(yield func(AllocRow) bool) {
		for r := range rows {
			ask := s.r.allocs.Usage(&r)
			if !yield(AllocRow{
				Number: r.Number, CPU: ask.CPU, MemoryMB: ask.MemoryMB, DiskMB: ask.DiskMB,
				Desired: r.Desired, Client: r.Client, Special: r.Special(),
				ModifyIndex: r.ModifyIndex, AllocModifyIndex: r.AllocModifyIndex,
			}) {
				return
			}
		}
	}
}

// NodeSync tells how to bring a node up to date: changed is the highest
// AllocModifyIndex of its allocations; a node that knows less than collected,
// the index at which one of them was last removed, needs the whole list.
func (s *Snapshot) NodeSync(num uint32) (changed, collected uint64) { return s.r.allocs.NodeSync(num) }

// NodeNum returns the dense number of a node that is or was registered.
func (s *Snapshot) NodeNum(id string) (uint32, bool) { return s.r.allocs.NodeNum(id) }

// NodeByNum returns the node with a dense number, nil when it is gone.
func (s *Snapshot) NodeByNum(num uint32) *structs.Node {
	return nodes.get(s.r, s.r.allocs.NodeOf(num).ID)
}

// NodeCount is one more than the highest dense node number.
func (s *Snapshot) NodeCount() uint32 { return s.r.allocs.NodeCount() }

// NodeUsage is what the live allocations of a node occupy.
func (s *Snapshot) NodeUsage(num uint32) Usage { return s.r.allocs.NodeUsage(num) }

// AskOf is what an allocation with these resources occupies.
func AskOf(r *structs.AllocatedResources) Usage { return alloctable.Ask(r) }

// AllocUsage is the node of an allocation and what it occupies there; live is
// false when it occupies nothing.
func (s *Snapshot) AllocUsage(id string) (node uint32, u Usage, live bool) {
	r, ok := s.r.allocs.ByID(id)
	if !ok || !r.Live() {
		return 0, Usage{}, false
	}
	return r.Node, s.r.allocs.Usage(&r), true
}

// NodeFits reports whether a node has room for ask beside what it has.
func (s *Snapshot) NodeFits(num uint32, ask Usage) bool {
	n := s.NodeByNum(num)
	return n != nil && newNodeCheck(n, s.NodeUsage(num)).fits(ask) == ""
}

// ChangesSince returns the nodes whose row or allocations changed after index,
// in order of index and number; a node occurs once for each entry that changed
// it. It returns false when that is too long ago to know: the caller rebuilds.
func (s *Snapshot) ChangesSince(index uint64) ([]NodeChange, bool) {
	if index < s.r.changesFrom {
		return nil, false
	}
	c := s.r.changes
	return c[sort.Search(len(c), func(i int) bool { return c[i].Index > index }):], true
}

// EvalChange says that an evaluation was written or removed at an index.
type EvalChange struct {
	Index uint64
	ID    string
}

// EvalChangesSince returns the evaluations that changed after index, in order;
// one may occur several times. It returns false when that is too long ago to
// know.
func (s *Snapshot) EvalChangesSince(index uint64) ([]EvalChange, bool) {
	if index < s.r.evalChangesFrom {
		return nil, false
	}
	c := s.r.evalChanges
	return c[sort.Search(len(c), func(i int) bool { return c[i].Index > index }):], true
}
