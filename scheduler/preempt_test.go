package scheduler

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

// TestPreemption_I19 places one allocation on up to three full nodes and looks
// at every set of allocations that might make room for it: something is evicted
// only if it fits nowhere as things are, if it fits at all then, and only from
// its own node, at least ten priorities below; what is evicted suffices and
// nothing of it could have been left.
func TestPreemption_I19(t *testing.T) {
	evicted, fitted, waited := 0, 0, 0
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		w.config.PreemptionConfig.ServiceSchedulerEnabled = true
		for i := range rapid.IntRange(1, 3).Draw(r, "nodes") {
			n := testNode(fmt.Sprint("n", i))
			n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB = 1000, 1000
			n.ComputeClass()
			w.addNode(n)
			for k := range rapid.IntRange(2, 7).Draw(r, "allocations") {
				w.occupy(n, fmt.Sprintf("a%d-%d", i, k), rapid.SampledFrom([]int{30, 40, 41, 50, 60}).Draw(r, "priority"),
					Amount{CPU: int64(rapid.IntRange(1, 5).Draw(r, "cpu")) * 100, MemoryMB: int64(rapid.IntRange(1, 5).Draw(r, "memory")) * 100})
			}
		}
		j := testJob("high", structs.JobTypeService, 1)
		ask := Amount{CPU: int64(rapid.IntRange(1, 10).Draw(r, "ask cpu")) * 100, MemoryMB: int64(rapid.IntRange(1, 10).Draw(r, "ask memory")) * 100}
		j.TaskGroups[0].Tasks[0].Resources.CPU, j.TaskGroups[0].Tasks[0].Resources.MemoryMB = structs.Ptr(int(ask.CPU)), structs.Ptr(int(ask.MemoryMB))
		w.jobs["high"] = j
		result, err := w.process(w.eval("high", structs.EvalTriggerJobRegister))
		if err != nil {
			r.Fatal(err)
		}
		fits, helps := false, false
		for num := range w.nodes {
			fits = fits || w.suffices(num, ask, nil)
			helps = helps || w.suffices(num, ask, w.evictable(num, j))
		}
		gone := map[string]bool{}
		for _, p := range result.Plan.Preemptions {
			gone[p.AllocID] = true
		}
		if placed := fits || helps; placed != (result.Placed == 1) {
			r.Fatalf("placed %d, fits as it is %v, with evictions %v", result.Placed, fits, helps)
		}
		switch {
		case fits, result.Placed == 0:
			if len(gone) > 0 {
				r.Fatalf("%v are evicted for nothing", gone)
			}
			if fits {
				fitted++
			} else {
				waited++
			}
			return
		case len(gone) == 0:
			r.Fatal("it is placed where it does not fit")
		}
		evicted++
		num := int(result.Plan.Groups[0].Placements[0].Node)
		may := w.evictable(num, j)
		chosen := slices.DeleteFunc(slices.Clone(may), func(a *structs.Allocation) bool { return !gone[a.ID] })
		if len(chosen) != len(gone) {
			r.Fatalf("%v are evicted, only those of %v may be", gone, may)
		}
		for part := range 1 << len(chosen) {
			var some []*structs.Allocation
			for k, a := range chosen {
				if part>>k&1 > 0 {
					some = append(some, a)
				}
			}
			if all := bits.OnesCount(uint(part)) == len(chosen); w.suffices(num, ask, some) != all {
				r.Fatalf("%d of the %d evicted suffice: %v", len(some), len(chosen), !all)
			}
		}
	})
	if evicted == 0 || fitted == 0 || waited == 0 {
		t.Errorf("%d evicted, %d fitted, %d waited", evicted, fitted, waited)
	}
}

// occupy runs an allocation of a job of its own on a node, if there is room.
func (w *world) occupy(n *structs.Node, id string, priority int, a Amount) {
	num, _ := w.NodeNum(n.ID)
	if !w.suffices(int(num), a, nil) {
		return
	}
	w.allocs = append(w.allocs, filler(n, id, priority, a))
}

// filler is an allocation of a job of its own that runs on a node.
func filler(n *structs.Node, id string, priority int, a Amount) *structs.Allocation {
	j := testJob("job-"+id, structs.JobTypeService, 1)
	j.Priority = priority
	return &structs.Allocation{ID: id, Namespace: "default", JobID: j.ID, Job: j, TaskGroup: "g", Name: structs.AllocName(j.ID, "g", 0),
		NodeID: n.ID, NodeName: n.Name, DesiredStatus: structs.AllocDesiredStatusRun, ClientStatus: structs.AllocClientStatusRunning,
		AllocatedResources: &structs.AllocatedResources{Tasks: map[string]*structs.AllocatedTaskResources{"t": {
			Cpu: structs.AllocatedCpuResources{CpuShares: a.CPU}, Memory: structs.AllocatedMemoryResources{MemoryMB: a.MemoryMB}}}}}
}

// suffices reports whether an amount fits on a node when some have left it.
func (w *world) suffices(num int, ask Amount, without []*structs.Allocation) bool {
	u, total := w.usage(num), nodeCapacity(w.nodes[num])
	for _, a := range without {
		gone := ResourcesAmount(a.AllocatedResources)
		u.CPU -= gone.CPU
		u.MemoryMB -= gone.MemoryMB
	}
	return u.CPU+ask.CPU <= total.CPU && u.MemoryMB+ask.MemoryMB <= total.MemoryMB
}

// evictable are the allocations of a node that a job may evict.
func (w *world) evictable(num int, j *structs.Job) []*structs.Allocation {
	return slices.DeleteFunc(w.NodeAllocs(uint32(num)), func(a *structs.Allocation) bool { return a.Job.Priority > j.Priority-10 })
}

// fullWorld knows what runs on each node without a search.
type fullWorld struct {
	*benchWorld
	on [][]*structs.Allocation
}

func (w *fullWorld) NodeAllocs(num uint32) []*structs.Allocation { return w.on[num] }

// BenchmarkPreempt places the allocations of a job that fits nowhere without
// evictions on a full cluster.
func BenchmarkPreempt(b *testing.B) {
	for _, count := range []int{1, 100} {
		b.Run(fmt.Sprintf("nodes=1000/count=%d", count), func(b *testing.B) {
			w := &fullWorld{benchWorld: &benchWorld{newWorld(), map[string]uint32{}}}
			w.config.PreemptionConfig.ServiceSchedulerEnabled = true
			for i := range 1000 {
				n := testNode(fmt.Sprint("n", i))
				n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB = 1000, 1000
				n.ComputeClass()
				w.nodes, w.num[n.ID] = append(w.nodes, n), uint32(i)
				var on []*structs.Allocation
				for k := range 10 {
					on = append(on, filler(n, fmt.Sprintf("a%d-%d", i, k), 10+k%3, Amount{CPU: 100, MemoryMB: 100}))
				}
				w.on = append(w.on, on)
				w.cluster.Set(uint32(i), NodeRow{Node: n, Usage: NodeUsage{CPU: 1000, MemoryMB: 1000, Allocs: 10}})
			}
			j := testJob("bench", structs.JobTypeService, count)
			j.TaskGroups[0].Tasks[0].Resources.CPU, j.TaskGroups[0].Tasks[0].Resources.MemoryMB = structs.Ptr(250), structs.Ptr(250)
			w.jobs["bench"] = j
			eval := w.eval("bench", structs.EvalTriggerJobRegister)
			for b.Loop() {
				r, err := Process(w, w.cluster, eval, Options{Now: epoch, Seed: 7})
				if err != nil || r.Placed != count {
					b.Fatal(err, r.Placed)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/placement")
		})
	}
}
