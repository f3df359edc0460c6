package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestSuccessors compares with a walk along the links, over random families of
// allocations: chains, several that claim one predecessor, and rings, which no
// state should hold.
func TestSuccessors(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 5))
		all := make([]*structs.Allocation, 1+r.IntN(12))
		for i := range all {
			all[i] = &structs.Allocation{ID: fmt.Sprint(i), Name: fmt.Sprint("n", i/3), ClientStatus: structs.AllocClientStatusRunning}
			if r.IntN(4) > 0 {
				all[i].PreviousAllocation = fmt.Sprint(r.IntN(len(all)))
			}
			if r.IntN(2) == 0 {
				all[i].ClientStatus = structs.AllocClientStatusFailed
			}
		}
		s := successors{all: all}
		for range 2 * len(all) { // again, because answers shorten the chains
			a := all[r.IntN(len(all))]
			if got, want := s.of(a), walk(all, a); got != want {
				t.Fatalf("seed %d: the successor of %s is %v, want %v", seed, a.ID, got, want)
			}
		}
	}
}

// walk is successors.of by looking at every allocation for every link.
func walk(all []*structs.Allocation, a *structs.Allocation) *structs.Allocation {
	for range all {
		var ended *structs.Allocation
		for _, b := range all {
			switch {
			case b.PreviousAllocation != a.ID:
			case !b.Terminal():
				return b
			default:
				ended = b
			}
		}
		if ended == nil {
			return nil
		}
		a = ended
	}
	return nil
}

// BenchmarkReconcileChain is a pass over a service of 100 that has nothing to
// do, each of whose allocations stands at the end of a chain of replacements.
// What an allocation costs does not grow with the length of the chains.
func BenchmarkReconcileChain(b *testing.B) {
	for _, links := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("links=%d", links), func(b *testing.B) {
			w := &benchWorld{newWorld(), map[string]uint32{"n0": 0}}
			n := testNode("n0")
			w.nodes = append(w.nodes, n)
			w.num[n.ID] = 0
			w.cluster.Set(0, NodeRow{Node: n})
			job := testJob("bench", structs.JobTypeService, 100)
			w.jobs["bench"] = job
			for i := range 100 {
				previous := ""
				for k := range links {
					a := &structs.Allocation{ID: fmt.Sprintf("a%d-%d", i, k), JobID: "bench", Job: job, TaskGroup: job.TaskGroups[0].Name,
						Name: structs.AllocName("bench", job.TaskGroups[0].Name, uint(i)), NodeID: n.ID, PreviousAllocation: previous,
						DesiredStatus: structs.AllocDesiredStatusRun, ClientStatus: structs.AllocClientStatusRunning}
					if k < links-1 {
						a.NextAllocation, a.ClientStatus = fmt.Sprintf("a%d-%d", i, k+1), structs.AllocClientStatusFailed
					}
					w.allocs, previous = append(w.allocs, a), a.ID
				}
			}
			eval := w.eval("bench", structs.EvalTriggerNodeUpdate)
			for b.Loop() {
				if r, err := Process(w, w.cluster, eval, Options{Now: epoch, Seed: 7}); err != nil || !r.NoOp() {
					b.Fatal(err, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w.allocs)), "ns/alloc")
		})
	}
}
