package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// ttl is of a node's heartbeats, grace what the leader adds to it.
const (
	ttl   = 800 * time.Millisecond
	grace = 200 * time.Millisecond
)

// task is an allocation as its node has it.
type task struct {
	status   string
	revision uint64
	told     bool // the servers have acknowledged the revision

	deployment string // that it is judged for
	healthy    *bool  // nil while undecided
	stuck      bool   // it never becomes healthy
}

// node is a simulated client with what the leader knows of its liveness.
type node struct {
	c     *cluster
	id    string
	down  bool // crashed
	known uint64
	tasks map[string]*task
	beat  time.Time // when a heartbeat arrived last
	turn  int
}

func newNode(c *cluster, i int) *node {
	return &node{c: c, id: fmt.Sprintf("00000000-0000-4000-8000-%012x", i), tasks: map[string]*task{}}
}

func (n *node) register() {
	r := &structs.Node{
		ID: n.id, SecretID: "secret", Name: n.id[30:], Datacenter: "dc1", NodePool: "default", Status: structs.NodeStatusReady, SchedulingEligibility: structs.NodeEligible,
		Attributes: map[string]string{"kernel.name": "linux", "driver.mock": "1"},
		Drivers:    map[string]*structs.DriverInfo{"mock": {Detected: true, Healthy: true}},
		NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000}, Memory: structs.NodeMemoryResources{MemoryMB: 1000},
			Disk: structs.NodeDiskResources{DiskMB: 10_000}, MinDynamicPort: 20000, MaxDynamicPort: 20100},
	}
	r.ComputeClass()
	n.c.propose(fsm.NodeRegister, &state.NodeRegister{Node: r, Now: n.c.now.UnixNano(), Evals: n.c.evalsOf(n.id, structs.EvalTriggerNodeUpdate)}, nil)
}

// tick is what a node does from time to time: hear and report.
func (n *node) tick() {
	if n.down {
		return
	}
	n.turn++
	for _, id := range n.ids() {
		n.progress(n.tasks[id])
	}
	n.c.send(n.heartbeat)
	n.c.send(n.fetch)
	n.report()
}

