package nomadlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/periodic"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// errRegistrationOff is the answer while reject_job_registration is set.
var errRegistrationOff = structs.Errorf(structs.Denied, "Job registration, dispatch, and scale are disabled by the scheduler configuration")

// admitted refuses what the scheduler configuration switches off.
func admitted(snap *state.Snapshot) error {
	if cfg := snap.SchedulerConfig(); cfg != nil && cfg.RejectJobRegistration {
		return errRegistrationOff
	}
	return nil
}

// CheckJob fills the job's defaults and says what is wrong with it.
func (s *Server) CheckJob(job *structs.Job) (warnings []string, err error) {
	if err := s.setRegion(job, ""); err != nil {
		return nil, err
	}
	if err := job.CheckSize(); err != nil {
		return nil, err
	}
	if job.Priority == 0 {
		job.Priority = s.cfg.JobDefaultPriority
	}
	job.DefaultProvider(s.cfg.ServiceProvider)
	job.Canonicalize()
	job.ImplyConstraints()
	if err := fsm.CheckWhole(job); err != nil {
		return nil, err
	}
	if warnings, err = job.Validate(Checks(s.cfg.JobMaxPriority, s.cfg.JobMaxCount)); err == nil {
		err = checkSelection(job)
	}
	return append(warnings, hasty(job, time.Now())...), err
}

// checkSelection refuses a job that selects a scheduler algorithm which this
// build does not have.
func checkSelection(job *structs.Job) error {
	selection := job.Meta[scheduler.MetaAlgorithm]
	if selection == "" {
		return nil
	}
	if err := scheduler.CheckAlgorithm(selection); err != nil {
		return structs.Errorf(structs.Invalid, "cannot schedule job %q by meta %s = %q: %v", job.ID, scheduler.MetaAlgorithm, selection, err)
	}
	return nil
}

// hasty warns of a cron expression that fires more often than once a minute:
// mostly one of seven fields where six were meant.
func hasty(job *structs.Job, now time.Time) []string {
	first, ok := periodic.Next(job, now)
	if !ok {
		return nil
	}
	if second, ok := periodic.Next(job, first); ok && second.Sub(first) < time.Minute {
		return []string{fmt.Sprintf("periodic: %q fires more than 60 times an hour: at %s and again at %s; expressions of seven fields begin with seconds",
			strings.Join(job.Periodic.All(), ", "), first.Format(time.TimeOnly), second.Format(time.TimeOnly))}
	}
	return nil
}

// warnMemory warns of memory_max where nodes will not honor it.
func warnMemory(snap *state.Snapshot, job *structs.Job) (warnings []string) {
	if cfg := snap.SchedulerConfig(); cfg != nil && cfg.MemoryOversubscriptionEnabled {
		return nil
	}
	for _, g := range job.TaskGroups {
		for _, t := range g.Tasks {
			if structs.Val(t.Resources.MemoryMaxMB) != 0 {
				warnings = append(warnings, fmt.Sprintf("memory oversubscription is not enabled, so memory_max of task %q in group %q is ignored: see operator scheduler set-config", t.Name, g.Name))
			}
		}
	}
	return warnings
}

// setRegion settles the region of a job: the request's, then the job's own;
// "global" and "" are this server's (http-api.md 1.3).
func (s *Server) setRegion(job *structs.Job, region string) error {
	if region == "" {
		region = job.Region
	}
	if region != "" && region != structs.DefaultRegion && region != s.cfg.Region {
		return structs.Errorf(structs.Internal, "%w", &api.RegionError{Region: region})
	}
	job.Region = s.cfg.Region
	return nil
}

