package state

import (
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// launch is the last launch of a periodic job.
type launch struct {
	Namespace   string
	JobID       string
	Launch      time.Time
	ModifyIndex uint64
}

// scaling is the history of a job's groups, the newest event first.
type scaling struct {
	Namespace   string
	JobID       string
	Groups      map[string][]*structs.ScalingEvent
	ModifyIndex uint64
}

// submission is the source of a job version.
type submission struct {
	structs.JobSubmission
	ModifyIndex uint64
}

var jobs = declare(table[structs.Job]{
	id: TableJobs, name: "jobs",
	space: func(j *structs.Job) string { return j.Namespace },
	key:   func(j *structs.Job) string { return joinKey(j.Namespace, j.ID) },
	indexes: []index[structs.Job]{
		{"parent", func(j *structs.Job) string {
			if j.ParentID == "" {
				return ""
			}
			return joinKey(j.Namespace, j.ParentID, "")
		}},
		{"pool", func(j *structs.Job) string { return joinKey(j.NodePool, "") }},
		{"periodic", func(j *structs.Job) string {
			if j.Periodic == nil {
				return ""
			}
			return joinKey(j.Namespace, j.ID)
		}},
	},
	dirty: func(j *structs.Job) []Key { return []Key{KeyJob(j.Namespace, j.ID)} },
})

var jobVersions = declare(table[structs.Job]{
	id: TableJobVersions, name: "job versions",
	key:   func(j *structs.Job) string { return versionKey(j.Namespace, j.ID, j.Version) },
	dirty: func(j *structs.Job) []Key { return []Key{KeyJob(j.Namespace, j.ID)} },
})

var submissions = declare(table[submission]{
	id: TableJobSubmissions, name: "job submissions",
	key:   func(s *submission) string { return versionKey(s.Namespace, s.JobID, s.Version) },
	dirty: func(s *submission) []Key { return []Key{KeyJob(s.Namespace, s.JobID)} },
})

var summaries = declare(table[structs.JobSummary]{
	id: TableJobSummaries, name: "job summaries",
	space: func(s *structs.JobSummary) string { return s.Namespace },
	key:   func(s *structs.JobSummary) string { return joinKey(s.Namespace, s.JobID) },
	dirty: func(s *structs.JobSummary) []Key { return []Key{KeyJob(s.Namespace, s.JobID)} },
})

var evals = declare(table[structs.Evaluation]{
	id: TableEvals, name: "evaluations",
	space: func(e *structs.Evaluation) string { return e.Namespace },
	key:   func(e *structs.Evaluation) string { return e.ID },
	indexes: []index[structs.Evaluation]{
		{"created", func(e *structs.Evaluation) string { return orderKey(e.CreateIndex) }},
		{"job", func(e *structs.Evaluation) string { return joinKey(e.Namespace, e.JobID, orderKey(e.CreateIndex)) }},
		{"open", func(e *structs.Evaluation) string {
			if e.Terminal() {
				return ""
			}
			return orderKey(e.CreateIndex)
		}},
		{"job open", func(e *structs.Evaluation) string {
			if e.Terminal() {
				return ""
			}
			return joinKey(e.Namespace, e.JobID, orderKey(e.CreateIndex))
		}},
	},
	dirty: func(e *structs.Evaluation) []Key {
		return []Key{KeyEval(e.ID), KeyJobEvals(e.Namespace, e.JobID)}
	},
	note: func(x *Txn, e *structs.Evaluation) { x.evalsTouched = append(x.evalsTouched, e.ID) },
})

var nodes = declare(table[structs.Node]{
	id: TableNodes, name: "nodes",
	key: func(n *structs.Node) string { return n.ID },
	indexes: []index[structs.Node]{
		{"pool", func(n *structs.Node) string { return joinKey(n.NodePool, "") }},
	},
	dirty: func(n *structs.Node) []Key { return []Key{KeyNode(n.ID)} },
})

var deployments = declare(table[structs.Deployment]{
	id: TableDeployments, name: "deployments",
	space: func(d *structs.Deployment) string { return d.Namespace },
	key:   func(d *structs.Deployment) string { return d.ID },
	indexes: []index[structs.Deployment]{
		{"created", func(d *structs.Deployment) string { return orderKey(d.CreateIndex) }},
		{"job", func(d *structs.Deployment) string { return joinKey(d.Namespace, d.JobID, orderKey(d.CreateIndex)) }},
		{"active", func(d *structs.Deployment) string {
			if !d.Active() {
				return ""
			}
			return orderKey(d.CreateIndex)
		}},
	},
	dirty: func(d *structs.Deployment) []Key {
		return []Key{KeyDeployment(d.ID), KeyJobDeployments(d.Namespace, d.JobID)}
	},
})

var namespaces = declare(table[structs.Namespace]{
	id: TableNamespaces, name: "namespaces",
	key: func(n *structs.Namespace) string { return n.Name },
})

var nodePools = declare(table[structs.NodePool]{
	id: TableNodePools, name: "node pools",
	key: func(p *structs.NodePool) string { return p.Name },
})

var schedulerConfigs = declare(table[structs.SchedulerConfiguration]{
	id: TableSchedulerConfig, name: "scheduler configuration",
	key: func(*structs.SchedulerConfiguration) string { return "" },
})

var autopilots = declare(table[structs.AutopilotConfiguration]{
	id: TableAutopilot, name: "autopilot configuration",
	key: func(*structs.AutopilotConfiguration) string { return "" },
})

var launches = declare(table[launch]{
	id: TablePeriodicLaunches, name: "periodic launches",
	key:   func(l *launch) string { return joinKey(l.Namespace, l.JobID) },
	dirty: func(l *launch) []Key { return []Key{KeyJob(l.Namespace, l.JobID)} },
})

var scalings = declare(table[scaling]{
	id: TableScalingEvents, name: "scaling events",
	key:   func(s *scaling) string { return joinKey(s.Namespace, s.JobID) },
	dirty: func(s *scaling) []Key { return []Key{KeyJob(s.Namespace, s.JobID)} },
})
