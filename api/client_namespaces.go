package api

import (
	"context"

	"github.com/nomadlite/nomadlite/structs"
)

// Namespaces calls the routes of namespaces.
type Namespaces struct{ c *Client }

// Namespaces returns the routes of namespaces.
func (c *Client) Namespaces() Namespaces { return Namespaces{c} }

// List returns the namespaces.
func (n Namespaces) List(ctx context.Context, q *QueryOptions) ([]*structs.Namespace, *QueryMeta, error) {
	return get[[]*structs.Namespace](ctx, n.c, "/v1/namespaces", q)
}

// Get returns a namespace.
func (n Namespaces) Get(ctx context.Context, name string, q *QueryOptions) (*structs.Namespace, *QueryMeta, error) {
	return get[*structs.Namespace](ctx, n.c, "/v1/namespace/"+Escape(name), q)
}

// Set creates or replaces a namespace.
func (n Namespaces) Set(ctx context.Context, in *structs.Namespace, w *WriteOptions) (*WriteMeta, error) {
	return n.c.Put(ctx, "/v1/namespace", in, nil, w)
}

// Delete removes a namespace in which nothing runs.
func (n Namespaces) Delete(ctx context.Context, name string, w *WriteOptions) (*WriteMeta, error) {
	return n.c.Delete(ctx, "/v1/namespace/"+Escape(name), nil, w)
}

// NodePools calls the routes of node pools.
type NodePools struct{ c *Client }

// NodePools returns the routes of node pools.
func (c *Client) NodePools() NodePools { return NodePools{c} }

// List returns the node pools.
func (p NodePools) List(ctx context.Context, q *QueryOptions) ([]*structs.NodePool, *QueryMeta, error) {
	return get[[]*structs.NodePool](ctx, p.c, "/v1/node/pools", q)
}

// Get returns a node pool.
func (p NodePools) Get(ctx context.Context, name string, q *QueryOptions) (*structs.NodePool, *QueryMeta, error) {
	return get[*structs.NodePool](ctx, p.c, "/v1/node/pool/"+Escape(name), q)
}

// Set creates or replaces a node pool.
func (p NodePools) Set(ctx context.Context, pool *structs.NodePool, w *WriteOptions) (*WriteMeta, error) {
	return p.c.Put(ctx, "/v1/node/pools", pool, nil, w)
}

// Delete removes a node pool that nothing uses.
func (p NodePools) Delete(ctx context.Context, name string, w *WriteOptions) (*WriteMeta, error) {
	return p.c.Delete(ctx, "/v1/node/pool/"+Escape(name), nil, w)
}

// Nodes lists the nodes of a pool.
func (p NodePools) Nodes(ctx context.Context, name string, q *QueryOptions) ([]*structs.NodeListStub, *QueryMeta, error) {
	return get[[]*structs.NodeListStub](ctx, p.c, "/v1/node/pool/"+Escape(name)+"/nodes", q)
}

// Jobs lists the jobs of a pool.
func (p NodePools) Jobs(ctx context.Context, name string, q *QueryOptions) ([]*structs.JobListStub, *QueryMeta, error) {
	return get[[]*structs.JobListStub](ctx, p.c, "/v1/node/pool/"+Escape(name)+"/jobs", q)
}
