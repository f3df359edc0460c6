package nomadlite

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func allocNamespace(a *structs.Allocation) string { return a.Namespace }
func allocModified(a *structs.Allocation) uint64  { return a.ModifyIndex }

func allocKey(a *structs.Allocation) api.Key {
	return api.Key{Namespace: a.Namespace, ID: a.ID, Index: a.CreateIndex}
}

func (e *endpoints) listAllocs(ctx context.Context, r *api.Request) (*api.Response, error) {
	resources, err := r.Bool("resources", false)
	if err != nil {
		return nil, err
	}
	states, err := r.Bool("task_states", true)
	if err != nil {
		return nil, err
	}
	keys, _ := tables(state.TableAllocs)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 { return scope(r, s, state.TableAllocs) }, func(s *state.Snapshot) (*api.Response, error) {
		allocs := s.Allocs()
		if r.Query.Prefix != "" {
			allocs = s.AllocsByIDPrefix(r.Query.Prefix)
		}
		return page(api.List(r, "alloc", visible(r, allocs, allocNamespace), allocKey, func(a *structs.Allocation) *allocStub {
			stub := showAllocStub(a)
			if resources {
				stub.AllocatedResources = a.AllocatedResources
			}
			if !states {
				stub.TaskStates = nil
			}
			return stub
		}))
	}})
}

func (e *endpoints) readAlloc(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("alloc", id); err != nil {
		return nil, err
	}
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyAlloc(id)},
		index: func(s *state.Snapshot) uint64 {
			if a := s.Alloc(id); a != nil {
				return a.ModifyIndex
			}
			return s.TableIndex(state.TableAllocs)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			a := s.Alloc(id)
			if a == nil {
				return nil, notFound("alloc")
			}
			if err := r.Authorize(a.Namespace); err != nil {
				return nil, err
			}
			return body(showAlloc(a))
		},
	})
}

func (e *endpoints) stopAlloc(ctx context.Context, r *api.Request) (*api.Response, error) {
	noDelay, err := r.Bool("no_shutdown_delay", false)
	if err != nil {
		return nil, err
	}
	reschedule, err := r.Bool("reschedule", false)
	if err != nil {
		return nil, err
	}
	id := r.Param("id")
	if err := api.CheckID("alloc", id); err != nil {
		return nil, err
	}
	a := e.store.Snapshot().Alloc(id)
	if a == nil {
		return nil, notFound("allocation")
	}
	if err := r.Authorize(a.Namespace); err != nil {
		return nil, err
	}
	out, err := e.ops.StopAlloc(ctx, id, noDelay, reschedule)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}
