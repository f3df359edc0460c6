package state

import (
	"fmt"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// planCheck decides which parts of a plan hold in the newest state. It changes
// nothing. It reads integers, ids and statuses alone.
type planCheck struct {
	t    *Txn
	p    *structs.Plan
	spec *structs.Job // the version that the plan is of, nil in plans that only stop
	// runs is the version that the placements being checked run: spec or an older
	// one.
	runs *structs.Job
	// group is the one of spec whose placements are being checked.
	group *structs.TaskGroup

	// leaving are the rows that the plan stops, by number.
	leaving  map[uint64]bool
	nodes    map[uint32]*nodeCheck
	names    map[nameKey]bool
	canaries map[canaryKey]bool
	replaced map[uint64]bool // rows that have got a successor in this plan
	evicted  map[uint64]bool

	accepted [][]bool
	// takers are the placements that what they preempt makes room for, by the id
	// of the victim. Two placements may have one name, and one be refused.
	takers  map[string]taker
	refused []structs.PlanRefusal
}

// taker is a placement of a plan.
type taker struct{ group, placement int }

// whole returns why the plan as a whole is refused, "" when it is not.
func (c *planCheck) whole() string {
	p, t := c.p, c.t
	if p.Epoch != t.root.epoch {
		return fmt.Sprintf("the plan is of term %d, the leader's is %d", p.Epoch, t.root.epoch)
	}
	if e := evals.get(t.root, p.EvalID); e != nil && e.Terminal() {
		return fmt.Sprintf("evaluation %s is already %s", p.EvalID, e.Status)
	}
	if reason := c.job(); reason != "" {
		return reason
	}
	if reason := c.deployments(); reason != "" {
		return reason
	}
	if reason := c.outcome(); reason != "" {
		return reason
	}
	c.leaving = make(map[uint64]bool, len(p.Stops))
	c.nodes = make(map[uint32]*nodeCheck, min(c.size(), int(t.allocs().NodeCount())))
	for i := range p.Stops {
		s := &p.Stops[i]
		r, ok := t.allocs().ByID(s.AllocID)
		if !ok {
			return fmt.Sprintf("allocation %s, which the plan stops, does not exist", s.AllocID)
		}
		if c.leaving[r.Number] {
			return fmt.Sprintf("the plan stops allocation %s twice", s.AllocID)
		}
		if s.ClientStatus != "" && r.ClientTerminal() { // it ended by itself, and may be done
			return fmt.Sprintf("allocation %s, which the plan takes for %s, has ended since", s.AllocID, s.ClientStatus)
		}
		if r.Desired == DesiredRun && r.Client == alloctable.ClientComplete && t.allocs().BatchOf(&r).Job.Type == structs.JobTypeBatch {
			return fmt.Sprintf("allocation %s, which the plan stops, has completed since", s.AllocID) // it would run again
		}
		if !c.ofJob(&r) {
			return fmt.Sprintf("allocation %s, which the plan stops, is of another job", s.AllocID)
		}
		c.leaving[r.Number] = true
		if r.Live() {
			c.node(r.Node).free(t.allocs().Usage(&r))
		}
	}
	return c.inPlace()
}

// size is the number of placements in the plan.
func (c *planCheck) size() int {
	n := 0
	for _, g := range c.p.Groups {
		n += len(g.Placements)
	}
	return n
}

func (c *planCheck) placesAny() bool { return c.size() > 0 }

// job checks the job and finds the version that the plan is about.
func (c *planCheck) job() string {
	p := c.p
	job := jobs.get(c.t.root, joinKey(p.Namespace, p.JobID))
	runs := c.placesAny() || len(p.InPlace) > 0
	if job == nil {
		if runs {
			return fmt.Sprintf("job %q does not exist in namespace %q", p.JobID, p.Namespace)
		}
		return ""
	}
	if job.JobModifyIndex != p.JobModifyIndex {
		return fmt.Sprintf("job %q was changed at index %d, the plan knows index %d", p.JobID, job.JobModifyIndex, p.JobModifyIndex)
	}
	if job.Stop && c.placesAny() {
		return fmt.Sprintf("job %q is stopped", p.JobID)
	}
	c.spec = (&Snapshot{r: c.t.root}).JobVersion(p.Namespace, p.JobID, p.JobVersion)
	if c.spec == nil && runs {
		return fmt.Sprintf("job %q has no version %d", p.JobID, p.JobVersion)
	}
	return ""
}

// ofJob reports whether an allocation is of the plan's job, this one or an
// earlier one of that name.
func (c *planCheck) ofJob(r *alloctable.Row) bool {
	job := c.t.allocs().BatchOf(r).Job
	return job.ID == c.p.JobID && job.Namespace == c.p.Namespace
}

// outcome checks that the plan settles and makes evaluations of its job alone,
// and of those from which it takes allocations.
func (c *planCheck) outcome() string {
	p := c.p
	if p.Eval != nil && p.Eval.ID != p.EvalID {
		return fmt.Sprintf("the plan of evaluation %s has the outcome of %s", p.EvalID, p.Eval.ID)
	}
	mine := map[JobKey]bool{{p.Namespace, p.JobID}: true}
	for _, taken := range p.Preemptions {
		if r, ok := c.t.allocs().ByID(taken.AllocID); ok {
			job := c.t.allocs().BatchOf(&r).Job
			mine[JobKey{job.Namespace, job.ID}] = true
		}
	}
	for _, e := range append([]*structs.Evaluation{p.Eval}, p.NewEvals...) {
		if e != nil && !mine[JobKey{e.Namespace, e.JobID}] {
			return fmt.Sprintf("evaluation %s in the plan is of job %q, the plan of %q", e.ID, e.JobID, p.JobID)
		}
	}
	return ""
}

// deployments checks that the deployments that the plan places in are active
// ones of its job, and that those which it changes are of it.
func (c *planCheck) deployments() string {
	foreign := func(d *structs.Deployment) bool {
		return d != nil && (d.JobID != c.p.JobID || d.Namespace != c.p.Namespace)
	}
	if d := c.p.Deployment; d != nil {
		if d.ID == "" {
			return "the plan's deployment has no id"
		}
		stored := deployments.get(c.t.root, d.ID)
		if foreign(d) || foreign(stored) {
			return fmt.Sprintf("deployment %s is of another job", d.ID)
		}
		if stored != nil && stored.Status != d.Status {
			return fmt.Sprintf("deployment %s is %s, not %s as when the plan was made", d.ID, stored.Status, d.Status)
		}
	}
	for _, u := range c.p.DeploymentUpdates {
		if foreign(deployments.get(c.t.root, u.DeploymentID)) {
			return fmt.Sprintf("deployment %s, which the plan ends, is of another job", u.DeploymentID)
		}
	}
	check := func(id string) string {
		if id == "" || c.p.Deployment != nil && c.p.Deployment.ID == id {
			return ""
		}
		d := deployments.get(c.t.root, id)
		switch {
		case d == nil || !d.Active():
			return fmt.Sprintf("deployment %s is not active", id)
		case foreign(d):
			return fmt.Sprintf("deployment %s is of another job", id)
		}
		return ""
	}
	for _, g := range c.p.Groups {
		if reason := check(g.DeploymentID); reason != "" {
			return reason
		}
	}
	for i := range c.p.InPlace {
		if reason := check(c.p.InPlace[i].DeploymentID); reason != "" {
			return reason
		}
	}
	return ""
}

// inPlace checks that in-place changes of resources fit. Those of allocations
// that have ended meanwhile are skipped when the plan is applied.
func (c *planCheck) inPlace() string {
	for i := range c.p.InPlace {
		u := &c.p.InPlace[i]
		r, ok := c.t.allocs().ByID(u.AllocID)
		if !ok {
			return fmt.Sprintf("allocation %s, which the plan updates, does not exist", u.AllocID)
		}
		if !c.ofJob(&r) {
			return fmt.Sprintf("allocation %s, which the plan updates, is of another job", u.AllocID)
		}
		if u.Resources == nil || !r.Live() || c.leaving[r.Number] {
			continue
		}
		n := c.node(r.Node)
		n.free(c.t.allocs().Usage(&r))
		ask := alloctable.Ask(u.Resources)
		if reason := n.fits(ask); n.node != nil && reason != "" {
			return fmt.Sprintf("allocation %s cannot be updated in place: %s", u.AllocID, reason)
		}
		n.take(ask)
	}
	return ""
}

// placements decides each placement in order.
func (c *planCheck) placements() {
	c.replaced = make(map[uint64]bool)
	c.evicted = make(map[uint64]bool)
	c.takers = make(map[string]taker)
	c.accepted = make([][]bool, len(c.p.Groups))
	if c.placesAny() {
		c.liveNames()
	}
	preemptions := c.preemptions()
	for gi, g := range c.p.Groups {
		c.accepted[gi] = make([]bool, len(g.Placements))
		if len(g.Placements) == 0 {
			continue // there may be no job to look into
		}
		ask := alloctable.Ask(g.Resources)
		c.group, c.runs = nil, c.t.specOf(c.p, g, c.spec)
		if c.runs != nil {
			c.group = c.runs.LookupGroup(g.Group)
		}
		for pi := range g.Placements {
			pl := &g.Placements[pi]
			reason, evict := "", preemptions[c.nameKey(g.Group, pl.NameIndex, pl.Node)]
			if c.group != nil {
				reason = c.placement(g, pl, ask, evict)
			} else {
				reason = fmt.Sprintf("version %d of job %q has no group %q", c.p.JobVersion-g.Older, c.spec.ID, g.Group)
			}
			if reason != "" {
				c.refused = append(c.refused, structs.PlanRefusal{Group: gi, Placement: pi, Node: pl.Node, Reason: reason})
				continue
			}
			c.accepted[gi][pi] = true
			for _, id := range evict {
				c.takers[id] = taker{gi, pi}
			}
		}
	}
}

// placement returns why a placement is refused. When it is not, the placement
// is counted, so that the next ones see it.
func (c *planCheck) placement(g *structs.PlanGroup, pl *structs.Placement, ask alloctable.Usage, evict []string) string {
	n := c.node(pl.Node)
	if n.node == nil {
		return fmt.Sprintf("node number %d does not exist", pl.Node)
	}
	if !n.node.Ready() {
		return fmt.Sprintf("node %s is %s and %s", n.node.ID, n.node.Status, n.node.SchedulingEligibility)
	}
	if reason := c.volumes(n.node); reason != "" {
		return reason
	}
	name := c.nameKey(g.Group, pl.NameIndex, pl.Node)
	canary := canaryKey{name, g.DeploymentID}
	if c.names[name] && !pl.Canary || c.canaries[canary] && pl.Canary {
		return fmt.Sprintf("%s has a live allocation", structs.AllocName(c.p.JobID, g.Group, uint(pl.NameIndex)))
	}
	prev, reason := c.previous(pl)
	if reason != "" {
		return reason
	}
	freed, reason := c.evictions(pl.Node, evict)
	if reason != "" {
		return reason
	}
	n.free(freed)
	if reason := n.fits(ask); reason != "" {
		n.take(freed)
		return reason
	}
	if reason := c.special(n, g, pl, prev, evict); reason != "" {
		n.take(freed)
		return reason
	}
	n.take(ask)
	if pl.Canary {
		c.canaries[canary] = true
	} else {
		c.names[name] = true
	}
	if prev != nil {
		c.replaced[prev.Number] = true
	}
	for _, id := range evict {
		if number, ok := c.t.allocs().Number(id); ok {
			c.evicted[number] = true
		}
	}
	return ""
}

// previous checks the allocation that a placement replaces.
func (c *planCheck) previous(pl *structs.Placement) (*alloctable.Row, string) {
	if pl.PreviousAlloc == "" {
		return nil, ""
	}
	r, ok := c.t.allocs().ByID(pl.PreviousAlloc)
	if !ok {
		return nil, fmt.Sprintf("allocation %s, which it replaces, does not exist", pl.PreviousAlloc)
	}
	if !c.ofJob(&r) {
		return nil, fmt.Sprintf("allocation %s, which it replaces, is of another job", pl.PreviousAlloc)
	}
	if r.Rare().Next != 0 || c.replaced[r.Number] {
		return nil, fmt.Sprintf("allocation %s was replaced already", pl.PreviousAlloc)
	}
	return &r, ""
}

// evictions sums what the allocations that a placement preempts occupy.
func (c *planCheck) evictions(node uint32, ids []string) (alloctable.Usage, string) {
	var freed alloctable.Usage
	for _, id := range ids {
		r, ok := c.t.allocs().ByID(id)
		if !ok || !r.Live() || c.leaving[r.Number] || c.evicted[r.Number] {
			return freed, fmt.Sprintf("allocation %s, which it preempts, is gone", id)
		}
		if r.Node != node {
			return freed, fmt.Sprintf("allocation %s, which it preempts, is on another node", id)
		}
		u := c.t.allocs().Usage(&r)
		freed = alloctable.Usage{CPU: freed.CPU + u.CPU, MemoryMB: freed.MemoryMB + u.MemoryMB, DiskMB: freed.DiskMB + u.DiskMB, Allocs: freed.Allocs + u.Allocs}
	}
	return freed, ""
}

func (c *planCheck) preemptions() map[nameKey][]string {
	if len(c.p.Preemptions) == 0 {
		return nil
	}
	m := make(map[nameKey][]string)
	for i := range c.p.Preemptions {
		u := &c.p.Preemptions[i]
		node := uint32(0)
		if r, ok := c.t.allocs().ByID(u.AllocID); ok {
			node = r.Node
		}
		k := c.nameKey(u.Group, u.NameIndex, node)
		m[k] = append(m[k], u.AllocID)
	}
	return m
}

// nameKey is the name of an allocation within its job; system jobs have the
// same names on every node.
type nameKey struct {
	group string
	index uint32
	node  uint32 // number plus one, for system and sysbatch jobs
}

func (c *planCheck) nameKey(group string, index, node uint32) nameKey {
	if c.spec.Type == structs.JobTypeSystem || c.spec.Type == structs.JobTypeSysBatch {
		return nameKey{group, index, node + 1}
	}
	return nameKey{group, index, 0}
}

// canaryKey is the name of a canary: it may be that of an allocation that the
// deployment replaces, not that of another canary of the same deployment.
type canaryKey struct {
	nameKey
	deployment string
}

// liveNames collects the names that cannot be placed again: of allocations
// that run or will, are not out of reach, and do not leave by this plan.
func (c *planCheck) liveNames() {
	c.names = make(map[nameKey]bool, c.size())
	c.canaries = make(map[canaryKey]bool)
	for r := range c.t.allocs().ByJob(c.p.Namespace, c.p.JobID) {
		if !r.Live() || r.Client == ClientUnknown || c.leaving[r.Number] {
			continue
		}
		name := c.nameKey(c.t.allocs().MadeBy(&r).Group, r.NameIndex, r.Node)
		if x := r.Rare(); x.Deployment != nil && x.Deployment.Canary {
			c.canaries[canaryKey{name, c.t.allocs().BatchOf(&r).DeploymentID}] = true
			continue
		}
		c.names[name] = true
	}
}

// volumes checks that a node has the host volumes that the group mounts.
func (c *planCheck) volumes(n *structs.Node) string {
	for _, name := range sortedKeys(c.group.Volumes) {
		v := c.group.Volumes[name]
		if v == nil || v.Type != "host" {
			continue
		}
		switch have := n.HostVolumes[v.Source]; {
		case have == nil:
			return fmt.Sprintf("node %s has no host volume %q", n.ID, v.Source)
		case have.ReadOnly && !v.ReadOnly:
			return fmt.Sprintf("host volume %q of node %s is read-only", v.Source, n.ID)
		}
	}
	return ""
}

func (c *planCheck) node(num uint32) *nodeCheck {
	if n := c.nodes[num]; n != nil {
		return n
	}
	n := newNodeCheck(nodes.get(c.t.root, c.t.allocs().NodeOf(num).ID), c.t.allocs().NodeUsage(num))
	c.nodes[num] = n
	return n
}
