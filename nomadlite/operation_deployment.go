package nomadlite

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/deploy"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentChange is a change of one active deployment that an operator asks
// for.
type deploymentChange struct {
	store *state.Snapshot
	d     *structs.Deployment
	job   *structs.Job // nil when it was purged
	eval  *structs.Evaluation
	now   time.Time
}

// status makes the command that sets the deployment's status.
func (c *deploymentChange) status(status, description string) *state.DeploymentStatus {
	return &state.DeploymentStatus{Now: c.now.UnixNano(), Update: &structs.DeploymentStatusUpdate{
		DeploymentID: c.d.ID, Status: status, StatusDescription: description, UpdatedAt: c.now.UnixNano()}}
}

// changeDeployment runs a change of an active deployment; what the change
// commits carries the evaluation that it is given. Refusal ends the sentence
// "can't …" for a deployment that has ended.
func (s *Server) changeDeployment(ctx context.Context, id, refusal string, change func(c *deploymentChange) (uint64, error)) (*api.DeploymentUpdateResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	d := snap.Deployment(id)
	switch {
	case d == nil:
		return nil, structs.Errorf(structs.Internal, "deployment not found")
	case !d.Active():
		return nil, structs.Errorf(structs.Internal, "can't %s", refusal)
	}
	c := &deploymentChange{store: snap, d: d, job: snap.Job(d.Namespace, d.JobID), now: time.Now()}
	if c.job != nil {
		c.eval = newEval(c.job, structs.EvalTriggerDeploymentWatcher, c.now.UnixNano())
		c.eval.DeploymentID = id
	}
	index, err := change(c)
	if err != nil {
		return nil, err
	}
	out := &api.DeploymentUpdateResponse{DeploymentModifyIndex: index, ResponseMeta: api.ResponseMeta{Index: index}}
	if c.eval != nil {
		out.EvalID, out.EvalCreateIndex = c.eval.ID, index
	}
	return out, nil
}

// FailDeployment ends a deployment as failed; with auto_revert its job goes
// back to the newest stable version.
func (s *Server) FailDeployment(ctx context.Context, id string) (*api.DeploymentUpdateResponse, error) {
	var reverted *uint64
	out, err := s.changeDeployment(ctx, id, "fail terminal deployment", func(c *deploymentChange) (uint64, error) {
		cmd := c.status(structs.DeploymentStatusFailed, structs.DeploymentDescFailed)
		cmd.Eval = c.eval
		if c.d.AutoReverts() {
			var suffix string
			cmd.Job, suffix = deploy.RevertTo(c.store, c.d, c.job)
			cmd.Update.StatusDescription += suffix
		}
		if cmd.Job != nil {
			reverted = structs.Ptr(cmd.Job.Version)
		}
		_, index, err := s.apply(ctx, fsm.DeploymentStatus, cmd)
		return index, err
	})
	if err != nil {
		return nil, err
	}
	out.RevertedJobVersion = reverted
	return out, nil
}

// PauseDeployment pauses a deployment or lets it go on.
func (s *Server) PauseDeployment(ctx context.Context, id string, pause bool) (*api.DeploymentUpdateResponse, error) {
	verb := "resume"
	if pause {
		verb = "pause"
	}
	return s.changeDeployment(ctx, id, verb+" terminal deployment", func(c *deploymentChange) (uint64, error) {
		cmd := c.status(structs.DeploymentStatusRunning, c.d.RunningDescription())
		if pause {
			// Nothing is to be decided while it is paused.
			cmd.Update.Status, cmd.Update.StatusDescription, c.eval = structs.DeploymentStatusPaused, structs.DeploymentDescPaused, nil
		}
		cmd.Eval = c.eval
		_, index, err := s.apply(ctx, fsm.DeploymentStatus, cmd)
		return index, err
	})
}

// PromoteDeployment promotes the canaries of some groups, or of all.
func (s *Server) PromoteDeployment(ctx context.Context, req *api.DeploymentPromoteRequest) (*api.DeploymentUpdateResponse, error) {
	return s.changeDeployment(ctx, req.DeploymentID, "promote terminal deployment", func(c *deploymentChange) (uint64, error) {
		groups := req.Groups
		if req.All {
			groups = nil
		}
		_, index, err := s.apply(ctx, fsm.DeploymentPromote, &state.DeploymentPromote{
			DeploymentID: req.DeploymentID, Groups: groups, Eval: c.eval, Now: c.now.UnixNano()})
		return index, err
	})
}

// UnblockDeployment lets a deployment go on that waits for another region,
// which none does in a single one.
func (s *Server) UnblockDeployment(ctx context.Context, id string) (*api.DeploymentUpdateResponse, error) {
	return s.changeDeployment(ctx, id, "unblock terminal deployment", func(c *deploymentChange) (uint64, error) {
		return 0, structs.Errorf(structs.Internal, "can't unblock deployment %q: it is %s and waits for no other region", c.d.ID, c.d.Status)
	})
}

// SetAllocHealth sets the health of a deployment's allocations by hand.
func (s *Server) SetAllocHealth(ctx context.Context, req *api.DeploymentAllocHealthRequest) (*api.DeploymentUpdateResponse, error) {
	return s.changeDeployment(ctx, req.DeploymentID, "set health of allocations for a terminal deployment", func(c *deploymentChange) (uint64, error) {
		_, index, err := s.apply(ctx, fsm.DeploymentAllocHealth, &state.DeploymentAllocHealth{
			DeploymentID: req.DeploymentID, Healthy: req.HealthyAllocationIDs, Unhealthy: req.UnhealthyAllocationIDs,
			Eval: c.eval, Now: c.now.UnixNano()})
		return index, err
	})
}
