package api

import (
	"context"
	"strconv"

	"github.com/nomadlite/nomadlite/structs"
)

// Jobs calls the routes of jobs.
type Jobs struct{ c *Client }

// Jobs returns the routes of jobs.
func (c *Client) Jobs() Jobs { return Jobs{c} }

func jobPath(id, rest string) string { return "/v1/job/" + Escape(id) + rest }

// List returns the jobs of a namespace ("*" for all).
func (j Jobs) List(ctx context.Context, q *QueryOptions) ([]*structs.JobListStub, *QueryMeta, error) {
	return get[[]*structs.JobListStub](ctx, j.c, "/v1/jobs", q)
}

// Get returns a job.
func (j Jobs) Get(ctx context.Context, id string, q *QueryOptions) (*structs.Job, *QueryMeta, error) {
	return get[*structs.Job](ctx, j.c, jobPath(id, ""), q)
}

// Register registers or updates a job.
func (j Jobs) Register(ctx context.Context, req *JobRegisterRequest, w *WriteOptions) (*JobRegisterResponse, *WriteMeta, error) {
	return put[*JobRegisterResponse](ctx, j.c, "/v1/jobs", req, w)
}

// Plan says what Register would do.
func (j Jobs) Plan(ctx context.Context, req *JobPlanRequest, w *WriteOptions) (*JobPlanResponse, *WriteMeta, error) {
	return put[*JobPlanResponse](ctx, j.c, jobPath(req.Job.ID, "/plan"), req, w)
}

// Validate lists what is wrong with a job.
func (j Jobs) Validate(ctx context.Context, job *structs.Job, w *WriteOptions) (*JobValidateResponse, *WriteMeta, error) {
	return put[*JobValidateResponse](ctx, j.c, "/v1/validate/job", &JobValidateRequest{Job: job}, w)
}

// Parse turns a job file into a job, on the server.
func (j Jobs) Parse(ctx context.Context, req *JobsParseRequest, w *WriteOptions) (*structs.Job, *WriteMeta, error) {
	return put[*structs.Job](ctx, j.c, "/v1/jobs/parse", req, w)
}

// StopOptions refine Jobs.Stop.
type StopOptions struct {
	Purge           bool
	Global          bool
	EvalPriority    int // 1..100, 0 for the job's own
	NoShutdownDelay bool
}

// Stop stops a job, and with Purge removes it.
func (j Jobs) Stop(ctx context.Context, id string, opts StopOptions, w *WriteOptions) (*JobDeregisterResponse, *WriteMeta, error) {
	out := &JobDeregisterResponse{}
	meta, err := j.c.Delete(ctx, jobPath(id, ""), out, w.with(map[string]string{
		"purge":             strconv.FormatBool(opts.Purge),
		"global":            strconv.FormatBool(opts.Global),
		"eval_priority":     strconv.Itoa(opts.EvalPriority),
		"no_shutdown_delay": strconv.FormatBool(opts.NoShutdownDelay),
	}))
	return out, meta, err
}

// Versions lists the versions of a job, with their differences when asked.
func (j Jobs) Versions(ctx context.Context, id string, diffs bool, q *QueryOptions) (*JobVersionsResponse, *QueryMeta, error) {
	return get[*JobVersionsResponse](ctx, j.c, jobPath(id, "/versions"), q.with("diffs", strconv.FormatBool(diffs)))
}

// Submission returns the source of a version.
func (j Jobs) Submission(ctx context.Context, id string, version uint64, q *QueryOptions) (*structs.JobSubmission, *QueryMeta, error) {
	return get[*structs.JobSubmission](ctx, j.c, jobPath(id, "/submission"), q.with("version", strconv.FormatUint(version, 10)))
}

// Summary counts the allocations of a job.
func (j Jobs) Summary(ctx context.Context, id string, q *QueryOptions) (*structs.JobSummary, *QueryMeta, error) {
	return get[*structs.JobSummary](ctx, j.c, jobPath(id, "/summary"), q)
}

// Allocations lists the allocations of a job; all includes those of an earlier
// job of the same id.
func (j Jobs) Allocations(ctx context.Context, id string, all bool, q *QueryOptions) ([]*structs.AllocListStub, *QueryMeta, error) {
	return get[[]*structs.AllocListStub](ctx, j.c, jobPath(id, "/allocations"), q.with("all", strconv.FormatBool(all)))
}

// Evaluations lists the evaluations of a job.
func (j Jobs) Evaluations(ctx context.Context, id string, q *QueryOptions) ([]*structs.Evaluation, *QueryMeta, error) {
	return get[[]*structs.Evaluation](ctx, j.c, jobPath(id, "/evaluations"), q)
}

