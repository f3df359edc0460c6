package nomadlite

import (
	"context"
	"errors"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// written makes a response of a write's answer, or its error.
func written[T any](out T, index uint64, err error) (*api.Response, error) {
	if err != nil {
		return nil, err
	}
	return &api.Response{Body: out, Index: index}, nil
}

// bodyNamespace settles the namespace of a job that a body holds: the query's,
// then the body's, then the job's own (http-api.md 1.3). The job gets it, and
// the caller must have the row's right in it.
func bodyNamespace(r *api.Request, job *structs.Job, namespace string) error {
	if q := r.Values.Get("namespace"); q != "" {
		namespace = q
	}
	if namespace == "" {
		namespace = job.Namespace
	}
	if namespace == "" {
		namespace = structs.DefaultNamespace
	}
	job.Namespace = namespace
	return r.Authorize(namespace)
}

func priority(n int) error {
	if n != 0 && (n < structs.MinPriority || n > structs.MaxPriority) {
		return structs.Errorf(structs.Invalid, "Eval priority must be between 1 and 100 inclusively")
	}
	return nil
}

// registerJob answers both forms of a registration, with and without an id in
// the path.
func (e *endpoints) registerJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobRegisterRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := checkBodyJob(req.Job, "Job ID hasn't been provided"); err != nil {
		return nil, err
	}
	if id := r.Param("id"); id != "" && id != req.Job.ID {
		return nil, structs.Errorf(structs.Invalid, "Job ID does not match name")
	}
	if err := priority(req.EvalPriority); err != nil {
		return nil, err
	}
	if err := bodyNamespace(r, req.Job, req.Namespace); err != nil {
		return nil, err
	}
	out, err := e.ops.RegisterJob(ctx, req)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func checkBodyJob(job *structs.Job, noID string) error {
	switch {
	case job == nil:
		return structs.Errorf(structs.Invalid, "Job must be specified")
	case job.ID == "":
		return structs.Errorf(structs.Invalid, "%s", noID)
	}
	return nil
}

func (e *endpoints) parseJob(_ context.Context, r *api.Request) (*api.Response, error) {
	if e.parse == nil {
		return nil, structs.Errorf(structs.Unsupported, "cannot parse job files: this server has no parser")
	}
	req := &api.JobsParseRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	switch n := len(req.JobHCL); {
	case n == 0:
		return nil, structs.Errorf(structs.Invalid, "Job spec is empty")
	case n > api.MaxJobSource:
		return nil, structs.Errorf(structs.TooLarge, "job file is %d bytes: at most %d are allowed", n, api.MaxJobSource)
	}
	job, err := e.parse(req.JobHCL, req.Variables, req.Canonicalize)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "Failed to parse job: %w", err)
	}
	return body(job)
}

func (e *endpoints) validateJob(_ context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobValidateRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if req.Job == nil {
		return nil, structs.Errorf(structs.Invalid, "Job must be specified")
	}
	if err := bodyNamespace(r, req.Job, req.Namespace); err != nil {
		return nil, err
	}
	warnings, err := e.ops.CheckJob(req.Job)
	if structs.KindOf(err) == structs.Invalid {
		return nil, err // too large to be looked at
	}
	out := &api.JobValidateResponse{DriverConfigValidated: true, Warnings: structs.FormatWarnings(warnings)}
	if err != nil {
		out.Error = err.Error()
		var list *structs.ErrorList
		if errors.As(err, &list) {
			for _, one := range list.Errors {
				out.ValidationErrors = append(out.ValidationErrors, one.Error())
			}
		} else {
			out.ValidationErrors = []string{err.Error()}
		}
	}
	return body(out)
}

func (e *endpoints) planJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobPlanRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := checkBodyJob(req.Job, "Job must have a valid ID"); err != nil {
		return nil, err
	}
	if req.Job.ID != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "Job ID does not match")
	}
	if err := bodyNamespace(r, req.Job, req.Namespace); err != nil {
		return nil, err
	}
	out, err := e.ops.PlanJob(ctx, req)
	return written(out, 0, err)
}

