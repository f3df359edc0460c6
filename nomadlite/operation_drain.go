package nomadlite

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// DrainNode starts or changes the drain of a node, or ends it when there is no
// specification. A changed drain counts its deadline from now.
func (s *Server) DrainNode(ctx context.Context, req *api.NodeDrainRequest) (*api.NodeUpdateResponse, error) {
	return s.changeNode(ctx, req.NodeID, func(snap *state.Snapshot, node *structs.Node, now time.Time) ([]*structs.Evaluation, uint64, error) {
		cmd := &state.NodeDrain{NodeID: node.ID, Meta: req.Meta, Now: now.UnixNano(), Strategy: drainStrategy(req.DrainSpec, node, now)}
		switch {
		case cmd.Strategy != nil && node.DrainStrategy == nil:
			cmd.Event = nodeEvent(structs.NodeEventSubsystemDrain, "Node drain strategy set", now)
		case cmd.Strategy != nil:
			cmd.Event = nodeEvent(structs.NodeEventSubsystemDrain, "Node drain strategy updated", now)
		case node.DrainStrategy != nil:
			cmd.Event = nodeEvent(structs.NodeEventSubsystemDrain, "Node drain disabled", now)
		}
		if cmd.Strategy == nil && req.MarkEligible {
			cmd.MarkEligible = true
			cmd.Evals = nodeEvals(snap, node, now)
		}
		_, index, err := s.apply(ctx, fsm.NodeDrain, cmd)
		return cmd.Evals, index, err
	})
}

// drainStrategy is the drain that a specification asks for at a time.
func drainStrategy(spec *structs.DrainSpec, node *structs.Node, now time.Time) *structs.DrainStrategy {
	if spec == nil {
		return nil
	}
	out := &structs.DrainStrategy{DrainSpec: *spec, StartedAt: now.UTC()}
	if node.DrainStrategy != nil {
		out.StartedAt = node.DrainStrategy.StartedAt
	}
	if spec.Deadline > 0 {
		out.ForceDeadline = now.Add(spec.Deadline).UTC()
	}
	return out
}
