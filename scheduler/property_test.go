package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

// TestInvariants drives random clusters through random events and checks after
// every plan what must always hold: reliability.md I-01 to I-04, I-18 and I-19,
// scores of any weights and targets (N-21), jobs, nodes, allocations and
// deployments that are deleted at any moment (B-26), and plans of which the
// servers refuse a part.
func TestInvariants_I01_I02_I03_I04_I18_I19_N21_B26(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{rapid: rt, world: newWorld()}
		h.config.PreemptionConfig.ServiceSchedulerEnabled = rapid.Bool().Draw(rt, "preemption")
		h.config.SchedulerAlgorithm = rapid.SampledFrom(AlgorithmNames()).Draw(rt, "algorithm")
		for range rapid.IntRange(1, 5).Draw(rt, "nodes") {
			h.addRandomNode()
		}
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			h.event()
			for _, id := range []string{"a", "b"} {
				if len(h.JobAllocs("", id)) > 0 || h.jobs[id] != nil {
					h.pass(id)
				}
			}
		}
	})
}

// history is a world that random events happen to.
type history struct {
	*world
	rapid *rapid.T
}

func (h *history) pick(name string, choices ...string) string {
	return rapid.SampledFrom(choices).Draw(h.rapid, name)
}

func (h *history) addRandomNode() {
	n := testNode(fmt.Sprint("n", len(h.nodes)))
	n.Datacenter = h.pick("dc", "dc1", "dc2")
	n.Meta["rack"] = h.pick("rack", "a", "b", "c")
	n.NodeResources.Cpu.CpuShares = int64(rapid.IntRange(300, 3000).Draw(h.rapid, "cpu"))
	n.NodeResources.MinDynamicPort, n.NodeResources.MaxDynamicPort = 20000, 20004
	n.NodeResources.Devices = []*structs.NodeDeviceResource{{Vendor: "nvidia", Type: "gpu", Name: "a100",
		Instances: []*structs.NodeDevice{{ID: "g0", Healthy: true}, {ID: "g1", Healthy: true}}}}
	n.HostVolumes = map[string]*structs.HostVolumeInfo{"data": {Path: "/data"}}
	n.ComputeClass()
	h.addNode(n)
}

func (h *history) event() {
	switch h.pick("event", "register", "register", "client", "client", "client", "node", "stop", "time", "node-new", "purge", "collect") {
	case "purge":
		delete(h.jobs, h.pick("job", "a", "b"))
	case "collect":
		h.collect()
	case "register":
		h.registerRandom(h.pick("job", "a", "b"))
	case "stop":
		if j := h.jobs[h.pick("job", "a", "b")]; j != nil {
			c := *j
			c.Stop = true
			c.Version++
			h.jobs[j.ID] = &c
		}
	case "node-new":
		if len(h.nodes) < 8 {
			h.addRandomNode()
		}
	case "node":
		h.nodeEvent()
	case "time":
		h.now = h.now.Add(time.Duration(rapid.IntRange(1, 3600).Draw(h.rapid, "seconds")) * time.Second)
	case "client":
		h.clientEvent()
	}
}

// collect deletes a terminal allocation, or a deployment, if it draws one.
func (h *history) collect() {
	if n := len(h.allocs); n > 0 {
		i := rapid.IntRange(0, n-1).Draw(h.rapid, "collected")
		if h.allocs[i].ClientTerminal() {
			h.allocs = slices.Delete(slices.Clone(h.allocs), i, i+1)
		}
	}
	if n := len(h.deployments); n > 0 && rapid.Bool().Draw(h.rapid, "deployment") {
		i := rapid.IntRange(0, n-1).Draw(h.rapid, "collected")
		h.deployments = slices.Delete(slices.Clone(h.deployments), i, i+1)
	}
}

func (h *history) nodeEvent() {
	i := rapid.IntRange(0, len(h.nodes)-1).Draw(h.rapid, "node")
	if h.nodes[i] == nil {
		return
	}
	n := h.nodes[i].Copy()
	n.Status = h.pick("status", structs.NodeStatusReady, structs.NodeStatusReady, structs.NodeStatusDown, structs.NodeStatusDisconnected)
	n.SchedulingEligibility = h.pick("eligibility", structs.NodeEligible, structs.NodeEligible, structs.NodeIneligible)
	h.nodes[i] = n
	if rapid.IntRange(0, 9).Draw(h.rapid, "purge") == 0 {
		h.nodes[i] = nil
	}
}

