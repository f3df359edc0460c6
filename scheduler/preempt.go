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

// preempts reports whether the pass may evict. Allocations of system jobs all
// have the same name index, by which a plan names who takes a victim's place,
// so these jobs do not evict.
func (p *pass) preempts() bool {
	return p.config.preemption && (p.job.Type == structs.JobTypeService || p.job.Type == structs.JobTypeBatch)
}

// preempt makes room for an allocation that fits nowhere, on the node where it
// hurts least. It evicts no more than needed.
func (e *engine) preempt(ask *placeAsk) (uint32, bool) {
	var best []victim
	var bestNode uint32
	bestScore := math.Inf(-1)
	for n := range e.cluster.rows {
		num := uint32(n)
		if e.cluster.rows[n].Node == nil || !e.feasible(num) || e.values != nil && e.values.blocked(e.values.of(e.cluster, num)) {
			continue
		}
		victims := e.victims(num)
		if len(victims) == 0 {
			continue
		}
		chosen := e.chooseVictims(num, victims)
		if chosen == nil {
			continue
		}
		score := preemptionScore(chosen)
		if score > bestScore || score == bestScore && num < bestNode {
			best, bestNode, bestScore = chosen, num, score
		}
	}
	if best == nil {
		return 0, false
	}
	for _, v := range best {
		e.evict(v, ask, bestNode)
	}
	e.refresh(bestNode)
	return bestNode, true
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
	}
	return slices.DeleteFunc(slices.Clone(list), func(v victim) bool { return e.evicted[v.alloc.ID] })
}

// chooseVictims picks a smallest sufficient set on a node, nil when there is
// none: the lowest priorities, of one priority those nearest to what is
// needed, and then without those that turn out not to be needed.
func (e *engine) chooseVictims(num uint32, victims []victim) []victim {
	ask := e.ask.on(e.cluster.rows[num].Node)
	need := ask.minus(e.cluster.free[num])
	var chosen []victim
	for !enough(need) {
		if len(victims) == 0 {
			return nil
		}
		same := 1
		for same < len(victims) && victims[same].priority == victims[0].priority {
			same++
		}
		nearest := 0
		for i := 1; i < same; i++ {
			if e.distance(need, victims[i]) < e.distance(need, victims[nearest]) {
				nearest = i
			}
		}
		v := victims[nearest]
		victims = slices.Delete(victims, nearest, nearest+1)
		chosen = append(chosen, v)
		need = need.minus(v.amount)
	}
	for i := len(chosen) - 1; i >= 0; i-- {
		if without := need.plus(chosen[i].amount); enough(without) {
			need = without
			chosen = slices.Delete(chosen, i, i+1)
		}
	}
	if len(chosen) == 0 || !e.fitsWithout(num, chosen) {
		return nil
	}
	return chosen
}

func enough(need Amount) bool { return need.CPU <= 0 && need.MemoryMB <= 0 && need.DiskMB <= 0 }

// fitsWithout reports whether nothing but the plain resources keeps the
// allocation off the node.
func (e *engine) fitsWithout(num uint32, chosen []victim) bool {
	free, used := e.cluster.free[num], e.cluster.used[num]
	for _, v := range chosen {
		e.cluster.free[num] = e.cluster.free[num].plus(v.amount)
		e.cluster.used[num]--
	}
	reason, _ := e.fits(num)
	e.cluster.free[num], e.cluster.used[num] = free, used
	return reason == "" && e.hasPorts(num)
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

func lossKey(a *structs.Allocation) string {
	return a.Namespace + "\x00" + a.JobID + "\x00" + a.TaskGroup
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
	e.cluster.take(num, Amount{-v.amount.CPU, -v.amount.MemoryMB, -v.amount.DiskMB}, -1, nil)
	e.plan.Preemptions = append(e.plan.Preemptions, structs.AllocPreemption{AllocID: v.alloc.ID, Group: e.ask.Group.Name, NameIndex: ask.index})
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
