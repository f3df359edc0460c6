package state

import (
	"maps"
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// summary returns the summary of a job for changing, nil when it has none.
// Commit writes it.
func (t *Txn) summary(ns, id string) *structs.JobSummary {
	key := JobKey{ns, id}
	if s := t.summaries[key]; s != nil {
		return s
	}
	old := summaries.get(t.root, joinKey(ns, id))
	if old == nil {
		return nil
	}
	s := *old
	s.Summary = maps.Clone(old.Summary)
	if old.Children != nil {
		c := *old.Children
		s.Children = &c
	}
	return t.keepSummary(key, &s)
}

func (t *Txn) keepSummary(key JobKey, s *structs.JobSummary) *structs.JobSummary {
	if t.summaries == nil {
		t.summaries = make(map[JobKey]*structs.JobSummary)
	}
	t.summaries[key] = s
	return s
}

func (t *Txn) flushSummaries() {
	for _, k := range slices.SortedFunc(maps.Keys(t.summaries), compareJobKeys) {
		s := t.summaries[k]
		s.ModifyIndex = t.index
		summaries.set(t, s)
	}
}

// putSummaryGroups gives a registered job a summary with all of its groups.
func (t *Txn) putSummaryGroups(job *structs.Job) {
	s := t.summary(job.Namespace, job.ID)
	if s == nil {
		s = t.keepSummary(JobKey{job.Namespace, job.ID}, &structs.JobSummary{
			JobID: job.ID, Namespace: job.Namespace, CreateIndex: t.index,
			Summary:  make(map[string]structs.TaskGroupSummary),
			Children: &structs.JobChildrenSummary{},
		})
	}
	for _, g := range job.TaskGroups {
		if g == nil {
			continue
		}
		if _, ok := s.Summary[g.Name]; !ok {
			s.Summary[g.Name] = structs.TaskGroupSummary{}
		}
	}
}

// countAllocs moves n allocations of a job from one client status to another
// in its summary; -1 is none.
func (t *Txn) countAllocs(job *structs.Job, group string, from, to, n int) {
	if from == to || n == 0 {
		return
	}
	// One after another are of the same job, mostly.
	if t.counted.job != job {
		t.counted.job, t.counted.summary = job, t.summaryOf(job)
	}
	s := t.counted.summary
	if s == nil {
		return
	}
	g := s.Summary[group]
	if was := counter(&g, from); was != nil {
		*was = max(*was-n, 0)
	}
	if is := counter(&g, to); is != nil {
		*is += n
	}
	s.Summary[group] = g
}

// summaryOf is the summary of a job, nil for an earlier job of that name.
func (t *Txn) summaryOf(job *structs.Job) *structs.JobSummary {
	stored := jobs.get(t.root, joinKey(job.Namespace, job.ID))
	if stored == nil || stored.CreateIndex != job.CreateIndex {
		return nil
	}
	return t.summary(job.Namespace, job.ID)
}

func counter(g *structs.TaskGroupSummary, client int) *int {
	switch client {
	case int(alloctable.ClientPending):
		return &g.Starting
	case int(alloctable.ClientRunning):
		return &g.Running
	case int(alloctable.ClientUnknown):
		return &g.Unknown
	case int(alloctable.ClientComplete):
		return &g.Complete
	case int(alloctable.ClientFailed):
		return &g.Failed
	case int(alloctable.ClientLost):
		return &g.Lost
	}
	return nil
}

// countQueued takes over what an evaluation could not place.
func (t *Txn) countQueued(e *structs.Evaluation) {
	if len(e.QueuedAllocations) == 0 {
		return
	}
	have := t.summaries[JobKey{e.Namespace, e.JobID}]
	if have == nil {
		have = summaries.get(t.root, joinKey(e.Namespace, e.JobID))
	}
	if have == nil {
		return
	}
	for group, n := range e.QueuedAllocations {
		if g, ok := have.Summary[group]; ok && g.Queued != n {
			s := t.summary(e.Namespace, e.JobID)
			g = s.Summary[group]
			g.Queued = n
			s.Summary[group] = g
		}
	}
}

// countChild moves a child job from one status to another in its parent's
// summary; "" is none.
func (t *Txn) countChild(child *structs.Job, from, to string) {
	s := t.summary(child.Namespace, child.ParentID)
	if s == nil {
		return
	}
	if s.Children == nil {
		s.Children = &structs.JobChildrenSummary{}
	}
	add := func(status string, n int64) {
		switch status {
		case structs.JobStatusPending:
			s.Children.Pending = max(s.Children.Pending+n, 0)
		case structs.JobStatusRunning:
			s.Children.Running = max(s.Children.Running+n, 0)
		case structs.JobStatusDead:
			s.Children.Dead = max(s.Children.Dead+n, 0)
		}
	}
	add(from, -1)
	add(to, 1)
}
