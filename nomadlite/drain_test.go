package nomadlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// crowd plays several nodes whose allocations start at once and end when they
// are told to; those whose id is in stuck do not end.
type crowd struct {
	*testServer
	nodes    []*structs.Node
	index    []uint64
	revision uint64
	live     []map[string]*structs.Allocation
	done     []map[string]bool
	stuck    map[string]bool
	silent   map[int]bool // nodes that are not heard
}

func newCrowd(s *testServer, n int) *crowd {
	c := &crowd{testServer: s, stuck: map[string]bool{}, silent: map[int]bool{}}
	for range n {
		c.nodes = append(c.nodes, s.join())
		c.index = append(c.index, 0)
		c.live = append(c.live, map[string]*structs.Allocation{})
		c.done = append(c.done, map[string]bool{})
	}
	return c
}

// sync lets every node fetch and report once.
func (c *crowd) sync() {
	c.t.Helper()
	c.revision++
	for i, node := range c.nodes {
		if c.silent[i] {
			continue
		}
		got, err := c.Allocs(c.context(), api.NodeAllocsRequest{NodeID: node.ID, SecretID: node.SecretID, Since: c.index[i], Wait: time.Millisecond})
		if err != nil {
			c.t.Fatal(err)
		}
		c.index[i] = got.Index
		for _, a := range got.Allocs {
			if !c.done[i][a.ID] {
				c.live[i][a.ID] = a
			}
		}
		c.report(i)
	}
}

func (c *crowd) report(i int) {
	c.t.Helper()
	var updates []*structs.AllocUpdate
	for id, a := range c.live[i] {
		u := &structs.AllocUpdate{AllocID: id, Revision: c.revision, ClientStatus: structs.AllocClientStatusRunning,
			DeploymentHealthy: structs.Ptr(true), DeploymentTime: time.Now().UnixNano(), DeploymentID: a.DeploymentID}
		if a.ServerTerminal() && !c.stuck[id] {
			u.ClientStatus, u.DeploymentHealthy = structs.AllocClientStatusComplete, nil
			delete(c.live[i], id)
			c.done[i][id] = true
		}
		updates = append(updates, u)
	}
	err := c.UpdateAllocs(c.context(), api.NodeAllocUpdateRequest{NodeID: c.nodes[i].ID, SecretID: c.nodes[i].SecretID, Updates: updates})
	if err != nil {
		c.t.Fatal(err)
	}
}

// finish reports that an allocation ended by itself.
func (c *crowd) finish(i int, id, status string) {
	c.t.Helper()
	c.revision++
	delete(c.live[i], id)
	c.done[i][id] = true
	err := c.UpdateAllocs(c.context(), api.NodeAllocUpdateRequest{NodeID: c.nodes[i].ID, SecretID: c.nodes[i].SecretID,
		Updates: []*structs.AllocUpdate{{AllocID: id, Revision: c.revision, ClientStatus: status}}})
	if err != nil {
		c.t.Fatal(err)
	}
}

// until syncs until something is so.
func (c *crowd) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			for a := range c.store.Snapshot().Allocs() {
				c.t.Log(a.Name, a.NodeID[:4], a.DesiredStatus, a.ClientStatus, structs.Val(a.DesiredTransition.Migrate))
			}
			c.t.Fatalf("%s: never", what)
		}
		c.sync()
	}
}

// running counts what runs of a job on a node, -1 for all nodes.
func (c *crowd) running(job string, node int) int {
	n := 0
	for i := range c.nodes {
		for _, a := range c.live[i] {
			if a.JobID == job && !a.ServerTerminal() && (node < 0 || node == i) {
				n++
			}
		}
	}
	return n
}

// placed counts all allocations of a job that ever were.
func (c *crowd) placed(job string) int {
	n := 0
	for range c.store.Snapshot().AllocsByJob("default", job, true) {
		n++
	}
	return n
}

func (c *crowd) drain(node int, spec *structs.DrainSpec) {
	c.t.Helper()
	if _, _, err := c.client.Nodes().Drain(c.context(), &api.NodeDrainRequest{NodeID: c.nodes[node].ID, DrainSpec: spec}, nil); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crowd) drained(node int) bool {
	return c.store.Snapshot().Node(c.nodes[node].ID).DrainStrategy == nil
}

// busiest is the node with the most allocations of a job.
func (c *crowd) busiest(job string) int {
	best := 0
	for i := range c.nodes {
		if c.running(job, i) > c.running(job, best) {
			best = i
		}
	}
	return best
}

// TestDrainMovesService: the group never has fewer than count less
// max_parallel, and the drain ends when the node is empty.
func TestDrainMovesService(t *testing.T) {
	s, _ := startServer(t, "")
	c := newCrowd(s, 3)
	job := testJob("web", structs.JobTypeService)
	job.TaskGroups[0].Count = structs.Ptr(6)
	job.TaskGroups[0].Migrate = &structs.MigrateStrategy{MaxParallel: structs.Ptr(2)}
	s.register(job)
	c.until("placed", func() bool { return c.running("web", -1) == 6 })
	node := c.busiest("web")
	c.drain(node, &structs.DrainSpec{Deadline: time.Hour})
	fewest := 6
	c.until("drained", func() bool {
		fewest = min(fewest, c.running("web", -1))
		return c.drained(node)
	})
	if fewest < 4 || c.running("web", node) != 0 {
		t.Errorf("at the worst %d of 6 ran; %d are left on the node", fewest, c.running("web", node))
	}
	c.until("all back", func() bool { return c.running("web", -1) == 6 })
	if n := s.store.Snapshot().Node(c.nodes[node].ID); n.Ready() || n.LastDrain.Status != "complete" {
		t.Errorf("%+v", n.LastDrain)
	}
}

