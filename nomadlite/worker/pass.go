package worker

import (
	"fmt"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Pass is the work on one evaluation, a step at a time and without waiting:
// Plan decides on a state, Next hands out the plans to submit, Result takes
// what became of one. When Next has none left, the pass is done, or it needs
// another Plan.
type Pass struct {
	w     *Worker
	eval  *structs.Evaluation
	token string

	need     uint64 // the index of the state to plan on
	limit    int    // of attempts that move nothing
	attempts int
	aside    bool // plan on the state alone: room in flight has misled it

	parts    []*structs.Plan
	placing  int  // placements that are being submitted
	settling bool // the plans at hand record that the evaluation failed
	progress bool // something of the plans at hand was applied
	again    bool // another Plan is needed
	done     bool
	err      error
}

// Begin starts a pass for an evaluation.
func (w *Worker) Begin(eval *structs.Evaluation) *Pass {
	p := &Pass{w: w, eval: eval, need: eval.ModifyIndex, limit: attemptsService, again: true}
	if eval.Type == structs.JobTypeBatch || eval.Type == structs.JobTypeSysBatch {
		p.limit = attemptsBatch
	}
	return p
}

// Need is the index that the state given to Plan must have reached.
func (p *Pass) Need() uint64 { return p.need }

// Done reports whether the pass has ended; with an error the evaluation is to
// be delivered again.
func (p *Pass) Done() (bool, error) { return p.done, p.err }

// Fail ends the pass: something that it needs does not work.
func (p *Pass) Fail(err error) { p.done, p.err, p.parts = true, err, nil }

// Plan decides what to do on a state. inFlight is what plans in flight take
// beyond it, nil for nothing.
func (p *Pass) Plan(snap *state.Snapshot, inFlight map[uint32]state.Usage) {
	p.again, p.progress = false, false
	if p.attempts == p.limit {
		p.giveUp(snap)
		return
	}
	if p.aside {
		inFlight = nil
	}
	result, err := p.w.process(snap, p.eval, inFlight)
	switch {
	case err != nil:
		p.w.log.Error("cannot schedule a job", "eval_id", p.eval.ID, "job_id", p.eval.JobID, "error", err)
		p.settle(snap, err.Error(), nil)
	case len(inFlight) > 0 && len(result.Plan.Eval.FailedTGAllocs) > 0:
		// What is in flight may already be in the state, and counted twice.
		// That nothing fits must be so on the state alone.
		p.aside = true
		p.Plan(snap, nil)
	default:
		p.submit(snap, result.Plan)
	}
}

// submit hands out a plan, in several parts when it is long.
func (p *Pass) submit(snap *state.Snapshot, plan *structs.Plan) {
	plan.Epoch = snap.Epoch()
	p.parts = split(plan)
	p.placing = 0
	for _, g := range plan.Groups {
		p.placing += len(g.Placements)
	}
}

// Next is the plan to submit now, nil when there is none: then the pass is
// done or needs another Plan.
func (p *Pass) Next() *structs.Plan {
	if len(p.parts) == 0 {
		return nil
	}
	return p.parts[0]
}

// Result takes what became of the plan that Next handed out.
func (p *Pass) Result(result *structs.PlanResult) {
	part := p.parts[0]
	p.parts = p.parts[1:]
	p.need = max(p.need, result.Applied)
	switch {
	case result.Collided:
		p.w.log.Debug("a plan in flight took the room of a plan", "eval_id", p.eval.ID, "job_id", p.eval.JobID)
		count("collided")
		p.parts, p.again = nil, true
	case len(result.Refused) > 0:
		p.refused(part, result)
	case len(p.parts) == 0:
		p.done = true
	default:
		p.progress = true
	}
}

// refused looks again when parts of a plan were not applied. Only passes that
// moved nothing count as attempts.
func (p *Pass) refused(part *structs.Plan, result *structs.PlanResult) {
	reason := result.Refused[0].Reason
	p.parts = nil
	if p.settling {
		p.Fail(structs.Errorf(structs.Conflict, "cannot record that evaluation %s failed: %s", p.eval.ID, reason))
		return
	}
	p.w.log.Debug("parts of a plan were refused", "eval_id", p.eval.ID, "job_id", p.eval.JobID, "reason", reason)
	count("conflicts")
	p.again = true
	if !p.progress && !applied(part, result) {
		p.attempts++
	}
}

// applied reports whether some placement of a plan was not refused.
func applied(plan *structs.Plan, result *structs.PlanResult) bool {
	placements := 0
	for _, g := range plan.Groups {
		placements += len(g.Placements)
	}
	return result.Refused[0].Group >= 0 && len(result.Refused) < placements && !plan.AllAtOnce
}

// giveUp ends an evaluation whose plans were refused again and again; a blocked
// one looks at the job when the cluster has changed.
func (p *Pass) giveUp(snap *state.Snapshot) {
	e, now := p.eval, p.w.deps.Now().UnixNano()
	p.settle(snap, fmt.Sprintf(descMaxAttempts, p.limit), &structs.Evaluation{
		ID: p.w.deps.NewID(), Namespace: e.Namespace, JobID: e.JobID, Type: e.Type,
		Priority: e.Priority, JobModifyIndex: e.JobModifyIndex, TriggeredBy: structs.EvalTriggerMaxPlans,
		Status: structs.EvalStatusBlocked, StatusDescription: descConflicts, PreviousEval: e.ID,
		EscapedComputedClass: true, SnapshotIndex: snap.Index(), CreateTime: now, ModifyTime: now,
	})
}

// settle submits a failed evaluation, and the blocked one that takes over.
func (p *Pass) settle(snap *state.Snapshot, description string, blocked *structs.Evaluation) {
	failed := *p.eval
	failed.Status, failed.StatusDescription = structs.EvalStatusFailed, description
	failed.SnapshotIndex = snap.Index()
	now := p.w.deps.Now().UnixNano()
	failed.ModifyTime = now
	plan := &structs.Plan{EvalID: p.eval.ID, Namespace: p.eval.Namespace, JobID: p.eval.JobID, SnapshotIndex: snap.Index(), Now: now, Eval: &failed}
	if job := snap.Job(p.eval.Namespace, p.eval.JobID); job != nil {
		plan.JobVersion, plan.JobModifyIndex = job.Version, job.JobModifyIndex
	}
	if blocked != nil {
		failed.BlockedEval = blocked.ID
		plan.NewEvals = []*structs.Evaluation{blocked}
	}
	p.settling = true
	p.submit(snap, plan)
}
