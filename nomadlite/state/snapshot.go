package state

import (
	"iter"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Snapshot is the state at one index. Everything that it returns is shared and
// must not be changed.
type Snapshot struct{ r *root }

// Index is the Raft index of the last entry in the snapshot.
func (s *Snapshot) Index() uint64 { return s.r.index }

// Epoch is the term of the last leader that started.
func (s *Snapshot) Epoch() uint64 { return s.r.epoch }

// ClusterID names the region's cluster, "" before its first leader.
func (s *Snapshot) ClusterID() string { return s.r.cluster }

// TableIndex is the index of the last change of a table.
func (s *Snapshot) TableIndex(t Table) uint64 { return s.r.changed[t] }

// DeletedIndex is the index of the last deletion from a table. A list's result
// index is the highest ModifyIndex in its scope or this, whichever is higher,
// and at least 1.
func (s *Snapshot) DeletedIndex(t Table) uint64 {
	return tables[t].deletedIndex(s.r)
}

// Job returns the newest version of a job, or nil.
func (s *Snapshot) Job(ns, id string) *structs.Job { return jobs.get(s.r, joinKey(ns, id)) }

// Jobs yields the jobs of a namespace ("" for all) whose id begins with
// prefix, ordered by namespace and id.
func (s *Snapshot) Jobs(ns, prefix string) iter.Seq[*structs.Job] { return nil }

// JobVersion returns one version of a job, or nil.
func (s *Snapshot) JobVersion(ns, id string, version uint64) *structs.Job { return nil }

// JobVersions returns the versions of a job that are kept, newest first.
func (s *Snapshot) JobVersions(ns, id string) []*structs.Job { return nil }

// JobChildren yields the jobs that a periodic or parameterized job started.
func (s *Snapshot) JobChildren(ns, parent string) iter.Seq[*structs.Job] { return nil }

// JobSummary counts the allocations of a job, nil when there is no such job.
func (s *Snapshot) JobSummary(ns, id string) *structs.JobSummary { return nil }

// JobSubmission returns the source that a version was registered from, or nil.
func (s *Snapshot) JobSubmission(ns, id string, version uint64) *structs.JobSubmission { return nil }

// PeriodicLaunch returns the last launch of a periodic job.
func (s *Snapshot) PeriodicLaunch(ns, id string) (time.Time, bool) { return time.Time{}, false }

// Eval returns an evaluation, or nil.
func (s *Snapshot) Eval(id string) *structs.Evaluation { return evals.get(s.r, id) }

// Evals yields all evaluations in order of creation.
func (s *Snapshot) Evals() iter.Seq[*structs.Evaluation] { return nil }

// EvalsByJob yields the evaluations of a job in order of creation.
func (s *Snapshot) EvalsByJob(ns, id string) iter.Seq[*structs.Evaluation] { return nil }

// EvalsByIDPrefix yields the evaluations whose id begins with prefix, by id.
func (s *Snapshot) EvalsByIDPrefix(prefix string) iter.Seq[*structs.Evaluation] { return nil }

// Alloc returns an allocation, or nil.
func (s *Snapshot) Alloc(id string) *structs.Allocation { return nil }

// Allocs yields all allocations in order of creation.
func (s *Snapshot) Allocs() iter.Seq[*structs.Allocation] { return nil }

// AllocsByJob yields the allocations of a job in order of creation. Without
// all, allocations of an earlier job of that name (purged and registered
// again) are left out.
func (s *Snapshot) AllocsByJob(ns, id string, all bool) iter.Seq[*structs.Allocation] { return nil }

// AllocsByNode yields the allocations of a node in order of creation.
func (s *Snapshot) AllocsByNode(nodeID string) iter.Seq[*structs.Allocation] { return nil }

// AllocsByEval yields the allocations of an evaluation in order of creation.
func (s *Snapshot) AllocsByEval(evalID string) iter.Seq[*structs.Allocation] { return nil }

// AllocsByDeployment yields the allocations of a deployment in order of
// creation.
func (s *Snapshot) AllocsByDeployment(id string) iter.Seq[*structs.Allocation] { return nil }

// AllocsByIDPrefix yields the allocations whose id begins with prefix, by id.
func (s *Snapshot) AllocsByIDPrefix(prefix string) iter.Seq[*structs.Allocation] { return nil }

// NodeAllocs yields the rows of a node's allocations without making
// structs.Allocation values of them.
func (s *Snapshot) NodeAllocs(node uint32) iter.Seq[AllocRow] { return nil }

// AllocID is the id of an allocation's number.
func (s *Snapshot) AllocID(number uint64) string { return "" }

// AllocByNumber returns the allocation with a number, or nil.
func (s *Snapshot) AllocByNumber(number uint64) *structs.Allocation { return nil }

// Node returns a node, or nil.
func (s *Snapshot) Node(id string) *structs.Node { return nodes.get(s.r, id) }

// Nodes yields all nodes by id.
func (s *Snapshot) Nodes() iter.Seq[*structs.Node] { return nil }

// NodesByIDPrefix yields the nodes whose id begins with prefix, by id.
func (s *Snapshot) NodesByIDPrefix(prefix string) iter.Seq[*structs.Node] { return nil }

// NodeNum returns the dense number of a node that is or was registered.
func (s *Snapshot) NodeNum(id string) (uint32, bool) { return 0, false }

// NodeByNum returns the node with a dense number, nil when it is gone.
func (s *Snapshot) NodeByNum(num uint32) *structs.Node { return nil }

// NodeCount is one more than the highest dense node number.
func (s *Snapshot) NodeCount() uint32 { return 0 }

// NodeUsage is what the allocations of a node occupy.
func (s *Snapshot) NodeUsage(num uint32) Usage { return Usage{} }

// Deployment returns a deployment, or nil.
func (s *Snapshot) Deployment(id string) *structs.Deployment { return deployments.get(s.r, id) }

// Deployments yields all deployments in order of creation.
func (s *Snapshot) Deployments() iter.Seq[*structs.Deployment] { return nil }

// DeploymentsByJob yields the deployments of a job in order of creation.
func (s *Snapshot) DeploymentsByJob(ns, id string) iter.Seq[*structs.Deployment] { return nil }

// LatestDeployment returns the newest deployment of a job, or nil.
func (s *Snapshot) LatestDeployment(ns, id string) *structs.Deployment { return nil }

// DeploymentsByIDPrefix yields the deployments whose id begins with prefix, by
// id.
func (s *Snapshot) DeploymentsByIDPrefix(prefix string) iter.Seq[*structs.Deployment] { return nil }

// Namespace returns a namespace, or nil.
func (s *Snapshot) Namespace(name string) *structs.Namespace { return namespaces.get(s.r, name) }

// Namespaces yields all namespaces by name.
func (s *Snapshot) Namespaces() iter.Seq[*structs.Namespace] { return nil }

// NodePool returns a node pool, or nil.
func (s *Snapshot) NodePool(name string) *structs.NodePool { return nodePools.get(s.r, name) }

// NodePools yields all node pools by name.
func (s *Snapshot) NodePools() iter.Seq[*structs.NodePool] { return nil }

// SchedulerConfig returns the cluster-wide scheduler configuration, never nil.
func (s *Snapshot) SchedulerConfig() *structs.SchedulerConfiguration { return nil }

// ChangesSince returns the nodes whose row or allocations changed after index,
// in order of index; a node occurs once for each entry that changed it. It
// returns false when that is too long ago to know: the caller rebuilds.
func (s *Snapshot) ChangesSince(index uint64) ([]NodeChange, bool) { return nil, false }

// Usage is what the allocations of a node occupy: those that the servers want
// and whose client is not done with them.
type Usage struct {
	CPU, MemoryMB, DiskMB int64
	Allocs                int
}

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
	DesiredRun uint8 = iota
	DesiredStop
	DesiredEvict
)

// Client statuses in an AllocRow. Those from ClientComplete on are terminal.
const (
	ClientPending uint8 = iota
	ClientRunning
	ClientUnknown
	ClientComplete
	ClientFailed
	ClientLost
)

// Live reports whether the allocation counts against its node's capacity.
func (r AllocRow) Live() bool { return r.Desired == DesiredRun && r.Client < ClientComplete }

// NodeChange says that a node, or an allocation on it, changed at an index.
type NodeChange struct {
	Index uint64
	Node  uint32
}
