package state

import (
	"iter"
	"slices"
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
	if t == TableAllocs {
		return s.r.allocsDeleted
	}
	return tables[t].deletedIndex(s.r)
}

// Job returns the newest version of a job, or nil.
func (s *Snapshot) Job(ns, id string) *structs.Job { return jobs.get(s.r, joinKey(ns, id)) }

// Jobs yields the jobs of a namespace ("" for all) whose id begins with
// prefix, ordered by namespace and id.
func (s *Snapshot) Jobs(ns, prefix string) iter.Seq[*structs.Job] {
	if ns != "" {
		return jobs.prefix(s.r, joinKey(ns, prefix))
	}
	return where(jobs.prefix(s.r, ""), func(j *structs.Job) bool {
		return len(j.ID) >= len(prefix) && j.ID[:len(prefix)] == prefix
	})
}

func where[V any](seq iter.Seq[*V], keep func(*V) bool) iter.Seq[*V] {
	return func(yield func(*V) bool) {
		for v := range seq {
			if keep(v) && !yield(v) {
				return
			}
		}
	}
}

// JobVersion returns one version of a job, or nil. Versions live while they
// are among the newest, tagged, or in use by an allocation.
func (s *Snapshot) JobVersion(ns, id string, version uint64) *structs.Job {
	job := s.Job(ns, id)
	if job == nil || job.Version == version {
		return job
	}
	if v := jobVersions.get(s.r, versionKey(ns, id, version)); v != nil {
		return v
	}
	return s.r.allocs.JobInUse(ns, id, version, job.CreateIndex)
}

// JobVersions returns the versions of a job that are kept, newest first.
func (s *Snapshot) JobVersions(ns, id string) []*structs.Job {
	job := s.Job(ns, id)
	if job == nil {
		return nil
	}
	versions := slices.Collect(jobVersions.prefix(s.r, joinKey(ns, id, "")))
	slices.Reverse(versions)
	if len(versions) > 0 && versions[0].Version == job.Version {
		versions[0] = job
	}
	return versions
}

// JobChildren yields the jobs that a periodic or parameterized job started.
func (s *Snapshot) JobChildren(ns, parent string) iter.Seq[*structs.Job] {
	return jobs.by(s.r, "parent", joinKey(ns, parent, ""))
}

// PeriodicJobs yields the jobs with a periodic block, by namespace and id.
func (s *Snapshot) PeriodicJobs() iter.Seq[*structs.Job] { return jobs.by(s.r, "periodic", "") }

// JobSummary counts the allocations of a job, nil when there is no such job.
func (s *Snapshot) JobSummary(ns, id string) *structs.JobSummary {
	return summaries.get(s.r, joinKey(ns, id))
}

// ScalingEvents returns the history of a job's groups, newest first.
func (s *Snapshot) ScalingEvents(ns, id string) map[string][]*structs.ScalingEvent {
	if e := scalings.get(s.r, joinKey(ns, id)); e != nil {
		return e.Groups
	}
	return nil
}

// ScalingEventsIndex is when that history changed last, 0 for none.
func (s *Snapshot) ScalingEventsIndex(ns, id string) uint64 {
	if e := scalings.get(s.r, joinKey(ns, id)); e != nil {
		return e.ModifyIndex
	}
	return 0
}

// JobSubmission returns the source that a version was registered from, or nil.
func (s *Snapshot) JobSubmission(ns, id string, version uint64) *structs.JobSubmission {
	if sub := submissions.get(s.r, versionKey(ns, id, version)); sub != nil {
		return &sub.JobSubmission
	}
	return nil
}

// PeriodicLaunch returns the last launch of a periodic job.
func (s *Snapshot) PeriodicLaunch(ns, id string) (time.Time, bool) {
	if l := launches.get(s.r, joinKey(ns, id)); l != nil {
		return l.Launch, true
	}
	return time.Time{}, false
}

// Eval returns an evaluation, or nil.
func (s *Snapshot) Eval(id string) *structs.Evaluation { return evals.get(s.r, id) }

// Evals yields all evaluations in order of creation.
func (s *Snapshot) Evals() iter.Seq[*structs.Evaluation] { return evals.by(s.r, "created", "") }

// EvalsByJob yields the evaluations of a job in order of creation.
func (s *Snapshot) EvalsByJob(ns, id string) iter.Seq[*structs.Evaluation] {
	return evals.by(s.r, "job", joinKey(ns, id, ""))
}

