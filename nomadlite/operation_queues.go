package nomadlite

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/broker"
	"github.com/nomadlite/nomadlite/structs"
)

var queuePlaces = map[broker.Place]string{broker.Unacked: api.PlaceUnacked, broker.Ready: api.PlaceReady, broker.Pending: api.PlacePending, broker.Waiting: api.PlaceWaiting}

// EvalQueues shows the first evaluations of the broker, at most limit, and how
// many there are. The leader alone has them.
func (s *Server) EvalQueues(ctx context.Context, limit int) (*api.EvalQueues, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	depths, first := s.loops.broker.Look(limit)
	snap := s.store.Snapshot()
	out := &api.EvalQueues{
		Paused:  snap.SchedulerConfig().PauseEvalBroker,
		Unacked: depths.Delivered, Ready: depths.Ready, Pending: depths.Behind, Waiting: depths.Waiting,
		Evals: []*api.QueuedEval{},
	}
	for e := range snap.OpenEvals() {
		if e.Status == structs.EvalStatusBlocked {
			out.Blocked++
		}
	}
	for _, q := range first {
		shown := &api.QueuedEval{ID: q.Eval.ID, Namespace: q.Eval.Namespace, JobID: q.Eval.JobID, Type: q.Eval.Type, TriggeredBy: q.Eval.TriggeredBy,
			Priority: q.Eval.Priority, Place: queuePlaces[q.Place], Since: q.Since.UTC(), Deliveries: q.Deliveries}
		if !q.Until.IsZero() {
			until := q.Until.UTC()
			shown.Until = &until
		}
		out.Evals = append(out.Evals, shown)
	}
	return out, nil
}
