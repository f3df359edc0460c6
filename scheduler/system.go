package scheduler

import (
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// reconcileSystem compares a system or sysbatch job with its allocations: one
// allocation of each group on every ready node that the job may use.
func (p *pass) reconcileSystem() *decision {
	d := &decision{}
	roll := p.rollout(d)
	for _, name := range p.groupNames() {
		gd := &groupDecision{name: name, group: lookupGroup(p.job, name)}
		d.groups = append(d.groups, gd)
		var allocs []*structs.Allocation
		for _, a := range p.allocs {
			if a.TaskGroup == name {
				allocs = append(allocs, a)
			}
		}
		if gd.group == nil || p.stopped() {
			p.stopAll(gd, allocs)
			continue
		}
		s := &systemReconciler{pass: p, roll: roll, out: gd, group: gd.group, filter: p.filterFor(p.job, gd.group), on: map[string][]*structs.Allocation{}}
		s.run(allocs)
	}
	roll.finish(d)
	d.settle = func() { roll.settleTotals(d.groups) }
	return d
}

// systemReconciler works out what one group of a system job needs.
type systemReconciler struct {
	*pass
	roll   *rollout
	out    *groupDecision
	group  *structs.TaskGroup
	filter *filter
	on     map[string][]*structs.Allocation // by node id
}

func (s *systemReconciler) run(allocs []*structs.Allocation) {
	for _, a := range allocs {
		if !a.ServerTerminal() {
			s.on[a.NodeID] = append(s.on[a.NodeID], a)
		}
	}
	seen := map[string]bool{}
	for _, a := range allocs {
		if seen[a.NodeID] || a.ServerTerminal() {
			continue
		}
		seen[a.NodeID] = true
		s.existing(a.NodeID)
	}
	destructive := 0
	for _, ask := range s.out.asks {
		if ask.stopPrevious != nil {
			destructive++
		}
	}
	s.missing(seen)
	s.out.nowhere = len(s.out.asks) == 0 && len(s.out.remain) == 0 && len(s.on) == 0
	slices.SortStableFunc(s.out.asks, func(a, b placeAsk) int { return int(a.node) - int(b.node) })
	s.begin(destructive)
	s.pace()
}

// existing decides about the allocations of the group on one node. The newest
// stays when there are several.
func (s *systemReconciler) existing(nodeID string) {
	list, node := s.on[nodeID], s.nodes[nodeID]
	for i, a := range list {
		last := i == len(list)-1
		switch {
		case a.ClientTerminal() && !last:
		case node == nil || node.Status == structs.NodeStatusDown:
			if !a.ClientTerminal() {
				s.out.stop(a, descLost, structs.AllocClientStatusLost)
			}
		case node.Status == structs.NodeStatusDisconnected:
			s.out.counts.Ignore++
			s.out.remain = append(s.out.remain, a)
		case !last:
			s.out.stop(a, descNotNeeded, "")
		default:
			s.decide(a, node)
		}
	}
}

func (s *systemReconciler) decide(a *structs.Allocation, node *structs.Node) {
	num, _ := s.snap.NodeNum(a.NodeID)
	migrate := structs.Val(a.DesiredTransition.Migrate)
	changed := s.changeOf(a)
	fresh := placeAsk{node: num, pinned: true}
	switch {
	case a.ClientTerminal() && s.job.Type == structs.JobTypeSysBatch && a.Job != nil && a.Job.Version == s.job.Version &&
		a.Job.CreateIndex == s.job.CreateIndex:
		s.out.counts.Ignore++ // ran for this version: never again
	case migrate && !a.ClientTerminal():
		s.out.stop(a, descMigrating, "")
		s.out.counts.Stop--
		s.out.counts.Migrate++
	case s.filter.nodeReason(node) != "":
		if !a.ClientTerminal() {
			s.out.stop(a, descNotNeeded, "")
		}
	case a.ClientTerminal():
		if node.Ready() && (s.job.Type == structs.JobTypeSystem || changed != changeNone) {
			if a.NextAllocation == "" { // else what replaced it was collected
				fresh.previous, fresh.canary = a, isCanary(a, s.roll.current)
			}
			s.out.asks = append(s.out.asks, fresh)
			s.out.counts.Place++
		}
	case changed == changeNone, changed == changeDestroy && !node.Ready():
		s.out.counts.Ignore++
		s.out.remain = append(s.out.remain, a)
	case changed == changeInPlace:
		s.out.counts.InPlaceUpdate++
		s.out.remain = append(s.out.remain, a)
		s.out.inPlace = append(s.out.inPlace, structs.AllocInPlace{AllocID: a.ID, JobVersion: s.job.Version,
			Description: descInPlace})
	default:
		fresh.previous = a
		fresh.stopPrevious = &structs.AllocStop{AllocID: a.ID, DesiredStatus: structs.AllocDesiredStatusStop, DesiredDescription: descUpdating}
		s.out.asks = append(s.out.asks, fresh)
		s.out.counts.DestructiveUpdate++
	}
}

// missing asks for an allocation on every ready node that fits and has none.
func (s *systemReconciler) missing(seen map[string]bool) {
	for id := range s.cluster.classes.list {
		class := &s.cluster.classes.list[id]
		if len(class.nodes) == 0 || s.filter.nodeReasonOfClass(class.sample) != "" {
			continue
		}
		for _, num := range class.nodes {
			n := s.cluster.rows[num].Node
			if seen[n.ID] || s.filter.ownReason(n) != "" {
				continue
			}
			s.out.asks = append(s.out.asks, placeAsk{node: num, pinned: true})
			s.out.counts.Place++
		}
	}
}