// EvalsByIDPrefix yields the evaluations whose id begins with prefix, by id.
func (s *Snapshot) EvalsByIDPrefix(prefix string) iter.Seq[*structs.Evaluation] {
	return evals.prefix(s.r, prefix)
}

// OpenEvals yields the evaluations that are pending or blocked, in order of
// creation.
func (s *Snapshot) OpenEvals() iter.Seq[*structs.Evaluation] { return evals.by(s.r, "open", "") }

// Node returns a node, or nil.
func (s *Snapshot) Node(id string) *structs.Node { return nodes.get(s.r, id) }

// Nodes yields all nodes by id.
func (s *Snapshot) Nodes() iter.Seq[*structs.Node] { return nodes.prefix(s.r, "") }

// NodesByIDPrefix yields the nodes whose id begins with prefix, by id.
func (s *Snapshot) NodesByIDPrefix(prefix string) iter.Seq[*structs.Node] {
	return nodes.prefix(s.r, prefix)
}

// NodesByPool yields the nodes of a pool by id.
func (s *Snapshot) NodesByPool(pool string) iter.Seq[*structs.Node] {
	return nodes.by(s.r, "pool", joinKey(pool, ""))
}

// Deployment returns a deployment, or nil.
func (s *Snapshot) Deployment(id string) *structs.Deployment { return deployments.get(s.r, id) }

// Deployments yields all deployments in order of creation.
func (s *Snapshot) Deployments() iter.Seq[*structs.Deployment] {
	return deployments.by(s.r, "created", "")
}

// ActiveDeployments yields those that have not ended, in order of creation.
func (s *Snapshot) ActiveDeployments() iter.Seq[*structs.Deployment] {
	return deployments.by(s.r, "active", "")
}

// DeploymentsByJob yields the deployments of a job in order of creation.
func (s *Snapshot) DeploymentsByJob(ns, id string) iter.Seq[*structs.Deployment] {
	return deployments.by(s.r, "job", joinKey(ns, id, ""))
}

// LatestDeployment returns the newest deployment of a job, or nil.
func (s *Snapshot) LatestDeployment(ns, id string) *structs.Deployment {
	var latest *structs.Deployment
	for d := range s.DeploymentsByJob(ns, id) {
		latest = d
	}
	return latest
}

// DeploymentsByIDPrefix yields the deployments whose id begins with prefix, by
// id.
func (s *Snapshot) DeploymentsByIDPrefix(prefix string) iter.Seq[*structs.Deployment] {
	return deployments.prefix(s.r, prefix)
}

// Namespace returns a namespace, or nil.
func (s *Snapshot) Namespace(name string) *structs.Namespace { return namespaces.get(s.r, name) }

// Namespaces yields all namespaces by name.
func (s *Snapshot) Namespaces() iter.Seq[*structs.Namespace] { return namespaces.prefix(s.r, "") }

// NodePool returns a node pool, or nil.
func (s *Snapshot) NodePool(name string) *structs.NodePool { return nodePools.get(s.r, name) }

// NodePools yields all node pools by name.
func (s *Snapshot) NodePools() iter.Seq[*structs.NodePool] { return nodePools.prefix(s.r, "") }

// SchedulerConfig returns the cluster-wide scheduler configuration, never nil.
func (s *Snapshot) SchedulerConfig() *structs.SchedulerConfiguration {
	if c := schedulerConfigs.get(s.r, ""); c != nil {
		return c
	}
	return &defaultScheduler
}

// Counts counts the rows of every table by its name.
func (s *Snapshot) Counts() map[string]int {
	out := map[string]int{"allocations": 0}
	for _, t := range tables {
		if t != nil {
			out[t.tableName()] = t.count(s.r.tables[t.tableID()])
		}
	}
	for range s.Allocs() {
		out["allocations"]++
	}
	return out
}

// AutopilotConfig returns the autopilot's configuration, nil before one was set.
func (s *Snapshot) AutopilotConfig() *structs.AutopilotConfiguration { return autopilots.get(s.r, "") }

// defaultScheduler is the contract's configuration of a new cluster.
var defaultScheduler = structs.SchedulerConfiguration{
	SchedulerAlgorithm: structs.SchedulerAlgorithmBinpack,
	PreemptionConfig:   structs.PreemptionConfig{SystemSchedulerEnabled: true},
}
