package scheduler

import (
	"cmp"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// apply turns a decision into a plan: stops first, because they make room,
// then the placements group by group.
func (p *pass) apply(d *decision) {
	p.plan.Deployment = d.deployment
	p.plan.DeploymentUpdates = d.deploymentUpdates
	p.plan.NewEvals = d.followUps
	var live []*structs.Allocation
	for _, gd := range d.groups {
		for _, s := range gd.stops {
			p.plan.Stops = append(p.plan.Stops, s.stop)
			p.free(s.alloc)
		}
		p.plan.InPlace = append(p.plan.InPlace, gd.inPlace...)
		live = append(live, gd.remain...)
		for _, ask := range gd.asks {
			if ask.stopPrevious != nil && !ask.previous.Terminal() {
				live = append(live, ask.previous)
			}
		}
	}
	for _, gd := range d.groups {
		for _, old := range gd.older {
			if len(old.asks) > 1 && perAlloc(old.group) {
				live = p.placeEach(old, live)
			} else {
				live = p.placeGroup(old, live)
			}
		}
		switch {
		case len(gd.asks) > 1 && perAlloc(gd.group):
			live = p.placeEach(gd, live)
		case len(gd.asks) > 0:
			live = p.placeGroup(gd, live)
		case gd.nowhere:
			p.fail(gd.name, newEngine(p, gd, live))
		}
	}
	if p.plan.AllAtOnce && len(p.failed) > 0 {
		p.withdraw(d)
	}
	if d.settle != nil {
		d.settle()
	}
	p.preemptionEvals()
}

// free gives back what an allocation occupies, while the plan is made. Ports
// stay taken until its client is done.
func (p *pass) free(a *structs.Allocation) { p.occupy(a, -1) }

func (p *pass) occupy(a *structs.Allocation, sign int64) {
	num, ok := p.snap.NodeNum(a.NodeID)
	if !ok || a.Terminal() || int(num) >= p.cluster.Len() || p.cluster.rows[num].Node == nil {
		return
	}
	amount := ResourcesAmount(a.AllocatedResources)
	p.cluster.take(num, Amount{sign * amount.CPU, sign * amount.MemoryMB, sign * amount.DiskMB}, int32(sign), nil)
}

// placeGroup places what a group asks for and returns the live allocations of
// the job without those that were replaced.
func (p *pass) placeGroup(gd *groupDecision, live []*structs.Allocation) []*structs.Allocation {
	e := newEngine(p, gd, live)
	defer e.close()
	out := &placing{decision: gd, deployment: p.decision.deploymentID, before: p.queued[gd.name], ask: e.ask, metric: e.survey(), bySpeed: map[int64]*structs.PlanGroup{}}
	pending := make([]*placeAsk, len(gd.asks))
	for i := range gd.asks {
		pending[i] = &gd.asks[i]
	}
	// What replaces an allocation may leave room behind, so those that did not
	// fit before are tried again then.
	for range maxRounds {
		rest, freed := e.placeAll(pending, out)
		pending = rest
		if !freed || len(rest) == 0 {
			break
		}
	}
	for range pending {
		p.fail(gd.name, e)
	}
	replaced := map[string]bool{}
	for _, g := range out.groups {
		for i := range g.Placements {
			replaced[g.Placements[i].PreviousAlloc] = true
			p.placements = append(p.placements, placedOn{g.Placements[i].Node, gd.name})
		}
	}
	p.placed += out.count
	p.queued[gd.name] = out.before + len(pending)
	if gd.job != nil {
		for _, g := range out.groups {
			g.DeploymentID, g.Older = "", p.job.Version-gd.job.Version
		}
	}
	p.plan.Groups = append(p.plan.Groups, out.groups...)
	return slices.DeleteFunc(live, func(a *structs.Allocation) bool { return replaced[a.ID] })
}

// placeEach places the allocations of a group one by one, because each has
// nodes of its own.
func (p *pass) placeEach(gd *groupDecision, live []*structs.Allocation) []*structs.Allocation {
	for i := range gd.asks {
		one := *gd
		one.asks = gd.asks[i : i+1]
		live = p.placeGroup(&one, live)
	}
	return live
}

// placing collects the placements of a group. Those on nodes whose cores have
// another speed get other resources, and so a plan group of their own.
type placing struct {
	decision   *groupDecision
	deployment string
	before     int // what was queued of the group before
	ask        *groupAsk
	metric     *structs.AllocMetric
	groups     []*structs.PlanGroup
	bySpeed    map[int64]*structs.PlanGroup
	count      int
}

func (o *placing) add(n *structs.Node, placement structs.Placement) {
	speed := int64(0)
	if o.ask.special.count > 0 {
		speed = coreShares(n)
	}
	g := o.bySpeed[speed]
	if g == nil {
		g = &structs.PlanGroup{Group: o.decision.name, DeploymentID: o.deployment, Resources: o.ask.resourcesOn(speed), Metrics: o.metric}
		if speed == 0 {
			g.Placements = make([]structs.Placement, 0, len(o.decision.asks))
		}
		o.bySpeed[speed] = g
		o.groups = append(o.groups, g)
	}
	g.Placements = append(g.Placements, placement)
	o.count++
}

// maxRounds bounds how often the asks that did not fit are tried again.
const maxRounds = 16

// placeAll places what fits and returns the rest. freed is set when a
// placement came after one that did not fit and made room by what it replaced.
func (e *engine) placeAll(asks []*placeAsk, out *placing) (rest []*placeAsk, freed bool) {
	stuck := false // nothing fits that does not bring room of its own
	for _, ask := range asks {
		if stuck && ask.stopPrevious == nil {
			rest = append(rest, ask)
			continue
		}
		placement, ok := e.place(ask, out.metric)
		if !ok {
			rest = append(rest, ask)
			stuck = stuck || ask.stopPrevious == nil && !ask.pinned
			continue
		}
		out.add(e.cluster.rows[placement.Node].Node, placement)
		if ask.stopPrevious != nil {
			e.plan.Stops = append(e.plan.Stops, *ask.stopPrevious)
			freed = freed || len(rest) > 0
			stuck = false
		}
	}
	return rest, freed
}

// fail explains a placement that was not possible; the first of a group has
// the explanation, the others are counted.
func (p *pass) fail(group string, e *engine) {
	if m := p.failed[group]; m != nil {
		m.CoalescedFailures++
		return
	}
	p.failed[group] = e.explain(&p.blocking)
	p.blocking.escaped = p.blocking.escaped || e.filter.escapes()
}

// withdraw takes back all placements of a job that wants all or nothing, and
// the stops that waited for them.
func (p *pass) withdraw(d *decision) {
	p.plan.Groups, p.plan.Preemptions = nil, nil
	p.placed, p.preempted = 0, nil
	var stops []structs.AllocStop
	for _, gd := range d.groups {
		for _, s := range gd.stops {
			stops = append(stops, s.stop)
		}
		if gd.group != nil {
			p.queued[gd.name] = len(gd.asks)
			for _, old := range gd.older {
				p.queued[gd.name] += len(old.asks)
			}
		}
	}
	p.plan.Stops = stops
}

// place finds a node for one ask and takes it.
func (e *engine) place(ask *placeAsk, metric *structs.AllocMetric) (structs.Placement, bool) {
	undo := e.prepare(ask)
	num, ok := e.choose(ask)
	if !ok && !e.older && e.preempts() {
		num, ok = e.preempt(ask)
	}
	if !ok {
		undo()
		return structs.Placement{}, false
	}
	placement := structs.Placement{Node: num, NameIndex: ask.index, Canary: ask.canary}
	e.explainPlacement(metric)
	if ask.previous != nil {
		placement.PreviousAlloc = ask.previous.ID
	}
	claims := e.extras(&placement, ask, num)
	e.cluster.take(num, e.ask.on(e.cluster.rows[num].Node), 1, claims)
	e.countOn(num, true, 1)
	e.relax()
	e.refresh(num)
	return placement, true
}

// explainPlacement records the scores that the first placement of a group was
// chosen by; the others of the group share them.
func (e *engine) explainPlacement(metric *structs.AllocMetric) {
	if metric.ScoreMetaData == nil {
		metric.ScoreMetaData = e.topNodes()
	}
}

// choose picks the node: the previous one for a sticky disk, else the best.
func (e *engine) choose(ask *placeAsk) (uint32, bool) {
	if ask.pinned {
		return ask.node, e.takes(ask.node) && e.hasPorts(ask.node)
	}
	if d := e.ask.Group.EphemeralDisk; d != nil && d.Sticky && ask.previous != nil {
		if num, ok := e.snap.NodeNum(ask.previous.NodeID); ok && e.takes(num) && e.hasPorts(num) {
			return num, true
		}
	}
	for {
		num, ok := e.best()
		if !ok || e.hasPorts(num) {
			return num, ok
		}
		e.work.at(num).full = true
		e.refresh(num)
	}
}

// hasPorts reports whether a node has all ports that are asked for.
func (e *engine) hasPorts(num uint32) bool {
	if len(e.ask.ports.dynamic) == 0 {
		return true
	}
	return e.assignPorts(num)
}

func (e *engine) portSeed(num uint32) uint64 {
	return mix(e.opts.Seed ^ uint64(num)<<32 ^ uint64(len(e.cluster.undo)))
}

// prepare makes room that an ask brings: its predecessor's resources, place in
// the counts and ports, and marks the nodes where it failed before. The
// returned function undoes it.
func (e *engine) prepare(ask *placeAsk) (undo func()) {
	if ask.previous == nil && ask.reschedule == nil {
		return func() {}
	}
	touched := e.avoid(ask)
	nothing := func() {}
	if ask.previous != nil && ask.stopPrevious != nil && !ask.previous.Terminal() {
		e.free(ask.previous)
		e.count(ask.previous, -1)
		nothing = func() {
			e.occupy(ask.previous, 1)
			e.count(ask.previous, 1)
		}
	}
	if num, ok := e.previousNode(ask); ok {
		e.grant(ask.previous, num)
		touched = append(touched, num)
	}
	for _, num := range touched {
		e.refresh(num)
	}
	return func() {
		nothing()
		e.relax()
		for _, num := range touched {
			e.refresh(num)
		}
	}
}

func (e *engine) previousNode(ask *placeAsk) (uint32, bool) {
	if ask.previous == nil {
		return 0, false
	}
	num, ok := e.snap.NodeNum(ask.previous.NodeID)
	return num, ok && int(num) < e.cluster.Len() && e.cluster.rows[num].Node != nil
}

// grant lets the placement at hand have what its predecessor holds on a node.
func (e *engine) grant(previous *structs.Allocation, num uint32) {
	if previous.ClientTerminal() {
		return
	}
	e.grantOn, e.previousOn = num, num
	e.handOver(previous, num)
}

// handOver lets the placement at hand take the ports, cores and devices of an
// allocation, which the client passes on.
func (e *engine) handOver(a *structs.Allocation, num uint32) {
	e.handover = append(e.handover, a.ID)
	if e.ask.ports.empty() {
		return
	}
	ports := e.cluster.portsOf(num)
	for _, m := range allocPorts(a) {
		e.granted = append(e.granted, ports.locate(m)...)
	}
}

// avoid marks the nodes where earlier attempts of a rescheduled allocation
// failed.
func (e *engine) avoid(ask *placeAsk) []uint32 {
	if ask.reschedule == nil {
		return nil
	}
	for _, event := range ask.reschedule.Events {
		if num, ok := e.snap.NodeNum(event.PrevNodeID); ok && int(num) < e.cluster.Len() {
			e.penalty = append(e.penalty, num)
		}
	}
	slices.Sort(e.penalty)
	e.penalty = slices.Compact(e.penalty)
	return slices.Clone(e.penalty)
}

// relax ends what held for one placement only.
func (e *engine) relax() {
	touched := e.penalty
	if len(e.handover) > 0 {
		touched = append(touched, e.grantOn, e.previousOn)
	}
	e.penalty, e.granted, e.handover, e.preemption = nil, nil, nil, 0
	for _, num := range touched {
		e.refresh(num)
	}
}

// extras fills in what this placement has beyond its group and returns the
// ports that it takes, valid until the next call.
func (e *engine) extras(placement *structs.Placement, ask *placeAsk, num uint32) []portClaim {
	networks := e.ask.Group.Networks
	if ask.reschedule == nil && e.ask.ports.empty() && e.ask.special.empty() && len(networks) == 0 {
		return nil
	}
	extra := placement.Extra
	if extra == nil {
		extra = &e.slabs.extras.take(1)[0]
	}
	extra.Reschedule = ask.reschedule
	var claims []portClaim
	if !e.ask.ports.empty() {
		e.assignPorts(num)
		extra.Ports, claims = e.slabs.mappings.keep(e.assigned.ports), e.assigned.claims
	}
	if !e.ask.special.empty() {
		given, _ := e.assignSpecial(num)
		e.give(num, &given)
		extra.Cores, extra.Devices, extra.Volumes = given.cores, given.devices, e.ask.special.volumes
	}
	if len(networks) > 0 {
		extra.Networks = e.networks(num, extra.Ports)
	}
	placement.Extra = extra
	return claims
}

// assignPorts picks the ports of a placement on a node.
func (e *engine) assignPorts(num uint32) bool {
	return e.cluster.portsOf(num).assign(&e.ask.ports, e.grantsFor(num), e.portSeed(num), &e.assigned)
}

// networks are the group's networks with the ports and address that it got.
func (e *engine) networks(num uint32, ports []structs.PortMapping) []*structs.NetworkResource {
	list := e.slabs.netList.take(len(e.ask.Group.Networks))[:0]
	for _, net := range e.ask.Group.Networks {
		if net == nil {
			continue
		}
		got := &e.slabs.nets.take(1)[0]
		*got = *net
		got.ReservedPorts, got.DynamicPorts = e.withNumbers(net.ReservedPorts, ports), e.withNumbers(net.DynamicPorts, ports)
		if addresses := e.cluster.portsOf(num).addresses; len(addresses) > 0 {
			got.IP, got.Device = addresses[0].ip, addresses[0].device
		}
		list = append(list, got)
	}
	return list
}

// withNumbers is a copy of a list of ports with the numbers that were given.
func (e *engine) withNumbers(list []structs.Port, given []structs.PortMapping) []structs.Port {
	if len(list) == 0 {
		return nil
	}
	out := e.slabs.ports.keep(list)
	for i := range out {
		for k := range given {
			if given[k].Label == out[i].Label {
				out[i].Value, out[i].To = given[k].Value, given[k].To
			}
		}
	}
	return out
}

// finish writes the evaluation's outcome and returns the result.
func (p *pass) finish() *Result {
	now := p.opts.Now.UnixNano()
	done := *p.eval
	done.Status = structs.EvalStatusComplete
	done.StatusDescription = ""
	done.SnapshotIndex = p.snap.Index()
	done.ModifyTime = now
	done.QueuedAllocations = map[string]int{}
	for _, gd := range p.decision.groups {
		if gd.group != nil {
			done.QueuedAllocations[gd.name] = p.queued[gd.name]
		}
	}
	done.FailedTGAllocs = nil
	done.BlockedEval = ""
	done.DeploymentID = p.decision.deploymentID
	if len(p.failed) > 0 {
		done.FailedTGAllocs = p.failed
		p.block(&done)
	}
	if p.opts.Dry || p.eval.AnnotatePlan {
		p.plan.Annotations = p.annotations()
		done.PlanAnnotations = p.plan.Annotations
	}
	p.plan.Eval = &done
	slices.SortStableFunc(p.plan.NewEvals, func(a, b *structs.Evaluation) int { return cmp.Compare(a.ID, b.ID) })
	return &Result{Plan: p.plan, Placed: p.placed}
}

// block leaves an evaluation behind that waits until what failed may fit. An
// evaluation that was itself such a waiter waits on.
func (p *pass) block(done *structs.Evaluation) {
	waiter := done
	if done.TriggeredBy != structs.EvalTriggerQueuedAllocs {
		waiter = p.newEval(structs.EvalTriggerQueuedAllocs, structs.EvalStatusBlocked, descRemaining)
		waiter.QueuedAllocations = done.QueuedAllocations
		waiter.FailedTGAllocs = p.failed
		waiter.SnapshotIndex = done.SnapshotIndex
		p.plan.NewEvals = append(p.plan.NewEvals, waiter)
		done.BlockedEval = waiter.ID
	} else {
		done.Status, done.StatusDescription = structs.EvalStatusBlocked, descRemaining
	}
	waiter.ClassEligibility = p.blocking.classes
	waiter.EscapedComputedClass = p.blocking.escaped
}

func (p *pass) annotations() *structs.PlanAnnotations {
	a := &structs.PlanAnnotations{DesiredTGUpdates: map[string]*structs.DesiredUpdates{}}
	for _, gd := range p.decision.groups {
		counts := gd.counts
		for _, v := range p.plan.Preemptions {
			if v.Group == gd.name {
				counts.Preemptions++
			}
		}
		a.DesiredTGUpdates[gd.name] = &counts
	}
	for _, v := range p.preempted {
		a.PreemptedAllocs = append(a.PreemptedAllocs, v.Stub())
	}
	return a
}
