package scheduler

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

// TestAgreesWithBruteForce_Z22 places a group on up to four nodes: as many fit
// as an enumeration of all ways to distribute them says.
func TestAgreesWithBruteForce_Z22(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		j := testJob("j", structs.JobTypeBatch, rapid.IntRange(1, 6).Draw(r, "count"))
		g := j.TaskGroups[0]
		ask := Amount{CPU: int64(rapid.IntRange(1, 900).Draw(r, "cpu")), MemoryMB: int64(rapid.IntRange(1, 900).Draw(r, "memory")), DiskMB: 300}
		g.Tasks[0].Resources.CPU, g.Tasks[0].Resources.MemoryMB = structs.Ptr(int(ask.CPU)), structs.Ptr(int(ask.MemoryMB))
		perNode, perRack := 99, 99
		switch rapid.SampledFrom([]string{"none", "hosts", "rack", "port"}).Draw(r, "limit") {
		case "hosts":
			j.Constraints, perNode = []*structs.Constraint{{Operand: structs.ConstraintDistinctHosts}}, 1
		case "rack":
			perRack = rapid.IntRange(1, 3).Draw(r, "rack limit")
			j.Constraints = []*structs.Constraint{{Operand: structs.ConstraintDistinctProperty, LTarget: "${meta.rack}", RTarget: fmt.Sprint(perRack)}}
		case "port":
			g.Networks, perNode = []*structs.NetworkResource{{Mode: "host", ReservedPorts: []structs.Port{{Label: "p", Value: 80}}}}, 1
		}
		var room []int // on each node
		var racks []string
		for i := range rapid.IntRange(1, 4).Draw(r, "nodes") {
			n := testNode(fmt.Sprint("n", i))
			n.NodeResources.Cpu.CpuShares = int64(rapid.IntRange(1, 3000).Draw(r, "node cpu"))
			n.NodeResources.Memory.MemoryMB = int64(rapid.IntRange(1, 3000).Draw(r, "node memory"))
			n.Meta["rack"] = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "rack")
			n.SchedulingEligibility = rapid.SampledFrom([]string{structs.NodeEligible, structs.NodeEligible, structs.NodeIneligible}).Draw(r, "eligibility")
			n.ComputeClass()
			w.addNode(n)
			fits := 0
			if n.Ready() {
				fits = int(min(n.NodeResources.Cpu.CpuShares/ask.CPU, n.NodeResources.Memory.MemoryMB/ask.MemoryMB, int64(perNode)))
			}
			room, racks = append(room, fits), append(racks, n.Meta["rack"])
		}
		w.jobs["j"] = j
		w.config.SchedulerAlgorithm = rapid.SampledFrom(AlgorithmNames()).Draw(r, "algorithm")
		result, err := w.process(w.eval("j", structs.EvalTriggerJobRegister))
		if err != nil {
			r.Fatal(err)
		}
		if want := mostThatFit(*g.Count, room, racks, map[string]int{"a": perRack, "b": perRack}); result.Placed != want {
			r.Fatalf("placed %d of %d, brute force %d: room %v racks %v", result.Placed, *g.Count, want, room, racks)
		}
	})
}

// mostThatFit tries every number on the first node, and so on.
func mostThatFit(count int, room []int, racks []string, left map[string]int) int {
	if len(room) == 0 {
		return 0
	}
	best := 0
	for n := 0; n <= min(count, room[0], left[racks[0]]); n++ {
		left[racks[0]] -= n
		best = max(best, n+mostThatFit(count-n, room[1:], racks[1:], left))
		left[racks[0]] += n
	}
	return best
}

// TestSystem_I08: after a pass over nodes that come, go and change, and over
// versions, health, promotions and pauses of its rollout, a system job has
// exactly one allocation on every node that may run it, and none elsewhere but
// where a client cannot be heard. No more than the canaries are of a version
// that was not promoted, and the passes come to rest.
func TestSystem_I08(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := &systemHistory{rapid: r, world: newWorld()}
		s.register(0)
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			for range rapid.IntRange(1, 4).Draw(r, "changes") {
				s.event()
			}
			s.pass()
		}
	})
}

// systemHistory is a world with a system job that random events happen to.
type systemHistory struct {
	*world
	rapid *rapid.T
}

