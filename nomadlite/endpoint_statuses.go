package nomadlite

import (
	"context"
	"iter"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// maxStatuses bounds how many jobs a body may choose.
const maxStatuses = 1000

func statusKey(j *structs.Job) api.Key {
	return api.Key{Namespace: j.Namespace, ID: j.ID, Index: j.ModifyIndex}
}

// jobStatuses lists jobs with their allocations and newest deployment, the
// newest change first.
func (e *endpoints) jobStatuses(ctx context.Context, r *api.Request) (*api.Response, error) {
	children, err := r.Bool("include_children", false)
	if err != nil {
		return nil, err
	}
	req := &api.JobStatusesRequest{}
	chosen, err := r.DecodeOptional(req)
	switch {
	case err != nil:
		return nil, err
	case chosen && len(req.Jobs) == 0:
		return nil, structs.Errorf(structs.Invalid, "no jobs in request")
	case len(req.Jobs) > maxStatuses:
		return nil, structs.Errorf(structs.Invalid, "request names %d jobs: at most %d are allowed", len(req.Jobs), maxStatuses)
	}
	children = children || req.IncludeChildren
	keys, all := tables(state.TableJobs, state.TableAllocs, state.TableDeployments)
	index := func(s *state.Snapshot) uint64 {
		if chosen {
			return all(s)
		}
		return scope(r, s, state.TableJobs, state.TableJobSummaries, state.TableAllocs, state.TableDeployments)
	}
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		jobs := filtered(visibleJobs(r, s), func(j *structs.Job) bool { return children || j.ParentID == "" })
		if chosen {
			jobs = chosenJobs(r, s, req.Jobs)
		}
		return page(api.List(r, "job", jobs, statusKey, func(j *structs.Job) *api.JobStatus { return jobStatus(s, j) }))
	}})
}

// chosenJobs yields the jobs that a body names, each once; those that do not
// exist are left out.
func chosenJobs(r *api.Request, s *state.Snapshot, ids []api.NamespacedID) iter.Seq[*structs.Job] {
	return func(yield func(*structs.Job) bool) {
		seen := map[api.NamespacedID]bool{}
		for _, id := range ids {
			job := s.Job(id.Namespace, id.ID)
			if job == nil || seen[id] || !r.ACL.Allows(r.Route.Capability, id.Namespace) {
				continue
			}
			seen[id] = true
			if !yield(job) {
				return
			}
		}
	}
}

func jobStatus(s *state.Snapshot, j *structs.Job) *api.JobStatus {
	out := &api.JobStatus{
		ID: j.ID, Namespace: j.Namespace, Name: j.Name, Type: j.Type, NodePool: j.NodePool,
		Datacenters: j.Datacenters, Priority: j.Priority, Version: j.Version, SubmitTime: j.SubmitTime,
		ModifyIndex: j.ModifyIndex, Status: j.Status, Stop: j.Stop, ParentID: j.ParentID,
		IsPack: j.Meta["pack.name"] != "", Allocs: []api.JobStatusAlloc{},
	}
	for _, g := range j.TaskGroups {
		out.GroupCountSum += structs.Val(g.Count)
	}
	if j.Periodic != nil || j.Dispatchable() {
		out.ChildStatuses = []string{}
		for child := range s.JobChildren(j.Namespace, j.ID) {
			out.ChildStatuses = append(out.ChildStatuses, child.Status)
		}
	}
	if d := s.LatestDeployment(j.Namespace, j.ID); d != nil {
		out.LatestDeployment = statusDeployment(d)
	}
	for a := range s.AllocsByJob(j.Namespace, j.ID, false) {
		one := api.JobStatusAlloc{ID: a.ID, Group: a.TaskGroup, ClientStatus: a.ClientStatus, NodeID: a.NodeID, FollowupEvalID: a.FollowupEvalID}
		if a.Job != nil {
			one.JobVersion = a.Job.Version
		}
		if d := a.DeploymentStatus; d != nil {
			one.DeploymentStatus = api.JobStatusAllocHealth{Canary: d.Canary, Healthy: d.Healthy}
		}
		for _, t := range a.TaskStates {
			one.HasPausedTask = one.HasPausedTask || t != nil && t.Paused != ""
		}
		out.Allocs = append(out.Allocs, one)
	}
	return out
}

func statusDeployment(d *structs.Deployment) *api.JobStatusDeployment {
	out := &api.JobStatusDeployment{ID: d.ID, IsActive: d.Active(), JobVersion: d.JobVersion, Status: d.Status,
		StatusDescription: d.StatusDescription, AllAutoPromote: len(d.TaskGroups) > 0}
	for _, g := range d.TaskGroups {
		out.AllAutoPromote = out.AllAutoPromote && g.AutoPromote
		out.RequiresPromotion = out.RequiresPromotion || g.AwaitsPromotion()
	}
	return out
}
