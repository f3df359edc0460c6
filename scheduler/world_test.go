package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// epoch is when every test begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a small state in memory: the Snapshot of the tests, and what
// applies plans as the state machine would.
type world struct {
	index       uint64
	jobs        map[string]*structs.Job
	nodes       []*structs.Node
	allocs      []*structs.Allocation
	deployments []*structs.Deployment
	evals       map[string]*structs.Evaluation
	pools       map[string]*structs.NodePool
	config      structs.SchedulerConfiguration
	now         time.Time
	allocSeq    int
	cluster     *Cluster
}

func newWorld() *world {
	return &world{index: 1, jobs: map[string]*structs.Job{}, pools: map[string]*structs.NodePool{}, evals: map[string]*structs.Evaluation{}, now: epoch, cluster: NewCluster()}
}

func (w *world) Index() uint64 { return w.index }
func (w *world) Job(_, id string) *structs.Job {
	return w.jobs[id]
}

func (w *world) Eval(id string) *structs.Evaluation { return w.evals[id] }

func (w *world) JobAllocs(_, id string) []*structs.Allocation {
	var list []*structs.Allocation
	for _, a := range w.allocs {
		if a.JobID == id {
			list = append(list, a)
		}
	}
	return list
}

func (w *world) NodeByNum(num uint32) *structs.Node {
	if int(num) >= len(w.nodes) {
		return nil
	}
	return w.nodes[num]
}

func (w *world) NodeNum(id string) (uint32, bool) {
	for i, n := range w.nodes {
		if n != nil && n.ID == id {
			return uint32(i), true
		}
	}
	return 0, false
}

func (w *world) NodeAllocs(num uint32) []*structs.Allocation {
	var list []*structs.Allocation
	for _, a := range w.allocs {
		if n := w.nodes[num]; n != nil && a.NodeID == n.ID && !a.ClientTerminal() {
			list = append(list, a)
		}
	}
	return list
}

func (w *world) LatestDeployment(_, id string) *structs.Deployment {
	for _, d := range slices.Backward(w.deployments) {
		if d.JobID == id {
			return d
		}
	}
	return nil
}

func (w *world) NodePool(name string) *structs.NodePool           { return w.pools[name] }
func (w *world) SchedulerConfig() *structs.SchedulerConfiguration { return &w.config }
func (w *world) addNode(n *structs.Node)                          { w.nodes = append(w.nodes, n) }

func (w *world) find(name string) (*structs.Node, int, bool) {
	for i, n := range w.nodes {
		if n != nil && n.Name == name {
			return n, i, true
		}
	}
	return nil, 0, false
}

// usage is what a node's allocations occupy, as the state would say.
func (w *world) usage(num int) NodeUsage {
	var u NodeUsage
	for _, a := range w.NodeAllocs(uint32(num)) {
		if !a.ServerTerminal() {
			amount := ResourcesAmount(a.AllocatedResources)
			u.CPU += amount.CPU
			u.MemoryMB += amount.MemoryMB
			u.DiskMB += amount.DiskMB
			u.Allocs++
		}
		if len(things(a)) > 0 {
			u.Held = append(u.Held, a)
		}
	}
	return u
}

// sync brings the index to the state.
func (w *world) sync() {
	for i, n := range w.nodes {
		w.cluster.Set(uint32(i), NodeRow{Node: n, Usage: w.usage(i)})
	}
}

// process runs one pass for a job.
func (w *world) process(eval *structs.Evaluation) (*Result, error) {
	w.sync()
	return Process(w, w.cluster, eval, w.options())
}

func (w *world) options() Options {
	n := 0
	return Options{Now: w.now, Seed: 1, NewID: func() string {
		n++
		return fmt.Sprintf("id-%d-%d", w.index, n)
	}}
}

func (w *world) eval(jobID, trigger string) *structs.Evaluation {
	e := &structs.Evaluation{ID: fmt.Sprintf("eval-%d", w.index), Namespace: "default", JobID: jobID, Type: structs.JobTypeService,
		Priority: 50, TriggeredBy: trigger, Status: structs.EvalStatusPending}
	if j := w.jobs[jobID]; j != nil {
		e.Type = j.Type
	}
	return e
}

