package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Descriptions of stopped and changed allocations; contract texts, see
// reference runtime 10.
const (
	descNotNeeded    = "alloc not needed due to job update"
	descMigrating    = "alloc is being migrated"
	descUpdating     = "alloc is being updated due to job update"
	descLost         = "alloc is lost since its node is down"
	descUnknown      = "alloc is unknown since its node is disconnected"
	descInPlace      = "alloc updating in-place"
	descTainted      = "alloc not needed as node is tainted"
	descRescheduled  = "alloc was rescheduled because it failed"
	descReconnected  = "alloc not needed due to disconnected client reconnect"
	descDelayed      = "created for delayed rescheduling"
	descDisconnected = "created for delayed disconnect timeout"
	descRemaining    = "created to place remaining allocations"
)

// decision is what a job needs, group by group, before any node is chosen.
type decision struct {
	groups            []*groupDecision
	deployment        *structs.Deployment // to create or replace
	deploymentID      string              // that placements belong to, "" for none
	deploymentUpdates []*structs.DeploymentStatusUpdate
	followUps         []*structs.Evaluation
	settle            func() // brings a deployment's totals to what was placed; nil for none
}

// groupDecision is what one group needs.
type groupDecision struct {
	name    string
	group   *structs.TaskGroup // nil when the job has it no more
	stops   []stopping
	inPlace []structs.AllocInPlace
	asks    []placeAsk
	// job is the version whose group this is, nil for the job's newest.
	job *structs.Job
	// older are the replacements of what runs an earlier version, while the
	// canaries of the newest are not promoted.
	older []*groupDecision
	// remain are the allocations that stay as they are or change in place.
	remain []*structs.Allocation
	counts structs.DesiredUpdates
	// expected is how many allocations beside the asks a system job's deployment
	// waits for.
	expected int
	// nowhere is set when no node at all may run a group of a system job.
	nowhere bool
}

// stopping is an allocation and how it ends.
type stopping struct {
	alloc *structs.Allocation
	stop  structs.AllocStop
}

// placeAsk is one allocation to place.
type placeAsk struct {
	index  uint32
	canary bool
	// previous is the allocation that this one replaces, nil for none. With
	// stopPrevious it keeps running, and its place is free, only if and once
	// this one is placed.
	previous     *structs.Allocation
	stopPrevious *structs.AllocStop
	reschedule   *structs.RescheduleTracker
	// node pins the placement of a system job.
	node   uint32
	pinned bool
}

func (d *groupDecision) stop(a *structs.Allocation, description, clientStatus string) {
	d.stops = append(d.stops, stopping{a, structs.AllocStop{AllocID: a.ID, DesiredStatus: structs.AllocDesiredStatusStop,
		DesiredDescription: description, ClientStatus: clientStatus}})
	d.counts.Stop++
}

// groupNames are the groups of the job in its order, then those that only
// allocations remember, by name.
func (p *pass) groupNames() []string {
	var names, gone []string
	if p.job != nil {
		for _, g := range p.job.TaskGroups {
			names = append(names, g.Name)
		}
	}
	for _, a := range p.allocs {
		if !slices.Contains(names, a.TaskGroup) && !slices.Contains(gone, a.TaskGroup) {
			gone = append(gone, a.TaskGroup)
		}
	}
	slices.Sort(gone)
	return append(names, gone...)
}

// stopped reports whether nothing of the job shall run.
func (p *pass) stopped() bool { return p.job == nil || p.job.Stop }

// reconcile compares a service or batch job with its allocations.
func (p *pass) reconcile() *decision {
	d := &decision{}
	roll := p.rollout(d)
	byGroup := map[string][]*structs.Allocation{}
	for _, a := range p.allocs {
		byGroup[a.TaskGroup] = append(byGroup[a.TaskGroup], a)
	}
	for _, name := range p.groupNames() {
		g := lookupGroup(p.job, name)
		gd := &groupDecision{name: name, group: g}
		d.groups = append(d.groups, gd)
		if g == nil || p.stopped() {
			p.stopAll(gd, byGroup[name])
			continue
		}
		r := &groupReconciler{pass: p, out: gd, group: g, d: d, roll: roll, want: max(structs.Val(g.Count), 0)}
		r.run(byGroup[name])
	}
	roll.finish(d)
	return d
}

