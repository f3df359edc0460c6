package command

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestJobWhyDrivers: who lacks a driver is told which nodes have it, and what is
// wrong with it where it should be.
func TestJobWhyDrivers(t *testing.T) {
	node := func(name, status string, drivers map[string]*structs.DriverInfo) *structs.NodeListStub {
		return &structs.NodeListStub{Name: name, Status: status, Drivers: drivers}
	}
	well := &structs.DriverInfo{Detected: true, Healthy: true}
	f := jobFacts{
		job: &structs.Job{ID: "web", TaskGroups: []*structs.TaskGroup{{Name: "g", Tasks: []*structs.Task{{Driver: "docker"}, {Driver: "raw_exce"}, {Driver: "exec"}, {Driver: "docker"}}}}},
		evals: []*structs.Evaluation{{Status: structs.EvalStatusBlocked, FailedTGAllocs: map[string]*structs.AllocMetric{
			"g": {NodesEvaluated: 2, NodesInPool: 2, NodesFiltered: 2, ConstraintFiltered: map[string]int{missingDrivers: 2}}}}},
		nodes: []*structs.NodeListStub{
			node("n1", structs.NodeStatusReady, map[string]*structs.DriverInfo{"exec": well, "docker": {HealthDescription: "cannot reach the engine"}}),
			node("n2", structs.NodeStatusReady, map[string]*structs.DriverInfo{"exec": well, "raw_exec": well, "docker": well, "java": {}}),
			node("n3", structs.NodeStatusDown, map[string]*structs.DriverInfo{"raw_exce": well}),
		},
	}
	want := []string{
		`driver "docker" is healthy on 1 of 2 ready nodes; on node n1: cannot reach the engine`,
		`driver "raw_exce" is healthy on 0 of 2 ready nodes; they have docker, exec, raw_exec`,
		`change what the job asks for, or add a node that meets "missing drivers"`,
	}
	if !lacksDriver(f.evals[0]) {
		t.Error("the evaluation lacks a driver")
	}
	if got := f.why(time.Now()).Groups[0].Remedies; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestJobWhy checks the one sentence for every state of a job.
func TestJobWhy(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	job := func(change func(*structs.Job)) *structs.Job {
		j := &structs.Job{ID: "web", TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(2), Tasks: []*structs.Task{{Name: "t"}}}}}
		j.Canonicalize()
		if change != nil {
			change(j)
		}
		return j
	}
	alloc := func(desired, client string) *structs.AllocListStub {
		return &structs.AllocListStub{TaskGroup: "g", DesiredStatus: desired, ClientStatus: client}
	}
	metric := &structs.AllocMetric{NodesEvaluated: 3, NodesInPool: 3, NodesExhausted: 3, DimensionExhausted: map[string]int{"memory": 3}, CoalescedFailures: 1,
		NearMisses: []*structs.NearMiss{{Dimension: "memory", Asked: 5120, Free: 3277, NodeName: "node-7", Largest: 8192}}}
	later := now.Add(30 * time.Second)
	for _, c := range []struct {
		name  string
		facts jobFacts
		want  string
	}{
		{"all is well", jobFacts{job: job(nil), allocs: []*structs.AllocListStub{alloc("run", "running"), alloc("run", "running"), alloc("stop", "complete")}},
			`Job "web" is as it should be: 2 of 2 running in group "g".`},
		{"stopped", jobFacts{job: job(func(j *structs.Job) { j.Stop = true })}, `Job "web" is stopped.`},
		{"no room", jobFacts{job: job(nil), evals: []*structs.Evaluation{
			{Status: structs.EvalStatusComplete, CreateIndex: 5},
			{Status: structs.EvalStatusBlocked, CreateIndex: 4, FailedTGAllocs: map[string]*structs.AllocMetric{"g": metric}}}},
			`Job "web" waits for room for 2 allocations of group "g": memory is exhausted on 3 of 3 nodes: it needs 5 GiB of memory, best free is 3.2 GiB on node-7.`},
		{"constraint", jobFacts{job: job(nil), evals: []*structs.Evaluation{{Status: structs.EvalStatusBlocked, FailedTGAllocs: map[string]*structs.AllocMetric{
			"g": {NodesEvaluated: 2, NodesInPool: 2, NodesFiltered: 2, ConstraintFiltered: map[string]int{"missing drivers": 2}}}}}},
			`Job "web" waits for room for 1 allocation of group "g": 2 of 2 nodes do not meet "missing drivers".`},
		{"no node", jobFacts{job: job(nil), evals: []*structs.Evaluation{{Status: structs.EvalStatusBlocked, FailedTGAllocs: map[string]*structs.AllocMetric{"g": {NodePool: "gpu"}}}}},
			`Job "web" waits for room for 1 allocation of group "g": no node of pool "gpu" is ready.`},
		{"later", jobFacts{job: job(nil), evals: []*structs.Evaluation{{Status: structs.EvalStatusPending, TriggeredBy: structs.EvalTriggerAllocReschedule, WaitUntil: &later}}},
			`Job "web" waits until 2026-01-01T00:00:30Z, in 30s: then failed allocations are placed again.`},
		{"in the queue", jobFacts{job: job(nil), evals: []*structs.Evaluation{{ID: "12345678-1", Status: structs.EvalStatusPending, TriggeredBy: "job-register"}}},
			`Job "web" is about to be looked at: evaluation 12345678 (job-register) is in the queue.`},
		{"failed evaluation", jobFacts{job: job(nil), evals: []*structs.Evaluation{{Status: structs.EvalStatusFailed, StatusDescription: "maximum attempts reached (5)"}}},
			`Job "web" could not be scheduled: maximum attempts reached (5).`},
		{"canaries", jobFacts{job: job(nil), deployment: &structs.Deployment{Status: structs.DeploymentStatusRunning, JobVersion: 3, StatusDescription: "Deployment is running but requires manual promotion"}},
			`Job "web" is being deployed (version 3): deployment is running but requires manual promotion.`},
		{"given up", jobFacts{job: job(nil), allocs: []*structs.AllocListStub{alloc("run", "failed")}},
			`Job "web" is not placed again: 1 allocation of group "g" failed and its reschedule block allows no more.`},
		{"cron", jobFacts{job: job(func(j *structs.Job) { j.Periodic = &structs.PeriodicConfig{} })}, `Job "web" is periodic: what runs are its children, listed by job status.`},
	} {
		r := c.facts.why(now)
		if r.Sentence != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, r.Sentence, c.want)
		}
		var out strings.Builder
		r.show(&out)
		if c.name == "no room" && !strings.Contains(out.String(), "To unblock: free 1.8 GiB of memory on a node, ask for less, or add a node\n") {
			t.Errorf("%s: no remedy in\n%s", c.name, out.String())
		}
	}
}
