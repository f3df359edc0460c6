package state

import (
	"maps"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// RegisterJob creates or updates a job. An unchanged specification makes no
// new version; the evaluation is written either way.
func (t *Txn) RegisterJob(c *JobRegister) (*JobResult, error) {
	if c.Job == nil {
		return nil, structs.Errorf(structs.Invalid, "cannot register a job: it is missing")
	}
	ns, id := c.Job.Namespace, c.Job.ID
	if namespaces.get(t.root, ns) == nil {
		return nil, structs.Errorf(structs.Rejected, "job %q is in nonexistent namespace %q", id, ns)
	}
	old := jobs.get(t.root, joinKey(ns, id))
	if r := t.repeated(c.Eval, old); r != nil {
		return r, nil
	}
	if c.EnforceIndex {
		if err := enforceIndex(old, c.JobModifyIndex); err != nil {
			return nil, err
		}
	}
	if old == nil && c.Launched {
		if err := t.mayHaveChildren(ns, c.Job.ParentID); err != nil {
			return nil, err
		}
	}
	job, changed := t.putJob(c.Job, old, c.Now)
	if changed && c.Submission != nil {
		sub := submission{*c.Submission, t.index}
		sub.Namespace, sub.JobID, sub.Version, sub.JobModifyIndex = ns, id, job.Version, t.index
		submissions.set(t, &sub)
	}
	return t.jobResult(job, changed, c.Eval), nil
}

// mayHaveChildren refuses a child of a job that was stopped or purged after its
// launch or dispatch was decided.
func (t *Txn) mayHaveChildren(ns, id string) error {
	parent := jobs.get(t.root, joinKey(ns, id))
	switch {
	case parent == nil:
		return structs.Errorf(structs.Conflict, "cannot start a child of job %q: it does not exist any more", id)
	case parent.Stop:
		return structs.Errorf(structs.Conflict, "cannot start a child of job %q: it is stopped", id)
	}
	return nil
}

// LaunchChildren starts the children of periodic jobs. What is due for a time
// up to the last launch was launched before, perhaps by an earlier leader;
// that, and what is due for a job that was stopped or purged meanwhile, is
// passed over.
func (t *Txn) LaunchChildren(c *ChildrenLaunch) error {
	for _, l := range c.Launches {
		key := joinKey(l.Namespace, l.JobID)
		if last := launches.get(t.root, key); last != nil && !l.At.After(last.Launch) || t.mayHaveChildren(l.Namespace, l.JobID) != nil {
			continue
		}
		launches.set(t, &launch{l.Namespace, l.JobID, l.At, t.index})
		if l.Child == nil || jobs.get(t.root, joinKey(l.Namespace, l.Child.ID)) != nil {
			continue
		}
		job, changed := t.putJob(l.Child, nil, c.Now)
		t.jobResult(job, changed, l.Eval)
	}
	return nil
}

// repeated returns the result of a command that was applied before, told by
// its evaluation.
func (t *Txn) repeated(eval *structs.Evaluation, job *structs.Job) *JobResult {
	if eval == nil || job == nil {
		return nil
	}
	first := evals.get(t.root, eval.ID)
	if first == nil {
		return nil
	}
	return &JobResult{Index: first.CreateIndex, JobModifyIndex: first.JobModifyIndex, Version: job.Version, EvalID: eval.ID}
}

func (t *Txn) jobResult(job *structs.Job, changed bool, eval *structs.Evaluation) *JobResult {
	r := &JobResult{Index: t.index, JobModifyIndex: job.JobModifyIndex, Version: job.Version, NewVersion: changed}
	if eval != nil {
		e := *eval
		e.JobModifyIndex = job.JobModifyIndex
		t.putEval(&e)
		r.EvalID = e.ID
	}
	return r
}

func enforceIndex(old *structs.Job, want uint64) error {
	switch {
	case want == 0 && old != nil:
		return structs.Errorf(structs.Rejected, "Enforcing job modify index 0: job already exists")
	case want != 0 && old == nil:
		return structs.Errorf(structs.Rejected, "Enforcing job modify index %d: job does not exist", want)
	case want != 0 && old.JobModifyIndex != want:
		return structs.Errorf(structs.Rejected, "Enforcing job modify index %d: job exists with conflicting job modify index: %d", want, old.JobModifyIndex)
	}
	return nil
}

// putJob stores a specification as the job's newest version, unless it is the
// one it has, and returns the stored job.
func (t *Txn) putJob(spec, old *structs.Job, now int64) (*structs.Job, bool) {
	if old != nil && SameSpec(spec, old) {
		return old, false
	}
	job := *spec
	job.CreateIndex, job.ModifyIndex, job.JobModifyIndex = t.index, t.index, t.index
	job.Version, job.Stable, job.VersionTag = 0, false, nil
	job.Status, job.StatusDescription = structs.JobStatusPending, ""
	job.SubmitTime = now
	if old != nil {
		job.CreateIndex, job.Version = old.CreateIndex, old.Version+1
		job.Status, job.StatusDescription = old.Status, old.StatusDescription
	}
	jobs.set(t, &job)
	jobVersions.set(t, &job)
	t.pruneVersions(&job)
	t.putSummaryGroups(&job)
	if old == nil && job.ParentID != "" {
		t.countChild(&job, "", job.Status)
	}
	t.touchJob(job.Namespace, job.ID)
	return &job, true
}

// pruneVersions removes versions beyond the newest TrackedJobVersions that are
// not tagged. Those in use by allocations live on with them.
func (t *Txn) pruneVersions(job *structs.Job) {
	prefix := joinKey(job.Namespace, job.ID, "")
	versions := slices.Collect(jobVersions.prefix(t.root, prefix))
	excess := len(versions) - structs.TrackedJobVersions
	for _, v := range versions {
		if excess <= 0 {
			return
		}
		if v.VersionTag == nil {
			key := versionKey(v.Namespace, v.ID, v.Version)
			jobVersions.remove(t, key)
			submissions.remove(t, key)
		}
		excess--
	}
}

// DeregisterJob stops a job by a new version that says so, or removes it.
func (t *Txn) DeregisterJob(c *JobDeregister) (*JobResult, error) {
	old := jobs.get(t.root, joinKey(c.Namespace, c.JobID))
	if r := t.repeated(c.Eval, old); r != nil {
		return r, nil
	}
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, "cannot stop job %q: no such job in namespace %q", c.JobID, c.Namespace)
	}
	if c.Purge {
		t.purgeJob(old)
		return t.jobResult(old, false, c.Eval), nil
	}
	stopped := *old
	stopped.Stop = true
	job, changed := t.putJob(&stopped, old, c.Now)
	return t.jobResult(job, changed, c.Eval), nil
}