func (h *history) clientEvent() {
	if len(h.allocs) == 0 {
		return
	}
	a := h.allocs[rapid.IntRange(0, len(h.allocs)-1).Draw(h.rapid, "alloc")]
	if a.ClientTerminal() {
		return
	}
	h.change(a.ID, func(a *structs.Allocation) {
		a.ClientStatus = h.pick("client", structs.AllocClientStatusRunning, structs.AllocClientStatusFailed, structs.AllocClientStatusComplete)
		a.ModifyTime = h.now.UnixNano()
		if a.DeploymentID != "" && rapid.Bool().Draw(h.rapid, "decided") {
			s := structs.AllocDeploymentStatus{}
			if a.DeploymentStatus != nil {
				s = *a.DeploymentStatus
			}
			s.Healthy = structs.Ptr(a.ClientStatus == structs.AllocClientStatusRunning)
			a.DeploymentStatus = &s
		}
		a.DesiredTransition.Migrate = structs.Ptr(rapid.IntRange(0, 9).Draw(h.rapid, "migrate") == 0)
	})
}

func (h *history) registerRandom(id string) {
	kind := structs.JobTypeService
	if id == "b" {
		kind = structs.JobTypeBatch
	}
	old := h.jobs[id]
	j := testJob(id, kind, rapid.IntRange(0, 6).Draw(h.rapid, "count"))
	j.Priority = rapid.SampledFrom([]int{20, 25, 50, 80}).Draw(h.rapid, "priority")
	g := j.TaskGroups[0]
	task := g.Tasks[0]
	task.Resources.CPU = structs.Ptr(rapid.IntRange(1, 900).Draw(h.rapid, "ask"))
	task.Env = map[string]string{"V": h.pick("env", "1", "2")}
	switch h.pick("placement", "none", "hosts", "property", "port", "dynamic", "spread", "targets", "affinity", "gpu", "cores", "volume") {
	case "hosts":
		j.Constraints = []*structs.Constraint{{Operand: structs.ConstraintDistinctHosts}}
	case "property":
		j.Constraints = []*structs.Constraint{{Operand: structs.ConstraintDistinctProperty, LTarget: "${meta.rack}", RTarget: "2"}}
	case "port":
		g.Networks = []*structs.NetworkResource{{Mode: "host", ReservedPorts: []structs.Port{{Label: "p", Value: 8080}}}}
	case "dynamic":
		g.Networks = []*structs.NetworkResource{{Mode: "host", DynamicPorts: []structs.Port{{Label: "p"}, {Label: "q"}}}}
	case "spread":
		j.Spreads = []*structs.Spread{{Attribute: "${meta.rack}", Weight: structs.Ptr(int8(rapid.IntRange(-1, 100).Draw(h.rapid, "weight")))}}
	case "targets":
		j.Spreads = []*structs.Spread{{Attribute: h.pick("attribute", "${node.datacenter}", "${meta.none}"), Weight: structs.Ptr(int8(50)),
			SpreadTarget: []*structs.SpreadTarget{{Value: h.pick("value", "dc1", "", "*"), Percent: uint8(rapid.IntRange(0, 200).Draw(h.rapid, "percent"))}}}}
	case "affinity":
		j.Affinities = []*structs.Affinity{{LTarget: "${meta.rack}", Operand: "=", RTarget: "a", Weight: structs.Ptr(int8(rapid.IntRange(-100, 100).Draw(h.rapid, "weight")))}}
	case "gpu":
		task.Resources.Devices = []*structs.RequestedDevice{{Name: "nvidia/gpu", Count: structs.Ptr(uint64(1))}}
	case "volume":
		g.Volumes = map[string]*structs.VolumeRequest{"data": {Name: "data", Type: "host", Source: "data", AccessMode: accessSingleWriter}}
	case "cores":
		task.Resources.Cores = structs.Ptr(2)
	}
	if kind == structs.JobTypeService {
		g.Update.MaxParallel = structs.Ptr(rapid.IntRange(0, 3).Draw(h.rapid, "parallel"))
		g.Update.Canary = structs.Ptr(rapid.IntRange(0, 2).Draw(h.rapid, "canary"))
		if rapid.Bool().Draw(h.rapid, "disconnect") {
			g.Disconnect = &structs.DisconnectStrategy{LostAfter: structs.Ptr(time.Minute), Replace: structs.Ptr(rapid.Bool().Draw(h.rapid, "replace")),
				Reconcile: structs.Ptr(structs.ReconcileBestScore)}
		}
	}
	h.index++
	j.CreateIndex, j.JobModifyIndex, j.ModifyIndex = h.index, h.index, h.index
	if old != nil {
		j.CreateIndex, j.Version = old.CreateIndex, old.Version+1
	}
	h.jobs[id] = j
}

