package api

import (
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// JobRegisterRequest registers or updates a job.
type JobRegisterRequest struct {
	Job        *structs.Job
	Submission *structs.JobSubmission `json:",omitempty"`
	// EnforceIndex makes the registration conditional: JobModifyIndex must be
	// that of the registered job, or 0 when none may exist.
	EnforceIndex      bool   `json:",omitempty"`
	JobModifyIndex    uint64 `json:",omitempty"`
	PolicyOverride    bool   `json:",omitempty"`
	PreserveCounts    bool   `json:",omitempty"`
	PreserveResources bool   `json:",omitempty"`
	// EvalPriority is 1..100, 0 for the job's own.
	EvalPriority int `json:",omitempty"`
	WriteRequest
}

// JobRegisterResponse answers a registration, a revert, a scaling, a forced
// periodic launch and a forced evaluation. EvalID is empty for periodic and
// parameterized jobs.
type JobRegisterResponse struct {
	EvalID          string
	EvalCreateIndex uint64
	JobModifyIndex  uint64
	Warnings        string
	ResponseMeta
}

// JobDeregisterResponse answers a stop or a purge. Everything is zero when
// there was no such job.
type JobDeregisterResponse struct {
	EvalID          string
	EvalCreateIndex uint64
	JobModifyIndex  uint64
	VolumeEvalID    string
	VolumeEvalIndex uint64
	ResponseMeta
}

// JobPlanRequest asks what a registration would do.
type JobPlanRequest struct {
	Job            *structs.Job
	Diff           bool `json:",omitempty"`
	PolicyOverride bool `json:",omitempty"`
	WriteRequest
}

// JobPlanResponse says what a registration would do.
type JobPlanResponse struct {
	Annotations    *structs.PlanAnnotations
	FailedTGAllocs map[string]*structs.AllocMetric
	// JobModifyIndex is that of the registered job, 0 for a new one; pass it
	// to JobRegisterRequest to run exactly this plan.
	JobModifyIndex     uint64
	CreatedEvals       []*structs.Evaluation
	Diff               *JobDiff
	NextPeriodicLaunch time.Time
	Warnings           string
	ResponseMeta
}

// The parts of a difference are nouns; these names are for callers of the API.
type (
	// JobDiff compares two versions of a job.
	JobDiff = structs.JobDiff
	// TaskGroupDiff compares two versions of a group.
	TaskGroupDiff = structs.TaskGroupDiff
	// TaskDiff compares two versions of a task.
	TaskDiff = structs.TaskDiff
	// ObjectDiff compares two versions of a block.
	ObjectDiff = structs.ObjectDiff
	// FieldDiff compares two values of a field.
	FieldDiff = structs.FieldDiff
)

// JobValidateRequest asks whether a job is valid.
type JobValidateRequest struct {
	Job *structs.Job
	WriteRequest
}

// JobValidateResponse lists what is wrong with a job; it comes with status
// 200 either way.
type JobValidateResponse struct {
	// DriverConfigValidated is true when the task drivers saw their blocks.
	DriverConfigValidated bool
	ValidationErrors      []string
	// Error is the errors as one text, empty for a valid job.
	Error    string
	Warnings string
	ResponseMeta
}

// JobsParseRequest turns a job file into a job.
type JobsParseRequest struct {
	JobHCL string
	// Variables is the text of a variables file.
	Variables string `json:",omitempty"`
	// Canonicalize fills the defaults.
	Canonicalize bool `json:",omitempty"`
}

// JobVersionsResponse lists the versions of a job, newest first.
type JobVersionsResponse struct {
	Versions []*structs.Job
	Diffs    []*JobDiff
	ResponseMeta
}

// JobEvaluateRequest asks for an evaluation of a job.
type JobEvaluateRequest struct {
	JobID       string
	EvalOptions EvalOptions
	WriteRequest
}

// EvalOptions refine a forced evaluation.
type EvalOptions struct {
	// ForceReschedule places failed allocations again that wait or gave up.
	ForceReschedule bool
}

// PeriodicForceResponse answers a forced launch of a periodic job.
type PeriodicForceResponse struct {
	EvalID          string
	EvalCreateIndex uint64
	ResponseMeta
}

// JobDispatchRequest starts a child of a parameterized job. Payload is at most
// 16 KiB.
type JobDispatchRequest struct {
	JobID            string
	Payload          []byte
	Meta             map[string]string
	IdPrefixTemplate string `json:",omitempty"`
	Priority         int    `json:",omitempty"`
	WriteRequest
}

// JobDispatchResponse names the dispatched child.
type JobDispatchResponse struct {
	DispatchedJobID string
	EvalID          string
	EvalCreateIndex uint64
	JobCreateIndex  uint64
	ResponseMeta
}

// JobRevertRequest registers an earlier version again.
type JobRevertRequest struct {
	JobID      string
	JobVersion uint64
	// EnforcePriorVersion must be the current version when it is set.
	EnforcePriorVersion *uint64 `json:",omitempty"`
	WriteRequest
}

// JobStabilityRequest marks a version as stable or not.
type JobStabilityRequest struct {
	JobID      string
	JobVersion uint64
	Stable     bool
	WriteRequest
}

// JobStabilityResponse answers a JobStabilityRequest.
type JobStabilityResponse struct {
	ResponseMeta
}

// TagVersionRequest names a version of a job: Version, or the newest with
// Latest.
type TagVersionRequest struct {
	Version     uint64
	Latest      bool `json:",omitempty"`
	Description string
	WriteRequest
}

// TagVersionResponse is the name that a version has now, empty when it has
// none.
type TagVersionResponse struct {
	Name        string
	Description string
	TaggedTime  int64 // unix nanoseconds
	ResponseMeta
}

// ScalingRequest changes the count of a group, or with a nil Count only
// records an event. Target names the group under the key "Group".
type ScalingRequest struct {
	Count          *int64
	Target         map[string]string
	Message        string
	Error          bool
	Meta           map[string]any
	PolicyOverride bool `json:",omitempty"`
	// JobModifyIndex must be the job's when it is not 0.
	JobModifyIndex uint64 `json:",omitempty"`
	WriteRequest
}

// JobScaleStatusResponse counts the groups of a job.
type JobScaleStatusResponse struct {
	JobID          string
	Namespace      string
	JobCreateIndex uint64
	JobModifyIndex uint64
	JobStopped     bool
	TaskGroups     map[string]*TaskGroupScaleStatus
}

// TaskGroupScaleStatus counts one group.
type TaskGroupScaleStatus struct {
	Desired   int
	Placed    int
	Running   int
	Healthy   int
	Unhealthy int
	Events    []*structs.ScalingEvent // newest first
}

// ScalingPolicyStub is a scaling policy in a list.
type ScalingPolicyStub struct {
	ID          string
	Enabled     bool
	Type        string
	Target      map[string]string // Namespace, Job and Group
	CreateIndex uint64
	ModifyIndex uint64
}

// ScalingPolicy is the scaling block of a group; its id follows from its target.
type ScalingPolicy struct {
	ID          string
	Namespace   string
	Target      map[string]string
	Type        string
	Min, Max    *int64
	Policy      map[string]any
	Enabled     *bool
	CreateIndex uint64
	ModifyIndex uint64
}

// NamespacedID names a job.
type NamespacedID struct {
	ID        string
	Namespace string
}

// JobStatusesRequest asks for the statuses of some jobs, or of all.
type JobStatusesRequest struct {
	Jobs            []NamespacedID
	IncludeChildren bool
}

// JobStatus is a job with its allocations and its newest deployment, as
// dashboards show it.
type JobStatus struct {
	ID               string
	Namespace        string
	Name             string
	Type             string
	NodePool         string
	Datacenters      []string
	Priority         int
	Version          uint64
	SubmitTime       int64
	ModifyIndex      uint64
	Status           string
	Stop             bool
	ParentID         string
	GroupCountSum    int
	ChildStatuses    []string // nil unless the job can have children
	IsPack           bool
	LatestDeployment *JobStatusDeployment
	Allocs           []JobStatusAlloc
}

// JobStatusDeployment is the newest deployment in a JobStatus.
type JobStatusDeployment struct {
	ID                string
	IsActive          bool
	JobVersion        uint64
	Status            string
	StatusDescription string
	AllAutoPromote    bool
	RequiresPromotion bool
}

// JobStatusAlloc is one allocation in a JobStatus.
type JobStatusAlloc struct {
	ID               string
	Group            string
	ClientStatus     string
	NodeID           string
	JobVersion       uint64
	FollowupEvalID   string
	HasPausedTask    bool
	DeploymentStatus JobStatusAllocHealth
}

// JobStatusAllocHealth is the health of an allocation in its deployment.
type JobStatusAllocHealth struct {
	Canary  bool
	Healthy *bool
}

// JobAction is a command that a job offers for its running tasks.
type JobAction struct {
	Name          string
	Command       string
	Args          []string
	TaskName      string
	TaskGroupName string
}