// purgeJob removes a job and what is kept under its name. Its allocations and
// evaluations stay until they are collected.
func (t *Txn) purgeJob(job *structs.Job) {
	key := joinKey(job.Namespace, job.ID)
	jobs.remove(t, key)
	summaries.remove(t, key)
	delete(t.summaries, JobKey{job.Namespace, job.ID})
	t.counted.job = nil
	launches.remove(t, key)
	scalings.remove(t, key)
	for _, v := range slices.Collect(jobVersions.prefix(t.root, key+sep)) {
		jobVersions.remove(t, versionKey(v.Namespace, v.ID, v.Version))
	}
	for _, s := range slices.Collect(submissions.prefix(t.root, key+sep)) {
		submissions.remove(t, versionKey(s.Namespace, s.JobID, s.Version))
	}
	if job.ParentID != "" {
		t.countChild(job, job.Status, "")
	}
}

// ScaleJob changes the count of a group.
func (t *Txn) ScaleJob(c *JobScale) (*JobResult, error) {
	old := jobs.get(t.root, joinKey(c.Namespace, c.JobID))
	if r := t.repeated(c.Eval, old); r != nil {
		return r, nil
	}
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, "cannot scale job %q: no such job in namespace %q", c.JobID, c.Namespace)
	}
	if c.EnforceIndex {
		if err := enforceIndex(old, c.JobModifyIndex); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(old.TaskGroups, func(g *structs.TaskGroup) bool { return g != nil && g.Name == c.Group })
	if i < 0 {
		return nil, structs.Errorf(structs.NotFound, "cannot scale job %q: it has no group %q", c.JobID, c.Group)
	}
	group := *old.TaskGroups[i]
	group.Count = structs.Ptr(c.Count)
	scaled := *old
	scaled.TaskGroups = slices.Clone(old.TaskGroups)
	scaled.TaskGroups[i] = &group
	job, changed := t.putJob(&scaled, old, c.Now)
	if e := c.Event; e != nil {
		event := *e
		event.Count, event.PreviousCount = structs.Ptr(int64(c.Count)), int64(structs.Val(old.TaskGroups[i].Count))
		if c.Eval != nil {
			event.EvalID = structs.Ptr(c.Eval.ID)
		}
		t.noteScaling(c.Namespace, c.JobID, c.Group, &event)
	}
	return t.jobResult(job, changed, c.Eval), nil
}

// AddScalingEvent adds to the history of a group without scaling it.
func (t *Txn) AddScalingEvent(c *ScalingEventAdd) error {
	job := jobs.get(t.root, joinKey(c.Namespace, c.JobID))
	var g *structs.TaskGroup
	if job != nil {
		g = job.LookupGroup(c.Group)
	}
	if g == nil || c.Event == nil {
		return structs.Errorf(structs.NotFound, "cannot record a scaling event of job %q: it has no group %q", c.JobID, c.Group)
	}
	event := *c.Event
	event.Count, event.PreviousCount = nil, int64(structs.Val(g.Count))
	t.noteScaling(c.Namespace, c.JobID, c.Group, &event)
	return nil
}

