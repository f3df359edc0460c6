package nomadlite

import (
	"context"
	"iter"
	"maps"
	"net/url"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func jobNamespace(j *structs.Job) string { return j.Namespace }

func jobKey(j *structs.Job) api.Key {
	return api.Key{Namespace: j.Namespace, ID: j.ID, Index: j.CreateIndex}
}

func (e *endpoints) listJobs(ctx context.Context, r *api.Request) (*api.Response, error) {
	return e.jobPage(ctx, r, func(*structs.Job) bool { return true })
}

// jobPage lists the jobs that keep accepts.
func (e *endpoints) jobPage(ctx context.Context, r *api.Request, keep func(*structs.Job) bool) (*api.Response, error) {
	meta, err := r.Bool("meta", false)
	if err != nil {
		return nil, err
	}
	keys, _ := tables(state.TableJobs, state.TableJobSummaries)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 { return scope(r, s, state.TableJobs, state.TableJobSummaries) }, func(s *state.Snapshot) (*api.Response, error) {
		return page(api.List(r, "job", filtered(visibleJobs(r, s), keep), jobKey, func(j *structs.Job) *structs.JobListStub {
			stub := j.Stub(s.JobSummary(j.Namespace, j.ID))
			if !meta {
				stub.Meta = nil
			}
			return stub
		}))
	}})
}

// storedNamespace is the namespace of a list as the state takes it: "" is all.
func storedNamespace(r *api.Request) string {
	if r.Query.Namespace == structs.AllNamespaces {
		return ""
	}
	return r.Query.Namespace
}

func visibleJobs(r *api.Request, s *state.Snapshot) iter.Seq[*structs.Job] {
	return visible(r, s.Jobs(storedNamespace(r), r.Query.Prefix), jobNamespace)
}

func filtered[T any](items iter.Seq[T], keep func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for item := range items {
			if keep(item) && !yield(item) {
				return
			}
		}
	}
}

// jobView is a read of one job: render sees it, and is not called when there
// is none.
func (e *endpoints) jobView(ctx context.Context, r *api.Request, render func(*state.Snapshot, *structs.Job) (*api.Response, error)) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJob(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			if job := s.Job(ns, id); job != nil {
				return job.ModifyIndex
			}
			return s.TableIndex(state.TableJobs)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			job := s.Job(ns, id)
			if job == nil {
				return nil, notFound("job")
			}
			return render(s, job)
		},
	})
}

func (e *endpoints) readJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	return e.jobView(ctx, r, func(_ *state.Snapshot, job *structs.Job) (*api.Response, error) { return body(job) })
}

func (e *endpoints) jobSummary(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJob(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			if sum := s.JobSummary(ns, id); sum != nil {
				return sum.ModifyIndex
			}
			return s.TableIndex(state.TableJobSummaries)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			if sum := s.JobSummary(ns, id); sum != nil {
				return body(sum)
			}
			return nil, notFound("job")
		},
	})
}

func (e *endpoints) jobAllocs(ctx context.Context, r *api.Request) (*api.Response, error) {
	all, err := r.Bool("all", false)
	if err != nil {
		return nil, err
	}
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJobAllocs(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			return newest(s, state.TableAllocs, s.AllocsByJob(ns, id, all), allocModified)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			return body(show(s.AllocsByJob(ns, id, all), showAllocStub))
		},
	})
}

func (e *endpoints) jobEvals(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJobEvals(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			return newest(s, state.TableEvals, s.EvalsByJob(ns, id), evalModified)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			return body(show(s.EvalsByJob(ns, id), itself[*structs.Evaluation]))
		},
	})
}

func itself[T any](v T) T { return v }

func (e *endpoints) jobDeployments(ctx context.Context, r *api.Request) (*api.Response, error) {
	all, err := r.Bool("all", false)
	if err != nil {
		return nil, err
	}
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJobDeployments(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			return newest(s, state.TableDeployments, s.DeploymentsByJob(ns, id), deploymentModified)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			job := s.Job(ns, id)
			mine := func(d *structs.Deployment) bool {
				return all || job == nil || d.JobCreateIndex == job.CreateIndex
			}
			return body(show(filtered(s.DeploymentsByJob(ns, id), mine), itself[*structs.Deployment]))
		},
	})
}

func (e *endpoints) jobDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJobDeployments(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			return newest(s, state.TableDeployments, s.DeploymentsByJob(ns, id), deploymentModified)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			if d := s.LatestDeployment(ns, id); d != nil {
				return body(d)
			}
			return body(nil)
		},
	})
}

func (e *endpoints) jobVersions(ctx context.Context, r *api.Request) (*api.Response, error) {
	diffs, err := r.Bool("diffs", false)
	if err != nil {
		return nil, err
	}
	against, fixed, err := r.Uint("diff_version")
	if err != nil {
		return nil, err
	}
	tag := r.Values.Get("diff_tag")
	resp, err := e.jobView(ctx, r, func(s *state.Snapshot, job *structs.Job) (*api.Response, error) {
		versions := s.JobVersions(job.Namespace, job.ID)
		out := &api.JobVersionsResponse{Versions: versions}
		out.Index = job.ModifyIndex
		if !diffs {
			return body(out)
		}
		reference, err := diffReference(versions, against, fixed, tag)
		if err != nil {
			return nil, err
		}
		out.Diffs = versionDiffs(versions, reference)
		return body(out)
	})
	if structs.KindOf(err) == structs.NotFound {
		err = notFound("job versions")
	}
	return resp, err
}

