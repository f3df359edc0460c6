package planner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func TestPlansInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := New(Deps{Store: state.New(state.Options{}), Apply: func(context.Context, *structs.Plan) (*structs.PlanResult, error) {
			<-release
			return &structs.PlanResult{Applied: 7}, nil
		}})
		var all sync.WaitGroup
		for range MaxInFlight {
			all.Go(func() {
				if r, err := p.Submit(t.Context(), &structs.Plan{}); err != nil || r.Applied != 7 {
					t.Errorf("%+v %v", r, err)
				}
			})
		}
		synctest.Wait()
		if p.Depth() != MaxInFlight {
			t.Errorf("%d plans in flight", p.Depth())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Submit(ctx, &structs.Plan{}); !errors.Is(err, context.Canceled) {
			t.Errorf("one plan too many: %v", err)
		}
		close(release)
		all.Wait()
		if p.Depth() != 0 {
			t.Errorf("%d plans are still in flight", p.Depth())
		}
	})
}

// clusterOf is a store with nodes of 1,000 MHz.
func clusterOf(t *testing.T, nodes int) *state.Store {
	s := state.New(state.Options{AllocKey: [16]byte{1}})
	for i := range nodes {
		txn := s.Begin(uint64(i + 1))
		err := txn.RegisterNode(&state.NodeRegister{Node: &structs.Node{ID: fmt.Sprint("node-", i), Status: structs.NodeStatusReady,
			NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 1000}, Memory: structs.NodeMemoryResources{MemoryMB: 1000}}}})
		if err != nil {
			t.Fatal(err)
		}
		txn.Commit()
	}
	return s
}

// planFor places count allocations on a node.
func planFor(node uint32, cpu int64, count, port int) *structs.Plan {
	g := &structs.PlanGroup{Group: "g", Resources: &structs.AllocatedResources{Tasks: map[string]*structs.AllocatedTaskResources{"t": {Cpu: structs.AllocatedCpuResources{CpuShares: cpu}}}}}
	for range count {
		p := structs.Placement{Node: node}
		if port > 0 {
			p.Extra = &structs.PlacementExtra{Ports: []structs.PortMapping{{Value: port}}}
		}
		g.Placements = append(g.Placements, p)
	}
	return &structs.Plan{Groups: []*structs.PlanGroup{g}}
}

// TestOverlay: plans in flight keep their room until they end, on their nodes
// alone; what is not theirs is left to the state machine.
func TestOverlay(t *testing.T) {
	snap, o := clusterOf(t, 2).Snapshot(), NewOverlay()
	admit := func(what string, p *structs.Plan, ok bool) *Ticket {
		t.Helper()
		ticket, other := o.Admit(snap, p)
		if (ticket != nil) != ok || (other == nil) != ok {
			t.Fatalf("%s: admitted %v", what, ticket != nil)
		}
		return ticket
	}
	a := admit("the first", planFor(0, 300, 2, 0), true)
	admit("too much on the node", planFor(0, 300, 2, 0), false)
	admit("as much elsewhere", planFor(1, 300, 2, 0), true)
	b := admit("what fits beside it", planFor(0, 400, 1, 8080), true)
	admit("its port", planFor(0, 0, 1, 8080), false)
	admit("its port elsewhere", planFor(1, 0, 1, 8080), true)
	admit("more than a node has, that nobody else wants", planFor(9, 5000, 1, 0), true)
	if got := o.InFlight()[0]; got.CPU != 1000 || got.Allocs != 3 {
		t.Errorf("in flight on node 0: %+v", got)
	}
	o.Settle(a, &structs.PlanResult{Applied: 77})
	select {
	case <-a.Done():
	default:
		t.Error("a settled plan is not done")
	}
	if a.Applied() != 77 {
		t.Errorf("applied at %d", a.Applied())
	}
	admit("the room of a plan that has ended", planFor(0, 300, 2, 0), true)
	o.Settle(b, nil)
	admit("the port of a plan that was given up", planFor(0, 0, 1, 8080), true)
}

// TestCollisionWaits: a plan that collides is not committed, and comes back
// when the other one has been.
func TestCollisionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commit := make(chan struct{})
		applied := 0
		p := New(Deps{Store: clusterOf(t, 1), Apply: func(context.Context, *structs.Plan) (*structs.PlanResult, error) {
			applied++
			<-commit
			return &structs.PlanResult{Applied: 42}, nil
		}})
		var all sync.WaitGroup
		all.Go(func() {
			if r, err := p.Submit(t.Context(), planFor(0, 700, 1, 0)); err != nil || r.Collided {
				t.Errorf("%+v %v", r, err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if r, err := p.Submit(t.Context(), planFor(0, 700, 1, 0)); err != nil || !r.Collided || r.Applied != 42 {
				t.Errorf("the plan that collides: %+v %v", r, err)
			}
		})
		synctest.Wait()
		if applied != 1 {
			t.Errorf("%d plans were committed", applied)
		}
		close(commit)
		all.Wait()
		if len(p.InFlight()) != 0 {
			t.Errorf("in flight: %v", p.InFlight())
		}
	})
}

// TestSlowMachine_B24: however slowly plans are applied, a flood of them that
// want the same nodes gets through, and every one is told.
func TestSlowMachine_B24(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := atomic.Uint64{}
		p := New(Deps{Store: clusterOf(t, 1), Apply: func(context.Context, *structs.Plan) (*structs.PlanResult, error) {
			time.Sleep(500 * time.Millisecond)
			return &structs.PlanResult{Applied: index.Add(1)}, nil
		}})
		var all sync.WaitGroup
		for range 4 * MaxInFlight {
			all.Go(func() {
				for {
					r, err := p.Submit(t.Context(), planFor(0, 400, 1, 0))
					if err != nil {
						t.Error(err)
						return
					}
					if !r.Collided {
						return
					}
				}
			})
		}
		all.Wait()
		if p.Depth() != 0 || p.InFlight() != nil || index.Load() != 4*MaxInFlight {
			t.Errorf("%d in flight, %v taken, %d applied", p.Depth(), p.InFlight(), index.Load())
		}
	})
}
