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

// DrainSelf drains the node that asks, which proves by its secret who it is,
// and waits until the drain is over.
func (s *Server) DrainSelf(ctx context.Context, req api.NodeSelfDrain) (*api.NodeSelfDrained, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	n, err := s.node(s.store.Snapshot(), req.NodeID, req.SecretID)
	if err != nil {
		return nil, err
	}
	if req.Spec != nil {
		_, err := s.DrainNode(ctx, &api.NodeDrainRequest{NodeID: n.ID, DrainSpec: req.Spec, Meta: map[string]string{"message": "shutting down"}})
		if err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, min(orDefault(req.Wait, api.DefaultWait), api.MaxWait))
	defer cancel()
	draining := true
	// Block looks again at each change of the node until its index grows: until
	// the drain is over it is kept at 0.
	err = s.store.Block(ctx, 1, []state.Key{state.KeyNode(n.ID)}, func(snap *state.Snapshot) uint64 {
		now := snap.Node(n.ID)
		if draining = now != nil && now.DrainStrategy != nil; draining {
			return 0
		}
		return 2
	})
	return &api.NodeSelfDrained{Draining: draining}, err
}