// stopAll ends every allocation that still runs or may run.
func (p *pass) stopAll(gd *groupDecision, allocs []*structs.Allocation) {
	for _, a := range allocs {
		if a.Terminal() {
			continue
		}
		if n := p.nodes[a.NodeID]; n == nil || n.Status == structs.NodeStatusDown {
			gd.stop(a, descLost, structs.AllocClientStatusLost)
			continue
		}
		gd.stop(a, descNotNeeded, "")
	}
}

// groupReconciler works out what one group of a service or batch job needs.
type groupReconciler struct {
	*pass
	out   *groupDecision
	group *structs.TaskGroup
	d     *decision
	roll  *rollout
	want  int

	keep     []*structs.Allocation // stay, and may be updated
	done     []*structs.Allocation // completed batch work, never run again
	migrate  []*structs.Allocation
	lost     []*structs.Allocation // their place is free
	failed   []*structs.Allocation // to be placed again now
	waiting  []*structs.Allocation // failed, placed again later, or unknown without replacement
	canaries []*structs.Allocation // of the current deployment, not promoted
	replaced []*structs.Allocation // unknown and to be replaced
	unheard  map[string]time.Time  // since when, of those
	held     []*structs.Allocation // given up, replaced later

	failedCanaries []*structs.Allocation // to be placed again now
	// waitingCanaries are to be placed again later, beside the group's count.
	waitingCanaries []*structs.Allocation
	all             []*structs.Allocation
	successors      successors
}

func (r *groupReconciler) run(allocs []*structs.Allocation) {
	r.all = allocs
	r.successors = successors{all: allocs}
	for _, a := range allocs {
		r.sort(a)
	}
	r.reconnect()
	r.stopCanaries()
	r.keep, r.canaries = r.stopNamesakes(r.keep), r.stopNamesakes(r.canaries)
	r.keep, r.failed = r.rescheduleFailed(r.keep)
	others := len(r.waiting)
	r.canaries, r.failedCanaries = r.rescheduleFailed(r.canaries)
	r.waiting, r.waitingCanaries = r.waiting[:others], slices.Clone(r.waiting[others:])
	r.stopExcess()
	destructive := r.update()
	r.place(destructive)
	r.out.remain = slices.Concat(r.keep, r.waiting, r.canaries, r.waitingCanaries)
}

// sort puts an allocation where it belongs, by the order of reference runtime
// 19: the first matching rule wins.
func (r *groupReconciler) sort(a *structs.Allocation) {
	node := r.nodes[a.NodeID]
	switch {
	case a.ServerTerminal():
		r.sortStopped(a)
	case a.ClientTerminal():
		r.sortTerminal(a)
	case a.ClientStatus == structs.AllocClientStatusUnknown && r.expired(a):
		r.lost = append(r.lost, a)
	case node != nil && node.Status == structs.NodeStatusDisconnected && r.stopsItself(a):
		r.holdBack(a)
	case node != nil && node.Status == structs.NodeStatusDisconnected:
		r.sortDisconnected(a)
	case structs.Val(a.DesiredTransition.Migrate):
		r.migrate = append(r.migrate, a)
	case node == nil:
		r.lost = append(r.lost, a)
	case node.Status == structs.NodeStatusDown && r.stopsItself(a):
		r.holdBack(a)
	case node.Status == structs.NodeStatusDown:
		r.sortDown(a)
	default:
		r.keep = append(r.keep, a)
	}
}

// stopsItself reports whether the client ends the allocation some time after it
// lost the servers, so that a replacement must wait for that.
func (r *groupReconciler) stopsItself(a *structs.Allocation) bool {
	return disconnectOf(a).stopOnClientAfter > 0
}

// itselfStopped is when such an allocation has certainly ended.
func itselfStopped(a *structs.Allocation, lost time.Time) time.Time {
	wait := disconnectOf(a).stopOnClientAfter
	var kill time.Duration
	if g := lookupGroup(a.Job, a.TaskGroup); g != nil {
		for _, t := range g.Tasks {
			kill = max(kill, structs.Val(t.KillTimeout))
		}
	}
	return lost.Add(wait).Add(kill)
}

