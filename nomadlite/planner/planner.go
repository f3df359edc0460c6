// Package planner commits the plans of the workers, several at a time: Raft
// groups what comes together. The state machine is the only authority over a
// plan; what it refuses, the worker looks at again with a newer state.
package planner

import (
	"context"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/structs"
)

// MaxInFlight bounds the plans in flight. Workers wait for a place.
const MaxInFlight = 64

// Deps is what a Planner needs.
type Deps struct {
	// Apply commits a plan and returns what the state machine made of it. It is
	// called concurrently.
	Apply func(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error)
}

// Planner commits plans.
type Planner struct {
	deps  Deps
	slots chan struct{}
}

// New returns a planner. It has no goroutine: plans are committed by their
// workers.
func New(d Deps) *Planner { return &Planner{deps: d, slots: make(chan struct{}, MaxInFlight)} }

// Depth is the number of plans in flight.
func (p *Planner) Depth() int { return len(p.slots) }

// Submit commits a plan and returns what became of it.
func (p *Planner) Submit(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error) {
	start := time.Now()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.slots }()
	metrics.SetGauge([]string{"plan", "queue_depth"}, float32(len(p.slots)))
	metrics.MeasureSince([]string{"plan", "wait"}, start)
	defer metrics.MeasureSince([]string{"plan", "submit"}, time.Now())
	result, err := p.deps.Apply(ctx, plan)
	if err != nil {
		return nil, err
	}
	if n := len(result.Refused); n > 0 {
		metrics.IncrCounter([]string{"plan", "refused"}, float32(n))
	}
	return result, nil
}
