// Package planner commits the plans of the workers, several at a time: Raft
// groups what comes together, and the next plans are looked at while the last
// ones commit. The state machine is the only authority over a plan; what it
// refuses, the worker looks at again with a newer state.
//
// To spare refusals the planner remembers what the plans in flight take, an
// overlay over the state. It is a hint: workers schedule around it, and a plan
// that wants room which one in flight has got is sent back before it costs a
// log entry. Nothing depends on it being right.
package planner

import (
	"context"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// MaxInFlight bounds the plans in flight. Workers wait for a place.
const MaxInFlight = 64

// Deps is what a Planner needs.
type Deps struct {
	Store *state.Store
	// Apply commits a plan and returns what the state machine made of it. It is
	// called concurrently.
	Apply func(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error)
}

// Planner commits plans.
type Planner struct {
	deps    Deps
	slots   chan struct{}
	overlay *Overlay
}

// New returns a planner. It has no goroutine: plans are committed by their
// workers.
func New(d Deps) *Planner {
	return &Planner{deps: d, slots: make(chan struct{}, MaxInFlight), overlay: NewOverlay()}
}

// Depth is the number of plans in flight.
func (p *Planner) Depth() int { return len(p.slots) }

// InFlight is what the plans in flight take, by node.
func (p *Planner) InFlight() map[uint32]state.Usage { return p.overlay.InFlight() }

// Tell tells the measure of the plans in flight.
func (p *Planner) Tell() {
	metrics.SetGauge([]string{"nomad", "plan", "queue_depth"}, float32(len(p.slots)))
}

// Submit commits a plan and returns what became of it. A plan that collides
// with one in flight is not committed; Submit returns when that one has ended.
func (p *Planner) Submit(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error) {
	start := time.Now()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.Tell()
	defer func() { <-p.slots; p.Tell() }()
	metrics.MeasureSince([]string{"nomad", "plan", "wait"}, start)
	defer metrics.MeasureSince([]string{"nomad", "plan", "submit"}, time.Now())
	ticket, other := p.overlay.Admit(p.deps.Store.Snapshot(), plan)
	if other != nil {
		metrics.IncrCounter([]string{"nomad", "plan", "collided"}, 1)
		select {
		case <-other.Done():
			return &structs.PlanResult{Collided: true, Applied: other.Applied()}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	result, err := p.deps.Apply(ctx, plan)
	p.overlay.Settle(ticket, result)
	if err != nil {
		return nil, err
	}
	if n := len(result.Refused); n > 0 {
		metrics.IncrCounter([]string{"nomad", "plan", "node_rejected"}, float32(n))
	}
	return result, nil
}
