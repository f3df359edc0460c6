package sim

import (
	"fmt"
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// indexes are those that an object had last.
type indexes struct{ create, modify uint64 }

// checker holds the state against the invariants of reliability.md.
type checker struct {
	seen     map[string]indexes
	terminal map[string]string // evaluations that have ended
	watch    *state.Watcher    // of the leader's allocations
	store    *state.Store
	allocs   uint64

	lives    map[string]life   // by allocation
	ended    map[string]string // deployments that have ended
	promoted map[string]bool   // groups of deployments
	// completed are the names of a batch job's version that have completed.
	completed map[string]bool
	living    map[string]int        // children of periodic jobs
	foreign   map[string]bool       // allocations that follow a purged job's
	told      []*structs.Allocation // those that the last entry told to leave their nodes
}

func newChecker() checker {
	return checker{seen: map[string]indexes{}, terminal: map[string]string{}, lives: map[string]life{}, ended: map[string]string{},
		promoted: map[string]bool{}, completed: map[string]bool{}, foreign: map[string]bool{}}
}

// entry checks the leader's state after an entry.
func (k *checker) entry(c *cluster, snap *state.Snapshot) {
	k.watched(c, snap)
	names, ports := map[string]string{}, map[string]string{}
	used := map[string][2]int64{}
	live := map[groupKey]structs.TaskGroupSummary{}
	for a := range c.seenAllocs(snap) {
		k.placed(c, snap, a)
		k.lived(c, a)
		k.moved(c, "allocation "+a.ID, a.CreateIndex, a.ModifyIndex)
		if a.Job == nil || a.Job.LookupGroup(a.TaskGroup) == nil {
			c.fail("I-20: allocation %s has no version of its job", a.ID)
			return
		}
		k.once(c, a)
		countLive(live, snap, a)
		if !a.ClientTerminal() {
			for _, p := range a.AllocatedResources.Shared.Ports {
				key := fmt.Sprint(a.NodeID, " ", p.Value)
				if other := ports[key]; other != "" && a.PreviousAllocation != other {
					c.fail("I-04: port %s is held by %s and by %s", key, other, a.ID)
				}
				ports[key] = a.ID
			}
		}
		if a.Terminal() {
			continue
		}
		key := a.Namespace + "/" + a.Name
		if a.Job.Type == structs.JobTypeSystem {
			key += " " + a.NodeID // one on each node
		}
		if other := names[key]; other != "" && !k.mayBeTwice(snap, a, snap.Alloc(other)) {
			c.fail("I-02: %s is live twice, as %s and as %s", a.Name, describe(snap.Alloc(other)), describe(a))
		}
		names[key] = a.ID
		u := used[a.NodeID]
		for _, t := range a.AllocatedResources.Tasks {
			u[0] += t.Cpu.CpuShares
			u[1] += t.Memory.MemoryMB
		}
		used[a.NodeID] = u
	}
	for n := range snap.Nodes() {
		k.moved(c, "node "+n.ID, n.CreateIndex, n.ModifyIndex)
		if u := used[n.ID]; u[0] > n.NodeResources.Cpu.CpuShares || u[1] > n.NodeResources.Memory.MemoryMB {
			c.fail("I-03: node %s holds %d MHz and %d MiB", n.ID, u[0], u[1])
		}
	}
	k.paced(c, snap)
	k.summaries(c, snap, live)
	k.evals(c, snap)
	k.deployments(c, snap)
	k.launches(c, snap)
}

// describe tells an allocation in a failure.
func describe(a *structs.Allocation) string {
	health := "undecided"
	if a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil {
		health = fmt.Sprint("healthy ", *a.DeploymentStatus.Healthy)
	}
	return fmt.Sprintf("%s (version %d, %s/%s, deployment %q, canary %v, %s, made at %d, changed at %d)", a.ID[:8], a.Job.Version, a.DesiredStatus, a.ClientStatus,
		a.DeploymentID, a.DeploymentStatus != nil && a.DeploymentStatus.Canary, health, a.CreateIndex, a.ModifyIndex)
}

// mayBeTwice reports whether two live allocations may have one name: a canary,
// promoted or not, beside what it replaces, and one that is unknown beside its
// replacement.
func (k *checker) mayBeTwice(snap *state.Snapshot, a, b *structs.Allocation) bool {
	canary := func(a *structs.Allocation) bool {
		d := snap.Deployment(a.DeploymentID)
		return d != nil && d.TaskGroups[a.TaskGroup] != nil && slices.Contains(d.TaskGroups[a.TaskGroup].PlacedCanaries, a.ID)
	}
	unknown := func(a *structs.Allocation) bool {
		g := a.Job.LookupGroup(a.TaskGroup)
		return g.Disconnect != nil && structs.Val(g.Disconnect.LostAfter) > 0
	}
	others := a.Job.Version != b.Job.Version || k.foreign[a.ID] || k.foreign[b.ID]
	return others && (canary(a) || canary(b)) || unknown(a) || unknown(b)
}

// groupKey is a group of a job.
type groupKey struct{ ns, job, group string }

// countLive counts an allocation of the present job of its name that has not
// ended.
func countLive(live map[groupKey]structs.TaskGroupSummary, snap *state.Snapshot, a *structs.Allocation) {
	if job := snap.Job(a.Namespace, a.JobID); job == nil || job.CreateIndex != a.Job.CreateIndex {
		return
	}
	key := groupKey{a.Namespace, a.JobID, a.TaskGroup}
	n := live[key]
	switch a.ClientStatus {
	case structs.AllocClientStatusPending:
		n.Starting++
	case structs.AllocClientStatusRunning:
		n.Running++
	case structs.AllocClientStatusUnknown:
		n.Unknown++
	}
	live[key] = n
}

// summaries checks the stored summaries of jobs against a count of what lives
// (I-15). What has ended stays counted after it was collected.
func (k *checker) summaries(c *cluster, snap *state.Snapshot, live map[groupKey]structs.TaskGroupSummary) {
	for job := range snap.Jobs("", "") {
		stored := snap.JobSummary(job.Namespace, job.ID)
		if stored == nil {
			c.fail("I-15: job %q has no summary", job.ID)
			return
		}
		for group, n := range stored.Summary {
			want := live[groupKey{job.Namespace, job.ID, group}]
			if n.Starting != want.Starting || n.Running != want.Running || n.Unknown != want.Unknown || min(n.Queued, n.Complete, n.Failed, n.Lost) < 0 {
				c.fail("I-15: the summary of %s.%s is %+v; counted %+v", job.ID, group, n, want)
			}
		}
	}
}

// evals checks that evaluations end once and have a job, or had one (I-06,
// I-20).
func (k *checker) evals(c *cluster, snap *state.Snapshot) {
	for e := range snap.Evals() {
		k.moved(c, "evaluation "+e.ID, e.CreateIndex, e.ModifyIndex)
		if was := k.terminal[e.ID]; was != "" && was != e.Status {
			c.fail("I-06: evaluation %s was %s and is %s", e.ID, was, e.Status)
		}
		switch e.Status {
		case structs.EvalStatusComplete, structs.EvalStatusFailed, structs.EvalStatusCanceled:
			k.terminal[e.ID] = e.Status
		case structs.EvalStatusPending, structs.EvalStatusBlocked:
		default:
			c.fail("I-06: evaluation %s is %q", e.ID, e.Status)
		}
	}
}

// moved checks that the indexes of an object only grow (I-14). One that was
// removed may come back as another one, later.
func (k *checker) moved(c *cluster, what string, create, modify uint64) {
	was, known := k.seen[what]
	if known && (create != was.create && create <= was.modify || modify < was.modify) || modify < create || modify > uint64(len(c.log)) {
		c.fail("I-14: %s went from %d/%d to %d/%d", what, was.create, was.modify, create, modify)
	}
	k.seen[what] = indexes{create, modify}
}

// watched checks that whoever waits for allocations has been woken (I-14).
func (k *checker) watched(c *cluster, snap *state.Snapshot) {
	store := c.servers[c.leader].store
	if k.store != store {
		k.store, k.watch = store, store.Watch(state.KeyTable(state.TableAllocs))
		k.allocs = snap.TableIndex(state.TableAllocs)
		return
	}
	if now := snap.TableIndex(state.TableAllocs); now != k.allocs {
		k.allocs = now
		select {
		case <-k.watch.C():
		default:
			c.fail("I-14: a change of allocations at %d woke nobody", now)
		}
	}
}

// rest says what is not as it should be once the faults have stopped, "" for
// nothing.
func (c *cluster) rest() string {
	snap := c.snapshot()
	open := map[string]string{} // by job
	for e := range snap.OpenEvals() {
		if e.Status == structs.EvalStatusPending {
			return fmt.Sprintf("I-06: evaluation %s of job %q is pending", e.ID, e.JobID)
		}
		if other := open[e.JobID]; other != "" {
			return fmt.Sprintf("I-06: job %q has two evaluations that wait, %s and %s", e.JobID, other, e.ID)
		}
		open[e.JobID] = e.ID
	}
	if reason := c.loopsRest(snap, open); reason != "" {
		return reason
	}
	for job := range snap.Jobs("", "") {
		if reason := c.jobRest(snap, job, open[job.ID]); reason != "" {
			return reason
		}
	}
	for id := range c.acked {
		if snap.Job("default", id) == nil {
			return fmt.Sprintf("I-05: job %q was acknowledged and is lost", id)
		}
	}
	return ""
}

func (c *cluster) jobRest(snap *state.Snapshot, job *structs.Job, waits string) string {
	want, running := 0, 0
	if !job.Stop {
		for _, g := range job.TaskGroups {
			want += *g.Count
		}
	}
	for a := range snap.AllocsByJob(job.Namespace, job.ID, true) {
		switch {
		case a.ServerTerminal() && !a.ClientTerminal():
			return fmt.Sprintf("allocation %s of job %q was not stopped", a.ID, job.ID)
		case !a.Terminal() && a.ClientStatus != structs.AllocClientStatusRunning && job.Type == structs.JobTypeService:
			return fmt.Sprintf("allocation %s of job %q is %s", a.ID, job.ID, a.ClientStatus)
		case !a.Terminal():
			running++
		}
	}
	if running < want && gaveUp(snap, job) {
		return ""
	}
	if job.Type == structs.JobTypeService && running != want && (waits == "" || running > want) {
		return fmt.Sprintf("I-01: %d of %d allocations of job %q run, and nothing waits", running, want, job.ID)
	}
	if job.Type == structs.JobTypeService && waits != "" && c.fits(snap, job) {
		return fmt.Sprintf("B-23: evaluation %s waits although job %q fits", waits, job.ID)
	}
	return ""
}

// gaveUp reports whether nothing more of a job's version is placed, since its
// deployment failed; that may have been collected.
func gaveUp(snap *state.Snapshot, job *structs.Job) bool {
	d := snap.LatestDeployment(job.Namespace, job.ID)
	return job.Update != nil && structs.Val(job.Update.MaxParallel) > 0 && (d == nil || d.Status == structs.DeploymentStatusFailed && d.JobVersion == job.Version)
}

// fits reports whether some node has room for another allocation of a job.
func (c *cluster) fits(snap *state.Snapshot, job *structs.Job) bool {
	var ask state.Usage
	for _, t := range job.TaskGroups[0].Tasks {
		ask.CPU += int64(*t.Resources.CPU)
		ask.MemoryMB += int64(*t.Resources.MemoryMB)
	}
	ask.DiskMB, ask.Allocs = int64(*job.TaskGroups[0].EphemeralDisk.SizeMB), 1
	if len(job.TaskGroups[0].Networks) > 0 {
		return false // its port may be taken
	}
	for num := range snap.NodeCount() {
		if n := snap.NodeByNum(num); n != nil && n.Ready() && snap.NodeFits(num, ask) {
			return true
		}
	}
	return false
}
