package scheduler

import (
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Texts of deployments; see reference runtime 10.
const (
	descDeploymentSuccessful = "Deployment completed successfully"
	descDeploymentStopped    = "Cancelled because job is stopped"
	descDeploymentNewer      = "Cancelled due to newer version of job"
)

// rollout is the deployment that steers a job's changes, if any.
type rollout struct {
	pass *pass
	// latest is the newest deployment of the job, whatever its status.
	latest *structs.Deployment
	// current is the active deployment of the job's version, nil for none.
	current *structs.Deployment
	// created is a deployment that this pass makes.
	created *structs.Deployment
	// halted is set while the version's deployment is paused or has failed:
	// nothing new is placed for it.
	halted bool
	// pending is set when a group is not where it should be yet.
	pending bool
}

// rollout looks at the latest deployment and cancels it when it is outdated.
func (p *pass) rollout(d *decision) *rollout {
	r := &rollout{pass: p, latest: p.snap.LatestDeployment(p.eval.Namespace, p.eval.JobID)}
	if r.latest == nil {
		return r
	}
	ours := p.job != nil && r.latest.JobVersion == p.job.Version && r.latest.JobCreateIndex == p.job.CreateIndex
	switch {
	case r.latest.Active() && p.stopped():
		d.setStatus(p, r.latest, structs.DeploymentStatusCancelled, descDeploymentStopped)
	case r.latest.Active() && !ours:
		d.setStatus(p, r.latest, structs.DeploymentStatusCancelled, descDeploymentNewer)
	case r.latest.Active():
		r.current = r.latest
		r.halted = r.latest.Status == structs.DeploymentStatusPaused
	case ours && r.latest.Status == structs.DeploymentStatusFailed:
		r.halted = true
	}
	return r
}

func (d *decision) setStatus(p *pass, dep *structs.Deployment, status, description string) {
	d.deploymentUpdates = append(d.deploymentUpdates, &structs.DeploymentStatusUpdate{DeploymentID: dep.ID,
		Status: status, StatusDescription: description, UpdatedAt: p.opts.Now.UnixNano()})
}

// id is the deployment that placements belong to, "" for none.
func (r *rollout) id() string {
	switch {
	case r.created != nil:
		return r.created.ID
	case r.current != nil:
		return r.current.ID
	}
	return ""
}

// state is a group's part in the current or created deployment, or nil.
func (r *rollout) state(group string) *structs.DeploymentState {
	if r.created != nil {
		if s := r.created.TaskGroups[group]; s != nil {
			return s
		}
	}
	if r.current != nil {
		return r.current.TaskGroups[group]
	}
	return nil
}

// rolls reports whether changes of the group go through a deployment.
func (r *groupReconciler) rolls() bool {
	u := r.group.Update
	return r.job.Type == structs.JobTypeService && u != nil && structs.Val(u.MaxParallel) > 0
}

// begin makes the deployment, or the group's part in it, when the group starts
// to move to this version of the job.
func (r *groupReconciler) begin(destructive int) {
	roll := r.roll
	if !r.rolls() || roll.halted || r.want == 0 || roll.state(r.group.Name) != nil {
		return
	}
	ran := slices.ContainsFunc(r.all, func(a *structs.Allocation) bool {
		return a.Job != nil && a.Job.Version == r.job.Version && a.Job.CreateIndex == r.job.CreateIndex
	})
	if ran && destructive == 0 && r.out.counts.InPlaceUpdate == 0 {
		return
	}
	u := r.group.Update
	state := &structs.DeploymentState{
		AutoRevert: structs.Val(u.AutoRevert), AutoPromote: structs.Val(u.AutoPromote),
		ProgressDeadline: structs.Val(u.ProgressDeadline), DesiredTotal: r.want,
	}
	if destructive > 0 {
		state.DesiredCanaries = structs.Val(u.Canary)
	}
	roll.ensureCreated().TaskGroups[r.group.Name] = state
}

// joinInPlace takes the group's in-place updates into the deployment that begin
// may just have made: they count as placed, and their health is asked for.
func (r *groupReconciler) joinInPlace() {
	for i := range r.out.inPlace {
		if u := &r.out.inPlace[i]; u.Description == descInPlace {
			u.DeploymentID = r.roll.id()
		}
	}
}

// ensureCreated returns the deployment that the pass writes: a new one, or a
// copy of the current one that gets another group.
func (r *rollout) ensureCreated() *structs.Deployment {
	if r.created != nil {
		return r.created
	}
	job, now := r.pass.job, r.pass.opts.Now.UnixNano()
	if r.current != nil {
		d := *r.current
		d.TaskGroups = make(map[string]*structs.DeploymentState, len(r.current.TaskGroups)+1)
		for name, s := range r.current.TaskGroups {
			copied := *s
			d.TaskGroups[name] = &copied
		}
		d.ModifyTime = now
		r.created = &d
		return r.created
	}
	r.created = &structs.Deployment{
		ID: r.pass.newID(), Namespace: job.Namespace, JobID: job.ID, JobVersion: job.Version,
		JobModifyIndex: job.ModifyIndex, JobSpecModifyIndex: job.JobModifyIndex, JobCreateIndex: job.CreateIndex,
		TaskGroups: map[string]*structs.DeploymentState{}, Status: structs.DeploymentStatusRunning,
		StatusDescription: structs.DeploymentDescRunning, EvalPriority: r.pass.eval.Priority, CreateTime: now, ModifyTime: now,
	}
	return r.created
}

// finish closes the books: a new deployment is described, a finished one is
// marked successful.
func (r *rollout) finish(d *decision) {
	d.deployment = r.created
	if r.created != nil {
		r.created.StatusDescription = r.created.RunningDescription()
	}
	d.deploymentID = r.id()
	for _, gd := range d.groups {
		if len(gd.asks) > 0 {
			r.pending = true
		}
	}
	if r.current == nil || r.created != nil || r.pending || r.halted || !r.arrived() {
		return
	}
	d.setStatus(r.pass, r.current, structs.DeploymentStatusSuccessful, descDeploymentSuccessful)
}

// arrived reports whether every group of the current deployment has what it
// wants. Of a service only those count that live; the totals of system jobs count
// what was healthy once.
func (r *rollout) arrived() bool {
	for _, s := range r.current.TaskGroups {
		if s.AwaitsPromotion() || s.HealthyAllocs < max(s.DesiredTotal, s.DesiredCanaries) {
			return false
		}
	}
	if r.pass.job.Type != structs.JobTypeService {
		return true
	}
	living := map[string]int{}
	for _, a := range r.pass.allocs {
		if a.DeploymentID == r.current.ID && a.LivesHealthy() {
			living[a.TaskGroup]++
		}
	}
	for name, s := range r.current.TaskGroups {
		if living[name] < s.DesiredTotal {
			return false
		}
	}
	return true
}

// isCanary reports whether an allocation is a canary of deployment d that was
// not promoted.
func isCanary(a *structs.Allocation, d *structs.Deployment) bool {
	if d == nil || a.DeploymentID != d.ID || a.DeploymentStatus == nil || !a.DeploymentStatus.Canary {
		return false
	}
	s := d.TaskGroups[a.TaskGroup]
	return s != nil && !s.Promoted
}

// stopCanaries takes the canaries of the current deployment out of the count
// and stops those of a deployment that is over.
func (r *groupReconciler) stopCanaries() {
	kept := r.keep[:0:0]
	for _, a := range r.keep {
		switch {
		case !isCanary(a, r.roll.latest):
			kept = append(kept, a)
		case r.roll.current != nil:
			r.canaries = append(r.canaries, a)
		default:
			r.out.stop(a, descNotNeeded, "")
		}
	}
	r.keep = kept
	s := r.roll.state(r.group.Name)
	if s == nil || !s.Promoted || s.DesiredCanaries == 0 {
		return
	}
	r.makeRoom()
}

// stopNamesakes stops what runs or has failed under a name that a newer allocation
// of the list carries too, as canaries do that were promoted, or placed anew while
// the failed one waited, or whose deployment was deleted. It returns the others.
func (r *groupReconciler) stopNamesakes(list []*structs.Allocation) []*structs.Allocation {
	if len(list) < 2 {
		return list
	}
	newest := map[uint]*structs.Allocation{}
	runs := func(a *structs.Allocation) bool {
		return !a.ClientTerminal() && a.ClientStatus != structs.AllocClientStatusUnknown
	}
	for _, a := range list {
		if b := newest[a.Index()]; runs(a) && (b == nil || newer(a, b)) {
			newest[a.Index()] = a
		}
	}
	kept := list[:0:0]
	for _, a := range list {
		other := newest[a.Index()]
		if runs(a) && other != a || other != nil && a.ClientStatus == structs.AllocClientStatusFailed && newer(other, a) {
			r.out.stop(a, descNotNeeded, "")
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

// newer reports whether a is of a later version of the job than b, or was made
// later.
func newer(a, b *structs.Allocation) bool {
	if x, y := jobVersion(a), jobVersion(b); x != y {
		return x > y
	}
	return a.CreateIndex > b.CreateIndex || a.CreateIndex == b.CreateIndex && a.ID > b.ID
}

// makeRoom stops the older allocations whose names promoted canaries carry.
func (r *groupReconciler) makeRoom() {
	promoted := map[uint]bool{}
	for _, a := range r.keep {
		if a.DeploymentStatus != nil && a.DeploymentStatus.Canary && a.DeploymentID == r.roll.id() {
			promoted[a.Index()] = true
		}
	}
	kept := r.keep[:0:0]
	for _, a := range r.keep {
		if promoted[a.Index()] && a.DeploymentID != r.roll.id() {
			r.out.stop(a, descNotNeeded, "")
			continue
		}
		kept = append(kept, a)
	}
	r.keep = kept
}

// limit is how many allocations may be changed now: max_parallel without those
// whose health is not known yet, none while one is unhealthy.
func (r *groupReconciler) limit() int {
	if !r.rolls() {
		return len(r.all) + r.want
	}
	if r.roll.halted || r.roll.awaitsPromotion(r.group.Name) {
		return 0
	}
	return r.roll.room(structs.Val(r.group.Update.MaxParallel), r.group.Name, r.all)
}

// room is how many of at most limit changes of a group may begin now.
func (r *rollout) room(limit int, group string, allocs []*structs.Allocation) int {
	if r.current == nil {
		return limit
	}
	for _, a := range allocs {
		if a.DeploymentID != r.current.ID || a.TaskGroup != group || a.ServerTerminal() {
			continue
		}
		if a.ClientTerminal() && a.NextAllocation != "" { // its successor is judged
			continue
		}
		switch s := a.DeploymentStatus; {
		case s == nil || s.Healthy == nil:
			limit--
		case !*s.Healthy:
			return 0
		}
	}
	return max(limit, 0)
}

// awaitsPromotion reports whether canaries of the group must be promoted
// before anything else of the new version is placed.
func (r *rollout) awaitsPromotion(group string) bool {
	s := r.state(group)
	return s != nil && s.AwaitsPromotion()
}

// place asks for placements: what must be replaced at once, canaries, missing
// ones, and as many destructive updates as the rollout allows.
func (r *groupReconciler) place(destructive []*structs.Allocation) {
	r.begin(len(destructive))
	r.joinInPlace()
	names := r.names(r.want)
	room := r.want - len(r.keep) - len(r.done) - len(r.waiting) - len(r.held)
	room = r.placeReplacements(room, names)
	r.replaceEach(r.failedCanaries, len(r.failedCanaries), names, r.endFailed)
	if r.roll.awaitsPromotion(r.group.Name) {
		r.placeCanaries(destructive, names)
		r.out.counts.Ignore += uint64(len(destructive))
		r.roll.pending = true
		return
	}
	limit := r.limit()
	fresh := max(room, 0)
	if r.roll.halted {
		fresh = 0
	} else if len(destructive) > 0 {
		fresh = min(fresh, limit)
		limit -= fresh
	}
	for range fresh {
		r.ask(placeAsk{index: names.next()})
		r.out.counts.Place++
	}
	slices.SortStableFunc(destructive, byIndex)
	now := min(len(destructive), max(limit, 0))
	for _, a := range destructive[:now] {
		r.ask(placeAsk{index: uint32(a.Index()), previous: a, stopPrevious: &structs.AllocStop{AllocID: a.ID,
			DesiredStatus: structs.AllocDesiredStatusStop, DesiredDescription: descUpdating}})
		r.out.counts.DestructiveUpdate++
	}
	r.out.counts.Ignore += uint64(len(destructive) - now)
	if now < len(destructive) {
		r.roll.pending = true
	}
	leaving := make(map[*structs.Allocation]bool, now)
	for _, a := range destructive[:now] {
		leaving[a] = true
	}
	r.keep = slices.DeleteFunc(r.keep, func(a *structs.Allocation) bool { return leaving[a] })
}

func (r *groupReconciler) ask(a placeAsk) { r.out.asks = append(r.out.asks, a) }

// olderOf is where to ask for the replacement of an allocation that runs an
// earlier version while the canaries of the newest wait for promotion: it runs
// that version too. Nil is anything else.
func (r *groupReconciler) olderOf(a *structs.Allocation) *groupDecision {
	if !r.roll.awaitsPromotion(r.group.Name) || a.Job == nil || a.Job.Version >= r.job.Version || a.Job.CreateIndex != r.job.CreateIndex {
		return nil
	}
	for _, old := range r.out.older {
		if old.job.Version == a.Job.Version {
			return old
		}
	}
	g := a.Job.LookupGroup(r.group.Name)
	if g == nil {
		return nil
	}
	old := &groupDecision{name: r.group.Name, group: g, job: a.Job}
	r.out.older = append(r.out.older, old)
	return old
}

// placeReplacements replaces lost, migrating, disconnected and failed
// allocations, which no rollout delays, and returns the room that is left.
func (r *groupReconciler) placeReplacements(room int, names *nameSet) int {
	room -= r.replaceEach(r.migrate, room, names, func(a *structs.Allocation) *structs.AllocStop {
		r.out.stop(a, descMigrating, "")
		r.out.counts.Stop--
		r.out.counts.Migrate++
		return nil
	})
	room -= r.replaceEach(r.lost, room, names, func(a *structs.Allocation) *structs.AllocStop {
		r.out.stop(a, descLost, structs.AllocClientStatusLost)
		return nil
	})
	room -= r.replaceEach(r.replaced, room, names, func(*structs.Allocation) *structs.AllocStop { return nil })
	return room - r.replaceEach(r.failed, room, names, r.endFailed)
}

// endFailed ends a failed allocation when its successor is placed. The
// contract leaves the description empty.
func (r *groupReconciler) endFailed(a *structs.Allocation) *structs.AllocStop {
	r.out.counts.RescheduleNow++
	return &structs.AllocStop{AllocID: a.ID, DesiredStatus: structs.AllocDesiredStatusStop}
}

// replaceEach asks for a replacement of each allocation while there is room
// and returns how many it asked for.
func (r *groupReconciler) replaceEach(list []*structs.Allocation, room int, names *nameSet,
	end func(*structs.Allocation) *structs.AllocStop) int {
	slices.SortStableFunc(list, byIndex)
	asked := 0
	for _, a := range list {
		replace := asked < room && !structs.Val(a.DesiredTransition.MigrateDisablePlacement)
		stop := end(a)
		if !replace {
			continue
		}
		ask := placeAsk{index: names.reuse(uint32(a.Index())), previous: a, stopPrevious: stop,
			canary: isCanary(a, r.roll.current), reschedule: a.RescheduleTracker}
		switch {
		case stop != nil:
			ask.reschedule = r.group.ReschedulePolicy.NextTracker(a, a.FailTime(), r.opts.Now)
		case r.unheard[a.ID] != time.Time{}:
			ask.reschedule = r.group.ReschedulePolicy.NextTracker(a, r.unheard[a.ID], r.opts.Now)
		}
		if old := r.olderOf(a); old != nil {
			old.asks = append(old.asks, ask)
		} else {
			r.ask(ask)
		}
		r.out.counts.Place++
		asked++
	}
	return asked
}

// placeCanaries asks for the canaries that are missing. They take the names of
// what they will replace, then new ones.
func (r *groupReconciler) placeCanaries(destructive []*structs.Allocation, names *nameSet) {
	s := r.roll.state(r.group.Name)
	taken := map[uint32]bool{}
	missing := s.DesiredCanaries
	for _, list := range [][]*structs.Allocation{r.canaries, r.failedCanaries, r.waitingCanaries} {
		for _, a := range list {
			taken[uint32(a.Index())] = true
			missing--
		}
	}
	if r.roll.halted {
		missing = 0
	}
	slices.SortStableFunc(destructive, byIndex)
	for _, a := range destructive {
		if missing <= 0 {
			return
		}
		index := uint32(a.Index())
		if taken[index] {
			continue
		}
		taken[index] = true
		r.ask(placeAsk{index: index, canary: true})
		r.out.counts.Canary++
		missing--
	}
	for range max(missing, 0) {
		r.ask(placeAsk{index: names.next(), canary: true})
		r.out.counts.Canary++
	}
}

// nameSet hands out name indexes.
type nameSet struct {
	used map[uint32]bool
	from uint32
	want uint32 // indexes from here on are not for the group's count
}

// names collects the indexes that stay in use.
func (r *groupReconciler) names(want int) *nameSet {
	n := &nameSet{used: map[uint32]bool{}, want: uint32(want)}
	for _, list := range [][]*structs.Allocation{r.keep, r.done, r.waiting, r.migrate, r.lost, r.replaced, r.failed, r.canaries, r.waitingCanaries, r.held} {
		for _, a := range list {
			n.used[uint32(a.Index())] = true
		}
	}
	return n
}

// next is the lowest index that nobody uses.
func (n *nameSet) next() uint32 {
	for n.used[n.from] {
		n.from++
	}
	n.used[n.from] = true
	return n.from
}

// reuse keeps the index of a replaced allocation when it is below the count.
func (n *nameSet) reuse(index uint32) uint32 {
	if index < n.want {
		return index
	}
	return n.next()
}
