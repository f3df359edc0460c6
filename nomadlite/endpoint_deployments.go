package nomadlite

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentOf authorizes a change of the deployment that the path names. What
// a body says of its id must be the same; it is filled in when optional.
func (e *endpoints) deploymentOf(r *api.Request, inBody *string) error {
	id := r.Param("id")
	if inBody != nil {
		switch *inBody {
		case "":
			return structs.Errorf(structs.Invalid, "DeploymentID must be specified")
		case id:
		default:
			return structs.Errorf(structs.Invalid, "Deployment ID does not match")
		}
	}
	if err := api.CheckID("deployment", id); err != nil {
		return err
	}
	ns := r.Query.Namespace
	if d := e.store.Snapshot().Deployment(id); d != nil {
		ns = d.Namespace
	}
	return r.Authorize(ns)
}

func deploymentWritten(out *api.DeploymentUpdateResponse, err error) (*api.Response, error) {
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) failDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	if err := e.deploymentOf(r, nil); err != nil {
		return nil, err
	}
	return deploymentWritten(e.ops.FailDeployment(ctx, r.Param("id")))
}

func (e *endpoints) pauseDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.DeploymentPauseRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := e.deploymentOf(r, &req.DeploymentID); err != nil {
		return nil, err
	}
	return deploymentWritten(e.ops.PauseDeployment(ctx, req.DeploymentID, req.Pause))
}

func (e *endpoints) promoteDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.DeploymentPromoteRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := e.deploymentOf(r, &req.DeploymentID); err != nil {
		return nil, err
	}
	if !req.All && len(req.Groups) == 0 {
		return nil, structs.Errorf(structs.Invalid, "cannot promote deployment %q: name groups, or all", req.DeploymentID)
	}
	return deploymentWritten(e.ops.PromoteDeployment(ctx, req))
}

func (e *endpoints) unblockDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.DeploymentUnblockRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := e.deploymentOf(r, &req.DeploymentID); err != nil {
		return nil, err
	}
	return deploymentWritten(e.ops.UnblockDeployment(ctx, req.DeploymentID))
}

func (e *endpoints) setAllocHealth(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.DeploymentAllocHealthRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := e.deploymentOf(r, &req.DeploymentID); err != nil {
		return nil, err
	}
	if len(req.HealthyAllocationIDs)+len(req.UnhealthyAllocationIDs) == 0 {
		return nil, structs.Errorf(structs.Invalid, "must specify at least one healthy/unhealthy allocation ID")
	}
	return deploymentWritten(e.ops.SetAllocHealth(ctx, req))
}
