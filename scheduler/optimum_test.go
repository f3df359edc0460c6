package scheduler

import (
	"math/rand/v2"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestPackingAgainstOptimum places up to ten different allocations, as they
// come, and compares how many nodes they need with the least that any way to
// distribute them needs: never more than two nodes more, and on average under
// 6 % more.
func TestPackingAgainstOptimum(t *testing.T) {
	ours, best, worse := 0, 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		asks := make([]Amount, 4+r.IntN(7))
		for i := range asks {
			asks[i] = Amount{CPU: 200 + r.Int64N(2800), MemoryMB: 800 + r.Int64N(11200)}
		}
		optimum, needed := 1, 1
		for !packable(asks, make([]Amount, optimum)) {
			optimum++
		}
		for needed = optimum; !fitsOn(t, asks, needed); needed++ {
		}
		if needed > optimum {
			worse++
		}
		if needed > optimum+2 {
			t.Errorf("seed %d: %d allocations need %d nodes, %d would do", seed, len(asks), needed, optimum)
		}
		ours, best = ours+needed, best+optimum
	}
	if over := float64(ours)/float64(best) - 1; over > 0.06 {
		t.Errorf("%d nodes in all, %d would do: %.1f %% more", ours, best, 100*over)
	}
	t.Logf("%d nodes, the optimum is %d; %d of 300 cases need more than it", ours, best, worse)
}

// smallNode is what each node of a small case offers.
var smallNode = Amount{CPU: 4000, MemoryMB: 16384}

// packable reports whether some way to distribute the asks fits on nodes that
// are used as given.
func packable(asks []Amount, used []Amount) bool {
	if len(asks) == 0 {
		return true
	}
	for i := range used {
		was := used[i]
		now := was.plus(asks[0])
		if now.CPU > smallNode.CPU || now.MemoryMB > smallNode.MemoryMB {
			continue
		}
		used[i] = now
		ok := packable(asks[1:], used)
		used[i] = was
		if ok {
			return true
		}
		if was == (Amount{}) {
			return false // the other empty nodes are no different
		}
	}
	return false
}

// fitsOn reports whether all asks are placed, one job after the other.
func fitsOn(t *testing.T, asks []Amount, nodes int) bool {
	w := &benchWorld{newWorld(), map[string]uint32{}}
	usage := make([]NodeUsage, nodes)
	for i := range nodes {
		n := testNode(string(rune('a' + i)))
		n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB, n.NodeResources.Disk.DiskMB = smallNode.CPU, smallNode.MemoryMB, 1<<30
		n.ReservedResources = nil
		w.nodes, w.num[n.ID] = append(w.nodes, n), uint32(i)
		w.cluster.Set(uint32(i), NodeRow{Node: n})
	}
	for _, ask := range asks {
		job := testJob("bench", structs.JobTypeBatch, 1)
		res := job.TaskGroups[0].Tasks[0].Resources
		res.CPU, res.MemoryMB = structs.Ptr(int(ask.CPU)), structs.Ptr(int(ask.MemoryMB))
		w.jobs["bench"] = job
		result, err := Process(w, w.cluster, w.eval("bench", structs.EvalTriggerJobRegister), Options{Now: epoch, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if result.Placed == 0 {
			return false
		}
		num := result.Plan.Groups[0].Placements[0].Node
		u := &usage[num]
		u.CPU, u.MemoryMB, u.Allocs = u.CPU+ask.CPU, u.MemoryMB+ask.MemoryMB, u.Allocs+1
		w.cluster.Set(num, NodeRow{Node: w.nodes[num], Usage: *u})
	}
	return true
}