// pass processes a job, checks the plan, applies it and checks the state.
func (h *history) pass(id string) {
	before := h.text()
	eval := h.eval(id, structs.EvalTriggerJobRegister)
	if h.jobs[id] == nil {
		eval.Type = h.JobAllocs("", id)[0].Job.Type
	}
	r, err := h.process(eval)
	if err != nil {
		h.rapid.Fatalf("job %s: %v", id, err)
	}
	if h.text() != before {
		h.rapid.Fatalf("job %s: the pass changed its input", id)
	}
	h.sameAgain(eval, r)
	h.checkPlan(r.Plan)
	if rapid.IntRange(0, 4).Draw(h.rapid, "refused") == 0 {
		h.applyHalf(id, r.Plan)
		if r, err = h.process(eval); err != nil {
			h.rapid.Fatalf("job %s, half of whose plan was applied: %v", id, err)
		}
		h.checkPlan(r.Plan)
	}
	h.apply(r.Plan)
	h.checkNodes()
	h.checkCounts(id)
	again, err := h.process(h.eval(id, structs.EvalTriggerJobRegister))
	if err != nil || !again.NoOp() {
		h.rapid.Fatalf("job %s: the plan, processed again, is not empty: %v\nfirst  %s\nsecond %s", id, err, jsonText(r.Plan), jsonText(again.Plan))
	}
}

// applyHalf applies a plan without the placements that the servers refuse, and
// without what is evicted for those.
func (h *history) applyHalf(id string, p *structs.Plan) {
	half := *p
	half.Groups, half.Preemptions = nil, nil
	for _, g := range p.Groups {
		kept := *g
		kept.Placements = slices.DeleteFunc(slices.Clone(g.Placements), func(structs.Placement) bool { return rapid.Bool().Draw(h.rapid, "refuse") })
		half.Groups = append(half.Groups, &kept)
		for _, v := range p.Preemptions {
			if g.Group == v.Group && slices.ContainsFunc(kept.Placements, func(pl structs.Placement) bool { return pl.NameIndex == v.NameIndex && pl.Node == v.Node }) {
				half.Preemptions = append(half.Preemptions, v)
			}
		}
	}
	h.apply(&half)
	h.checkNodes()
	h.checkCounts(id)
}

