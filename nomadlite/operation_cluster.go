package nomadlite

import (
	"context"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// maxEvals bounds the evaluations of one command.
const maxEvals = 2000

// SetNodeEligibility makes a node eligible for placements or not.
func (s *Server) SetNodeEligibility(ctx context.Context, id, eligibility string) (*api.NodeUpdateResponse, error) {
	message := ""
	switch eligibility {
	case structs.NodeEligible:
		message = "Node marked as eligible for scheduling"
	case structs.NodeIneligible:
		message = "Node marked as ineligible for scheduling"
	default:
		return nil, structs.Errorf(structs.Internal, "invalid scheduling eligibility %q", eligibility)
	}
	return s.changeNode(ctx, id, func(snap *state.Snapshot, node *structs.Node, now time.Time) ([]*structs.Evaluation, uint64, error) {
		var evals []*structs.Evaluation
		if eligibility == structs.NodeEligible && node.SchedulingEligibility != eligibility {
			evals = systemEvals(snap, node, now)
		}
		_, index, err := s.apply(ctx, fsm.NodeEligibility, &state.NodeEligibility{
			NodeID: id, Eligibility: eligibility, Now: now.UnixNano(), Evals: evals,
			Event: nodeEvent(structs.NodeEventSubsystemCluster, message, now),
		})
		return evals, index, err
	})
}

// EvaluateNode makes evaluations of all jobs on a node.
func (s *Server) EvaluateNode(ctx context.Context, id string) (*api.NodeUpdateResponse, error) {
	return s.changeNode(ctx, id, func(snap *state.Snapshot, node *structs.Node, now time.Time) ([]*structs.Evaluation, uint64, error) {
		evals := nodeEvals(snap, node, now)
		_, index, err := s.apply(ctx, fsm.EvalUpsert, &state.EvalUpsert{Evals: evals})
		return evals, index, err
	})
}

// PurgeNode removes a node; its jobs are looked at again.
func (s *Server) PurgeNode(ctx context.Context, id string) (*api.NodeUpdateResponse, error) {
	return s.changeNode(ctx, id, func(snap *state.Snapshot, node *structs.Node, now time.Time) ([]*structs.Evaluation, uint64, error) {
		evals := nodeEvals(snap, node, now)
		if _, _, err := s.apply(ctx, fsm.NodeDelete, &state.NodeDelete{IDs: []string{id}}); err != nil {
			return nil, 0, err
		}
		s.loops.heartbeat.Forget(id)
		_, index, err := s.apply(ctx, fsm.EvalUpsert, &state.EvalUpsert{Evals: evals})
		return evals, index, err
	})
}

// changeNode runs a change of a known node and answers it.
func (s *Server) changeNode(ctx context.Context, id string, change func(*state.Snapshot, *structs.Node, time.Time) ([]*structs.Evaluation, uint64, error)) (*api.NodeUpdateResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	node := snap.Node(id)
	if node == nil {
		return nil, structs.Errorf(structs.Internal, "node not found")
	}
	evals, index, err := change(snap, node, time.Now())
	if err != nil {
		return nil, err
	}
	out := &api.NodeUpdateResponse{NodeModifyIndex: index, EvalIDs: []string{}, ResponseMeta: api.ResponseMeta{Index: index}}
	for _, e := range evals {
		out.EvalIDs = append(out.EvalIDs, e.ID)
		out.EvalCreateIndex = index
	}
	return out, nil
}

func nodeEvent(subsystem, message string, now time.Time) *structs.NodeEvent {
	return &structs.NodeEvent{Message: message, Subsystem: subsystem, Timestamp: now.UTC(), Details: map[string]string{}}
}

// nodeEvals are evaluations of every job that has a live allocation on a node,
// and of the system jobs, which may want one there.
func nodeEvals(snap *state.Snapshot, node *structs.Node, now time.Time) []*structs.Evaluation {
	evals := systemEvals(snap, node, now)
	seen := map[state.JobKey]bool{}
	for _, e := range evals {
		seen[state.JobKey{Namespace: e.Namespace, ID: e.JobID}] = true
	}
	for a := range snap.AllocsByNode(node.ID) {
		key := state.JobKey{Namespace: a.Namespace, ID: a.JobID}
		if a.Terminal() || a.Job == nil || seen[key] || len(evals) >= maxEvals {
			continue
		}
		seen[key] = true
		evals = append(evals, nodeEval(a.Job, node, now))
	}
	return evals
}

// systemEvals are evaluations of the jobs that want an allocation on every
// node of the node's pool.
func systemEvals(snap *state.Snapshot, node *structs.Node, now time.Time) []*structs.Evaluation {
	var evals []*structs.Evaluation
	for job := range snap.Jobs("", "") {
		everywhere := job.Type == structs.JobTypeSystem || job.Type == structs.JobTypeSysBatch
		inPool := job.NodePool == node.NodePool || job.NodePool == structs.NodePoolAll
		if everywhere && inPool && !job.Stop && !isParent(job) && len(evals) < maxEvals {
			evals = append(evals, nodeEval(job, node, now))
		}
	}
	return evals
}

func nodeEval(job *structs.Job, node *structs.Node, now time.Time) *structs.Evaluation {
	e := newEval(job, structs.EvalTriggerNodeUpdate, now.UnixNano())
	e.NodeID, e.NodeModifyIndex = node.ID, node.ModifyIndex
	return e
}

// DeleteEvals removes evaluations in bounded commands, while the broker is
// paused: nobody may be working on one.
func (s *Server) DeleteEvals(ctx context.Context, ids []string) (*api.EvalDeleteResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	if !s.store.Snapshot().SchedulerConfig().PauseEvalBroker {
		return nil, structs.Errorf(structs.Rejected, "eval broker is enabled; eval broker must be paused to delete evals")
	}
	out := &api.EvalDeleteResponse{}
	for batch := range slices.Chunk(ids, maxEvals) {
		snap := s.store.Snapshot()
		known := 0
		for _, id := range batch {
			if snap.Eval(id) != nil {
				known++
			}
		}
		_, index, err := s.apply(ctx, fsm.EvalDelete, &state.EvalDelete{IDs: batch})
		if err != nil {
			return nil, err
		}
		out.Count, out.Index = out.Count+known, index
	}
	return out, nil
}

// SetSchedulerConfig replaces the scheduler configuration, with cas only when
// its ModifyIndex is *cas.
func (s *Server) SetSchedulerConfig(ctx context.Context, cfg *structs.SchedulerConfiguration, cas *uint64) (updated bool, index uint64, err error) {
	cmd := &state.SchedulerConfig{Config: cfg, CheckIndex: cas != nil, ModifyIndex: structs.Val(cas)}
	_, index, err = s.apply(ctx, fsm.SchedulerConfig, cmd)
	if structs.KindOf(err) == structs.Conflict {
		return false, s.store.Snapshot().SchedulerConfig().ModifyIndex, nil
	}
	return err == nil, index, err
}

// CollectGarbage forgets everything that is dead, however young.
func (s *Server) CollectGarbage(ctx context.Context) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	return s.loops.gc.Force(ctx)
}

// ReconcileSummaries has nothing to do: the state counts job summaries in the
// transaction that changes what they count.
func (s *Server) ReconcileSummaries(ctx context.Context) error { return s.awaitLeader(ctx) }
