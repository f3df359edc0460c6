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

// TestSystem_I08: after a pass over nodes that come, go and change, a system
// job has exactly one allocation on every node that may run it, and none
// elsewhere but where a client cannot be heard.
func TestSystem_I08(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		j := testJob("sys", structs.JobTypeSystem, 1)
		j.Constraints = []*structs.Constraint{{LTarget: "${meta.rack}", Operand: "=", RTarget: "a"}}
		w.jobs["sys"] = j
		for step := range rapid.IntRange(1, 8).Draw(r, "steps") {
			for range rapid.IntRange(1, 4).Draw(r, "changes") {
				n := testNode(fmt.Sprint("n", rapid.IntRange(0, 5).Draw(r, "node")))
				n.Meta["rack"] = rapid.SampledFrom([]string{"a", "a", "b"}).Draw(r, "rack")
				n.Status = rapid.SampledFrom([]string{structs.NodeStatusReady, structs.NodeStatusReady, structs.NodeStatusDown}).Draw(r, "status")
				n.ComputeClass()
				if _, at, known := w.find(n.Name); known {
					w.nodes[at] = n
				} else {
					w.addNode(n)
				}
			}
			result, err := w.process(w.eval("sys", structs.EvalTriggerNodeUpdate))
			if err != nil {
				r.Fatal(err)
			}
			w.apply(result.Plan)
			for _, n := range w.nodes {
				live, want := 0, 0
				for _, a := range w.JobAllocs("", "sys") {
					if a.NodeID == n.ID && !a.Terminal() {
						live++
					}
				}
				if n.Ready() && n.Meta["rack"] == "a" {
					want = 1
				}
				if live != want {
					r.Fatalf("step %d: %d allocations on %s (%s, rack %s), want %d", step, live, n.Name, n.Status, n.Meta["rack"], want)
				}
			}
		}
	})
}
