package nomadlite

import (
	"context"
	"net/http"
	"slices"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func sealedNamespace(v *state.SealedVariable) string { return v.Namespace }

func (e *endpoints) listVariables(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, _ := tables(state.TableVariables)
	mine := func(s *state.Snapshot) func(func(*state.SealedVariable) bool) {
		return visible(r, s.Variables(storedNamespace(r), r.Query.Prefix), sealedNamespace)
	}
	return e.read(ctx, r, view{
		keys: keys,
		index: func(s *state.Snapshot) uint64 {
			if r.Query.Prefix == "" {
				return max(1, scope(r, s, state.TableVariables))
			}
			return max(1, newest(s, state.TableVariables, mine(s), func(v *state.SealedVariable) uint64 { return v.ModifyIndex }))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			meta := func(yield func(*structs.VariableMetadata) bool) {
				for v := range mine(s) {
					if !yield(&v.VariableMetadata) {
						return
					}
				}
			}
			return page(api.List(r, "variable", meta, func(v *structs.VariableMetadata) api.Key {
				return api.Key{Namespace: v.Namespace, ID: v.Path, Index: v.CreateIndex}
			}, func(v *structs.VariableMetadata) *structs.VariableMetadata { return v }))
		},
	})
}

func (e *endpoints) readVariable(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, path := r.Query.Namespace, r.Param("path")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyVariable(ns, path)},
		index: func(s *state.Snapshot) uint64 {
			if v := s.Variable(ns, path); v != nil {
				return v.ModifyIndex
			}
			return max(1, s.TableIndex(state.TableVariables))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			v := s.Variable(ns, path)
			if v == nil {
				return nil, notFound("variable")
			}
			open, err := e.ops.OpenVariable(s, v)
			if err != nil {
				return nil, err
			}
			return body(open)
		},
	})
}

// lockOperations are queries of writes that this build does not have.
var lockOperations = []string{"lock-acquire", "lock-renew", "lock-release"}

func (e *endpoints) setVariable(ctx context.Context, r *api.Request) (*api.Response, error) {
	if slices.ContainsFunc(lockOperations, r.Values.Has) {
		return nil, structs.Errorf(structs.Unsupported, "cannot lock variables: locks are not in this build")
	}
	v := &structs.Variable{}
	if err := r.Decode(v); err != nil {
		return nil, err
	}
	path := r.Param("path")
	if v.Path != "" && v.Path != path {
		return nil, structs.Errorf(structs.Invalid, "variable path %q does not match the path %q of the request", v.Path, path)
	}
	v.VariableMetadata = structs.VariableMetadata{Namespace: r.Query.Namespace, Path: path}
	if v.Namespace == structs.AllNamespaces {
		return nil, structs.Errorf(structs.Invalid, "cannot write a variable in namespace %q: name one namespace", v.Namespace)
	}
	if err := v.Validate(); err != nil {
		return nil, err
	}
	check, err := casOf(r)
	if err != nil {
		return nil, err
	}
	stored, conflict, err := e.ops.SetVariable(ctx, v, check)
	if err != nil {
		return nil, err
	}
	if conflict {
		return conflicting(v.VariableMetadata, stored), nil
	}
	return &api.Response{Body: stored, Index: stored.ModifyIndex}, nil
}

func (e *endpoints) deleteVariable(ctx context.Context, r *api.Request) (*api.Response, error) {
	check, err := casOf(r)
	if err != nil {
		return nil, err
	}
	ns, path := r.Query.Namespace, r.Param("path")
	stored, conflict, index, err := e.ops.DeleteVariable(ctx, ns, path, check)
	if err != nil {
		return nil, err
	}
	if conflict {
		return conflicting(structs.VariableMetadata{Namespace: ns, Path: path}, stored), nil
	}
	return &api.Response{Status: http.StatusNoContent, Index: index}, nil
}

// conflicting answers a conditional write that lost: with what is stored.
func conflicting(asked structs.VariableMetadata, stored *structs.Variable) *api.Response {
	if stored == nil {
		stored = &structs.Variable{VariableMetadata: asked}
	}
	return &api.Response{Status: http.StatusConflict, Body: stored, Index: stored.ModifyIndex}
}
