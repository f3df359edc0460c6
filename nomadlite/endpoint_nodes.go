package nomadlite

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func nodeKey(n *structs.Node) api.Key     { return api.Key{ID: n.ID, Index: n.CreateIndex} }
func poolKey(p *structs.NodePool) api.Key { return api.Key{ID: p.Name, Index: p.CreateIndex} }

func (e *endpoints) listNodes(ctx context.Context, r *api.Request) (*api.Response, error) {
	return e.nodePage(ctx, r, func(*structs.Node) bool { return true })
}

// nodePage lists the nodes that keep accepts.
func (e *endpoints) nodePage(ctx context.Context, r *api.Request, keep func(*structs.Node) bool) (*api.Response, error) {
	resources, err := r.Bool("resources", false)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "Failed to parse node list fields: %w", err)
	}
	osName, err := r.Bool("os", false)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "Failed to parse node list fields: %w", err)
	}
	keys, index := tables(state.TableNodes)
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		nodes := s.Nodes()
		if r.Query.Prefix != "" {
			nodes = s.NodesByIDPrefix(r.Query.Prefix)
		}
		return page(api.List(r, "node", filtered(nodes, keep), nodeKey, func(n *structs.Node) *structs.NodeListStub {
			stub := n.Stub()
			stub.Attributes, stub.NodeResources, stub.ReservedResources = nil, nil, nil
			if osName {
				stub.Attributes = map[string]string{"os.name": n.Attributes["os.name"]}
			}
			if resources {
				stub.NodeResources, stub.ReservedResources = n.NodeResources, n.ReservedResources
			}
			return stub
		}))
	}})
}

func (e *endpoints) readNode(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("node", id); err != nil {
		return nil, err
	}
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyNode(id)},
		index: func(s *state.Snapshot) uint64 {
			if n := s.Node(id); n != nil {
				return n.ModifyIndex
			}
			return s.TableIndex(state.TableNodes)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			if n := s.Node(id); n != nil {
				return body(n)
			}
			return nil, notFound("node")
		},
	})
}

func (e *endpoints) nodeAllocs(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("node", id); err != nil {
		return nil, err
	}
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyNodeAllocs(id)},
		index: func(s *state.Snapshot) uint64 {
			return newest(s, state.TableAllocs, s.AllocsByNode(id), allocModified)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			mine := func(a *structs.Allocation) bool { return r.ACL.Allows("ns:read-job", a.Namespace) }
			return body(show(filtered(s.AllocsByNode(id), mine), showAlloc))
		},
	})
}

func (e *endpoints) nodeEligibility(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.NodeEligibilityRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if req.NodeID != "" && req.NodeID != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "node ID in payload did not match URL")
	}
	return nodeWritten(e.ops.SetNodeEligibility(ctx, r.Param("id"), req.Eligibility))
}

func (e *endpoints) drainNode(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.NodeDrainRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if req.NodeID != "" && req.NodeID != r.Param("id") {
		return nil, structs.Errorf(structs.Invalid, "node ID in payload did not match URL")
	}
	req.NodeID = r.Param("id")
	return nodeWritten(e.ops.DrainNode(ctx, req))
}

func (e *endpoints) evaluateNode(ctx context.Context, r *api.Request) (*api.Response, error) {
	return nodeWritten(e.ops.EvaluateNode(ctx, r.Param("id")))
}

func (e *endpoints) purgeNode(ctx context.Context, r *api.Request) (*api.Response, error) {
	return nodeWritten(e.ops.PurgeNode(ctx, r.Param("id")))
}

func nodeWritten(out *api.NodeUpdateResponse, err error) (*api.Response, error) {
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) listNodePools(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, index := tables(state.TableNodePools)
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		mine := func(p *structs.NodePool) bool { return r.ACL.Allows(r.Route.Capability, p.Name) }
		return page(api.List(r, "node pool", filtered(s.NodePools(), mine), poolKey, itself[*structs.NodePool]))
	}})
}

func (e *endpoints) readNodePool(ctx context.Context, r *api.Request) (*api.Response, error) {
	name := r.Param("name")
	keys, index := tables(state.TableNodePools)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 {
		if p := s.NodePool(name); p != nil {
			return p.ModifyIndex
		}
		return index(s)
	}, func(s *state.Snapshot) (*api.Response, error) {
		if p := s.NodePool(name); p != nil {
			return body(p)
		}
		return nil, notFound("node pool")
	}})
}

var errNoPrefix = structs.Errorf(structs.Invalid, "prefix argument not allowed")

func (e *endpoints) nodePoolNodes(ctx context.Context, r *api.Request) (*api.Response, error) {
	if r.Query.Prefix != "" {
		return nil, errNoPrefix
	}
	pool := r.Param("name")
	return e.nodePage(ctx, r, func(n *structs.Node) bool { return pool == structs.NodePoolAll || n.NodePool == pool })
}

func (e *endpoints) nodePoolJobs(ctx context.Context, r *api.Request) (*api.Response, error) {
	if r.Query.Prefix != "" {
		return nil, errNoPrefix
	}
	pool := r.Param("name")
	return e.jobPage(ctx, r, func(j *structs.Job) bool { return j.NodePool == pool })
}