func (e *endpoints) stopJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	opts := api.StopOptions{}
	for _, p := range []struct {
		name string
		into *bool
	}{{"purge", &opts.Purge}, {"global", &opts.Global}, {"no_shutdown_delay", &opts.NoShutdownDelay}} {
		v, err := r.Bool(p.name, false)
		if err != nil {
			return nil, err
		}
		*p.into = v
	}
	n, given, err := r.Uint("eval_priority")
	if err != nil {
		return nil, err
	}
	if given {
		opts.EvalPriority = int(min(n, structs.MaxPriority+1))
		if err := priority(opts.EvalPriority); err != nil {
			return nil, err
		}
	}
	out, err := e.ops.StopJob(ctx, r.Query.Namespace, r.Param("id"), opts)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) evaluateJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobEvaluateRequest{}
	given, err := r.DecodeOptional(req)
	if err != nil {
		return nil, err
	}
	if given && req.JobID != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "JobID not same as job name")
	}
	out, err := e.ops.EvaluateJob(ctx, r.Query.Namespace, r.Param("id"), req.EvalOptions.ForceReschedule)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) forcePeriodic(ctx context.Context, r *api.Request) (*api.Response, error) {
	out, err := e.ops.ForcePeriodic(ctx, r.Query.Namespace, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) dispatchJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobDispatchRequest{}
	if _, err := r.DecodeOptional(req); err != nil {
		return nil, err
	}
	if req.JobID != "" && req.JobID != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "Job ID does not match")
	}
	if n := len(req.Payload); n > api.MaxPayload {
		return nil, structs.Errorf(structs.TooLarge, "Payload exceeds maximum size; %d > %d", n, api.MaxPayload)
	}
	return e.dispatch(ctx, r, req)
}

func (e *endpoints) dispatchPayload(ctx context.Context, r *api.Request) (*api.Response, error) {
	payload, err := r.Body()
	if err != nil {
		return nil, err
	}
	return e.dispatch(ctx, r, &api.JobDispatchRequest{Payload: payload})
}

func (e *endpoints) dispatch(ctx context.Context, r *api.Request, req *api.JobDispatchRequest) (*api.Response, error) {
	req.JobID = r.Param("id")
	if err := priority(req.Priority); err != nil {
		return nil, err
	}
	out, err := e.ops.DispatchJob(ctx, r.Query.Namespace, r.Values.Get("idempotency_token"), req)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) revertJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobRevertRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := sameJob(r, &req.JobID); err != nil {
		return nil, err
	}
	out, err := e.ops.RevertJob(ctx, r.Query.Namespace, req)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

// sameJob holds the job id in a body to the one in the path.
func sameJob(r *api.Request, id *string) error {
	switch {
	case *id == "":
		return structs.Errorf(structs.Invalid, "JobID must be specified")
	case *id != r.Param("id"):
		return structs.Errorf(structs.Invalid, "Job ID does not match")
	}
	return nil
}

func (e *endpoints) stableJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.JobStabilityRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := sameJob(r, &req.JobID); err != nil {
		return nil, err
	}
	index, err := e.ops.SetJobStability(ctx, r.Query.Namespace, req)
	return written(&api.JobStabilityResponse{ResponseMeta: api.ResponseMeta{Index: index}}, index, err)
}

func (e *endpoints) tagJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.TagVersionRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	out, err := e.ops.TagJob(ctx, r.Query.Namespace, r.Param("id"), r.Param("name"), req)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) untagJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	out, err := e.ops.UntagJob(ctx, r.Query.Namespace, r.Param("id"), r.Param("name"))
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) scaleJob(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.ScalingRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if id := req.Target["Job"]; id != "" && id != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "job ID in payload did not match URL")
	}
	if req.Error && req.Count != nil {
		return nil, structs.Errorf(structs.Invalid, "scaling action should not contain count if error is true")
	}
	out, err := e.ops.ScaleJob(ctx, r.Query.Namespace, r.Param("id"), req)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}
