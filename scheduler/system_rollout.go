package scheduler

import "github.com/nomadlite/nomadlite/structs"

// rolls reports whether changes of the group go through a deployment.
func (s *systemReconciler) rolls() bool {
	u := s.group.Update
	return s.job.Type == structs.JobTypeSystem && u != nil && structs.Val(u.MaxParallel) > 0
}

// begin makes the deployment, or the group's part in it, when the group starts
// to move to this version of the job.
func (s *systemReconciler) begin(destructive int) {
	if !s.rolls() || s.roll.halted {
		return
	}
	state := s.roll.state(s.group.Name)
	if state == nil && s.moves(destructive) {
		u := s.group.Update
		state = &structs.DeploymentState{AutoRevert: structs.Val(u.AutoRevert), AutoPromote: structs.Val(u.AutoPromote),
			ProgressDeadline: structs.Val(u.ProgressDeadline), DesiredCanaries: s.canaries(destructive)}
		s.roll.ensureCreated().TaskGroups[s.group.Name] = state
	}
	if state == nil {
		return
	}
	for i := range s.out.inPlace {
		s.out.inPlace[i].DeploymentID = s.roll.id()
	}
	s.out.expected = s.expected()
}

// moves reports whether there is something to deploy: a first allocation of
// this version, or a change of one.
func (s *systemReconciler) moves(destructive int) bool {
	if destructive > 0 || len(s.out.inPlace) > 0 {
		return true
	}
	for _, a := range s.allocs {
		if a.TaskGroup == s.group.Name && a.Job != nil && a.Job.Version == s.job.Version && a.Job.CreateIndex == s.job.CreateIndex {
			return false
		}
	}
	return len(s.out.asks) > 0
}

// canaries is how many of the nodes with a destructive update get it before
// the others: the update block's percentage, rounded up, at most max_parallel.
// The first version of a job has none.
func (s *systemReconciler) canaries(destructive int) int {
	percent := min(structs.Val(s.group.Update.Canary), 100)
	if s.job.Version == 0 || percent <= 0 {
		return 0
	}
	return min((percent*destructive+99)/100, structs.Val(s.group.Update.MaxParallel))
}

// expected is how many allocations of the group are to become healthy in the
// deployment, without those that are asked for: what runs in it and what was
// healthy before it ended.
func (s *systemReconciler) expected() int {
	gone := map[string]bool{}
	for i := range s.out.stops {
		gone[s.out.stops[i].stop.AllocID] = true
	}
	n, id := len(s.out.inPlace), s.roll.id()
	for _, a := range s.allocs {
		if a.TaskGroup != s.group.Name || a.DeploymentID != id {
			continue
		}
		wasHealthy := a.DeploymentHealthy()
		if wasHealthy || !a.Terminal() && !gone[a.ID] {
			n++
		}
	}
	return n
}

// settleTotals makes the totals of a system job's deployment what the nodes
// can take, as nodes come, go and fill up: what does not fit anywhere yet does
// not keep a deployment from success, unless nothing fits at all.
func (r *rollout) settleTotals(groups []*groupDecision) {
	for _, gd := range groups {
		state := r.state(gd.name)
		if gd.group == nil || r.halted || state == nil {
			continue
		}
		stuck := r.pass.queued[gd.name]
		total := gd.expected + len(gd.asks) - stuck
		if total == 0 {
			total = stuck
		}
		if total != state.DesiredTotal {
			r.ensureCreated().TaskGroups[gd.name].DesiredTotal = total
		}
	}
	r.pass.plan.Deployment = r.created
}

// pace decides which of the destructive updates happen now: canaries while
// they are not promoted, else as many as max_parallel allows. The others wait.
func (s *systemReconciler) pace() {
	if !s.rolls() {
		return
	}
	canaries, room := 0, 0
	if s.roll.awaitsPromotion(s.group.Name) {
		s.roll.pending = true
		canaries = s.missingCanaries()
	} else if !s.roll.halted {
		room = s.roll.room(structs.Val(s.group.Update.MaxParallel), s.group.Name, s.allocs)
	}
	kept := s.out.asks[:0]
	for _, ask := range s.out.asks {
		switch {
		case ask.stopPrevious == nil:
		case canaries > 0:
			canaries--
			ask.canary = true
			s.out.counts.DestructiveUpdate--
			s.out.counts.Canary++
		case room > 0:
			room--
		default:
			s.roll.pending = true
			s.out.expected++
			s.out.counts.DestructiveUpdate--
			s.out.counts.Ignore++
			s.out.remain = append(s.out.remain, ask.previous)
			continue
		}
		kept = append(kept, ask)
	}
	s.out.asks = kept
}

// missingCanaries is how many canaries are still to be placed.
func (s *systemReconciler) missingCanaries() int {
	if s.roll.halted {
		return 0
	}
	missing := s.roll.state(s.group.Name).DesiredCanaries
	for _, a := range s.out.remain {
		if isCanary(a, s.roll.current) {
			missing--
		}
	}
	for _, ask := range s.out.asks {
		if ask.canary {
			missing--
		}
	}
	return max(missing, 0)
}
