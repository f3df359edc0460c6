package scheduler

import (
	"cmp"
	"math"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// preemptionGap is how much lower the priority of a job must be for its
// allocations to be evicted; see reference runtime 11.
const preemptionGap = 10

// victim is an allocation that may be evicted.
type victim struct {
	alloc    *structs.Allocation
	amount   Amount
	priority int
}

// preempts reports whether the pass may evict.
func (p *pass) preempts() bool { return p.config.preemption }

// preempt makes room for an allocation that fits nowhere, on the node where it
// hurts least, or on the one that it is pinned to. It evicts no more than
// needed. What the victims hold passes on to the placement.
func (e *engine) preempt(ask *placeAsk) (uint32, bool) {
	var best []victim
	var bestNode uint32
	bestScore := math.Inf(-1)
	try := func(num uint32) {
		if r := e.room(num); r.victims != nil && r.score > bestScore && (e.values == nil || !e.values.blocked(e.value(num))) {
			best, bestNode, bestScore = r.victims, num, r.score
		}
	}
	if ask.pinned {
		try(ask.node)
	} else {
		for num := range e.cluster.rows {
			try(uint32(num))
		}
	}
	if best == nil {
		return 0, false
	}
	e.passOn(bestNode, best)
	for _, v := range best {
		e.evict(v, ask, bestNode)
	}
	e.preemption = bestScore
	e.refresh(bestNode)
	return bestNode, true
}

// room is how a node makes room for one more allocation of a group.
type room struct {
	known   bool
	victims []victim // that must be evicted, nil when nothing helps
	score   float64
}

// room answers for a node. Answers are kept until something about the node, or
// about the groups that could lose allocations there, changes.
func (e *engine) room(num uint32) *room {
	if e.rooms == nil {
		e.rooms = make([]room, len(e.cluster.rows))
	}
	r := &e.rooms[num]
	if !r.known {
		*r = room{known: true, victims: e.roomOn(num)}
		if r.victims != nil {
			r.score = preemptionScore(r.victims)
		}
	}
	return r
}

// forget drops what is known of making room on a node.
func (e *engine) forget(num uint32) {
	if e.rooms != nil {
		e.rooms[num].known = false
	}
}

// roomOn is what must be evicted from a node, nil when nothing helps.
func (e *engine) roomOn(num uint32) []victim {
	if e.cluster.rows[num].Node == nil || !e.feasible(num) {
		return nil
	}
	total := &e.cluster.total[num]
	if total.CPU < e.cost(num) || total.MemoryMB < e.ask.MemoryMB || total.DiskMB < e.ask.DiskMB {
		return nil
	}
	victims := e.victims(num)
	if len(victims) == 0 {
		return nil
	}
	return e.chooseVictims(num, victims)
}

// victims are the allocations on a node that the job may evict, the lowest
// priority first.
func (e *engine) victims(num uint32) []victim {
	list, known := e.evictable[num]
	if !known {
		for _, a := range e.snap.NodeAllocs(num) {
			if a.Terminal() || a.Job == nil || a.JobID == e.job.ID && a.Namespace == e.job.Namespace || a.Job.Priority > e.job.Priority-preemptionGap {
				continue
			}
			list = append(list, victim{a, ResourcesAmount(a.AllocatedResources), a.Job.Priority})
		}
		slices.SortFunc(list, func(a, b victim) int {
			return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.alloc.ID, b.alloc.ID))
		})
		e.evictable[num] = list
		e.noteRivals(num, list)
	}
	return slices.DeleteFunc(slices.Clone(list), func(v victim) bool { return e.evicted[v.alloc.ID] })
}

// noteRivals remembers the groups whose losses decide about who is evicted from
// a node: those that share a priority with another one there.
func (e *engine) noteRivals(num uint32, list []victim) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].priority == list[0].priority {
			n++
		}
		same := list[:n]
		list = list[n:]
		first := lossKey(same[0].alloc)
		if !slices.ContainsFunc(same, func(v victim) bool { return lossKey(v.alloc) != first }) {
			continue
		}
		for _, v := range same {
			e.rivals[lossKey(v.alloc)] = append(e.rivals[lossKey(v.alloc)], num)
		}
	}
}

