package state

import (
	"maps"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// deployment returns a deployment for changing, nil when there is none. Commit
// writes it.
func (t *Txn) deployment(id string) *structs.Deployment {
	if d := t.deployments[id]; d != nil {
		return d
	}
	old := deployments.get(t.root, id)
	if old == nil {
		return nil
	}
	return t.keepDeployment(old)
}

// activeDeployment reports whether a deployment exists and is active, without
// taking it for changing.
func (t *Txn) activeDeployment(id string) (exists, active bool) {
	d := t.deployments[id]
	if d == nil {
		d = deployments.get(t.root, id)
	}
	return d != nil, d != nil && d.Active()
}

// keepDeployment takes a copy of a deployment into the transaction.
func (t *Txn) keepDeployment(old *structs.Deployment) *structs.Deployment {
	d := *old
	d.TaskGroups = make(map[string]*structs.DeploymentState, len(old.TaskGroups))
	for name, g := range old.TaskGroups {
		if g != nil {
			c := *g
			c.PlacedCanaries = slices.Clone(g.PlacedCanaries)
			d.TaskGroups[name] = &c
		}
	}
	if t.deployments == nil {
		t.deployments = make(map[string]*structs.Deployment)
	}
	t.deployments[d.ID] = &d
	return &d
}

func (t *Txn) flushDeployments() {
	for _, id := range slices.Sorted(maps.Keys(t.deployments)) {
		d := t.deployments[id]
		d.ModifyIndex = t.index
		deployments.set(t, d)
		t.touchJob(d.Namespace, d.JobID)
	}
}

// UpsertDeployment creates or replaces a deployment.
func (t *Txn) UpsertDeployment(c *DeploymentUpsert) error {
	if c.Deployment == nil || c.Deployment.ID == "" {
		return structs.Errorf(structs.Invalid, "cannot store a deployment: it has no id")
	}
	t.putDeployment(c.Deployment)
	return nil
}

// putDeployment stores a deployment; the counters of one that exists stay.
func (t *Txn) putDeployment(in *structs.Deployment) {
	old := t.deployment(in.ID)
	d := t.keepDeployment(in)
	d.CreateIndex = t.index
	if job := jobs.get(t.root, joinKey(d.Namespace, d.JobID)); job != nil && d.JobCreateIndex == 0 {
		d.JobCreateIndex, d.JobSpecModifyIndex, d.JobModifyIndex = job.CreateIndex, job.JobModifyIndex, job.ModifyIndex
	}
	if old == nil {
		return
	}
	d.CreateIndex, d.CreateTime = old.CreateIndex, old.CreateTime
	for name, was := range old.TaskGroups {
		if g := d.TaskGroups[name]; g != nil {
			g.PlacedAllocs, g.HealthyAllocs, g.UnhealthyAllocs = was.PlacedAllocs, was.HealthyAllocs, was.UnhealthyAllocs
			g.PlacedCanaries, g.RequireProgressBy = was.PlacedCanaries, was.RequireProgressBy
			g.Promoted = g.Promoted || was.Promoted
		}
	}
}

// UpdateDeploymentStatus changes the status of a deployment and, for
// auto_revert, registers the job to return to.
func (t *Txn) UpdateDeploymentStatus(c *DeploymentStatus) error {
	if c.Update == nil {
		return structs.Errorf(structs.Invalid, "cannot change a deployment: the update is missing")
	}
	if err := t.setDeploymentStatus(c.Update); err != nil {
		return err
	}
	t.followDeployment(c.Job, c.Eval, c.Now)
	return nil
}

func (t *Txn) setDeploymentStatus(u *structs.DeploymentStatusUpdate) error {
	d := t.deployment(u.DeploymentID)
	if d == nil {
		return structs.Errorf(structs.NotFound, "cannot change deployment %q: no such deployment", u.DeploymentID)
	}
	if !d.Active() {
		return structs.Errorf(structs.Rejected, "cannot change deployment %q: it is already %s", d.ID, d.Status)
	}
	if d.Status == structs.DeploymentStatusPaused && u.Status == structs.DeploymentStatusRunning {
		for _, g := range d.TaskGroups {
			restartDeadline(g, u.UpdatedAt)
		}
	}
	d.Status, d.StatusDescription = u.Status, u.StatusDescription
	if u.UpdatedAt != 0 {
		d.ModifyTime = u.UpdatedAt
	}
	if d.Status == structs.DeploymentStatusSuccessful {
		t.changeVersion(d.Namespace, d.JobID, d.JobVersion, func(j *structs.Job) { j.Stable = true })
	}
	return nil
}

// restartDeadline gives a group that waited for an operator its whole progress
// deadline again.
func restartDeadline(g *structs.DeploymentState, now int64) {
	if g.ProgressDeadline > 0 && !g.RequireProgressBy.IsZero() {
		g.RequireProgressBy = time.Unix(0, now).UTC().Add(g.ProgressDeadline)
	}
}

// followDeployment registers the job and the evaluation that a change of a
// deployment brings; either may be nil.
func (t *Txn) followDeployment(job *structs.Job, eval *structs.Evaluation, now int64) {
	if job != nil {
		if old := jobs.get(t.root, joinKey(job.Namespace, job.ID)); old != nil {
			stored, _ := t.putJob(job, old, now)
			if eval != nil {
				e := *eval
				e.JobModifyIndex = stored.JobModifyIndex
				eval = &e
			}
		}
	}
	t.putEvals([]*structs.Evaluation{eval})
}

// PromoteDeployment promotes canaries: they become ordinary allocations.
func (t *Txn) PromoteDeployment(c *DeploymentPromote) error {
	d := t.deployment(c.DeploymentID)
	if d == nil {
		return structs.Errorf(structs.NotFound, "cannot promote deployment %q: no such deployment", c.DeploymentID)
	}
	if !d.Active() {
		return structs.Errorf(structs.Rejected, "cannot promote deployment %q: it is already %s", d.ID, d.Status)
	}
	groups := c.Groups
	if len(groups) == 0 {
		groups = slices.Sorted(maps.Keys(d.TaskGroups))
	}
	promoted := make(map[string]bool)
	for _, name := range groups {
		g := d.TaskGroups[name]
		if g == nil {
			return structs.Errorf(structs.NotFound, "cannot promote deployment %q: it has no group %q", d.ID, name)
		}
		if g.AwaitsPromotion() {
			if healthy := t.healthyCanaries(d.ID, name); healthy < g.DesiredCanaries {
				return structs.Errorf(structs.Rejected, "Task group %q has %d/%d healthy allocations", name, healthy, g.DesiredCanaries)
			}
			g.Promoted, promoted[name] = true, true
			restartDeadline(g, c.Now)
		}
	}
	if len(promoted) == 0 {
		return structs.Errorf(structs.Rejected, "no canaries to promote")
	}
	describePromotion(d)
	d.ModifyTime = c.Now
	t.endCanaries(d.ID, promoted, c.Now)
	t.followDeployment(nil, c.Eval, c.Now)
	return nil
}

// describePromotion says what a deployment waits for once some of its canaries
// were promoted.
func describePromotion(d *structs.Deployment) {
	if d.Status == structs.DeploymentStatusRunning {
		d.StatusDescription = d.RunningDescription()
	}
}

func (t *Txn) healthyCanaries(id, group string) int {
	n := 0
	for r := range t.allocs().ByDeployment(id) {
		x := r.Rare()
		if t.allocs().MadeBy(&r).Group == group && x.Deployment != nil && x.Deployment.Canary && structs.Val(x.Deployment.Healthy) && r.Live() {
			n++
		}
	}
	return n
}

func (t *Txn) endCanaries(id string, groups map[string]bool, now int64) {
	for r := range t.allocs().ByDeployment(id) {
		x := r.Rare()
		if !groups[t.allocs().MadeBy(&r).Group] || x.Deployment == nil || !x.Deployment.Canary {
			continue
		}
		status := *x.Deployment
		status.Canary, status.ModifyIndex = false, t.index
		x.Deployment = &status
		t.editAllocs().SetRare(&r, x)
		t.putServerChange(r, now)
	}
}

// SetDeploymentAllocHealth sets the health of allocations of a deployment.
func (t *Txn) SetDeploymentAllocHealth(c *DeploymentAllocHealth) error {
	d := t.deployment(c.DeploymentID)
	if d == nil {
		return structs.Errorf(structs.NotFound, "cannot set health in deployment %q: no such deployment", c.DeploymentID)
	}
	if !d.Active() {
		return structs.Errorf(structs.Rejected, "cannot set health in deployment %q: it is already %s", d.ID, d.Status)
	}
	set := func(ids []string, healthy bool) error {
		for _, id := range ids {
			r, ok := t.allocs().ByID(id)
			if !ok || t.allocs().BatchOf(&r).DeploymentID != d.ID {
				return structs.Errorf(structs.NotFound, "cannot set health of allocation %q: it is not in deployment %q", id, d.ID)
			}
			t.setHealth(&r, healthy, c.Now)
			t.putServerChange(r, c.Now)
		}
		return nil
	}
	if err := set(c.Healthy, true); err != nil {
		return err
	}
	if err := set(c.Unhealthy, false); err != nil {
		return err
	}
	if c.Update != nil {
		if err := t.setDeploymentStatus(c.Update); err != nil {
			return err
		}
	}
	t.followDeployment(c.Job, c.Eval, c.Now)
	return nil
}

// setHealth sets the deployment health of a row that the caller then stores,
// and counts it.
func (t *Txn) setHealth(r *alloctable.Row, healthy bool, at int64) {
	was := r.Health()
	if was != nil && *was == healthy {
		return
	}
	t.editAllocs().SetHealth(r, healthy, at, t.index)

	d := t.deployment(t.allocs().BatchOf(r).DeploymentID)
	if d == nil {
		return
	}
	g := d.TaskGroups[t.allocs().MadeBy(r).Group]
	if g == nil {
		return
	}
	if was != nil && *was {
		g.HealthyAllocs--
	} else if was != nil {
		g.UnhealthyAllocs--
	}
	if !healthy {
		g.UnhealthyAllocs++
		return
	}
	g.HealthyAllocs++
	if g.ProgressDeadline > 0 {
		if by := time.Unix(0, at).UTC().Add(g.ProgressDeadline); by.After(g.RequireProgressBy) {
			g.RequireProgressBy = by
		}
	}
}

// countPlaced counts an allocation that a plan placed in, or moved in place
// to, a deployment; canary is its id when it is one.
func (t *Txn) countPlaced(deploymentID, group, canary string, now int64) {
	d := t.deployment(deploymentID)
	if d == nil {
		return
	}
	g := d.TaskGroups[group]
	if g == nil {
		return
	}
	g.PlacedAllocs++
	if canary != "" {
		g.PlacedCanaries = append(g.PlacedCanaries, canary)
	}
	if g.ProgressDeadline > 0 && g.RequireProgressBy.IsZero() {
		g.RequireProgressBy = time.Unix(0, now).UTC().Add(g.ProgressDeadline)
	}
}
