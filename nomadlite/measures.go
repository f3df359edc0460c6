package nomadlite

import (
	"context"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/nomadlite/planner"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Measures of the state under the contract's names (agent-config.md 8.2). The
// leader tells them, from one snapshot each time.
const (
	measureEvery = 10 * time.Second
	// maxMeasuredJobs bounds the labels: groups of further jobs are counted
	// together. Children of periodic and parameterized jobs, of which there is no
	// end, never have labels of their own.
	maxMeasuredJobs = 1000
)

// measure tells the measures until ctx ends, those of queues that nothing moves
// through as well.
func (s *Server) measure(ctx context.Context, plans *planner.Planner) error {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		for _, g := range stateGauges(s.store.Snapshot(), maxMeasuredJobs) {
			metrics.SetGaugeWithLabels(append([]string{"nomad"}, g.key...), g.value, g.labels)
		}
		plans.Tell()
		if health, err := s.ServerHealth(ctx); err == nil {
			metrics.SetGauge([]string{"nomad", "autopilot", "healthy"}, bit(health.Healthy))
			metrics.SetGauge([]string{"nomad", "autopilot", "failure_tolerance"}, float32(health.FailureTolerance))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// measureLog tells how far the log is here, and who follows it, on every
// server, until ctx ends.
func (s *Server) measureLog(ctx context.Context) error {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		s.events.Tell()
		metrics.SetGauge([]string{"raft", "appliedIndex"}, float32(s.raft.AppliedIndex()))
		metrics.SetGauge([]string{"raft", "lastIndex"}, float32(s.raft.LastIndex()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func bit(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// gauge is one measure.
type gauge struct {
	key    []string
	value  float32
	labels []metrics.Label
}

// stateGauges is what one snapshot says, with labels for up to limit jobs.
func stateGauges(snap *state.Snapshot, limit int) []gauge {
	out := []gauge{{key: []string{"state", "snapshotIndex"}, value: float32(snap.Index())}}
	statuses := map[string]int{structs.JobStatusPending: 0, structs.JobStatusRunning: 0, structs.JobStatusDead: 0}
	var rest structs.TaskGroupSummary
	jobs, more := 0, 0
	for job := range snap.Jobs("", "") {
		statuses[job.Status]++
		summary := snap.JobSummary(job.Namespace, job.ID)
		if summary == nil || job.Status == structs.JobStatusDead {
			continue
		}
		alone := job.ParentID == "" && jobs < limit
		if alone {
			jobs++
		} else {
			more++
		}
		for group, n := range summary.Summary {
			if alone {
				out = append(out, summaryGauges(n, job.ID, job.Namespace, group)...)
				continue
			}
			rest.Queued, rest.Complete, rest.Failed = rest.Queued+n.Queued, rest.Complete+n.Complete, rest.Failed+n.Failed
			rest.Running, rest.Starting, rest.Lost, rest.Unknown = rest.Running+n.Running, rest.Starting+n.Starting, rest.Lost+n.Lost, rest.Unknown+n.Unknown
		}
	}
	if more > 0 {
		out = append(out, summaryGauges(rest, "others", structs.AllNamespaces, "others")...)
	}
	for status, n := range statuses {
		out = append(out, gauge{key: []string{"job_status", status}, value: float32(n)})
	}
	return append(out, rolloutGauges(snap)...)
}

func summaryGauges(n structs.TaskGroupSummary, job, ns, group string) []gauge {
	labels := []metrics.Label{{Name: "job", Value: job}, {Name: "namespace", Value: ns}, {Name: "task_group", Value: group}}
	var out []gauge
	for name, value := range map[string]int{"queued": n.Queued, "complete": n.Complete, "failed": n.Failed, "running": n.Running,
		"starting": n.Starting, "lost": n.Lost, "unknown": n.Unknown} {
		out = append(out, gauge{[]string{"job_summary", name}, float32(value), labels})
	}
	return out
}

// rolloutGauges say how much the loops for deployments and nodes look after.
func rolloutGauges(snap *state.Snapshot) []gauge {
	active := 0
	for d := range snap.Deployments() {
		if d.Active() {
			active++
		}
	}
	out := []gauge{{key: []string{"deployment", "active"}, value: float32(active)}}
	nodes, draining := map[string]int{structs.NodeStatusReady: 0, structs.NodeStatusDown: 0, structs.NodeStatusDisconnected: 0}, 0
	for n := range snap.Nodes() {
		nodes[n.Status]++
		if n.DrainStrategy != nil {
			draining++
		}
	}
	clocked := 0
	for job := range snap.PeriodicJobs() {
		if !job.Stop {
			clocked++
		}
	}
	out = append(out, gauge{key: []string{"drain", "nodes"}, value: float32(draining)}, gauge{key: []string{"periodic", "tracked"}, value: float32(clocked)})
	for status, n := range nodes {
		out = append(out, gauge{key: []string{"node_status", status}, value: float32(n)})
	}
	return out
}
