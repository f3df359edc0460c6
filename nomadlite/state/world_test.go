package state

import (
	"fmt"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// world drives a store through entries with growing indexes.
type world struct {
	t     testing.TB
	s     *Store
	index uint64
	now   int64
}

func newWorld(t testing.TB) *world {
	return &world{t: t, s: New(Options{AllocKey: [16]byte{1, 2, 3}}), now: 1_700_000_000_000_000_000}
}

// do runs a verb as one entry; its error aborts the transaction.
func do[C, R any](w *world, verb func(*Txn, *C) (R, error), c *C) (R, error) {
	w.index++
	w.now += 1_000_000
	txn := w.s.Begin(w.index)
	r, err := verb(txn, c)
	if err != nil {
		txn.Abort()
	} else {
		txn.Commit()
	}
	return r, err
}

// must runs a verb that has to succeed.
func must[C any](w *world, verb func(*Txn, *C) error, c *C) {
	w.t.Helper()
	if err := try(w, verb, c); err != nil {
		w.t.Fatal(err)
	}
}

// try runs a verb that answers nothing but an error.
func try[C any](w *world, verb func(*Txn, *C) error, c *C) error {
	_, err := do(w, func(t *Txn, c *C) (any, error) { return nil, verb(t, c) }, c)
	return err
}

func (w *world) node(i int) *structs.Node {
	w.t.Helper()
	n := &structs.Node{
		ID: nodeID(i), Name: fmt.Sprintf("node-%d", i), Datacenter: "dc1", NodePool: "default", Status: structs.NodeStatusReady,
		NodeResources: &structs.NodeResources{
			Cpu:    structs.NodeCpuResources{CpuShares: 4000, ReservableCpuCores: []uint16{0, 1, 2, 3}},
			Memory: structs.NodeMemoryResources{MemoryMB: 8192}, Disk: structs.NodeDiskResources{DiskMB: 100_000},
		},
		ReservedResources: &structs.NodeReservedResources{Networks: structs.NodeReservedNetworkResources{ReservedHostPorts: "22,8500-8502"}},
	}
	must(w, (*Txn).RegisterNode, &NodeRegister{Node: n, Now: w.now})
	return w.s.Snapshot().Node(n.ID)
}

func nodeID(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012x", i) }

func testJob(id string, count int) *structs.Job {
	return &structs.Job{
		Namespace: "default", ID: id, Name: id, Type: structs.JobTypeService, Priority: 50, NodePool: "default",
		TaskGroups: []*structs.TaskGroup{{Name: "web", Count: &count, Tasks: []*structs.Task{{Name: "main", Driver: "raw_exec",
			Config: map[string]any{"command": "/bin/sleep", "args": []any{"1000"}}}}}},
	}
}

func testEval(id string, job *structs.Job) *structs.Evaluation {
	return &structs.Evaluation{ID: id, Namespace: job.Namespace, JobID: job.ID, Type: job.Type, Priority: job.Priority,
		Status: structs.EvalStatusPending, TriggeredBy: structs.EvalTriggerJobRegister}
}

func (w *world) register(job *structs.Job, eval *structs.Evaluation) *JobResult {
	w.t.Helper()
	r, err := do(w, (*Txn).RegisterJob, &JobRegister{Job: job, Eval: eval, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func ask(cpu, mem int64) *structs.AllocatedResources {
	return &structs.AllocatedResources{
		Tasks:  map[string]*structs.AllocatedTaskResources{"main": {Cpu: structs.AllocatedCpuResources{CpuShares: cpu}, Memory: structs.AllocatedMemoryResources{MemoryMB: mem}}},
		Shared: structs.AllocatedSharedResources{DiskMB: 10},
	}
}

// plan makes a plan for a job that is as the store has it.
func (w *world) plan(jobID, evalID string, placements ...structs.Placement) *structs.Plan {
	job := w.s.Snapshot().Job("default", jobID)
	p := &structs.Plan{EvalID: evalID, Namespace: "default", JobID: jobID, Now: w.now}
	if job != nil {
		p.JobVersion, p.JobModifyIndex = job.Version, job.JobModifyIndex
	}
	if len(placements) > 0 {
		p.Groups = []*structs.PlanGroup{{Group: "web", Resources: ask(100, 64), Metrics: &structs.AllocMetric{NodesEvaluated: 3}, Placements: placements}}
	}
	return p
}

func (w *world) apply(p *structs.Plan) *structs.PlanResult {
	w.t.Helper()
	r, err := do(w, (*Txn).ApplyPlan, p)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) report(node int, updates ...*structs.AllocUpdate) {
	w.t.Helper()
	must(w, (*Txn).UpdateAllocs, &AllocUpdate{NodeID: nodeID(node), Updates: updates, Now: w.now})
}

// placed are the ids of what a plan placed in its first group, "" for what was
// refused.
func (w *world) placed(r *structs.PlanResult) []string {
	ids := make([]string, len(r.Placed[0]))
	for i, n := range r.Placed[0] {
		if n > 0 {
			ids[i] = w.s.Snapshot().AllocID(n - 1)
		}
	}
	return ids
}