func (h *history) text() string {
	return jsonText([]any{h.jobs, h.nodes, h.allocs, h.deployments})
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// sameAgain checks that the same input gives the same plan, with the same
// index and with one that was built anew in another order.
func (h *history) sameAgain(eval *structs.Evaluation, first *Result) {
	want := jsonText(first.Plan)
	other := NewCluster()
	for i := len(h.nodes) - 1; i >= 0; i-- {
		other.Set(uint32(i), NodeRow{Node: h.nodes[i], Usage: h.usage(i)})
	}
	for name, cluster := range map[string]*Cluster{"same": h.cluster, "new": other} {
		r, err := Process(h.world, cluster, eval, h.options())
		if err != nil {
			h.rapid.Fatal(err)
		}
		if got := jsonText(r.Plan); got != want {
			h.rapid.Fatalf("the plan differs with the %s index:\n%s\n%s", name, want, got)
		}
	}
}

func (h *history) checkPlan(p *structs.Plan) {
	stopped := map[string]bool{}
	for _, s := range p.Stops {
		if h.alloc(s.AllocID) == nil || stopped[s.AllocID] {
			h.rapid.Fatalf("stop of %s, which is unknown or stopped twice", s.AllocID)
		}
		stopped[s.AllocID] = true
	}
	job := h.jobs[p.JobID]
	for _, v := range p.Preemptions {
		a := h.alloc(v.AllocID)
		if a.JobID == job.ID || a.Job.Priority > job.Priority-10 || a.Terminal() || stopped[v.AllocID] {
			h.rapid.Fatalf("%s of priority %d is evicted for priority %d", a.ID, a.Job.Priority, job.Priority)
		}
		stopped[v.AllocID] = true
		placed := false
		for _, g := range p.Groups {
			for _, pl := range g.Placements {
				placed = placed || g.Group == v.Group && pl.NameIndex == v.NameIndex && h.nodes[pl.Node].ID == a.NodeID
			}
		}
		if !placed {
			h.rapid.Fatalf("%s is evicted for nothing", a.ID)
		}
	}
	for _, g := range p.Groups {
		f := newFilter(job, job.LookupGroup(g.Group))
		for i := range g.Placements {
			n := h.nodes[g.Placements[i].Node]
			if !n.Ready() || f.nodeReason(n) != "" {
				h.rapid.Fatalf("placed on %s, which is %s %s: %s", n.Name, n.Status, n.SchedulingEligibility, f.nodeReason(n))
			}
			if prev := g.Placements[i].PreviousAlloc; prev != "" && h.alloc(prev).NextAllocation != "" {
				h.rapid.Fatalf("%s is replaced a second time", prev)
			}
		}
		for _, m := range g.Metrics.ScoreMetaData {
			for name, s := range m.Scores {
				if s != s || s < -1000 || s > 1000 {
					h.rapid.Fatalf("score %s is %v", name, s)
				}
			}
		}
	}
}

// checkNodes checks capacity, ports, devices and cores of every node.
func (h *history) checkNodes() {
	for i, n := range h.nodes {
		if n == nil {
			continue
		}
		u, total := h.usage(i), nodeCapacity(n)
		placedHere := false
		held := map[string]string{}
		for _, a := range h.NodeAllocs(uint32(i)) {
			placedHere = placedHere || a.CreateIndex == h.index
			for _, thing := range things(a) {
				other := held[thing]
				if other != "" && !handedOver(h.alloc(other), a) {
					h.rapid.Fatalf("%s of %s is held by %s and %s", thing, n.Name, other, a.ID)
				}
				held[thing] = a.ID
			}
		}
		if placedHere && (u.CPU > total.CPU || u.MemoryMB > total.MemoryMB || u.DiskMB > total.DiskMB) {
			h.rapid.Fatalf("%s is over its capacity: %+v of %+v", n.Name, u, total)
		}
	}
}

// things are what only one allocation of a node may hold.
func things(a *structs.Allocation) []string {
	var list []string
	for _, m := range allocPorts(a) {
		list = append(list, fmt.Sprint("port ", m.HostIP, " ", m.Value))
	}
	for _, v := range volumesOf(a) {
		list = append(list, "volume "+v.Source)
	}
	for _, t := range a.AllocatedResources.Tasks {
		for _, d := range t.Devices {
			for _, id := range d.DeviceIDs {
				list = append(list, "device "+id)
			}
		}
		for _, c := range t.Cpu.ReservedCores {
			list = append(list, fmt.Sprint("core ", c))
		}
	}
	return list
}

// handedOver reports whether one of two allocations takes the place of the
// other, which is leaving.
func handedOver(a, b *structs.Allocation) bool {
	return a.PreemptedByAllocation == b.ID || b.PreemptedByAllocation == a.ID || b.PreviousAllocation == a.ID && a.ServerTerminal() || a.PreviousAllocation == b.ID && b.ServerTerminal()
}

// checkCounts checks that no more run than wanted, and that names are unique.
func (h *history) checkCounts(id string) {
	names := map[string]bool{}
	live, canaries := 0, 0
	for _, a := range h.JobAllocs("", id) {
		if a.Terminal() || a.ClientStatus == structs.AllocClientStatusUnknown {
			continue
		}
		if n, _, ok := h.find(a.NodeName); !ok || n.Status != structs.NodeStatusReady {
			continue
		}
		if isCanary(a, h.LatestDeployment("", id)) {
			canaries++
			continue
		}
		live++
		if a.DeploymentStatus != nil && a.DeploymentStatus.Canary {
			continue
		}
		if names[a.Name] {
			h.rapid.Fatalf("two allocations are named %s", a.Name)
		}
		names[a.Name] = true
		if !strings.HasPrefix(a.Name, id+".g[") {
			h.rapid.Fatalf("allocation is named %s", a.Name)
		}
	}
	want := 0
	if j := h.jobs[id]; j != nil && !j.Stop {
		want = *j.TaskGroups[0].Count
	}
	if live > want {
		h.rapid.Fatalf("job %s: %d run, want at most %d", id, live, want)
	}
}
