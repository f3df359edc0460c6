package scheduler

import "github.com/nomadlite/nomadlite/structs"

// change is what the job's version does to a running allocation.
type change uint8

const (
	changeNone    change = iota
	changeInPlace        // the allocation moves to the version as it runs
	changeDestroy        // it is stopped and placed again
)

// changeKey is a version of the job that allocations run, and a group.
type changeKey struct {
	version, created uint64
	group            string
}

// changeOf compares the version that an allocation runs with the job's.
func (p *pass) changeOf(a *structs.Allocation) change {
	if a.Job == nil {
		return changeDestroy
	}
	if a.Job.Version == p.job.Version && a.Job.CreateIndex == p.job.CreateIndex {
		return changeNone
	}
	key := changeKey{a.Job.Version, a.Job.CreateIndex, a.TaskGroup}
	if c, known := p.changes[key]; known {
		return c
	}
	c := changeInPlace
	if destructive, _ := structs.UpdateEffect(a.Job, p.job, a.TaskGroup); destructive {
		c = changeDestroy
	}
	p.changes[key] = c
	return c
}

// lookupGroup finds a group of a job that may be gone.
func lookupGroup(job *structs.Job, name string) *structs.TaskGroup {
	if job == nil {
		return nil
	}
	return job.LookupGroup(name)
}
