package nomadlite

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/periodic"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Payload rules of a parameterized job.
const (
	payloadRequired  = "required"
	payloadForbidden = "forbidden"
)

// DispatchJob starts a child of a parameterized job. A child that was started
// with the same idempotency token is answered instead of a second one.
func (s *Server) DispatchJob(ctx context.Context, ns, idempotencyToken string, req *api.JobDispatchRequest) (*api.JobDispatchResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	if err := admitted(snap); err != nil {
		return nil, err
	}
	parent := snap.Job(ns, req.JobID)
	switch {
	case parent == nil:
		return nil, structs.Errorf(structs.Internal, "parameterized job not found")
	case !parent.Dispatchable():
		return nil, structs.Errorf(structs.Internal, "Specified job %q is not a parameterized job", req.JobID)
	case parent.Stop:
		return nil, structs.Errorf(structs.Internal, "Specified job %q is stopped", req.JobID)
	}
	if err := checkDispatch(parent.ParameterizedJob, req); err != nil {
		return nil, err
	}
	if idempotencyToken != "" {
		// Two calls with one token must not both find that there is no child.
		s.dispatchMu.Lock()
		defer s.dispatchMu.Unlock()
		snap = s.store.Snapshot()
	}
	if known := dispatched(snap, parent, idempotencyToken); known != nil {
		return &api.JobDispatchResponse{DispatchedJobID: known.ID, JobCreateIndex: known.CreateIndex, ResponseMeta: api.ResponseMeta{Index: known.CreateIndex}}, nil
	}
	if err := admitToNamespace(snap, parent); err != nil {
		return nil, err
	}
	now := time.Now()
	cmd := &state.JobRegister{Job: dispatchedJob(parent, idempotencyToken, req, now), Launched: true, Now: now.UnixNano()}
	if cmd.Job.Periodic == nil {
		cmd.Eval = newEval(cmd.Job, structs.EvalTriggerJobRegister, cmd.Now)
	}
	done, err := s.registered(ctx, cmd, nil)
	if err != nil {
		return nil, err
	}
	return &api.JobDispatchResponse{DispatchedJobID: cmd.Job.ID, EvalID: done.EvalID, EvalCreateIndex: done.EvalCreateIndex, JobCreateIndex: done.Index, ResponseMeta: done.ResponseMeta}, nil
}

