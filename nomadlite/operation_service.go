package nomadlite

import (
	"context"
	"slices"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

var _ api.Workloads = (*Server)(nil)

// serviceWriter removes registrations.
type serviceWriter interface {
	DeleteService(ctx context.Context, ns, name, id string) (index uint64, err error)
}

// DeleteService implements serviceWriter.
func (s *Server) DeleteService(ctx context.Context, ns, name, id string) (uint64, error) {
	_, index, err := s.apply(ctx, fsm.ServiceDelete, &state.ServiceDelete{Namespace: ns, Name: name, ID: id})
	return index, err
}

// UpdateServices commits what a node says of its services.
func (s *Server) UpdateServices(ctx context.Context, req api.NodeServicesRequest) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	if _, err := s.node(s.store.Snapshot(), req.NodeID, req.SecretID); err != nil {
		return err
	}
	_, _, err := s.apply(ctx, fsm.ServicesUpdate, &state.ServicesUpdate{NodeID: req.NodeID, Full: req.Full, Set: req.Set, Remove: req.Remove})
	return err
}

// workload finds an allocation that a node runs.
func (s *Server) workload(snap *state.Snapshot, nodeID, secret, allocID string) (*structs.Allocation, error) {
	if _, err := s.node(snap, nodeID, secret); err != nil {
		return nil, err
	}
	a := snap.Alloc(allocID)
	switch {
	case a == nil || a.NodeID != nodeID:
		return nil, structs.Errorf(structs.NotFound, "allocation %q is not on node %q", allocID, nodeID)
	case a.ClientTerminal():
		return nil, structs.Errorf(structs.Denied, "allocation %q has ended: its tasks have no rights any more", allocID)
	}
	return a, nil
}

// maxLookup bounds the items of an answer to a lookup.
const maxLookup = 10_000

// Lookup reads data for a task, waiting for a change.
func (s *Server) Lookup(ctx context.Context, req api.WorkloadLookup) (*api.WorkloadData, error) {
	if err := s.ReadBarrier(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	ns, err := s.lookupNamespace(snap, req)
	if err != nil {
		return nil, err
	}
	v, err := lookupView(ns, req)
	if err != nil {
		return nil, err
	}
	if req.Since > 0 && v.index(snap) <= req.Since {
		waiting, cancel := context.WithTimeout(ctx, min(orDefault(req.Wait, api.DefaultWait), api.MaxWait))
		defer cancel()
		err = s.store.Block(waiting, req.Since, v.keys, func(now *state.Snapshot) uint64 {
			snap = now
			return v.index(now)
		})
		if err != nil {
			return nil, err
		}
	}
	out := &api.WorkloadData{Index: v.index(snap)}
	return out, s.fill(out, snap, ns, req)
}

// lookupNamespace is where a lookup may look: in the namespace of its
// allocation; a node itself may look at the services of any.
func (s *Server) lookupNamespace(snap *state.Snapshot, req api.WorkloadLookup) (string, error) {
	if req.AllocID == "" && req.Kind == api.LookupService {
		_, err := s.node(snap, req.NodeID, req.SecretID)
		return req.Namespace, err
	}
	a, err := s.workload(snap, req.NodeID, req.SecretID, req.AllocID)
	if err != nil {
		return "", err
	}
	return a.Namespace, nil
}

// lookupView says what a lookup watches; its render is not used.
func lookupView(ns string, req api.WorkloadLookup) (view, error) {
	switch req.Kind {
	case api.LookupVariable:
		return view{keys: []state.Key{state.KeyVariable(ns, req.Name)}, index: func(s *state.Snapshot) uint64 {
			if v := s.Variable(ns, req.Name); v != nil {
				return v.ModifyIndex
			}
			return max(1, s.TableIndex(state.TableVariables))
		}}, nil
	case api.LookupVariables:
		keys, index := tables(state.TableVariables)
		return view{keys: keys, index: func(s *state.Snapshot) uint64 { return max(1, index(s)) }}, nil
	case api.LookupService:
		return view{keys: []state.Key{state.KeyService(ns, req.Name)}, index: func(s *state.Snapshot) uint64 { return serviceIndex(s, s.ServicesByName(ns, req.Name)) }}, nil
	case api.LookupServices:
		keys, index := tables(state.TableServices)
		return view{keys: keys, index: func(s *state.Snapshot) uint64 { return max(1, index(s)) }}, nil
	}
	return view{}, structs.Errorf(structs.Invalid, "cannot look up %q: no such kind of data", req.Kind)
}

// fill adds to an answer what a lookup asked for. With ACLs off a task may read
// every variable of its namespace.
func (s *Server) fill(out *api.WorkloadData, snap *state.Snapshot, ns string, req api.WorkloadLookup) error {
	switch req.Kind {
	case api.LookupVariable:
		v := snap.Variable(ns, req.Name)
		if v == nil {
			return nil
		}
		open, err := s.OpenVariable(snap, v)
		out.Variable = open
		return err
	case api.LookupVariables:
		for v := range snap.Variables(ns, req.Name) {
			if len(out.Variables) == maxLookup {
				return structs.Errorf(structs.TooLarge, "more than %d variables begin with %q: use a longer prefix", maxLookup, req.Name)
			}
			out.Variables = append(out.Variables, &v.VariableMetadata)
		}
	case api.LookupService:
		out.Services = slices.Collect(snap.ServicesByName(ns, req.Name))
	case api.LookupServices:
		for v := range snap.Services(ns, "") {
			if len(out.Services) == maxLookup {
				break
			}
			out.Services = append(out.Services, v)
		}
	}
	return nil
}