// noteScaling puts an event in front of a group's history.
func (t *Txn) noteScaling(ns, id, group string, event *structs.ScalingEvent) {
	next := scaling{Namespace: ns, JobID: id, Groups: map[string][]*structs.ScalingEvent{}, ModifyIndex: t.index}
	if old := scalings.get(t.root, joinKey(ns, id)); old != nil {
		maps.Copy(next.Groups, old.Groups)
	}
	event.CreateIndex = t.index
	list := append([]*structs.ScalingEvent{event}, next.Groups[group]...)
	next.Groups[group] = list[:min(len(list), structs.TrackedScalingEvents)]
	scalings.set(t, &next)
}

// SetJobStability marks a version as one to revert to, or not.
func (t *Txn) SetJobStability(c *JobStability) (*JobResult, error) {
	job := t.changeVersion(c.Namespace, c.JobID, c.Version, func(j *structs.Job) { j.Stable = c.Stable })
	if job == nil {
		return nil, structs.Errorf(structs.NotFound, "cannot mark version %d of job %q: no such version", c.Version, c.JobID)
	}
	return t.jobResult(job, false, nil), nil
}

// TagJob names a version, or removes its name.
func (t *Txn) TagJob(c *JobTag) error {
	if c.Tag != nil {
		for v := range jobVersions.prefix(t.root, joinKey(c.Namespace, c.JobID, "")) {
			if v.VersionTag != nil && v.VersionTag.Name == c.Tag.Name && v.Version != c.Version {
				return structs.Errorf(structs.Conflict, "cannot tag version %d of job %q: %q already exists on version %d; choose another name or remove it there", c.Version, c.JobID, c.Tag.Name, v.Version)
			}
		}
	}
	if t.changeVersion(c.Namespace, c.JobID, c.Version, func(j *structs.Job) { j.VersionTag = c.Tag }) == nil {
		return structs.Errorf(structs.NotFound, "cannot tag version %d of job %q: no such version", c.Version, c.JobID)
	}
	return nil
}

// changeVersion changes a stored version, which may be the newest, and returns
// it, nil when it is not kept.
func (t *Txn) changeVersion(ns, id string, version uint64, change func(*structs.Job)) *structs.Job {
	v := jobVersions.get(t.root, versionKey(ns, id, version))
	if v == nil {
		return nil
	}
	job := jobs.get(t.root, joinKey(ns, id))
	newest := job != nil && job.Version == version
	if newest {
		v = job
	}
	n := *v
	change(&n)
	n.ModifyIndex = t.index
	jobVersions.set(t, &n)
	if newest {
		jobs.set(t, &n)
	}
	return &n
}

// flushJobs computes the statuses of jobs whose allocations, evaluations or
// deployments changed.
func (t *Txn) flushJobs() {
	keys := slices.SortedFunc(maps.Keys(t.jobsTouched), compareJobKeys)
	for _, k := range keys {
		job := jobs.get(t.root, joinKey(k.Namespace, k.ID))
		if job == nil {
			continue
		}
		status := t.jobStatus(job)
		if status == job.Status {
			continue
		}
		n := *job
		n.Status, n.ModifyIndex = status, t.index
		jobs.set(t, &n)
		if job.ParentID != "" {
			t.countChild(job, job.Status, status)
		}
	}
}

func compareJobKeys(a, b JobKey) int {
	if a.Namespace != b.Namespace {
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	}
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

// jobStatus computes a job's status (reference/runtime.md 10): system, periodic
// and parameterized jobs run until stopped; others run while they have a live
// allocation or an active deployment, are pending while they have an open
// evaluation or nothing yet, and are dead otherwise.
func (t *Txn) jobStatus(job *structs.Job) string {
	if job.Type == structs.JobTypeSystem || job.Periodic != nil || job.Dispatchable() {
		if job.Stop {
			return structs.JobStatusDead
		}
		return structs.JobStatusRunning
	}
	if t.allocs().JobLive(job.Namespace, job.ID) > 0 {
		return structs.JobStatusRunning
	}
	key := joinKey(job.Namespace, job.ID, "")
	for d := range deployments.by(t.root, "job", key) {
		if d.Active() && d.JobCreateIndex == job.CreateIndex && !job.Stop {
			return structs.JobStatusRunning
		}
	}
	for range evals.by(t.root, "job open", key) {
		return structs.JobStatusPending
	}
	if job.Status == structs.JobStatusPending && !t.hasHistory(job) {
		return structs.JobStatusPending
	}
	return structs.JobStatusDead
}

func (t *Txn) hasHistory(job *structs.Job) bool {
	for range evals.by(t.root, "job", joinKey(job.Namespace, job.ID, "")) {
		return true
	}
	for range t.allocs().ByJob(job.Namespace, job.ID) {
		return true
	}
	return false
}