// diffReference is the version that all others are compared with, nil for
// each with the one before it.
func diffReference(versions []*structs.Job, version uint64, given bool, tag string) (*structs.Job, error) {
	if tag != "" {
		for _, v := range versions {
			if v.VersionTag != nil && v.VersionTag.Name == tag {
				return v, nil
			}
		}
		return nil, structs.Errorf(structs.Internal, "tag %q not found", tag)
	}
	if !given {
		return nil, nil
	}
	for _, v := range versions {
		if v.Version == version {
			return v, nil
		}
	}
	return nil, structs.Errorf(structs.Internal, "version %d not found", version)
}

// versionDiffs compares versions, newest first, with the one before each or
// with a reference.
func versionDiffs(versions []*structs.Job, reference *structs.Job) []*api.JobDiff {
	out := []*api.JobDiff{}
	for i, v := range versions {
		before := reference
		switch {
		case before == nil && i+1 == len(versions), before == v:
			continue
		case before == nil:
			before = versions[i+1]
		}
		out = append(out, structs.DiffJobs(before, v))
	}
	return out
}

func (e *endpoints) jobSubmission(ctx context.Context, r *api.Request) (*api.Response, error) {
	version, given, err := r.Uint("version")
	if err != nil || !given {
		return nil, structs.Errorf(structs.Invalid, "Unable to parse job submission version parameter")
	}
	resp, err := e.jobView(ctx, r, func(s *state.Snapshot, job *structs.Job) (*api.Response, error) {
		sub := s.JobSubmission(job.Namespace, job.ID, version)
		if sub == nil {
			return nil, notFound("job source")
		}
		out := *sub
		out.VariableFlags = maps.Clone(sub.VariableFlags)
		for k, v := range out.VariableFlags {
			if plain, err := url.QueryUnescape(v); err == nil {
				out.VariableFlags[k] = plain
			}
		}
		return body(&out)
	})
	if structs.KindOf(err) == structs.NotFound {
		err = notFound("job source")
	}
	return resp, err
}

func (e *endpoints) jobActions(ctx context.Context, r *api.Request) (*api.Response, error) {
	resp, err := e.jobView(ctx, r, func(_ *state.Snapshot, job *structs.Job) (*api.Response, error) {
		out := []*api.JobAction{}
		for _, g := range job.TaskGroups {
			for _, t := range g.Tasks {
				for _, a := range t.Actions {
					out = append(out, &api.JobAction{Name: a.Name, Command: a.Command, Args: a.Args, TaskName: t.Name, TaskGroupName: g.Name})
				}
			}
		}
		return body(out)
	})
	if structs.KindOf(err) == structs.NotFound {
		err = structs.Errorf(structs.Internal, "Unknown job %q", r.Param("id"))
	}
	return resp, err
}

// jobScaleStatus counts the groups of a job.
func (e *endpoints) jobScaleStatus(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyJob(ns, id), state.KeyJobAllocs(ns, id)},
		index: func(s *state.Snapshot) uint64 {
			job := s.Job(ns, id)
			if job == nil {
				return s.TableIndex(state.TableJobs)
			}
			return max(job.ModifyIndex, s.ScalingEventsIndex(ns, id), newest(s, state.TableAllocs, s.AllocsByJob(ns, id, false), allocModified))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			job := s.Job(ns, id)
			if job == nil {
				return nil, notFound("job")
			}
			return body(scaleStatus(job, s.ScalingEvents(ns, id), s.AllocsByJob(ns, id, false)))
		},
	})
}

func scaleStatus(job *structs.Job, events map[string][]*structs.ScalingEvent, allocs iter.Seq[*structs.Allocation]) *api.JobScaleStatusResponse {
	out := &api.JobScaleStatusResponse{JobID: job.ID, Namespace: job.Namespace, JobCreateIndex: job.CreateIndex,
		JobModifyIndex: job.ModifyIndex, JobStopped: job.Stop, TaskGroups: map[string]*api.TaskGroupScaleStatus{}}
	for _, g := range job.TaskGroups {
		out.TaskGroups[g.Name] = &api.TaskGroupScaleStatus{Desired: structs.Val(g.Count), Events: append([]*structs.ScalingEvent{}, events[g.Name]...)}
	}
	for a := range allocs {
		g := out.TaskGroups[a.TaskGroup]
		if g == nil || a.Terminal() {
			continue
		}
		g.Placed++
		if a.ClientStatus == structs.AllocClientStatusRunning {
			g.Running++
		}
		if a.DeploymentStatus == nil || a.DeploymentStatus.Healthy == nil {
			continue
		}
		if *a.DeploymentStatus.Healthy {
			g.Healthy++
		} else {
			g.Unhealthy++
		}
	}
	return out
}