// TestDrainBatchOnce_B07 drains the node of a batch job: what ends before the
// deadline is never run again, what is cut off runs once more elsewhere, and a
// drain that found no room waits for it.
func TestDrainBatchOnce_B07(t *testing.T) {
	s, _ := startServer(t, "")
	c := newCrowd(s, 1)
	job := testJob("sum", structs.JobTypeBatch)
	job.TaskGroups[0].Count = structs.Ptr(2)
	s.register(job)
	c.until("placed", func() bool { return c.running("sum", 0) == 2 })
	c.drain(0, &structs.DrainSpec{})
	for id := range c.live[0] {
		c.finish(0, id, structs.AllocClientStatusComplete)
		break
	}
	c.sync()
	if c.drained(0) || c.running("sum", 0) != 1 {
		t.Fatal("a drain without a deadline ended batch work")
	}
	c.drain(0, &structs.DrainSpec{Deadline: time.Millisecond})
	c.until("drained", func() bool { return c.drained(0) })
	if n := c.placed("sum"); n != 2 {
		t.Errorf("%d allocations with no node to run on", n)
	}
	if j := s.store.Snapshot().Job("default", "sum"); j.Status == structs.JobStatusDead {
		t.Error("a batch job that was cut off is dead")
	}
	c.nodes = append(c.nodes, s.join())
	c.index, c.live, c.done = append(c.index, 0), append(c.live, map[string]*structs.Allocation{}), append(c.done, map[string]bool{})
	c.until("placed again", func() bool { return c.running("sum", 1) == 1 })
	for id := range c.live[1] {
		c.finish(1, id, structs.AllocClientStatusComplete)
	}
	if _, err := s.SetNodeEligibility(s.context(), c.nodes[0].ID, structs.NodeEligible); err != nil {
		t.Fatal(err)
	}
	for range 5 { // nothing makes it run again
		if _, _, err := s.client.Jobs().Evaluate(s.context(), "sum", api.EvalOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		c.sync()
	}
	if n := c.placed("sum"); n != 3 {
		t.Errorf("%d allocations, want 3", n)
	}
	if j := s.store.Snapshot().Job("default", "sum"); j.Status != structs.JobStatusDead {
		t.Errorf("the job is %s", j.Status)
	}
}

// TestDrainWaitsForTasks_B32: a task that does not end holds the drain open,
// and system jobs stay until it has.
func TestDrainWaitsForTasks_B32(t *testing.T) {
	s, _ := startServer(t, "")
	c := newCrowd(s, 2)
	s.register(testJob("web", structs.JobTypeService))
	s.register(testJob("log", structs.JobTypeSystem))
	c.until("placed", func() bool { return c.running("web", -1) == 1 && c.running("log", -1) == 2 })
	node := c.busiest("web")
	for id, a := range c.live[node] {
		c.stuck[id] = a.JobID == "web"
	}
	c.drain(node, &structs.DrainSpec{Deadline: time.Hour})
	c.until("moved", func() bool { return c.running("web", 1-node) == 1 })
	for range 5 {
		c.sync()
	}
	if c.drained(node) || c.running("log", node) != 1 {
		t.Error("the drain did not wait for a task that still ran")
	}
	c.stuck = map[string]bool{}
	c.until("drained", func() bool { return c.drained(node) })
	if c.running("log", node) != 0 {
		t.Error("the system job still runs")
	}
	if _, _, err := s.client.Nodes().Drain(s.context(), &api.NodeDrainRequest{NodeID: c.nodes[node].ID, MarkEligible: true}, nil); err != nil {
		t.Fatal(err)
	}
	c.until("the system job is back", func() bool { return c.running("log", node) == 1 })
}

// TestDrainBadInput holds the sentences of the issue.
func TestDrainBadInput(t *testing.T) {
	s, _ := startServer(t, "")
	c := newCrowd(s, 1)
	node := c.nodes[0]
	_, _, err := s.client.Nodes().Drain(s.context(), &api.NodeDrainRequest{NodeID: newID(), DrainSpec: &structs.DrainSpec{}}, nil)
	fails(t, "unknown node", err, "500 (node not found)")
	other := api.NodeDrainRequest{NodeID: newID(), DrainSpec: &structs.DrainSpec{}}
	_, err = s.client.Put(s.context(), "/v1/node/"+node.ID+"/drain", &other, nil, nil)
	fails(t, "another node in the body", err, "400 (node ID in payload did not match URL)")
	s.register(testJob("sum", structs.JobTypeBatch))
	c.until("placed", func() bool { return c.running("sum", 0) == 1 })
	c.drain(0, &structs.DrainSpec{})
	_, _, err = s.client.Nodes().SetEligibility(s.context(), node.ID, true, nil)
	fails(t, "eligible while draining", err, fmt.Sprintf("500 (can not set node %q eligible while it is draining)", node.ID))
}
