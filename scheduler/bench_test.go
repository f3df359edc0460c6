package scheduler

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// benchWorld is a cluster of half-full nodes in five machine shapes, four
// datacenter racks and two kernels, with a job that was just registered.
type benchWorld struct {
	*world
	num map[string]uint32
}

func (w *benchWorld) NodeNum(id string) (uint32, bool) {
	n, ok := w.num[id]
	return n, ok
}

func newBenchWorld(nodes int) *benchWorld {
	w := &benchWorld{newWorld(), map[string]uint32{}}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range nodes {
		n := testNode(fmt.Sprint("n", i))
		n.Meta["rack"] = fmt.Sprint("r", i%100)
		n.Attributes["kernel.version"] = fmt.Sprint(5+i%2, ".", i%10)
		shape := int64(1 + i%5)
		n.NodeResources.Cpu.CpuShares = 8000 * shape
		n.NodeResources.Memory.MemoryMB = 16384 * (1 + int64(i%3))
		n.ComputeClass()
		w.nodes = append(w.nodes, n)
		w.num[n.ID] = uint32(i)
		u := NodeUsage{CPU: r.Int64N(n.NodeResources.Cpu.CpuShares / 2), MemoryMB: r.Int64N(n.NodeResources.Memory.MemoryMB / 2), Allocs: r.IntN(20)}
		w.cluster.Set(uint32(i), NodeRow{Node: n, Usage: u})
	}
	return w
}

// benchJob is a job of the shape that a benchmark is named after.
func benchJob(shape string, count int) *structs.Job {
	kind := structs.JobTypeService
	switch shape {
	case "batch", "system":
		kind = shape
	}
	j := testJob("bench", kind, count)
	j.TaskGroups[0].Tasks[0].Resources.CPU = structs.Ptr(100)
	j.TaskGroups[0].Tasks[0].Resources.MemoryMB = structs.Ptr(128)
	switch shape {
	case "spread":
		j.Spreads = []*structs.Spread{{Attribute: "${meta.rack}", Weight: structs.Ptr(int8(50))}}
	case "affinity":
		j.Affinities = []*structs.Affinity{{LTarget: "${attr.kernel.version}", Operand: "version", RTarget: ">= 6.0", Weight: structs.Ptr(int8(50))}}
	case "ports":
		j.TaskGroups[0].Networks = []*structs.NetworkResource{{Mode: "host", DynamicPorts: []structs.Port{{Label: "http"}}}}
	}
	return j
}

// BenchmarkPlace reports the wall time, the processor time of the thread and
// the heap allocations of a placement, everything included: reconcile,
// filters, ports, scores and the plan. On a busy machine the processor time is
// the one to read.
func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{1000, 5000, 10000} {
		w := newBenchWorld(nodes)
		for _, shape := range []string{"plain", "spread", "affinity", "ports", "system", "batch"} {
			for _, count := range []int{1, 10, 300, 1000} {
				if shape == "system" && count > 1 {
					break // it runs on every node, whatever the count
				}
				b.Run(fmt.Sprintf("nodes=%d/count=%d/%s", nodes, count, shape), func(b *testing.B) {
					benchPlace(b, w, benchJob(shape, count))
				})
			}
		}
	}
}

func benchPlace(b *testing.B, w *benchWorld, job *structs.Job) {
	w.jobs["bench"] = job
	eval := w.eval("bench", structs.EvalTriggerJobRegister)
	opts := Options{Now: epoch, Seed: 7}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	placed := 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := threadTime()
	for b.Loop() {
		r, err := Process(w, w.cluster, eval, opts)
		if err != nil || r.Placed == 0 {
			b.Fatal(err, r)
		}
		placed += r.Placed
	}
	busy := threadTime() - start
	runtime.ReadMemStats(&after)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(placed), "ns/placement")
	b.ReportMetric(float64(busy.Nanoseconds())/float64(placed), "cpu-ns/placement")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(placed), "allocs/placement")
}

// threadTime is the processor time that this thread used.
func threadTime() time.Duration {
	const ofThread = 1 // RUSAGE_THREAD of getrusage(2)
	var u syscall.Rusage
	if err := syscall.Getrusage(ofThread, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