// holdBack gives an allocation up whose client stops it by itself; the
// replacement waits until it has.
func (r *groupReconciler) holdBack(a *structs.Allocation) {
	id := r.followUp(itselfStopped(a, r.opts.Now), structs.EvalTriggerAllocReschedule, descDelayed)
	r.out.stops = append(r.out.stops, stopping{a, structs.AllocStop{AllocID: a.ID, DesiredStatus: structs.AllocDesiredStatusStop,
		DesiredDescription: descLost, ClientStatus: structs.AllocClientStatusLost, FollowupEvalID: id}})
	r.out.counts.Stop++
	r.out.counts.RescheduleLater++
	r.held = append(r.held, a)
}

// sortStopped keeps the place of an allocation that was held back, and
// replaces it when its time has come.
func (r *groupReconciler) sortStopped(a *structs.Allocation) {
	if a.ClientStatus != structs.AllocClientStatusLost || a.NextAllocation != "" || a.FollowupEvalID == "" || !r.stopsItself(a) {
		return
	}
	if r.opts.Now.Add(rescheduleSoon).Before(itselfStopped(a, time.Unix(0, a.ModifyTime))) {
		r.held = append(r.held, a)
		return
	}
	if !r.successors.named(a.Name) {
		r.replaced = append(r.replaced, a)
	}
}

func (r *groupReconciler) sortTerminal(a *structs.Allocation) {
	switch {
	case r.batch && (a.Job == nil || a.Job.Version < r.job.Version || a.Job.CreateIndex != r.job.CreateIndex):
		// Work of an earlier version: the new version runs from the start.
	case a.ClientStatus == structs.AllocClientStatusLost:
		r.lost = append(r.lost, a)
	case a.ClientStatus == structs.AllocClientStatusFailed:
		r.keep = append(r.keep, a)
	case r.batch:
		r.done = append(r.done, a)
	}
	// A service allocation that completed is replaced like a missing one.
}

// sortDisconnected handles allocations of a node that cannot be heard.
func (r *groupReconciler) sortDisconnected(a *structs.Allocation) {
	lostAfter := disconnectOf(a).lostAfter
	switch {
	case a.ClientStatus == structs.AllocClientStatusUnknown:
		r.unknown(a, time.Unix(0, a.ModifyTime))
	case a.ClientStatus == structs.AllocClientStatusPending || lostAfter <= 0:
		r.lost = append(r.lost, a)
	default:
		r.disconnecting(a, lostAfter)
	}
}

// sortDown handles allocations of a node that is given up.
func (r *groupReconciler) sortDown(a *structs.Allocation) {
	strategy := disconnectOf(a)
	switch {
	case strategy.replace:
		r.lost = append(r.lost, a)
	case a.ClientStatus == structs.AllocClientStatusUnknown:
		r.keep = append(r.keep, a)
	case a.ClientStatus == structs.AllocClientStatusRunning:
		r.disconnecting(a, strategy.lostAfter)
	default:
		r.lost = append(r.lost, a)
	}
}

// disconnectRule is a group's disconnect block with its defaults.
type disconnectRule struct {
	lostAfter         time.Duration
	stopOnClientAfter time.Duration
	replace           bool
	reconcile         string
}

func disconnectOf(a *structs.Allocation) disconnectRule {
	rule := disconnectRule{replace: true, reconcile: structs.ReconcileBestScore}
	g := lookupGroup(a.Job, a.TaskGroup)
	if g == nil || g.Disconnect == nil {
		return rule
	}
	b := g.Disconnect
	rule.lostAfter, rule.stopOnClientAfter = structs.Val(b.LostAfter), structs.Val(b.StopOnClientAfter)
	if b.Replace != nil {
		rule.replace = *b.Replace
	}
	if structs.Val(b.Reconcile) != "" {
		rule.reconcile = *b.Reconcile
	}
	return rule
}

// expired reports whether an unknown allocation was waited for long enough.
func (r *groupReconciler) expired(a *structs.Allocation) bool {
	lostAfter := disconnectOf(a).lostAfter
	if lostAfter <= 0 {
		return false
	}
	due := r.eval.TriggeredBy == structs.EvalTriggerMaxDisconnectTimeout && a.FollowupEvalID == r.eval.ID
	return due || !r.opts.Now.Before(time.Unix(0, a.ModifyTime).Add(lostAfter))
}

