package state

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// crowd makes a world with many nodes and, by plans of 1,000 over all of them,
// many allocations.
func crowd(tb testing.TB, nodeCount, jobCount int) *world {
	w := newWorld(tb)
	for i := range nodeCount {
		w.node(i)
	}
	for j := range jobCount {
		w.crowdJob(j, nodeCount)
	}
	return w
}

const crowdSize = 1000

func (w *world) crowdJob(j, nodeCount int) *structs.PlanResult {
	id := fmt.Sprintf("job-%d", j)
	w.register(testJob(id, crowdSize), nil)
	r := w.apply(w.crowdPlan(id, nodeCount))
	if len(r.Refused) > 0 {
		w.t.Fatal(r.Refused[0])
	}
	return r
}

func (w *world) crowdPlan(id string, nodeCount int) *structs.Plan {
	list := make([]structs.Placement, crowdSize)
	for i := range list {
		list[i] = at(uint32((i*7+int(w.index))%nodeCount), uint32(i))
	}
	p := w.plan(id, "e-"+id, list...)
	p.Groups[0].Resources = ask(0, 0)
	p.Groups[0].Resources.Shared.DiskMB = 0
	return p
}

// BenchmarkApplyPlan verifies and applies plans of 1,000 placements over 1,000
// nodes; the figure is per allocation.
func BenchmarkApplyPlan(b *testing.B) {
	w := crowd(b, 1000, 0)
	plans := make([]*structs.Plan, 0, b.N/crowdSize+1)
	for j := range cap(plans) {
		id := fmt.Sprintf("job-%d", j)
		w.register(testJob(id, crowdSize), nil)
		plans = append(plans, w.crowdPlan(id, 1000))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for _, p := range plans {
		w.apply(p)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := len(plans) * crowdSize; n >= 100*crowdSize {
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(n), "heapB/alloc")
	}
	runtime.KeepAlive(w)
	runtime.KeepAlive(plans)
}

// BenchmarkUpdateAllocs reports "running" with task states, by entries of 100
// allocations of one node; the figure is per allocation.
func BenchmarkUpdateAllocs(b *testing.B) {
	w := crowd(b, 100, 100)
	snap := w.s.Snapshot()
	var entries []*AllocUpdate
	for i := range 100 {
		c := &AllocUpdate{NodeID: nodeID(i), Now: w.now}
		for a := range snap.AllocsByNode(nodeID(i)) {
			c.Updates = append(c.Updates, &structs.AllocUpdate{AllocID: a.ID, ClientStatus: structs.AllocClientStatusRunning,
				TaskStates: map[string]*structs.TaskState{"main": {State: structs.TaskStateRunning, Events: []*structs.TaskEvent{{Type: structs.TaskStarted, Time: int64(i)}}}}})
			if len(c.Updates) == 100 {
				break
			}
		}
		entries = append(entries, c)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		c := entries[i/100%len(entries)]
		for _, u := range c.Updates {
			u.Revision++
		}
		must(w, (*Txn).UpdateAllocs, c)
	}
}

func BenchmarkReadByID(b *testing.B) {
	w := crowd(b, 100, 100)
	snap := w.s.Snapshot()
	id := snap.AllocID(54_321)
	b.ReportAllocs()
	for b.Loop() {
		if snap.Alloc(id) == nil {
			b.Fatal("not found")
		}
	}
}

// BenchmarkListByNode is per allocation of a node's rows.
func BenchmarkListByNode(b *testing.B) {
	w := crowd(b, 100, 100)
	snap := w.s.Snapshot()
	b.ResetTimer()
	for n, node := 0, uint32(0); n < b.N; node = (node + 1) % 100 {
		for range snap.NodeAllocs(node) {
			n++
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	w := crowd(b, 100, 10)
	b.ReportAllocs()
	for b.Loop() {
		if w.s.Snapshot().Index() == 0 {
			b.Fatal("empty")
		}
	}
}

// BenchmarkWatchFanOut commits a plan of 1,000 placements while every one of
// 10,000 nodes watches its allocations; the figure is per commit.
func BenchmarkWatchFanOut(b *testing.B) {
	w := crowd(b, 10_000, 0)
	for i := range 10_000 {
		defer w.s.Watch(KeyNodeAllocs(nodeID(i))).Close()
	}
	dirty := make(map[Key]struct{}, crowdSize)
	for i := range crowdSize {
		dirty[KeyNodeAllocs(nodeID(i*7))] = struct{}{}
	}
	for b.Loop() {
		w.s.hub.notify(dirty)
	}
}

// BenchmarkSave writes 100,000 allocations.
func BenchmarkSave(b *testing.B) {
	w := crowd(b, 1000, 100)
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if err := w.s.Snapshot().Save(&out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(out.Len())/100_000, "B/alloc")
}

// BenchmarkRestore reads them back.
func BenchmarkRestore(b *testing.B) {
	w := crowd(b, 1000, 100)
	data := saved(b, w.s)
	for b.Loop() {
		if err := New(Options{}).Restore(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeEvaluation(b *testing.B) {
	e := &structs.Evaluation{ID: "00000000-0000-0000-0000-000000000001", Namespace: "default", Priority: 50, Type: structs.JobTypeService,
		TriggeredBy: structs.EvalTriggerJobRegister, JobID: "web", Status: structs.EvalStatusPending}
	b.ReportAllocs()
	for range b.N {
		if _, err := Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}
