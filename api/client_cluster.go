package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/nomadlite/nomadlite/structs"
)

// Allocations calls the routes of allocations.
type Allocations struct{ c *Client }

// Allocations returns the routes of allocations.
func (c *Client) Allocations() Allocations { return Allocations{c} }

// List returns the allocations of a namespace ("*" for all).
func (a Allocations) List(ctx context.Context, q *QueryOptions) ([]*structs.AllocListStub, *QueryMeta, error) {
	return get[[]*structs.AllocListStub](ctx, a.c, "/v1/allocations", q)
}

// Introduce makes a token that introduces a new node.
func (n Nodes) Introduce(ctx context.Context, req *IntroductionRequest) (*IntroductionResponse, error) {
	out, _, err := put[*IntroductionResponse](ctx, n.c, "/v1/acl/identity/client-introduction-token", req, nil)
	return out, err
}

// Get returns an allocation by its full id, with its job.
func (a Allocations) Get(ctx context.Context, id string, q *QueryOptions) (*structs.Allocation, *QueryMeta, error) {
	return get[*structs.Allocation](ctx, a.c, "/v1/allocation/"+Escape(id), q)
}

// Stop stops an allocation, so that another takes its place.
func (a Allocations) Stop(ctx context.Context, id string, noShutdownDelay bool, w *WriteOptions) (*AllocStopResponse, *WriteMeta, error) {
	w = w.with(map[string]string{"no_shutdown_delay": strconv.FormatBool(noShutdownDelay)})
	return put[*AllocStopResponse](ctx, a.c, "/v1/allocation/"+Escape(id)+"/stop", nil, w)
}

// Restart restarts tasks of an allocation.
func (a Allocations) Restart(ctx context.Context, id string, req *AllocRestartRequest, w *WriteOptions) error {
	_, err := a.c.Put(ctx, "/v1/client/allocation/"+Escape(id)+"/restart", req, nil, w)
	return err
}

// Signal signals tasks of an allocation.
func (a Allocations) Signal(ctx context.Context, id string, req *AllocSignalRequest, w *WriteOptions) error {
	_, err := a.c.Put(ctx, "/v1/client/allocation/"+Escape(id)+"/signal", req, nil, w)
	return err
}

// Stats returns what an allocation uses; task "" is every task.
func (a Allocations) Stats(ctx context.Context, id, task string, q *QueryOptions) (*AllocResourceUsage, error) {
	if task != "" {
		q = q.with("task", task)
	}
	out, _, err := get[*AllocResourceUsage](ctx, a.c, "/v1/client/allocation/"+Escape(id)+"/stats", q)
	return out, err
}

// Evaluations calls the routes of evaluations.
type Evaluations struct{ c *Client }

// Evaluations returns the routes of evaluations.
func (c *Client) Evaluations() Evaluations { return Evaluations{c} }

// List returns evaluations in the order of their creation.
func (e Evaluations) List(ctx context.Context, q *QueryOptions) ([]*structs.Evaluation, *QueryMeta, error) {
	return get[[]*structs.Evaluation](ctx, e.c, "/v1/evaluations", q)
}

// Get returns an evaluation with the evaluations that are related to it.
func (e Evaluations) Get(ctx context.Context, id string, q *QueryOptions) (*structs.Evaluation, *QueryMeta, error) {
	return get[*structs.Evaluation](ctx, e.c, "/v1/evaluation/"+Escape(id), q.with("related", "true"))
}

// Allocations lists the allocations that an evaluation made or changed.
func (e Evaluations) Allocations(ctx context.Context, id string, q *QueryOptions) ([]*structs.AllocListStub, *QueryMeta, error) {
	return get[[]*structs.AllocListStub](ctx, e.c, "/v1/evaluation/"+Escape(id)+"/allocations", q)
}

// Delete removes evaluations; the broker must be paused.
func (e Evaluations) Delete(ctx context.Context, req *EvalDeleteRequest, w *WriteOptions) (*EvalDeleteResponse, *WriteMeta, error) {
	out := &EvalDeleteResponse{}
	meta, err := e.c.write(ctx, http.MethodDelete, "/v1/evaluations", req, out, w)
	return out, meta, err
}

// Count counts evaluations.
func (e Evaluations) Count(ctx context.Context, q *QueryOptions) (*EvalCountResponse, *QueryMeta, error) {
	return get[*EvalCountResponse](ctx, e.c, "/v1/evaluations/count", q)
}

// Nodes calls the routes of nodes.
type Nodes struct{ c *Client }

