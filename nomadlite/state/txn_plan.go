package state

import (
	"fmt"
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// ApplyPlan verifies a plan against the newest state and applies what holds. A
// refusal is a result, not an error. With any refusal the evaluation's outcome
// is left out, and so are the evaluations that would be blocked; those that wait
// for a time or a turn are kept, since what was applied counts on them. An
// AllAtOnce plan is left out as a whole.
func (t *Txn) ApplyPlan(p *structs.Plan) (*structs.PlanResult, error) {
	result := &structs.PlanResult{Applied: t.index, Placed: make([][]uint64, len(p.Groups))}
	for i, g := range p.Groups {
		result.Placed[i] = make([]uint64, len(g.Placements))
	}
	c := &planCheck{t: t, p: p}
	if reason := c.whole(); reason != "" {
		result.Refused = []structs.PlanRefusal{{Group: -1, Placement: -1, Reason: reason}}
		return result, nil
	}
	c.placements()
	result.Refused = c.refused
	if p.AllAtOnce && len(c.refused) > 0 {
		return result, nil
	}
	a := &planApply{t: t, p: p, spec: c.spec, result: result}
	a.deployment()
	a.stops()
	a.inPlace()
	a.place(c.accepted)
	a.preempt(c)
	if len(c.refused) == 0 && p.Eval != nil {
		e := *p.Eval
		t.putEval(&e)
	}
	for _, e := range p.NewEvals {
		if len(c.refused) == 0 || e != nil && e.Status == structs.EvalStatusPending {
			t.putEvals([]*structs.Evaluation{e})
		}
	}
	return result, nil
}

// planApply writes the accepted parts of a plan.
type planApply struct {
	t      *Txn
	p      *structs.Plan
	spec   *structs.Job
	result *structs.PlanResult
}

func (a *planApply) deployment() {
	if a.p.Deployment != nil {
		a.t.putDeployment(a.p.Deployment)
	}
	for _, u := range a.p.DeploymentUpdates {
		if _, active := a.t.activeDeployment(u.DeploymentID); active {
			_ = a.t.setDeploymentStatus(u) // cannot fail for an active deployment
		}
	}
}

func (a *planApply) stops() {
	for i := range a.p.Stops {
		s := &a.p.Stops[i]
		r, ok := a.t.allocs().ByID(s.AllocID)
		if !ok {
			continue
		}
		x := r.Rare()
		if desired, ok := alloctable.DesiredOf(s.DesiredStatus); ok && desired != DesiredRun && r.Desired == DesiredRun {
			r.Desired = desired
			x.DesiredDescription = s.DesiredDescription
		}
		if client, ok := alloctable.ClientOf(s.ClientStatus); ok && !r.ClientTerminal() {
			r.Client = client
		}
		if s.FollowupEvalID != "" {
			x.FollowupEvalID = s.FollowupEvalID
		}
		a.t.editAllocs().SetRare(&r, x)
		a.t.putServerChange(r, a.p.Now)
	}
}

// inPlaceKey finds the allocations that share a batch after an in-place
// change.
type inPlaceKey struct {
	batch      uint32
	deployment string
	resources  *structs.AllocatedResources
}

func (a *planApply) inPlace() {
	batches := make(map[inPlaceKey]uint32)
	for i := range a.p.InPlace {
		u := &a.p.InPlace[i]
		r, ok := a.t.allocs().ByID(u.AllocID)
		if !ok || r.Desired != DesiredRun || r.ClientTerminal() {
			continue
		}
		x := r.Rare()
		if u.FollowupEvalID != "" || u.ClientStatus != "" {
			x.FollowupEvalID = u.FollowupEvalID
		}
		if u.Description != "" {
			x.DesiredDescription = u.Description
		}
		if client, ok := alloctable.ClientOf(u.ClientStatus); ok {
			r.Client = client
		}
		if a.moves(&r, u) {
			r.Batch = a.inPlaceBatch(batches, &r, u)
			if b := a.t.allocs().BatchOf(&r); b.DeploymentID != "" {
				x.Deployment = nil
				a.t.countPlaced(b.DeploymentID, a.t.allocs().MadeBy(&r).Group, "", a.p.Now)
			}
		}
		a.t.editAllocs().SetRare(&r, x)
		a.t.putServerChange(r, a.p.Now)
	}
}

// moves reports whether an in-place change brings another version, deployment
// or resources.
func (a *planApply) moves(r *alloctable.Row, u *structs.AllocInPlace) bool {
	b := a.t.allocs().BatchOf(r)
	return a.spec != nil && (b.Job.Version != a.spec.Version || u.DeploymentID != "" && u.DeploymentID != b.DeploymentID || u.Resources != nil)
}

func (a *planApply) inPlaceBatch(batches map[inPlaceKey]uint32, r *alloctable.Row, u *structs.AllocInPlace) uint32 {
	key := inPlaceKey{r.Batch, u.DeploymentID, u.Resources}
	if id, ok := batches[key]; ok {
		return id
	}
	old := a.t.allocs().BatchOf(r)
	n := alloctable.Batch{
		Job: a.spec, Group: old.Group, EvalID: a.p.EvalID, DeploymentID: u.DeploymentID,
		Resources: old.Resources, Metrics: old.Metrics,
		CreateIndex: a.t.index, CreateTime: a.p.Now, InPlace: true,
	}
	if u.Resources != nil {
		n.Resources = u.Resources
	}
	if n.EvalID == "" {
		n.EvalID = old.EvalID
	}
	id := a.t.editAllocs().AddBatch(n)
	batches[key] = id
	return id
}

// specOf is the version that the placements of a group run, nil when it is not
// known any more. Spec is that of the plan.
func (t *Txn) specOf(p *structs.Plan, g *structs.PlanGroup, spec *structs.Job) *structs.Job {
	switch {
	case g.Older == 0:
		return spec
	case g.Older > p.JobVersion:
		return nil
	}
	old := jobVersions.get(t.root, versionKey(p.Namespace, p.JobID, p.JobVersion-g.Older))
	if old == nil || spec == nil || old.CreateIndex != spec.CreateIndex {
		return nil
	}
	return old
}

// place appends the accepted placements, a batch for each group.
func (a *planApply) place(accepted [][]bool) {
	for gi, g := range a.p.Groups {
		batch, made, spec := uint32(0), 0, a.t.specOf(a.p, g, a.spec)
		for pi := range g.Placements {
			if !accepted[gi][pi] {
				continue
			}
			if made == 0 {
				batch = a.t.editAllocs().AddBatch(alloctable.Batch{
					Job: spec, Group: g.Group, EvalID: a.p.EvalID, DeploymentID: g.DeploymentID,
					Resources: g.Resources, Metrics: g.Metrics, CreateIndex: a.t.index, CreateTime: a.p.Now,
				})
				a.t.touchJob(spec.Namespace, spec.ID)
			}
			made++
			a.result.Placed[gi][pi] = a.placeOne(batch, g, &g.Placements[pi]) + 1
		}
		if made > 0 {
			a.t.countAllocs(spec, g.Group, -1, int(ClientPending), made)
		}
	}
}

func (a *planApply) placeOne(batch uint32, g *structs.PlanGroup, pl *structs.Placement) uint64 {
	e := a.t.editAllocs()
	var prev alloctable.Row
	hasPrev := false
	if pl.PreviousAlloc != "" {
		prev, hasPrev = e.ByID(pl.PreviousAlloc)
	}
	number := e.Append(batch, pl.Node, pl.NameIndex, a.rare(pl, &prev, hasPrev), a.t.index, a.p.Now)
	if hasPrev {
		x := prev.Rare()
		x.Next = number + 1
		e.SetRare(&prev, x)
		a.t.putServerChange(prev, a.p.Now)
	}
	r, _ := e.Get(number)
	a.t.markRow(&r, e.BatchOf(&r))
	a.t.touchNode(pl.Node)
	if g.DeploymentID != "" {
		canary := ""
		if pl.Canary {
			canary = e.ID(number)
		}
		a.t.countPlaced(g.DeploymentID, g.Group, canary, a.p.Now)
	}
	return number
}

// rare is what a placed row has beyond its columns, nil for most.
func (a *planApply) rare(pl *structs.Placement, prev *alloctable.Row, hasPrev bool) *alloctable.Rare {
	if !hasPrev && !pl.Canary && pl.Extra == nil {
		return nil
	}
	x := new(alloctable.Rare)
	if hasPrev {
		x.Previous = prev.Number + 1
	}
	if pl.Canary {
		x.Deployment = &structs.AllocDeploymentStatus{Canary: true, ModifyIndex: a.t.index}
	}
	if pl.Extra != nil {
		x.SetExtra(pl.Extra)
	}
	return x
}

// preempt evicts the allocations whose placements were accepted.
func (a *planApply) preempt(c *planCheck) {
	e := a.t.editAllocs()
	for i := range a.p.Preemptions {
		u := &a.p.Preemptions[i]
		taker, ok := c.takers[u.AllocID]
		if !ok {
			continue
		}
		by, ok1 := e.Get(a.result.Placed[taker.group][taker.placement] - 1)
		r, ok2 := e.ByID(u.AllocID)
		if !ok1 || !ok2 {
			continue
		}
		x := r.Rare()
		x.PreemptedBy = by.Number + 1
		if r.Desired == DesiredRun {
			r.Desired = DesiredEvict
			x.DesiredDescription = fmt.Sprintf("Preempted by alloc ID %s", e.ID(by.Number))
		}
		e.SetRare(&r, x)
		a.t.putServerChange(r, a.p.Now)
		bx := by.Rare()
		bx.Preempted = append(slices.Clone(bx.Preempted), r.Number+1)
		e.SetRare(&by, bx)
		a.t.putServerChange(by, a.p.Now)
	}
}
