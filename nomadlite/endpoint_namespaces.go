package nomadlite

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// done answers a write that says nothing but its index.
func done(index uint64, err error) (*api.Response, error) {
	if err != nil {
		return nil, err
	}
	return &api.Response{Index: index}, nil
}

// named settles the name that a body and the path give an object.
func named(inPath string, inBody *string, noun string) error {
	switch {
	case inPath == "":
	case *inBody == "":
		*inBody = inPath
	case *inBody != inPath:
		return structs.Errorf(structs.Invalid, "%s name does not match request path", noun)
	}
	return nil
}

func (e *endpoints) setNamespace(ctx context.Context, r *api.Request) (*api.Response, error) {
	n := &structs.Namespace{}
	if err := r.Decode(n); err != nil {
		return nil, err
	}
	if err := named(r.Param("name"), &n.Name, "Namespace"); err != nil {
		return nil, err
	}
	return done(e.ops.UpsertNamespace(ctx, n))
}

func (e *endpoints) deleteNamespace(ctx context.Context, r *api.Request) (*api.Response, error) {
	return done(e.ops.DeleteNamespace(ctx, r.Param("name")))
}

func (e *endpoints) setNodePool(ctx context.Context, r *api.Request) (*api.Response, error) {
	p := &structs.NodePool{}
	if err := r.Decode(p); err != nil {
		return nil, err
	}
	if err := named(r.Param("name"), &p.Name, "Node pool"); err != nil {
		return nil, err
	}
	return done(e.ops.UpsertNodePool(ctx, p))
}

func (e *endpoints) deleteNodePool(ctx context.Context, r *api.Request) (*api.Response, error) {
	return done(e.ops.DeleteNodePool(ctx, r.Param("name")))
}