// Nodes returns the routes of nodes.
func (c *Client) Nodes() Nodes { return Nodes{c} }

// List returns the nodes. Parameters "resources" and "os" add fields.
func (n Nodes) List(ctx context.Context, q *QueryOptions) ([]*structs.NodeListStub, *QueryMeta, error) {
	return get[[]*structs.NodeListStub](ctx, n.c, "/v1/nodes", q)
}

// Get returns a node by its full id.
func (n Nodes) Get(ctx context.Context, id string, q *QueryOptions) (*structs.Node, *QueryMeta, error) {
	return get[*structs.Node](ctx, n.c, "/v1/node/"+Escape(id), q)
}

// Allocations lists the allocations of a node.
func (n Nodes) Allocations(ctx context.Context, id string, q *QueryOptions) ([]*structs.Allocation, *QueryMeta, error) {
	return get[[]*structs.Allocation](ctx, n.c, "/v1/node/"+Escape(id)+"/allocations", q)
}

// SetEligibility makes a node eligible for placements or not.
func (n Nodes) SetEligibility(ctx context.Context, id string, eligible bool, w *WriteOptions) (*NodeUpdateResponse, *WriteMeta, error) {
	req := &NodeEligibilityRequest{NodeID: id, Eligibility: structs.NodeIneligible}
	if eligible {
		req.Eligibility = structs.NodeEligible
	}
	return put[*NodeUpdateResponse](ctx, n.c, "/v1/node/"+Escape(id)+"/eligibility", req, w)
}

// Drain starts or ends a drain.
func (n Nodes) Drain(ctx context.Context, req *NodeDrainRequest, w *WriteOptions) (*NodeUpdateResponse, *WriteMeta, error) {
	return put[*NodeUpdateResponse](ctx, n.c, "/v1/node/"+Escape(req.NodeID)+"/drain", req, w)
}

// Evaluate makes evaluations of all jobs that run on a node.
func (n Nodes) Evaluate(ctx context.Context, id string, w *WriteOptions) (*NodeUpdateResponse, *WriteMeta, error) {
	return put[*NodeUpdateResponse](ctx, n.c, "/v1/node/"+Escape(id)+"/evaluate", nil, w)
}

// Purge removes a node.
func (n Nodes) Purge(ctx context.Context, id string, w *WriteOptions) (*NodeUpdateResponse, *WriteMeta, error) {
	return put[*NodeUpdateResponse](ctx, n.c, "/v1/node/"+Escape(id)+"/purge", nil, w)
}

// Stats returns what a node's host uses; "" is the agent's own node.
func (n Nodes) Stats(ctx context.Context, id string, q *QueryOptions) (*HostStats, error) {
	if id != "" {
		q = q.with("node_id", id)
	}
	out, _, err := get[*HostStats](ctx, n.c, "/v1/client/stats", q)
	return out, err
}

// Meta returns a node's metadata; "" is the agent's own node.
func (n Nodes) Meta(ctx context.Context, id string, q *QueryOptions) (*NodeMetaResponse, error) {
	if id != "" {
		q = q.with("node_id", id)
	}
	out, _, err := get[*NodeMetaResponse](ctx, n.c, "/v1/client/metadata", q)
	return out, err
}

// ApplyMeta changes a node's metadata and returns what it is then.
func (n Nodes) ApplyMeta(ctx context.Context, req *NodeMetaApplyRequest, w *WriteOptions) (*NodeMetaResponse, error) {
	out := &NodeMetaResponse{}
	_, err := n.c.write(ctx, "POST", "/v1/client/metadata", req, out, w)
	return out, err
}

// GC removes all finished allocations from a node's disk.
func (n Nodes) GC(ctx context.Context, id string, q *QueryOptions) error {
	if id != "" {
		q = q.with("node_id", id)
	}
	_, err := n.c.Get(ctx, "/v1/client/gc", nil, q)
	return err
}

// Search finds ids by prefix.
func (c *Client) Search(ctx context.Context, req *SearchRequest, q *QueryOptions) (*SearchResponse, *QueryMeta, error) {
	return query[*SearchResponse](ctx, c, "/v1/search", req, q)
}

// FuzzySearch finds names by a part of them.
func (c *Client) FuzzySearch(ctx context.Context, req *FuzzySearchRequest, q *QueryOptions) (*FuzzySearchResponse, *QueryMeta, error) {
	return query[*FuzzySearchResponse](ctx, c, "/v1/search/fuzzy", req, q)
}