// disconnecting marks an allocation unknown, to be looked at again when it
// counts as lost.
func (r *groupReconciler) disconnecting(a *structs.Allocation, lostAfter time.Duration) {
	change := structs.AllocInPlace{AllocID: a.ID, JobVersion: jobVersion(a),
		ClientStatus: structs.AllocClientStatusUnknown, Description: descUnknown}
	if lostAfter > 0 {
		change.FollowupEvalID = r.followUp(r.opts.Now.Add(lostAfter), structs.EvalTriggerMaxDisconnectTimeout, descDisconnected)
	}
	r.out.inPlace = append(r.out.inPlace, change)
	r.out.counts.Disconnect++
	if at, later := r.unknown(a, r.opts.Now); later {
		r.followUp(at, structs.EvalTriggerAllocReschedule, descDelayed)
		r.out.counts.RescheduleLater++
	}
}

// unknown decides about an allocation that was not heard since a time: it is
// replaced as one that failed then, if it may be and has no replacement yet.
// It is replaced later if the policy says so.
func (r *groupReconciler) unknown(a *structs.Allocation, since time.Time) (at time.Time, later bool) {
	switch {
	case !disconnectOf(a).replace:
		r.keep = append(r.keep, a)
		return at, false
	case r.successors.of(a) != nil:
		return at, false
	}
	at, again := r.group.ReschedulePolicy.Next(a, since)
	if again && !r.opts.Now.Add(rescheduleSoon).Before(at) {
		if r.unheard == nil {
			r.unheard = map[string]time.Time{}
		}
		r.unheard[a.ID] = since
		r.replaced = append(r.replaced, a)
		return at, false
	}
	r.waiting = append(r.waiting, a)
	return at, again
}

func jobVersion(a *structs.Allocation) uint64 {
	if a.Job == nil {
		return 0
	}
	return a.Job.Version
}

// stopExcess stops what is more than wanted: failed and migrating ones first,
// then the highest indexes.
func (r *groupReconciler) stopExcess() {
	present := len(r.keep) + len(r.done) + len(r.migrate) + len(r.failed) + len(r.waiting) + len(r.held)
	excess := present - r.want
	for _, list := range []*[]*structs.Allocation{&r.failed, &r.waiting, &r.migrate, &r.keep} {
		if excess <= 0 {
			break
		}
		slices.SortStableFunc(*list, r.byWorth)
		first := max(0, len(*list)-excess)
		for _, a := range (*list)[first:] {
			r.out.stop(a, descNotNeeded, "")
			excess--
		}
		*list = slices.Clone((*list)[:first])
	}
}

// byWorth puts what a scale-down takes first at the end: what has failed, then
// allocations of an older version beside promoted canaries, then high indexes.
func (r *groupReconciler) byWorth(a, b *structs.Allocation) int {
	if x, y := a.ClientTerminal(), b.ClientTerminal(); x != y {
		if y {
			return -1
		}
		return 1
	}
	if s := r.roll.state(r.group.Name); s != nil && s.Promoted && s.DesiredCanaries > 0 {
		if x, y := a.DeploymentID == r.roll.id(), b.DeploymentID == r.roll.id(); x != y {
			if x {
				return -1
			}
			return 1
		}
	}
	return byIndex(a, b)
}

func byIndex(a, b *structs.Allocation) int {
	return cmp.Or(cmp.Compare(a.Index(), b.Index()), cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
}

// update moves allocations of other versions to the job's in place where that
// is possible and returns the others.
func (r *groupReconciler) update() []*structs.Allocation {
	var destructive []*structs.Allocation
	for _, a := range r.keep {
		c := r.changeOf(a)
		if c == changeInPlace && !r.stillFeasible(a) {
			c = changeDestroy
		}
		switch c {
		case changeNone:
			r.out.counts.Ignore++
		case changeInPlace:
			r.out.counts.InPlaceUpdate++
			r.out.inPlace = append(r.out.inPlace, structs.AllocInPlace{AllocID: a.ID, JobVersion: r.job.Version,
				Description: descInPlace, FollowupEvalID: a.FollowupEvalID})
		default:
			destructive = append(destructive, a)
		}
	}
	r.out.counts.Ignore += uint64(len(r.done) + len(r.waiting) + len(r.canaries) + len(r.waitingCanaries))
	return destructive
}

// stillFeasible reports whether the node of a running allocation passes the
// checks of the job's new version.
func (r *groupReconciler) stillFeasible(a *structs.Allocation) bool {
	if r.nodes[a.NodeID] == nil {
		return false
	}
	f := r.filterFor(r.job, r.group)
	f.volumes = hostVolumes(r.group, uint32(a.Index()))
	return f.nodeReason(r.nodes[a.NodeID]) == ""
}