// RegisterJob admits, checks and commits a job with its evaluation, in one log
// entry.
func (s *Server) RegisterJob(ctx context.Context, req *api.JobRegisterRequest) (*api.JobRegisterResponse, error) {
	job := req.Job
	if err := s.setRegion(job, req.Region); err != nil {
		return nil, err
	}
	for _, g := range job.TaskGroups {
		if g.Scaling != nil && job.Type == structs.JobTypeSystem {
			return nil, structs.Errorf(structs.Invalid, "Task groups with job type system do not support scaling blocks")
		}
	}
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	if err := admitted(snap); err != nil {
		return nil, err
	}
	old := snap.Job(job.Namespace, job.ID)
	if job.Dispatched && (old == nil || !old.Dispatched) {
		return nil, structs.Errorf(structs.Rejected, "job can't be submitted with 'Dispatched' set")
	}
	defaultPool(snap, job)
	warnings, err := s.CheckJob(job)
	if err != nil {
		return nil, err
	}
	if err := admitToNamespace(snap, job); err != nil {
		return nil, err
	}
	warnings = append(warnings, warnMemory(snap, job)...)
	if old != nil {
		if err := checkTransition(old, job); err != nil {
			return nil, err
		}
		preserve(old, job, req)
	}
	cmd := &state.JobRegister{Job: job, Submission: req.Submission, EnforceIndex: req.EnforceIndex, JobModifyIndex: req.JobModifyIndex, Now: time.Now().UnixNano()}
	if !isParent(job) {
		cmd.Eval = newEval(job, structs.EvalTriggerJobRegister, cmd.Now)
		if req.EvalPriority > 0 {
			cmd.Eval.Priority = req.EvalPriority
		}
	}
	if n := submissionSize(req.Submission); n > s.cfg.JobMaxSource {
		cmd.Submission = nil
		warnings = append(warnings, fmt.Sprintf("the source of the job is not kept beside it: it has %d bytes, job_max_source_size allows %d", n, max(s.cfg.JobMaxSource, 0)))
	}
	return s.registered(ctx, cmd, warnings)
}

// submissionSize is what a job's source takes, in bytes.
func submissionSize(sub *structs.JobSubmission) int {
	if sub == nil {
		return 0
	}
	n := len(sub.Source) + len(sub.Variables)
	for name, value := range sub.VariableFlags {
		n += len(name) + len(value)
	}
	return n
}

// registered commits a registration and answers it.
func (s *Server) registered(ctx context.Context, cmd *state.JobRegister, warnings []string) (*api.JobRegisterResponse, error) {
	value, index, err := s.apply(ctx, fsm.JobRegister, cmd)
	return registerResponse(value, index, warnings, err)
}

// registerResponse makes the answer of a command whose verb returns a
// state.JobResult.
func registerResponse(value any, index uint64, warnings []string, err error) (*api.JobRegisterResponse, error) {
	if err != nil {
		return nil, err
	}
	out := &api.JobRegisterResponse{Warnings: structs.FormatWarnings(warnings), ResponseMeta: api.ResponseMeta{Index: index}}
	if r, ok := value.(*state.JobResult); ok && r != nil {
		out.JobModifyIndex = r.JobModifyIndex
		if out.EvalID = r.EvalID; out.EvalID != "" {
			out.EvalCreateIndex = r.Index
		}
	}
	return out, nil
}

// isParent reports whether a job runs through its children alone.
func isParent(job *structs.Job) bool {
	return job.Periodic != nil || job.Dispatchable()
}

// newEval makes a pending evaluation of a job.
func newEval(job *structs.Job, trigger string, now int64) *structs.Evaluation {
	return &structs.Evaluation{
		ID: newID(), Namespace: job.Namespace, Priority: job.Priority, Type: job.Type, TriggeredBy: trigger,
		JobID: job.ID, JobModifyIndex: job.JobModifyIndex, Status: structs.EvalStatusPending, CreateTime: now, ModifyTime: now,
	}
}

// checkTransition refuses changes of what a job is (runtime.md 17).
func checkTransition(old, job *structs.Job) error {
	periodic, parameterized := [2]bool{old.Periodic != nil, job.Periodic != nil}, [2]bool{old.ParameterizedJob != nil, job.ParameterizedJob != nil}
	switch {
	case old.Type != job.Type:
		return structs.Errorf(structs.Rejected, "cannot update job from type %q to %q", old.Type, job.Type)
	case periodic == [2]bool{true, false}:
		return structs.Errorf(structs.Rejected, "cannot update periodic job to being non-periodic")
	case periodic == [2]bool{false, true}:
		return structs.Errorf(structs.Rejected, "cannot update non-periodic job to being periodic")
	case parameterized == [2]bool{true, false}:
		return structs.Errorf(structs.Rejected, "cannot update parameterized job to being non-parameterized")
	case parameterized == [2]bool{false, true}:
		return structs.Errorf(structs.Rejected, "cannot update non-parameterized job to being parameterized")
	}
	return nil
}

// preserve keeps the counts and the resources of the registered job when the
// request asks for that.
func preserve(old, job *structs.Job, req *api.JobRegisterRequest) {
	for _, g := range job.TaskGroups {
		was := old.LookupGroup(g.Name)
		if was == nil {
			continue
		}
		if req.PreserveCounts && !old.Stop {
			g.Count = was.Count
		}
		for _, t := range g.Tasks {
			if had := was.LookupTask(t.Name); had != nil && req.PreserveResources {
				t.Resources = had.Resources
			}
		}
	}
}
