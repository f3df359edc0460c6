package nomadlite

import (
	"context"
	"iter"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func volumeNamespace(v *structs.HostVolume) string { return v.Namespace }

// listVolumes lists the volumes of a type; without a type there are none, as
// the contract has it.
func (e *endpoints) listVolumes(ctx context.Context, r *api.Request) (*api.Response, error) {
	switch r.Values.Get("type") {
	case "host":
	case "", "csi":
		return &api.Response{Body: []*structs.HostVolumeStub{}, Index: 1}, nil
	default:
		return nil, structs.Errorf(structs.NotFound, "resource not found")
	}
	node, pool := r.Values.Get("node_id"), r.Values.Get("node_pool")
	keys, _ := tables(state.TableHostVolumes)
	mine := func(s *state.Snapshot) iter.Seq[*structs.HostVolume] {
		return filtered(visible(r, s.HostVolumes(r.Query.Prefix), volumeNamespace), func(v *structs.HostVolume) bool {
			return (node == "" || v.NodeID == node) && (pool == "" || v.NodePool == pool)
		})
	}
	return e.read(ctx, r, view{
		keys: keys,
		index: func(s *state.Snapshot) uint64 {
			return max(1, newest(s, state.TableHostVolumes, mine(s), func(v *structs.HostVolume) uint64 { return v.ModifyIndex }))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			shown := func(yield func(*structs.HostVolume) bool) {
				for v := range mine(s) {
					if !yield(e.shown(s, v)) {
						return
					}
				}
			}
			return page(api.List(r, "host volume", shown, func(v *structs.HostVolume) api.Key {
				return api.Key{Namespace: v.Namespace, ID: v.ID, Index: v.CreateIndex}
			}, (*structs.HostVolume).Stub))
		},
	})
}

// shown is a volume as callers see it: it cannot be used while its node is
// away.
func (e *endpoints) shown(s *state.Snapshot, v *structs.HostVolume) *structs.HostVolume {
	n := s.Node(v.NodeID)
	if v.State != structs.HostVolumeReady || n != nil && n.Status == structs.NodeStatusReady {
		return v
	}
	own := *v
	own.State = structs.HostVolumeUnavailable
	return &own
}

func (e *endpoints) readVolume(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyHostVolume(id)},
		index: func(s *state.Snapshot) uint64 {
			if v := s.HostVolume(id); v != nil {
				return v.ModifyIndex
			}
			return max(1, s.TableIndex(state.TableHostVolumes))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			v := s.HostVolume(id)
			if v == nil || v.Namespace != r.Query.Namespace && r.Query.Namespace != structs.AllNamespaces {
				return nil, notFound("volume")
			}
			if err := r.Authorize(v.Namespace); err != nil {
				return nil, err
			}
			own := *e.shown(s, v)
			own.Allocations = []*structs.AllocListStub{}
			for _, a := range volumeUsers(s, v) {
				own.Allocations = append(own.Allocations, a.Stub())
			}
			return body(&own)
		},
	})
}

func (e *endpoints) createVolume(ctx context.Context, r *api.Request) (*api.Response, error) {
	return e.putVolume(ctx, r, false)
}

func (e *endpoints) registerVolume(ctx context.Context, r *api.Request) (*api.Response, error) {
	return e.putVolume(ctx, r, true)
}

func (e *endpoints) putVolume(ctx context.Context, r *api.Request, register bool) (*api.Response, error) {
	var req api.HostVolumeRequest
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	if req.Volume == nil {
		return nil, structs.Errorf(structs.Internal, "missing volume definition")
	}
	v := *req.Volume
	if ns := r.Query.Namespace; v.Namespace == "" || r.Values.Get("namespace") != "" {
		v.Namespace = ns
	}
	if v.Namespace == structs.AllNamespaces {
		return nil, structs.Errorf(structs.Invalid, "cannot make a volume in namespace %q: name one namespace", v.Namespace)
	}
	if err := r.Authorize(v.Namespace); err != nil {
		return nil, err
	}
	stored, index, err := e.ops.PutHostVolume(ctx, &v, register)
	if err != nil {
		return nil, err
	}
	return &api.Response{Body: &api.HostVolumeResponse{Volume: stored}, Index: index}, nil
}

func (e *endpoints) deleteVolume(ctx context.Context, r *api.Request) (*api.Response, error) {
	index, err := e.ops.DeleteHostVolume(ctx, r.Query.Namespace, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return &api.Response{Body: struct{}{}, Index: index}, nil
}
