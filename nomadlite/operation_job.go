package nomadlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/periodic"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/nomadlite/worker"
	"github.com/nomadlite/nomadlite/structs"
)

// PlanJob says what RegisterJob would do, on a snapshot.
func (s *Server) PlanJob(ctx context.Context, req *api.JobPlanRequest) (*api.JobPlanResponse, error) {
	job := req.Job
	if err := s.setRegion(job, req.Region); err != nil {
		return nil, err
	}
	if err := s.ReadBarrier(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	defaultPool(snap, job)
	warnings, err := s.CheckJob(job)
	if err != nil {
		return nil, err
	}
	if err := admitToNamespace(snap, job); err != nil {
		return nil, err
	}
	warnings = append(warnings, warnMemory(snap, job)...)
	out := &api.JobPlanResponse{Warnings: structs.FormatWarnings(warnings), CreatedEvals: []*structs.Evaluation{}, Annotations: &structs.PlanAnnotations{}}
	old := snap.Job(job.Namespace, job.ID)
	if old != nil {
		if err := checkTransition(old, job); err != nil {
			return nil, err
		}
		out.JobModifyIndex = old.JobModifyIndex
	}
	now := time.Now()
	if isParent(job) {
		out.NextPeriodicLaunch, _ = periodic.Next(job, now)
	} else if err := dryRun(snap, job, now, out); err != nil {
		return nil, err
	}
	if req.Diff {
		out.Diff = structs.DiffJobs(old, job)
		out.Diff.Annotate(old, job, out.Annotations)
	}
	return out, nil
}

// dryRun fills in what the scheduler would decide.
func dryRun(snap *state.Snapshot, job *structs.Job, now time.Time, out *api.JobPlanResponse) error {
	result, err := worker.DryRun(snap, job, now)
	if err != nil {
		return err
	}
	out.Annotations = result.Plan.Annotations
	out.FailedTGAllocs = result.Plan.Eval.FailedTGAllocs
	eval := *result.Plan.Eval
	out.CreatedEvals = append([]*structs.Evaluation{&eval}, result.Plan.NewEvals...)
	return nil
}

// StopJob stops a job, or removes it with Purge. Stopping what does not exist
// is no error: the answer is empty.
func (s *Server) StopJob(ctx context.Context, ns, id string, opts api.StopOptions) (*api.JobDeregisterResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	job := snap.Job(ns, id)
	if job == nil {
		return &api.JobDeregisterResponse{}, nil
	}
	now := time.Now().UnixNano()
	if opts.NoShutdownDelay {
		if err := s.transition(ctx, snap, job, now, structs.DesiredTransition{NoShutdownDelay: structs.Ptr(true)}); err != nil {
			return nil, err
		}
	}
	cmd := &state.JobDeregister{Namespace: ns, JobID: id, Purge: opts.Purge, Now: now}
	if !isParent(job) {
		cmd.Eval = newEval(job, structs.EvalTriggerJobDeregister, now)
		if opts.EvalPriority > 0 {
			cmd.Eval.Priority = opts.EvalPriority
		}
	}
	value, index, err := s.apply(ctx, fsm.JobDeregister, cmd)
	if structs.KindOf(err) == structs.NotFound {
		return &api.JobDeregisterResponse{}, nil
	}
	done, err := registerResponse(value, index, nil, err)
	if err != nil {
		return nil, err
	}
	return &api.JobDeregisterResponse{EvalID: done.EvalID, EvalCreateIndex: done.EvalCreateIndex, JobModifyIndex: done.JobModifyIndex, ResponseMeta: done.ResponseMeta}, nil
}

// transition sets a desired transition on all live allocations of a job.
func (s *Server) transition(ctx context.Context, snap *state.Snapshot, job *structs.Job, now int64, want structs.DesiredTransition) error {
	cmd := &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{}, Now: now}
	for a := range snap.AllocsByJob(job.Namespace, job.ID, false) {
		if !a.Terminal() {
			cmd.Transitions[a.ID] = &want
		}
	}
	if len(cmd.Transitions) == 0 {
		return nil
	}
	_, _, err := s.apply(ctx, fsm.AllocTransition, cmd)
	return err
}