// Deployments lists the deployments of a job.
func (j Jobs) Deployments(ctx context.Context, id string, all bool, q *QueryOptions) ([]*structs.Deployment, *QueryMeta, error) {
	return get[[]*structs.Deployment](ctx, j.c, jobPath(id, "/deployments"), q.with("all", strconv.FormatBool(all)))
}

// LatestDeployment returns the newest deployment of a job, nil for none.
func (j Jobs) LatestDeployment(ctx context.Context, id string, q *QueryOptions) (*structs.Deployment, *QueryMeta, error) {
	return get[*structs.Deployment](ctx, j.c, jobPath(id, "/deployment"), q)
}

// Evaluate makes an evaluation of a job.
func (j Jobs) Evaluate(ctx context.Context, id string, opts EvalOptions, w *WriteOptions) (*JobRegisterResponse, *WriteMeta, error) {
	return put[*JobRegisterResponse](ctx, j.c, jobPath(id, "/evaluate"), &JobEvaluateRequest{JobID: id, EvalOptions: opts}, w)
}

// PeriodicForce launches a periodic job now.
func (j Jobs) PeriodicForce(ctx context.Context, id string, w *WriteOptions) (*PeriodicForceResponse, *WriteMeta, error) {
	return put[*PeriodicForceResponse](ctx, j.c, jobPath(id, "/periodic/force"), nil, w)
}

// Dispatch starts a child of a parameterized job.
func (j Jobs) Dispatch(ctx context.Context, req *JobDispatchRequest, w *WriteOptions) (*JobDispatchResponse, *WriteMeta, error) {
	return put[*JobDispatchResponse](ctx, j.c, jobPath(req.JobID, "/dispatch"), req, w)
}

// Revert registers an earlier version again.
func (j Jobs) Revert(ctx context.Context, req *JobRevertRequest, w *WriteOptions) (*JobRegisterResponse, *WriteMeta, error) {
	return put[*JobRegisterResponse](ctx, j.c, jobPath(req.JobID, "/revert"), req, w)
}

// Stable marks a version as stable or not.
func (j Jobs) Stable(ctx context.Context, req *JobStabilityRequest, w *WriteOptions) (*JobStabilityResponse, *WriteMeta, error) {
	return put[*JobStabilityResponse](ctx, j.c, jobPath(req.JobID, "/stable"), req, w)
}

// Tag names a version.
func (j Jobs) Tag(ctx context.Context, id, name string, req *TagVersionRequest, w *WriteOptions) (*TagVersionResponse, *WriteMeta, error) {
	return put[*TagVersionResponse](ctx, j.c, jobPath(id, "/versions/"+Escape(name)+"/tag"), req, w)
}

// Untag removes the name of a version.
func (j Jobs) Untag(ctx context.Context, id, name string, w *WriteOptions) (*TagVersionResponse, *WriteMeta, error) {
	out := &TagVersionResponse{}
	meta, err := j.c.Delete(ctx, jobPath(id, "/versions/"+Escape(name)+"/tag"), out, w)
	return out, meta, err
}

// ScaleStatus counts the groups of a job.
func (j Jobs) ScaleStatus(ctx context.Context, id string, q *QueryOptions) (*JobScaleStatusResponse, *QueryMeta, error) {
	return get[*JobScaleStatusResponse](ctx, j.c, jobPath(id, "/scale"), q)
}

// Scale changes the count of a group; Target needs the key "Group" alone.
func (j Jobs) Scale(ctx context.Context, id string, req *ScalingRequest, w *WriteOptions) (*JobRegisterResponse, *WriteMeta, error) {
	return put[*JobRegisterResponse](ctx, j.c, jobPath(id, "/scale"), req, w)
}

// Statuses returns jobs with their allocations; a nil request is every job.
func (j Jobs) Statuses(ctx context.Context, req *JobStatusesRequest, q *QueryOptions) ([]*JobStatus, *QueryMeta, error) {
	if req == nil {
		return get[[]*JobStatus](ctx, j.c, "/v1/jobs/statuses", q)
	}
	return query[[]*JobStatus](ctx, j.c, "/v1/jobs/statuses", req, q)
}

// Actions lists the actions of a job.
func (j Jobs) Actions(ctx context.Context, id string, q *QueryOptions) ([]*JobAction, *QueryMeta, error) {
	return get[[]*JobAction](ctx, j.c, jobPath(id, "/actions"), q)
}