func (s *systemHistory) register(version uint64) {
	j := testJob("sys", structs.JobTypeSystem, 1)
	j.Constraints = []*structs.Constraint{{LTarget: "${meta.rack}", Operand: "=", RTarget: "a"}}
	g := j.TaskGroups[0]
	g.Tasks[0].Env = map[string]string{"V": rapid.SampledFrom([]string{"1", "2"}).Draw(s.rapid, "env")}
	g.Update.MaxParallel = structs.Ptr(rapid.IntRange(0, 3).Draw(s.rapid, "parallel"))
	g.Update.Canary = structs.Ptr(rapid.SampledFrom([]int{0, 1, 50, 100, 300}).Draw(s.rapid, "canary"))
	s.index++
	j.Version, j.ModifyIndex, j.JobModifyIndex = version, s.index, s.index
	s.jobs["sys"] = j
}

func (s *systemHistory) event() {
	switch d := s.LatestDeployment("", "sys"); rapid.SampledFrom([]string{"node", "node", "client", "client", "version", "deployment"}).Draw(s.rapid, "event") {
	case "node":
		n := testNode(fmt.Sprint("n", rapid.IntRange(0, 5).Draw(s.rapid, "node")))
		n.Meta["rack"] = rapid.SampledFrom([]string{"a", "a", "b"}).Draw(s.rapid, "rack")
		n.Status = rapid.SampledFrom([]string{structs.NodeStatusReady, structs.NodeStatusReady, structs.NodeStatusDown}).Draw(s.rapid, "status")
		n.ComputeClass()
		if _, at, known := s.find(n.Name); known {
			s.nodes[at] = n
		} else {
			s.addNode(n)
		}
	case "client":
		s.clientEvent(d)
	case "version":
		s.register(s.jobs["sys"].Version + 1)
	case "deployment":
		if d == nil || !d.Active() {
			return
		}
		d.Status = rapid.SampledFrom([]string{structs.DeploymentStatusRunning, structs.DeploymentStatusPaused, structs.DeploymentStatusFailed}).Draw(s.rapid, "status")
		for _, g := range d.TaskGroups {
			g.Promoted = g.Promoted || rapid.Bool().Draw(s.rapid, "promoted")
		}
	}
}

// clientEvent lets an allocation run, healthy or not, or fail.
func (s *systemHistory) clientEvent(d *structs.Deployment) {
	if len(s.allocs) == 0 {
		return
	}
	a := s.allocs[rapid.IntRange(0, len(s.allocs)-1).Draw(s.rapid, "alloc")]
	if a.Terminal() {
		return
	}
	healthy := rapid.SampledFrom([]*bool{nil, structs.Ptr(true), structs.Ptr(false)}).Draw(s.rapid, "healthy")
	s.change(a.ID, func(a *structs.Allocation) {
		a.ClientStatus = structs.AllocClientStatusRunning
		if structs.Val(healthy) == false && rapid.Bool().Draw(s.rapid, "failed") {
			a.ClientStatus = structs.AllocClientStatusFailed
		}
		if a.DeploymentID == "" || a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil {
			return
		}
		status := structs.AllocDeploymentStatus{Healthy: healthy}
		if a.DeploymentStatus != nil {
			status.Canary = a.DeploymentStatus.Canary
		}
		a.DeploymentStatus = &status
		if d != nil && d.ID == a.DeploymentID && structs.Val(healthy) {
			d.TaskGroups[a.TaskGroup].HealthyAllocs++
		}
	})
}

func (s *systemHistory) pass() {
	for again := 0; ; again++ {
		result, err := s.process(s.eval("sys", structs.EvalTriggerNodeUpdate))
		if err != nil {
			s.rapid.Fatal(err)
		}
		if result.NoOp() {
			break
		}
		if again == 3 {
			s.rapid.Fatalf("the passes do not come to rest: %s", jsonText(result.Plan))
		}
		s.apply(result.Plan)
	}
	for _, n := range s.nodes {
		live, want := 0, 0
		for _, a := range s.JobAllocs("", "sys") {
			if a.NodeID == n.ID && !a.Terminal() {
				live++
			}
		}
		if n.Ready() && n.Meta["rack"] == "a" {
			want = 1
		}
		if live != want {
			s.rapid.Fatalf("%d allocations on %s (%s, rack %s), want %d", live, n.Name, n.Status, n.Meta["rack"], want)
		}
	}
	d, canaries := s.LatestDeployment("", "sys"), 0
	for _, a := range s.JobAllocs("", "sys") {
		if !a.Terminal() && isCanary(a, d) {
			canaries++
		}
	}
	if d == nil {
		return
	}
	if g := d.TaskGroups["g"]; canaries > g.DesiredCanaries {
		s.rapid.Fatalf("%d canaries run, at most %d shall", canaries, g.DesiredCanaries)
	}
}