// chooseVictims picks a sufficient set on a node from which nothing can be left
// out, nil when there is none: the lowest priorities, of one priority those
// nearest to what is needed, and then without those that turn out not to be
// needed, the highest priorities first.
func (e *engine) chooseVictims(num uint32, victims []victim) []victim {
	if !e.fitsWithout(num, victims) {
		return nil
	}
	need := e.ask.on(e.cluster.rows[num].Node).minus(e.cluster.free[num])
	var chosen []victim
	for !e.fitsWithout(num, chosen) {
		nearest := 0
		for i := 1; i < len(victims) && victims[i].priority == victims[0].priority; i++ {
			if e.distance(need, victims[i]) < e.distance(need, victims[nearest]) {
				nearest = i
			}
		}
		v := victims[nearest]
		victims = slices.Delete(victims, nearest, nearest+1)
		chosen = append(chosen, v)
		need = need.minus(v.amount)
	}
	slices.SortStableFunc(chosen, func(a, b victim) int { return cmp.Compare(b.priority, a.priority) })
	for i := 0; i < len(chosen); {
		if without := slices.Delete(slices.Clone(chosen), i, i+1); e.fitsWithout(num, without) {
			chosen = without
		} else {
			i++
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	return chosen
}

// fitsWithout reports whether the allocation would fit on a node that some
// victims have left.
func (e *engine) fitsWithout(num uint32, victims []victim) bool {
	free, used, full := e.cluster.free[num], e.cluster.used[num], e.work.slots[num].full
	grantOn, granted, handover := e.grantOn, e.granted, e.handover
	for _, v := range victims {
		e.cluster.free[num] = e.cluster.free[num].plus(v.amount)
		e.cluster.used[num]--
	}
	e.work.slots[num].full = false
	e.passOn(num, victims)
	reason, _ := e.fits(num)
	fits := reason == "" && e.hasPorts(num)
	e.cluster.free[num], e.cluster.used[num], e.work.slots[num].full = free, used, full
	e.grantOn, e.granted, e.handover = grantOn, granted, handover
	return fits
}

// passOn lets the placement at hand have what the victims hold.
func (e *engine) passOn(num uint32, victims []victim) {
	granted := e.grantsFor(num)
	e.grantOn, e.granted = num, granted[:len(granted):len(granted)]
	e.handover = e.handover[:len(e.handover):len(e.handover)]
	for _, v := range victims {
		e.handOver(v.alloc, num)
	}
}

// distance says how far a victim is from what is needed, in parts of it. A
// group that already lost as many as its migrate block allows is far away.
func (e *engine) distance(need Amount, v victim) float64 {
	part := func(want, have int64) float64 {
		if want <= 0 {
			return 0
		}
		return float64(want-have) / float64(want)
	}
	c, m, d := part(need.CPU, v.amount.CPU), part(need.MemoryMB, v.amount.MemoryMB), part(need.DiskMB, v.amount.DiskMB)
	distance := math.Sqrt(c*c + m*m + d*d)
	if g := v.alloc.Job.LookupGroup(v.alloc.TaskGroup); g != nil && g.Migrate != nil {
		limit, lost := structs.Val(g.Migrate.MaxParallel), e.losses[lossKey(v.alloc)]
		if limit > 0 && lost >= limit {
			distance += 50 * float64(lost+1-limit)
		}
	}
	return distance
}

// groupKey names a group of a job.
type groupKey struct{ namespace, job, group string }

func lossKey(a *structs.Allocation) groupKey {
	return groupKey{a.Namespace, a.JobID, a.TaskGroup}
}

// preemptionScore is the contract's score of evicting a set.
func preemptionScore(victims []victim) float64 {
	highest, total := 0.0, 0.0
	for _, v := range victims {
		highest = max(highest, float64(v.priority))
		total += float64(v.priority)
	}
	net := highest
	if highest > 0 {
		net += total / highest
	}
	return 1 / (1 + math.Exp(0.0048*(net-2048)))
}

// evict plans an eviction, and an evaluation of the job that loses by it.
func (e *engine) evict(v victim, ask *placeAsk, num uint32) {
	e.evicted[v.alloc.ID] = true
	e.losses[lossKey(v.alloc)]++
	if g := v.alloc.Job.LookupGroup(v.alloc.TaskGroup); g != nil && g.Migrate != nil {
		for _, other := range e.rivals[lossKey(v.alloc)] {
			e.forget(other)
		}
	}
	e.cluster.take(num, Amount{-v.amount.CPU, -v.amount.MemoryMB, -v.amount.DiskMB}, -1, nil)
	e.plan.Preemptions = append(e.plan.Preemptions, structs.AllocPreemption{AllocID: v.alloc.ID, Group: e.ask.Group.Name, NameIndex: ask.index, Node: num})
	e.preempted = append(e.preempted, v.alloc)
}

// preemptionEvals make the jobs look again whose allocations are evicted.
func (p *pass) preemptionEvals() {
	seen := map[string]bool{}
	for _, a := range p.preempted {
		key := a.Namespace + "\x00" + a.JobID
		if seen[key] {
			continue
		}
		seen[key] = true
		e := p.newEval(structs.EvalTriggerPreemption, structs.EvalStatusPending, "")
		e.Namespace, e.JobID, e.Type, e.Priority = a.Namespace, a.JobID, a.Job.Type, a.Job.Priority
		e.JobModifyIndex, e.PreviousEval = a.Job.JobModifyIndex, ""
		p.plan.NewEvals = append(p.plan.NewEvals, e)
	}
}
