package scheduler

import (
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// followUpWindow is how far apart delayed reschedules may be to share one
// follow-up evaluation.
const followUpWindow = 5 * time.Second

// rescheduleSoon is how early a delayed reschedule may happen.
const rescheduleSoon = time.Second

// rescheduleFailed takes failed allocations out of a list: those that may be
// placed again now are returned, those that wait get a follow-up evaluation.
// Without attempts left they stay in the list and are not replaced.
func (r *groupReconciler) rescheduleFailed(list []*structs.Allocation) (kept, now []*structs.Allocation) {
	type delayed struct {
		alloc *structs.Allocation
		at    time.Time
	}
	var later []delayed
	for _, a := range list {
		if a.ClientStatus != structs.AllocClientStatusFailed {
			kept = append(kept, a)
			continue
		}
		at, ok := r.rescheduleTime(a)
		switch {
		case a.NextAllocation != "": // replaced already
		case !ok:
			kept = append(kept, a)
		case a.FollowupEvalID == r.eval.ID && a.FollowupEvalID != "", !r.opts.Now.Add(rescheduleSoon).Before(at):
			now = append(now, a)
		case r.destroys(a) && !r.roll.awaitsPromotion(r.group.Name): // the new version replaces it without a delay
			kept = append(kept, a)
		default:
			r.waiting = append(r.waiting, a)
			if !r.followed(a) {
				later = append(later, delayed{a, at})
			}
		}
	}
	slices.SortStableFunc(later, func(x, y delayed) int { return x.at.Compare(y.at) })
	for _, l := range later {
		trigger := structs.EvalTriggerAllocReschedule
		if r.hasFollowUp(descDelayed) {
			trigger = structs.EvalTriggerRetryFailedAlloc
		}
		r.out.inPlace = append(r.out.inPlace, structs.AllocInPlace{AllocID: l.alloc.ID, JobVersion: jobVersion(l.alloc),
			FollowupEvalID: r.followUp(l.at, trigger, descDelayed)})
		r.out.counts.RescheduleLater++
	}
	return kept, now
}

// followed reports whether an evaluation will look at a failed allocation again.
// One that has been processed will not: it found no room, or waited for
// something else.
func (r *groupReconciler) followed(a *structs.Allocation) bool {
	if a.FollowupEvalID == "" {
		return false
	}
	e := r.snap.Eval(a.FollowupEvalID)
	return e != nil && !e.Terminal()
}

// destroys reports whether the job's version replaces the allocation anyway.
func (r *groupReconciler) destroys(a *structs.Allocation) bool {
	return r.changeOf(a) == changeDestroy
}

// rescheduleTime says whether and when a failed allocation is placed again. In
// an active deployment that cannot wait (no progress deadline) a failure is the
// deployment's affair, unless its watcher asked for the reschedule.
func (r *groupReconciler) rescheduleTime(a *structs.Allocation) (time.Time, bool) {
	if structs.Val(a.DesiredTransition.ForceReschedule) {
		return r.opts.Now, true
	}
	if d := r.roll.current; d != nil && a.DeploymentID == d.ID && !structs.Val(a.DesiredTransition.Reschedule) {
		if s := d.TaskGroups[a.TaskGroup]; s != nil && s.ProgressDeadline == 0 {
			return time.Time{}, false
		}
	}
	return r.group.ReschedulePolicy.Next(a, a.FailTime())
}

// followUp returns the id of the evaluation that looks at the job again at a
// time, made now or shared with one that waits nearly as long.
func (r *groupReconciler) followUp(at time.Time, trigger, description string) string {
	for _, e := range r.d.followUps {
		if e.StatusDescription == description && !at.Before(*e.WaitUntil) && at.Sub(*e.WaitUntil) < followUpWindow {
			return e.ID
		}
	}
	e := r.newEval(trigger, structs.EvalStatusPending, description)
	e.WaitUntil = &at
	r.d.followUps = append(r.d.followUps, e)
	return e.ID
}

func (r *groupReconciler) hasFollowUp(description string) bool {
	return slices.ContainsFunc(r.d.followUps, func(e *structs.Evaluation) bool { return e.StatusDescription == description })
}

// newEval makes an evaluation that follows the one at hand.
func (p *pass) newEval(trigger, status, description string) *structs.Evaluation {
	now := p.opts.Now.UnixNano()
	return &structs.Evaluation{ID: p.newID(), Namespace: p.eval.Namespace, JobID: p.eval.JobID, Type: p.eval.Type,
		Priority: p.eval.Priority, JobModifyIndex: p.eval.JobModifyIndex, TriggeredBy: trigger, Status: status,
		StatusDescription: description, PreviousEval: p.eval.ID, CreateTime: now, ModifyTime: now}
}

// reconnect settles which of an allocation and its replacement stays when both
// run because the node came back.
func (r *groupReconciler) reconnect() {
	loser := map[string]bool{}
	kept := r.keep[:0:0]
	for _, a := range r.keep {
		b := r.successors.of(a)
		switch {
		case b == nil || a.ClientTerminal():
		case a.ClientStatus == structs.AllocClientStatusUnknown:
			loser[a.ID] = true // not heard yet: the replacement counts
			continue
		case r.keepsOriginal(a, b):
			r.reconnected(b, loser)
		default:
			r.reconnected(a, loser)
		}
	}
	for _, a := range r.keep {
		if !loser[a.ID] {
			kept = append(kept, a)
		}
	}
	r.keep = kept
	r.migrate = slices.DeleteFunc(r.migrate, func(a *structs.Allocation) bool { return loser[a.ID] })
}

func (r *groupReconciler) reconnected(a *structs.Allocation, loser map[string]bool) {
	if !loser[a.ID] {
		loser[a.ID] = true
		r.out.stop(a, descReconnected, "")
		r.out.counts.Reconnect++
	}
}

// keepsOriginal decides by the disconnect block; a newer version always wins.
func (r *groupReconciler) keepsOriginal(original, replacement *structs.Allocation) bool {
	if jobVersion(original) != jobVersion(replacement) {
		return jobVersion(original) > jobVersion(replacement)
	}
	running := replacement.ClientStatus == structs.AllocClientStatusRunning
	switch disconnectOf(original).reconcile {
	case structs.ReconcileKeepOriginal:
		return true
	case structs.ReconcileKeepReplacement:
		return false
	case structs.ReconcileLongestRunning:
		a, b := startTime(original), startTime(replacement)
		return b.IsZero() || !a.IsZero() && !a.After(b)
	}
	if original.ClientStatus != structs.AllocClientStatusRunning {
		return !running
	}
	return !running || normScore(replacement) <= normScore(original)
}

// startTime is when the leader task, else the oldest one, started.
func startTime(a *structs.Allocation) time.Time {
	g := lookupGroup(a.Job, a.TaskGroup)
	var oldest time.Time
	for name, s := range a.TaskStates {
		if s == nil || s.StartedAt == nil {
			continue
		}
		if g != nil && slices.ContainsFunc(g.Tasks, func(t *structs.Task) bool { return t.Name == name && t.Leader }) {
			return *s.StartedAt
		}
		if oldest.IsZero() || s.StartedAt.Before(oldest) {
			oldest = *s.StartedAt
		}
	}
	return oldest
}

// normScore is the score that an allocation was placed with.
func normScore(a *structs.Allocation) float64 {
	if a.Metrics == nil {
		return 0
	}
	for _, m := range a.Metrics.ScoreMetaData {
		if m != nil && m.NodeID == a.NodeID {
			return m.NormScore
		}
	}
	return 0
}