// checkDispatch holds a payload and metadata to the parent's rules.
func checkDispatch(rules *structs.ParameterizedJobConfig, req *api.JobDispatchRequest) error {
	switch n := len(req.Payload); {
	case n == 0 && rules.Payload == payloadRequired:
		return structs.Errorf(structs.Internal, "Payload is not provided but required by parameterized job")
	case n > 0 && rules.Payload == payloadForbidden:
		return structs.Errorf(structs.Internal, "Payload provided but forbidden by parameterized job")
	case n > api.MaxPayload:
		return structs.Errorf(structs.TooLarge, "Payload exceeds maximum size; %d > %d", n, api.MaxPayload)
	}
	var missing, unknown []string
	for _, key := range rules.MetaRequired {
		if _, given := req.Meta[key]; !given {
			missing = append(missing, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(req.Meta)) {
		if !slices.Contains(rules.MetaRequired, key) && !slices.Contains(rules.MetaOptional, key) {
			unknown = append(unknown, key)
		}
	}
	switch {
	case len(missing) > 0:
		return structs.Errorf(structs.Internal, "Dispatch did not provide required meta keys: %v", missing)
	case len(unknown) > 0:
		return structs.Errorf(structs.Internal, "Dispatch request included unpermitted metadata keys: %v", unknown)
	}
	return nil
}

// dispatched is the child that was started with a token, nil for none.
func dispatched(snap *state.Snapshot, parent *structs.Job, token string) *structs.Job {
	if token == "" {
		return nil
	}
	for child := range snap.JobChildren(parent.Namespace, parent.ID) {
		if child.DispatchIdempotencyToken == token {
			return child
		}
	}
	return nil
}

// dispatchedJob makes the child of a dispatch.
func dispatchedJob(parent *structs.Job, token string, req *api.JobDispatchRequest, now time.Time) *structs.Job {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	prefix := ""
	if req.IdPrefixTemplate != "" {
		prefix = req.IdPrefixTemplate + "-"
	}
	child := parent.Copy()
	child.ID = fmt.Sprintf("%s/dispatch-%s%d-%s", parent.ID, prefix, now.Unix(), hex.EncodeToString(random[:]))
	child.Name = child.ID
	child.ParentID = parent.ID
	child.Dispatched, child.DispatchIdempotencyToken = true, token
	child.Payload = req.Payload
	child.Status, child.StatusDescription, child.VersionTag = "", "", nil
	if req.Priority > 0 {
		child.Priority = req.Priority
	}
	if child.Meta == nil {
		child.Meta = map[string]string{}
	}
	maps.Copy(child.Meta, req.Meta)
	return child
}

// ForcePeriodic launches a periodic job now.
func (s *Server) ForcePeriodic(ctx context.Context, ns, id string) (*api.PeriodicForceResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	parent := s.store.Snapshot().Job(ns, id)
	switch {
	case parent == nil:
		return nil, structs.Errorf(structs.Internal, "job not found")
	case parent.Periodic == nil:
		return nil, structs.Errorf(structs.Internal, "can't force launch non-periodic job")
	}
	done, err := s.launch(ctx, parent, time.Now())
	if err != nil {
		return nil, err
	}
	return &api.PeriodicForceResponse{EvalID: done.EvalID, EvalCreateIndex: done.EvalCreateIndex, ResponseMeta: done.ResponseMeta}, nil
}

// launch registers the child of a periodic job for a time, with its
// evaluation. A second launch for the same second is the first one again.
func (s *Server) launch(ctx context.Context, parent *structs.Job, at time.Time) (*api.JobRegisterResponse, error) {
	now := time.Now().UnixNano()
	child, eval := periodicChild(parent, at, now)
	if known := s.store.Snapshot().Job(child.Namespace, child.ID); known != nil {
		return &api.JobRegisterResponse{JobModifyIndex: known.JobModifyIndex, ResponseMeta: api.ResponseMeta{Index: known.CreateIndex}}, nil
	}
	// Whoever registers the second first launches it; a command of an earlier
	// leader may be committed after the look above.
	out, err := s.registered(ctx, &state.JobRegister{Job: child, Eval: eval, Now: now, EnforceIndex: true, Launched: true}, nil)
	if known := s.store.Snapshot().Job(child.Namespace, child.ID); err != nil && known != nil {
		return &api.JobRegisterResponse{JobModifyIndex: known.JobModifyIndex, ResponseMeta: api.ResponseMeta{Index: known.CreateIndex}}, nil
	}
	return out, err
}

// periodicChild is the child of a periodic job for a time, with its evaluation
// unless it is parameterized. What it shares with its parent must not be
// changed.
func periodicChild(parent *structs.Job, at time.Time, now int64) (*structs.Job, *structs.Evaluation) {
	child := *parent
	child.ID = fmt.Sprintf("%s/periodic-%d", parent.ID, at.Unix())
	child.Name, child.ParentID, child.Periodic = child.ID, parent.ID, nil
	child.Status, child.StatusDescription, child.VersionTag = "", "", nil
	if child.ParameterizedJob != nil {
		return &child, nil
	}
	return &child, newEval(&child, structs.EvalTriggerPeriodicJob, now)
}

// launchChildren commits what is due of periodic jobs.
func (s *Server) launchChildren(ctx context.Context, due []periodic.Launch) error {
	cmd := &state.ChildrenLaunch{Now: time.Now().UnixNano()}
	for _, d := range due {
		one := &state.ChildLaunch{Namespace: d.Parent.Namespace, JobID: d.Parent.ID, At: d.At}
		if !d.Overlaps {
			one.Child, one.Eval = periodicChild(d.Parent, d.At, cmd.Now)
		}
		cmd.Launches = append(cmd.Launches, one)
	}
	_, _, err := s.apply(ctx, fsm.ChildrenLaunch, cmd)
	return err
}
