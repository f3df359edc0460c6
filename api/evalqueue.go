package api

import (
	"context"
	"strconv"
	"time"
)

// Places of an evaluation in the broker, by the names that metrics have.
const (
	PlaceUnacked = "unacked" // a worker has it
	PlaceReady   = "ready"   // the next free worker takes it
	PlacePending = "pending" // another evaluation of its job comes first
	PlaceWaiting = "waiting" // for a time
)

// EvalQueues are the queues of the evaluation broker, and how much is blocked.
type EvalQueues struct {
	Paused  bool
	Unacked int
	Ready   int
	Pending int
	Waiting int
	Blocked int // wait for room, outside the broker
	// Evals are the first of them: those that workers have, then in the order in
	// which they will be worked on as it is now.
	Evals []*QueuedEval
}

// QueuedEval is an evaluation in the broker.
type QueuedEval struct {
	ID          string
	Namespace   string
	JobID       string
	Type        string
	TriggeredBy string
	Priority    int
	Place       string // one of the Place constants
	Since       time.Time
	Until       *time.Time // of its lease, or of its wait
	Deliveries  int        // to workers so far
}

// Queues shows the first evaluations of the broker, at most limit; 0 is 100.
func (e Evaluations) Queues(ctx context.Context, limit int, q *QueryOptions) (*EvalQueues, error) {
	out := &EvalQueues{}
	if limit > 0 {
		q = q.with("limit", strconv.Itoa(limit))
	}
	_, err := e.c.Get(ctx, "/v1/evaluations/queues", out, q)
	return out, err
}