func (n *node) ids() []string {
	var ids []string
	for id := range n.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// progress lets a task go on by chance.
func (n *node) progress(t *task) {
	switch {
	case t.status == structs.AllocClientStatusPending:
		n.set(t, structs.AllocClientStatusRunning)
	case t.status == structs.AllocClientStatusRunning && n.c.faults && n.c.chance(0.02):
		n.judge(t, false)
		n.set(t, structs.AllocClientStatusFailed)
	case t.status == structs.AllocClientStatusRunning && n.c.chance(0.5):
		n.judge(t, !t.stuck)
	}
}

// judge decides the health of a task in its deployment, once.
func (n *node) judge(t *task, healthy bool) {
	if t.deployment != "" && t.healthy == nil {
		t.healthy = &healthy
		n.set(t, t.status)
	}
}

func (n *node) set(t *task, status string) {
	t.status, t.told = status, false
	if t.revision++; n.c.bugs.forgetAck {
		t.revision = 1
	}
}

// heartbeat arrives at the leader.
func (n *node) heartbeat() {
	n.beat = n.c.now
	n.c.loops.heartbeat.Beat(n.id)
	have := n.c.snapshot().Node(n.id)
	switch {
	case have == nil:
		n.register()
	case have.Status != structs.NodeStatusReady:
		n.c.propose(fsm.NodeStatus, &state.NodeStatus{NodeID: n.id, Status: structs.NodeStatusReady, Now: n.c.now.UnixNano(), Evals: n.c.evalsOf(n.id, structs.EvalTriggerNodeUpdate)}, nil)
	}
}

// fetch asks for the node's allocations; the answer travels too.
func (n *node) fetch() {
	snap := n.c.snapshot()
	if snap.Node(n.id) == nil {
		return
	}
	type wanted struct {
		id   string
		stop bool
		over bool
		kind string

		deployment string
	}
	var list []wanted
	for a := range snap.AllocsByNode(n.id) {
		list = append(list, wanted{a.ID, a.ServerTerminal(), a.ClientTerminal(), a.Job.Type, a.DeploymentID})
	}
	index := snap.Index()
	n.c.send(func() {
		if n.down || index < n.known {
			return
		}
		n.known = index
		seen := map[string]bool{}
		for _, w := range list {
			seen[w.id] = true
			t := n.tasks[w.id]
			switch {
			case t == nil && !w.over && !w.stop:
				n.tasks[w.id] = &task{status: structs.AllocClientStatusPending, told: true, deployment: w.deployment, stuck: n.c.faults && n.c.chance(0.1)}
			case t == nil && !w.over: // stopped before it began
				n.tasks[w.id] = &task{status: structs.AllocClientStatusComplete, revision: 1}
			case t != nil && (w.stop || w.kind == structs.JobTypeBatch && n.c.chance(0.3)) && !structs.ClientStatusTerminal(t.status):
				n.set(t, structs.AllocClientStatusComplete)
			case t != nil && t.deployment != w.deployment:
				t.deployment, t.healthy = w.deployment, nil
			}
		}
		for _, id := range n.ids() {
			if !seen[id] {
				delete(n.tasks, id)
			}
		}
	})
}

// report tells the servers what they have not acknowledged.
func (n *node) report() {
	var updates []*structs.AllocUpdate
	sent := map[string]uint64{}
	for _, id := range n.ids() {
		if t := n.tasks[id]; !t.told {
			updates = append(updates, &structs.AllocUpdate{AllocID: id, Revision: t.revision, ClientStatus: t.status,
				DeploymentHealthy: t.healthy, DeploymentID: t.deployment, DeploymentTime: n.c.now.UnixNano()})
			sent[id] = t.revision
		}
	}
	// An empty report says that the node is up to date.
	n.c.send(func() {
		snap := n.c.snapshot()
		if snap.Node(n.id) == nil {
			return
		}
		n.c.propose(fsm.AllocReports, &state.AllocUpdates{Nodes: []*state.AllocUpdate{{NodeID: n.id, Updates: updates, Evals: n.c.evalsFor(snap, updates), Now: n.c.now.UnixNano()}}}, func(_ any, err error) {
			if err != nil {
				return
			}
			n.c.send(func() {
				for id, revision := range sent {
					if t := n.tasks[id]; t != nil && t.revision == revision {
						t.told = true
					}
				}
			})
		})
	})
}

// crash ends the agent for a while; a reboot ends the tasks too.
func (n *node) crash(reboot bool, away time.Duration) {
	n.down = true
	n.c.after(away, func() {
		n.down, n.known = false, 0
		for _, id := range n.ids() {
			if t := n.tasks[id]; reboot && !structs.ClientStatusTerminal(t.status) {
				n.set(t, structs.AllocClientStatusFailed)
			}
		}
	})
}

// missed takes a node for lost: disconnected while an allocation waits for it,
// then down.
func (c *cluster) missed(_ context.Context, id string) (waits bool, err error) {
	snap := c.snapshot()
	have := snap.Node(id)
	for _, n := range c.nodes {
		if n.id == id && c.now.Sub(n.beat) < ttl {
			c.fail("I-17: node %s is given up, and was heard %v ago", id, c.now.Sub(n.beat))
		}
	}
	if have == nil || have.Status == structs.NodeStatusDown {
		return false, nil
	}
	status := structs.NodeStatusDown
	for a := range snap.AllocsByNode(id) {
		if g := a.Job.LookupGroup(a.TaskGroup); !a.Terminal() && g.Disconnect != nil && structs.Val(g.Disconnect.LostAfter) > 0 {
			status = structs.NodeStatusDisconnected
		}
	}
	if have.Status != status {
		err = c.must(fsm.NodeStatus, &state.NodeStatus{NodeID: id, Status: status, Now: c.now.UnixNano(), Evals: c.evalsOf(id, structs.EvalTriggerNodeUpdate)})
	}
	return status == structs.NodeStatusDisconnected, err
}

func (c *cluster) newEval(job *structs.Job, trigger string) *structs.Evaluation {
	return &structs.Evaluation{ID: c.newID(), Namespace: job.Namespace, JobID: job.ID, Type: job.Type, Priority: job.Priority, JobModifyIndex: job.JobModifyIndex,
		TriggeredBy: trigger, Status: structs.EvalStatusPending, CreateTime: c.now.UnixNano(), ModifyTime: c.now.UnixNano()}
}

// evalsOf makes an evaluation for each job with allocations on a node.
func (c *cluster) evalsOf(id, trigger string) []*structs.Evaluation {
	snap := c.snapshot()
	var evals []*structs.Evaluation
	seen := map[string]bool{}
	for job := range snap.Jobs("", "") {
		if job.Type == structs.JobTypeSystem && !job.Stop && !c.bugs.deafSystem {
			seen[job.ID] = true
			eval := c.newEval(job, trigger)
			eval.NodeID = id
			evals = append(evals, eval)
		}
	}
	for a := range snap.AllocsByNode(id) {
		if job := snap.Job(a.Namespace, a.JobID); job != nil && !seen[job.ID] && !a.Terminal() {
			seen[job.ID] = true
			evals = append(evals, c.newEval(job, trigger))
		}
	}
	return evals
}

// evalsFor makes the evaluations that follow from a report.
func (c *cluster) evalsFor(snap *state.Snapshot, updates []*structs.AllocUpdate) []*structs.Evaluation {
	var evals []*structs.Evaluation
	seen := map[string]bool{}
	for _, u := range updates {
		a := snap.Alloc(u.AllocID)
		if a == nil || a.Terminal() {
			continue
		}
		trigger := ""
		switch {
		case u.ClientStatus == structs.AllocClientStatusFailed && a.FollowupEvalID == "":
			trigger = structs.EvalTriggerRetryFailedAlloc
		case a.ClientStatus == structs.AllocClientStatusUnknown:
			trigger = structs.EvalTriggerReconnect
		}
		if job := snap.Job(a.Namespace, a.JobID); trigger != "" && job != nil && !job.Stop && !seen[job.ID] {
			seen[job.ID] = true
			evals = append(evals, c.newEval(job, trigger))
		}
	}
	return evals
}