func (w *world) alloc(id string) *structs.Allocation {
	for _, a := range w.allocs {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// change replaces an allocation by a changed copy.
func (w *world) change(id string, f func(a *structs.Allocation)) {
	for i, a := range w.allocs {
		if a.ID == id {
			c := *a
			f(&c)
			w.allocs[i] = &c
		}
	}
}

// apply commits a plan as the state machine would.
func (w *world) apply(p *structs.Plan) {
	w.index++
	for _, s := range p.Stops {
		w.change(s.AllocID, func(a *structs.Allocation) {
			a.DesiredStatus, a.DesiredDescription = s.DesiredStatus, s.DesiredDescription
			a.ModifyTime = p.Now
			if s.FollowupEvalID != "" {
				a.FollowupEvalID = s.FollowupEvalID
			}
			if s.ClientStatus != "" {
				a.ClientStatus = s.ClientStatus
			}
		})
	}
	for _, v := range p.Preemptions {
		w.change(v.AllocID, func(a *structs.Allocation) { a.DesiredStatus = structs.AllocDesiredStatusEvict })
	}
	for _, c := range p.InPlace {
		w.change(c.AllocID, func(a *structs.Allocation) {
			if j := w.jobs[a.JobID]; j != nil && j.Version == c.JobVersion && (a.Job.Version != j.Version || c.DeploymentID != "") {
				if a.DeploymentID != c.DeploymentID {
					a.DeploymentID, a.DeploymentStatus = c.DeploymentID, nil
				}
				a.Job = j
			}
			if c.FollowupEvalID != "" || c.ClientStatus != "" {
				a.FollowupEvalID = c.FollowupEvalID
			}
			a.ModifyTime = p.Now
			if c.ClientStatus != "" {
				a.ClientStatus = c.ClientStatus
			}
		})
	}
	if p.Deployment != nil {
		w.deployments = append(w.deployments, p.Deployment)
	}
	for _, u := range p.DeploymentUpdates {
		for i, d := range w.deployments {
			if d.ID == u.DeploymentID {
				c := *d
				c.Status, c.StatusDescription = u.Status, u.StatusDescription
				w.deployments[i] = &c
			}
		}
	}
	for _, g := range p.Groups {
		for i := range g.Placements {
			w.place(p, g, &g.Placements[i])
		}
	}
	for _, e := range p.NewEvals {
		w.evals[e.ID] = e
	}
	if e := w.evals[p.EvalID]; e != nil && p.Eval != nil {
		w.evals[p.EvalID] = p.Eval
	}
	for _, v := range p.Preemptions {
		for _, a := range w.allocs {
			if a.CreateIndex == w.index && a.NodeID == w.alloc(v.AllocID).NodeID && a.TaskGroup == v.Group && uint32(a.Index()) == v.NameIndex {
				w.change(v.AllocID, func(b *structs.Allocation) { b.PreemptedByAllocation = a.ID })
			}
		}
	}
}

func (w *world) place(p *structs.Plan, g *structs.PlanGroup, pl *structs.Placement) {
	w.allocSeq++
	r := *g.Resources
	a := &structs.Allocation{ID: fmt.Sprintf("a%d", w.allocSeq), Namespace: "default", EvalID: p.EvalID, JobID: p.JobID,
		Job: w.jobs[p.JobID], TaskGroup: g.Group, Name: structs.AllocName(p.JobID, g.Group, uint(pl.NameIndex)),
		NodeID: w.nodes[pl.Node].ID, NodeName: w.nodes[pl.Node].Name, DesiredStatus: structs.AllocDesiredStatusRun,
		ClientStatus: structs.AllocClientStatusPending, DeploymentID: g.DeploymentID, PreviousAllocation: pl.PreviousAlloc,
		Metrics: g.Metrics, CreateIndex: w.index, CreateTime: p.Now, ModifyTime: p.Now, AllocatedResources: &r}
	if g.Older > 0 {
		a.Job = w.alloc(pl.PreviousAlloc).Job
	}
	if g.DeploymentID != "" {
		a.DeploymentStatus = &structs.AllocDeploymentStatus{Canary: pl.Canary}
	}
	if x := pl.Extra; x != nil {
		r.Shared.Ports, r.Shared.Networks = x.Ports, x.Networks
		a.RescheduleTracker = x.Reschedule
		for name, t := range r.Tasks {
			if len(x.Devices[name]) > 0 || len(x.Cores[name]) > 0 {
				copied := *t
				copied.Devices, copied.Cpu.ReservedCores = x.Devices[name], x.Cores[name]
				tasks := make(map[string]*structs.AllocatedTaskResources)
				for k, v := range r.Tasks {
					tasks[k] = v
				}
				tasks[name] = &copied
				r.Tasks = tasks
			}
		}
	}
	if pl.PreviousAlloc != "" {
		w.change(pl.PreviousAlloc, func(b *structs.Allocation) { b.NextAllocation = a.ID })
	}
	w.allocs = append(w.allocs, a)
}

// testNode is a ready node of 4,000 MHz, 8,192 MiB and 100,000 MiB of disk.
func testNode(name string) *structs.Node {
	return &structs.Node{ID: "node-" + name, Name: name, Datacenter: "dc1", NodePool: "default", Status: structs.NodeStatusReady,
		SchedulingEligibility: structs.NodeEligible,
		Attributes:            map[string]string{"kernel.name": "linux", "unique.hostname": name},
		Meta:                  map[string]string{},
		Drivers:               map[string]*structs.DriverInfo{"raw_exec": {Detected: true, Healthy: true}},
		NodeResources: &structs.NodeResources{
			Cpu:    structs.NodeCpuResources{CpuShares: 4000, TotalCpuCores: 4, ReservableCpuCores: []uint16{0, 1, 2, 3}},
			Memory: structs.NodeMemoryResources{MemoryMB: 8192}, Disk: structs.NodeDiskResources{DiskMB: 100000},
			NodeNetworks: []*structs.NodeNetworkResource{{Mode: "host", Device: "eth0",
				Addresses: []structs.NodeNetworkAddress{{Alias: "default", Address: "10.0.0.1", Family: "ipv4"}}}},
		}}
}

// testJob is a canonical job with one group "g" of one raw_exec task.
func testJob(id, kind string, count int) *structs.Job {
	j := &structs.Job{ID: id, Type: kind, TaskGroups: []*structs.TaskGroup{{Name: "g", Count: &count,
		Tasks: []*structs.Task{{Name: "t", Driver: "raw_exec", Config: map[string]any{"command": "sleep"},
			Resources: &structs.Resources{CPU: structs.Ptr(500), MemoryMB: structs.Ptr(256)}}}}}}
	j.Canonicalize()
	j.CreateIndex, j.ModifyIndex, j.JobModifyIndex = 1, 1, 1
	return j
}
