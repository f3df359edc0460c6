package api

import (
	"context"

	"github.com/nomadlite/nomadlite/structs"
)

// DeploymentPauseRequest pauses a deployment or lets it go on.
type DeploymentPauseRequest struct {
	DeploymentID string
	Pause        bool
	WriteRequest
}

// DeploymentPromoteRequest promotes the canaries of groups, or of all.
type DeploymentPromoteRequest struct {
	DeploymentID string
	All          bool
	Groups       []string
	WriteRequest
}

// DeploymentUnblockRequest lets a deployment go on that waits for another
// region.
type DeploymentUnblockRequest struct {
	DeploymentID string
	WriteRequest
}

// DeploymentAllocHealthRequest sets the health of allocations by hand.
type DeploymentAllocHealthRequest struct {
	DeploymentID           string
	HealthyAllocationIDs   []string
	UnhealthyAllocationIDs []string
	WriteRequest
}

// Deployments calls the routes of deployments.
type Deployments struct{ c *Client }

// Deployments returns the routes of deployments.
func (c *Client) Deployments() Deployments { return Deployments{c} }

// List returns deployments in the order of their creation.
func (d Deployments) List(ctx context.Context, q *QueryOptions) ([]*structs.Deployment, *QueryMeta, error) {
	return get[[]*structs.Deployment](ctx, d.c, "/v1/deployments", q)
}

// Get returns a deployment.
func (d Deployments) Get(ctx context.Context, id string, q *QueryOptions) (*structs.Deployment, *QueryMeta, error) {
	return get[*structs.Deployment](ctx, d.c, "/v1/deployment/"+Escape(id), q)
}

// Allocations lists the allocations of a deployment.
func (d Deployments) Allocations(ctx context.Context, id string, q *QueryOptions) ([]*structs.AllocListStub, *QueryMeta, error) {
	return get[[]*structs.AllocListStub](ctx, d.c, "/v1/deployment/allocations/"+Escape(id), q)
}

// Fail ends a deployment as failed.
func (d Deployments) Fail(ctx context.Context, id string, w *WriteOptions) (*DeploymentUpdateResponse, *WriteMeta, error) {
	return put[*DeploymentUpdateResponse](ctx, d.c, "/v1/deployment/fail/"+Escape(id), nil, w)
}

// Pause pauses a deployment, or lets it go on.
func (d Deployments) Pause(ctx context.Context, id string, pause bool, w *WriteOptions) (*DeploymentUpdateResponse, *WriteMeta, error) {
	return put[*DeploymentUpdateResponse](ctx, d.c, "/v1/deployment/pause/"+Escape(id), &DeploymentPauseRequest{DeploymentID: id, Pause: pause}, w)
}

// Promote promotes the canaries of the groups, of all when there are none.
func (d Deployments) Promote(ctx context.Context, id string, groups []string, w *WriteOptions) (*DeploymentUpdateResponse, *WriteMeta, error) {
	req := &DeploymentPromoteRequest{DeploymentID: id, All: len(groups) == 0, Groups: groups}
	return put[*DeploymentUpdateResponse](ctx, d.c, "/v1/deployment/promote/"+Escape(id), req, w)
}

// Unblock lets a deployment go on that waits for another region.
func (d Deployments) Unblock(ctx context.Context, id string, w *WriteOptions) (*DeploymentUpdateResponse, *WriteMeta, error) {
	return put[*DeploymentUpdateResponse](ctx, d.c, "/v1/deployment/unblock/"+Escape(id), &DeploymentUnblockRequest{DeploymentID: id}, w)
}

// SetAllocHealth sets the health of a deployment's allocations.
func (d Deployments) SetAllocHealth(ctx context.Context, req *DeploymentAllocHealthRequest, w *WriteOptions) (*DeploymentUpdateResponse, *WriteMeta, error) {
	return put[*DeploymentUpdateResponse](ctx, d.c, "/v1/deployment/allocation-health/"+Escape(req.DeploymentID), req, w)
}