// EvaluateJob makes an evaluation of a job; with forceReschedule its failed
// allocations are placed again at once.
func (s *Server) EvaluateJob(ctx context.Context, ns, id string, forceReschedule bool) (*api.JobRegisterResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	job := snap.Job(ns, id)
	switch {
	case job == nil:
		return nil, structs.Errorf(structs.Internal, "job not found")
	case job.Periodic != nil:
		return nil, structs.Errorf(structs.Internal, "can't evaluate periodic job")
	case isParent(job):
		return nil, structs.Errorf(structs.Internal, "can't evaluate parameterized job")
	}
	now := time.Now().UnixNano()
	eval := newEval(job, structs.EvalTriggerJobRegister, now)
	cmd := &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{}, Evals: []*structs.Evaluation{eval}, Now: now}
	if forceReschedule {
		for a := range snap.AllocsByJob(ns, id, false) {
			if a.ClientStatus == structs.AllocClientStatusFailed && !a.ServerTerminal() && a.NextAllocation == "" {
				cmd.Transitions[a.ID] = &structs.DesiredTransition{ForceReschedule: structs.Ptr(true)}
			}
		}
	}
	_, index, err := s.apply(ctx, fsm.AllocTransition, cmd)
	if err != nil {
		return nil, err
	}
	return &api.JobRegisterResponse{EvalID: eval.ID, EvalCreateIndex: index, JobModifyIndex: job.JobModifyIndex, ResponseMeta: api.ResponseMeta{Index: index}}, nil
}

// RevertJob registers an earlier version of a job as a new one.
func (s *Server) RevertJob(ctx context.Context, ns string, req *api.JobRevertRequest) (*api.JobRegisterResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	now := snap.Job(ns, req.JobID)
	switch {
	case now == nil:
		return nil, structs.Errorf(structs.Internal, "job %q not found", req.JobID)
	case req.JobVersion == now.Version:
		return nil, structs.Errorf(structs.Internal, "can't revert to current version")
	case req.EnforcePriorVersion != nil && *req.EnforcePriorVersion != now.Version:
		return nil, structs.Errorf(structs.Internal, "Current job has version %d; enforcing version %d", now.Version, *req.EnforcePriorVersion)
	}
	old := snap.JobVersion(ns, req.JobID, req.JobVersion)
	if old == nil {
		return nil, structs.Errorf(structs.Internal, "job %q in namespace %q at version %d not found", req.JobID, ns, req.JobVersion)
	}
	job := old.Copy()
	job.Stop, job.VersionTag = false, nil
	return s.RegisterJob(ctx, &api.JobRegisterRequest{Job: job, EnforceIndex: true, JobModifyIndex: now.JobModifyIndex,
		Submission: snap.JobSubmission(ns, req.JobID, req.JobVersion)})
}

// SetJobStability marks a version as stable or not.
func (s *Server) SetJobStability(ctx context.Context, ns string, req *api.JobStabilityRequest) (index uint64, err error) {
	_, index, err = s.apply(ctx, fsm.JobStability, &state.JobStability{Namespace: ns, JobID: req.JobID, Version: req.JobVersion, Stable: req.Stable})
	return index, err
}

// Limits of a version's tag, in bytes.
const (
	maxTagName        = 128
	maxTagDescription = 1000
)

// TagJob names a version of a job; a tag keeps its version from collection.
func (s *Server) TagJob(ctx context.Context, ns, id, name string, req *api.TagVersionRequest) (*api.TagVersionResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	job := s.store.Snapshot().Job(ns, id)
	switch {
	case job == nil:
		return nil, structs.Errorf(structs.NotFound, "job %q not found", id)
	case name == "" || len(name) > maxTagName:
		return nil, structs.Errorf(structs.Invalid, "cannot tag job %q: a tag's name has 1 to %d characters", id, maxTagName)
	case len(req.Description) > maxTagDescription:
		return nil, structs.Errorf(structs.Invalid, "cannot tag job %q: the description has %d characters, at most %d are allowed", id, len(req.Description), maxTagDescription)
	}
	tag := &structs.JobVersionTag{Name: name, Description: req.Description, TaggedTime: time.Now().UnixNano()}
	version := req.Version
	if req.Latest {
		version = job.Version
	}
	_, index, err := s.apply(ctx, fsm.JobTag, &state.JobTag{Namespace: ns, JobID: id, Version: version, Tag: tag})
	if err != nil {
		return nil, err
	}
	return &api.TagVersionResponse{Name: tag.Name, Description: tag.Description, TaggedTime: tag.TaggedTime, ResponseMeta: api.ResponseMeta{Index: index}}, nil
}

// UntagJob removes the name of a version.
func (s *Server) UntagJob(ctx context.Context, ns, id, name string) (*api.TagVersionResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	for _, v := range s.store.Snapshot().JobVersions(ns, id) {
		if v.VersionTag == nil || v.VersionTag.Name != name {
			continue
		}
		_, index, err := s.apply(ctx, fsm.JobTag, &state.JobTag{Namespace: ns, JobID: id, Version: v.Version})
		if err != nil {
			return nil, err
		}
		return &api.TagVersionResponse{ResponseMeta: api.ResponseMeta{Index: index}}, nil
	}
	return nil, structs.Errorf(structs.NotFound, "cannot remove the tag %q of job %q: no version has it", name, id)
}

// maxScalingMeta bounds the metadata of a scaling event, in bytes of JSON.
const maxScalingMeta = 8 << 10

