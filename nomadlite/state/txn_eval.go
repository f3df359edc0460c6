package state

import (
	"fmt"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// UpsertEvals writes evaluations.
func (t *Txn) UpsertEvals(c *EvalUpsert) error {
	t.putEvals(c.Evals)
	return nil
}

func (t *Txn) putEvals(list []*structs.Evaluation) {
	for _, e := range list {
		if e != nil {
			n := *e
			t.putEval(&n)
		}
	}
}

// putEval stores an evaluation, which it takes over, and what follows from it:
// queued counts, the job's status, and that a success ends the job's blocked
// evaluations, for which there is nothing left to do. What has ended stays so:
// who wakes an evaluation may have been overtaken by what canceled it.
func (t *Txn) putEval(e *structs.Evaluation) {
	e.CreateIndex, e.ModifyIndex = t.index, t.index
	if old := evals.get(t.root, e.ID); old != nil {
		if old.Terminal() && e.Status != old.Status {
			return
		}
		e.CreateIndex, e.CreateTime = old.CreateIndex, old.CreateTime
	}
	evals.set(t, e)
	t.countQueued(e)
	t.touchJob(e.Namespace, e.JobID)
	if e.Status != structs.EvalStatusComplete || len(e.FailedTGAllocs) > 0 || e.BlockedEval != "" {
		return
	}
	open := slices.Collect(evals.by(t.root, "job open", joinKey(e.Namespace, e.JobID, "")))
	for _, b := range open {
		if b.Status != structs.EvalStatusBlocked {
			continue
		}
		n := *b
		n.Status = structs.EvalStatusCanceled
		n.StatusDescription = fmt.Sprintf("evaluation %q successful", e.ID)
		n.ModifyIndex, n.ModifyTime = t.index, e.ModifyTime
		evals.set(t, &n)
	}
}

// DeleteEvals removes evaluations.
func (t *Txn) DeleteEvals(c *EvalDelete) error {
	for _, id := range c.IDs {
		if e := evals.remove(t, id); e != nil {
			t.touchJob(e.Namespace, e.JobID)
		}
	}
	return nil
}
