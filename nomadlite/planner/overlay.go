package planner

import (
	"math"
	"strconv"
	"sync"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Overlay is what the plans in flight take.
type Overlay struct {
	mu    sync.Mutex           // guards what follows
	nodes map[uint32]*nodeLoad // nodes that some plan in flight places on
	held  map[thing]*Ticket    // ports, cores and devices that they give away
}

// nodeLoad is what plans in flight take of a node.
type nodeLoad struct {
	usage state.Usage
	last  *Ticket // the newest of them
	plans int
}

// thing is something of a node that has one holder.
type thing struct {
	node uint32
	what string
}

// Ticket is a plan in flight.
type Ticket struct {
	loads   map[uint32]state.Usage
	things  []thing
	done    chan struct{}
	applied uint64 // set before done is closed
}

// Done is closed when the plan has been applied, or given up.
func (t *Ticket) Done() <-chan struct{} { return t.done }

// Applied is the index at which the plan was applied, 0 when it was not. It is
// known once Done is closed.
func (t *Ticket) Applied() uint64 { return t.applied }

// NewOverlay returns an empty overlay.
func NewOverlay() *Overlay {
	return &Overlay{nodes: map[uint32]*nodeLoad{}, held: map[thing]*Ticket{}}
}

// Admit takes a plan in, unless it wants room that a plan in flight has got:
// then it returns the ticket of that one. What the plan frees itself counts as
// free; nodes that no plan in flight touches are left to the state machine.
func (o *Overlay) Admit(snap *state.Snapshot, plan *structs.Plan) (ticket, other *Ticket) {
	t := &Ticket{loads: loads(plan), things: things(plan), done: make(chan struct{})}
	o.mu.Lock()
	defer o.mu.Unlock()
	if other := o.collision(snap, plan, t); other != nil {
		return nil, other
	}
	for node, u := range t.loads {
		n := o.nodes[node]
		if n == nil {
			n = &nodeLoad{}
			o.nodes[node] = n
		}
		n.usage, n.last = plus(n.usage, u, 1), t
		n.plans++
	}
	for _, x := range t.things {
		o.held[x] = t
	}
	return t, nil
}

func (o *Overlay) collision(snap *state.Snapshot, plan *structs.Plan, t *Ticket) *Ticket {
	for _, x := range t.things {
		if other := o.held[x]; other != nil {
			return other
		}
	}
	var freed map[uint32]state.Usage // by the plan itself, once it matters
	var other *nodeLoad
	first := uint32(math.MaxUint32) // of the nodes without room, to be the same each time
	for node, ask := range t.loads {
		n := o.nodes[node]
		if n == nil || other != nil && node > first {
			continue
		}
		if freed == nil {
			freed = frees(snap, plan)
		}
		if !snap.NodeFits(node, plus(plus(ask, n.usage, 1), freed[node], -1)) {
			first, other = node, n
		}
	}
	if other == nil {
		return nil
	}
	return other.last
}

// Settle forgets a plan that has ended; result is nil when it was given up.
func (o *Overlay) Settle(t *Ticket, result *structs.PlanResult) {
	if result != nil {
		t.applied = result.Applied
	}
	o.mu.Lock()
	for node, u := range t.loads {
		n := o.nodes[node]
		n.usage = plus(n.usage, u, -1)
		if n.plans--; n.plans == 0 {
			delete(o.nodes, node)
		}
	}
	for _, x := range t.things {
		if o.held[x] == t {
			delete(o.held, x)
		}
	}
	o.mu.Unlock()
	close(t.done)
}

// InFlight is what the plans in flight take, by node.
func (o *Overlay) InFlight() map[uint32]state.Usage {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.nodes) == 0 {
		return nil
	}
	all := make(map[uint32]state.Usage, len(o.nodes))
	for node, n := range o.nodes {
		all[node] = n.usage
	}
	return all
}

func plus(a, b state.Usage, sign int64) state.Usage {
	return state.Usage{
		CPU: a.CPU + sign*b.CPU, MemoryMB: a.MemoryMB + sign*b.MemoryMB, DiskMB: a.DiskMB + sign*b.DiskMB,
		Allocs: a.Allocs + int(sign)*b.Allocs,
	}
}

// loads sums what a plan places, by node.
func loads(plan *structs.Plan) map[uint32]state.Usage {
	all := map[uint32]state.Usage{}
	for _, g := range plan.Groups {
		ask := state.AskOf(g.Resources)
		for i := range g.Placements {
			node := g.Placements[i].Node
			all[node] = plus(all[node], ask, 1)
		}
	}
	return all
}

// things lists what a plan gives away whole. What passes on from a predecessor
// is not told apart: nobody else in flight may have it either.
func things(plan *structs.Plan) []thing {
	var all []thing
	for _, g := range plan.Groups {
		for i := range g.Placements {
			p := &g.Placements[i]
			if p.Extra == nil {
				continue
			}
			for _, port := range p.Extra.Ports {
				all = append(all, thing{p.Node, "port " + strconv.Itoa(port.Value) + " " + port.HostIP})
			}
			for _, cores := range p.Extra.Cores {
				for _, core := range cores {
					all = append(all, thing{p.Node, "core " + strconv.Itoa(int(core))})
				}
			}
			for _, devices := range p.Extra.Devices {
				for _, d := range devices {
					for _, id := range d.DeviceIDs {
						all = append(all, thing{p.Node, "device " + d.Vendor + "/" + d.Type + "/" + d.Name + "/" + id})
					}
				}
			}
		}
	}
	return all
}

// frees sums what a plan stops and evicts, by node.
func frees(snap *state.Snapshot, plan *structs.Plan) map[uint32]state.Usage {
	all := map[uint32]state.Usage{}
	free := func(id string) {
		if node, u, live := snap.AllocUsage(id); live {
			all[node] = plus(all[node], u, 1)
		}
	}
	for i := range plan.Stops {
		free(plan.Stops[i].AllocID)
	}
	for i := range plan.Preemptions {
		free(plan.Preemptions[i].AllocID)
	}
	return all
}