// scalingEvent is what a request adds to a group's history.
func scalingEvent(req *api.ScalingRequest, now int64) (*structs.ScalingEvent, error) {
	raw, err := json.Marshal(req.Meta)
	if err != nil || len(raw)+len(req.Message) > maxScalingMeta {
		return nil, structs.Errorf(structs.Invalid, "message and metadata of a scaling event may have up to %d bytes, not %d", maxScalingMeta, len(raw)+len(req.Message))
	}
	return &structs.ScalingEvent{Error: req.Error, Message: req.Message, Meta: req.Meta, Time: uint64(now)}, nil
}

// ScaleJob changes the count of a group. A request without a count only adds to
// the group's history.
func (s *Server) ScaleJob(ctx context.Context, ns, id string, req *api.ScalingRequest) (*api.JobRegisterResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	if err := admitted(snap); err != nil {
		return nil, err
	}
	job := snap.Job(ns, id)
	if job == nil {
		return nil, structs.Errorf(structs.NotFound, "job %q not found", id)
	}
	now := time.Now().UnixNano()
	event, err := scalingEvent(req, now)
	if err != nil {
		return nil, err
	}
	if req.Count == nil {
		group := req.Target["Group"]
		if job.LookupGroup(group) == nil {
			return nil, errNoScaledGroup(group)
		}
		_, index, err := s.apply(ctx, fsm.ScalingEventAdd, &state.ScalingEventAdd{Namespace: ns, JobID: id, Group: group, Event: event})
		return &api.JobRegisterResponse{JobModifyIndex: job.JobModifyIndex, ResponseMeta: api.ResponseMeta{Index: index}}, err
	}
	group, err := scalable(snap, job, req)
	if err != nil {
		return nil, err
	}
	scaled := job.Copy()
	scaled.LookupGroup(group).Count = structs.Ptr(int(*req.Count))
	if err := fsm.CheckWhole(scaled); err != nil {
		return nil, err
	}
	cmd := &state.JobScale{Namespace: ns, JobID: id, Group: group, Count: int(*req.Count), EnforceIndex: req.JobModifyIndex != 0, JobModifyIndex: req.JobModifyIndex,
		Now: now, Event: event}
	if !isParent(job) {
		cmd.Eval = newEval(job, structs.EvalTriggerScaling, now)
	}
	value, index, err := s.apply(ctx, fsm.JobScale, cmd)
	return registerResponse(value, index, nil, err)
}

func errNoScaledGroup(group string) error {
	return structs.Errorf(structs.Invalid, "task group %q specified for scaling does not exist in job", group)
}

// scalable says which group a request scales, and refuses what must not be.
func scalable(snap *state.Snapshot, job *structs.Job, req *api.ScalingRequest) (group string, err error) {
	group = req.Target["Group"]
	g, count := job.LookupGroup(group), *req.Count
	switch {
	case g == nil:
		return "", errNoScaledGroup(group)
	case count < 0:
		return "", structs.Errorf(structs.Invalid, "scaling action count can't be negative")
	case job.Type == structs.JobTypeSystem && count > 1:
		return "", structs.Errorf(structs.Invalid, "system jobs can only be scaled between 0 and 1")
	case g.Scaling != nil && g.Scaling.Min != nil && count < *g.Scaling.Min:
		return "", structs.Errorf(structs.Invalid, "group count was less than scaling policy minimum: %d < %d", count, *g.Scaling.Min)
	case g.Scaling != nil && g.Scaling.Max != nil && count > *g.Scaling.Max:
		return "", structs.Errorf(structs.Invalid, "group count was greater than scaling policy maximum: %d > %d", count, *g.Scaling.Max)
	}
	if d := snap.LatestDeployment(job.Namespace, job.ID); d != nil && d.Active() && d.JobCreateIndex == job.CreateIndex {
		return "", structs.Errorf(structs.Invalid, "job scaling blocked due to active deployment")
	}
	return group, nil
}

// StopAlloc stops an allocation; the scheduler places another in its stead.
func (s *Server) StopAlloc(ctx context.Context, id string, noShutdownDelay, reschedule bool) (*api.AllocStopResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	a := s.store.Snapshot().Alloc(id)
	if a == nil || a.Job == nil {
		return nil, structs.Errorf(structs.NotFound, "allocation not found")
	}
	now := time.Now().UnixNano()
	want := &structs.DesiredTransition{Migrate: structs.Ptr(true)}
	if noShutdownDelay {
		want.NoShutdownDelay = structs.Ptr(true)
	}
	if reschedule {
		want.Reschedule = structs.Ptr(true)
	}
	eval := newEval(a.Job, structs.EvalTriggerAllocStop, now)
	_, index, err := s.apply(ctx, fsm.AllocTransition, &state.AllocTransition{
		Transitions: map[string]*structs.DesiredTransition{id: want}, Evals: []*structs.Evaluation{eval}, Now: now,
	})
	if err != nil {
		return nil, err
	}
	return &api.AllocStopResponse{EvalID: eval.ID, Index: index}, nil
}
