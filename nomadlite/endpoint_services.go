package nomadlite

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func serviceNamespace(s *structs.ServiceRegistration) string { return s.Namespace }
func serviceModified(s *structs.ServiceRegistration) uint64  { return s.ModifyIndex }

// serviceIndex is the index of a part of the registrations.
func serviceIndex(s *state.Snapshot, items iter.Seq[*structs.ServiceRegistration]) uint64 {
	return max(1, newest(s, state.TableServices, items, serviceModified))
}

func serviceKey(s *structs.ServiceRegistration) api.Key {
	return api.Key{Namespace: s.Namespace, ID: s.ID, Index: s.CreateIndex}
}

func showService(s *structs.ServiceRegistration) *structs.ServiceRegistration {
	if s.Tags == nil {
		out := *s
		out.Tags = []string{}
		return &out
	}
	return s
}

// listServices lists names with tags, by namespace.
func (e *endpoints) listServices(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, _ := tables(state.TableServices)
	mine := func(s *state.Snapshot) iter.Seq[*structs.ServiceRegistration] {
		return visible(r, s.Services(storedNamespace(r), r.Query.Prefix), serviceNamespace)
	}
	return e.read(ctx, r, view{
		keys: keys,
		index: func(s *state.Snapshot) uint64 {
			if r.Query.Prefix == "" {
				return max(1, scope(r, s, state.TableServices))
			}
			return serviceIndex(s, mine(s))
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			whole := *r // names are the items, not instances: no pages, no prefix of ids
			whole.Query.PerPage, whole.Query.NextToken, whole.Query.Prefix = 0, "", ""
			found, _, err := api.List(&whole, "service", mine(s), serviceKey, func(s *structs.ServiceRegistration) *structs.ServiceRegistration { return s })
			if err != nil {
				return nil, err
			}
			return body(stubs(found))
		},
	})
}

// stubs groups registrations, which come by namespace and name.
func stubs(found []*structs.ServiceRegistration) []*api.ServiceList {
	slices.SortStableFunc(found, func(a, b *structs.ServiceRegistration) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.ServiceName, b.ServiceName)
	})
	out := []*api.ServiceList{}
	for _, s := range found {
		if n := len(out); n == 0 || out[n-1].Namespace != s.Namespace {
			out = append(out, &api.ServiceList{Namespace: s.Namespace})
		}
		list := out[len(out)-1]
		if n := len(list.Services); n == 0 || list.Services[n-1].ServiceName != s.ServiceName {
			list.Services = append(list.Services, &api.ServiceStub{ServiceName: s.ServiceName, Tags: []string{}})
		}
		stub := list.Services[len(list.Services)-1]
		for _, tag := range s.Tags {
			if !slices.Contains(stub.Tags, tag) {
				stub.Tags = append(stub.Tags, tag)
			}
		}
	}
	return out
}

// readService lists the instances of a service.
func (e *endpoints) readService(ctx context.Context, r *api.Request) (*api.Response, error) {
	count, key, err := chooseOf(r.Values.Get("choose"))
	if err != nil {
		return nil, err
	}
	healthy, err := r.Bool("healthy", false)
	if err != nil {
		return nil, err
	}
	ns, name := r.Query.Namespace, r.Param("name")
	return e.read(ctx, r, view{
		keys:  []state.Key{state.KeyService(ns, name)},
		index: func(s *state.Snapshot) uint64 { return serviceIndex(s, s.ServicesByName(ns, name)) },
		render: func(s *state.Snapshot) (*api.Response, error) {
			instances := s.ServicesByName(ns, name)
			if healthy {
				instances = filtered(instances, (*structs.ServiceRegistration).Passing)
			}
			if count > 0 {
				instances = slices.Values(structs.ChooseServices(slices.Collect(instances), count, key))
			}
			return page(api.List(r, "service", instances, serviceKey, showService))
		},
	})
}

// chooseOf reads choose=<number>|<key>.
func chooseOf(text string) (count int, key string, err error) {
	if text == "" {
		return 0, "", nil
	}
	number, key, ok := strings.Cut(text, "|")
	count, aerr := strconv.Atoi(number)
	if !ok || aerr != nil || count < 1 {
		return 0, "", structs.Errorf(structs.Invalid, "failed to choose services: Parameter for choose must be in form '<number>|<key>'")
	}
	return count, key, nil
}

func (e *endpoints) deleteService(ctx context.Context, r *api.Request) (*api.Response, error) {
	index, err := e.ops.DeleteService(ctx, r.Query.Namespace, r.Param("name"), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return &api.Response{Index: index}, nil
}

func (e *endpoints) jobServices(ctx context.Context, r *api.Request) (*api.Response, error) {
	ns, id := r.Query.Namespace, r.Param("id")
	keys, _ := tables(state.TableServices)
	return e.read(ctx, r, view{
		keys:  keys,
		index: func(s *state.Snapshot) uint64 { return serviceIndex(s, s.ServicesByJob(ns, id)) },
		render: func(s *state.Snapshot) (*api.Response, error) {
			if s.Job(ns, id) == nil {
				return nil, notFound("job")
			}
			return body(show(s.ServicesByJob(ns, id), showService))
		},
	})
}

func (e *endpoints) allocServices(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("alloc", id); err != nil {
		return nil, err
	}
	keys, _ := tables(state.TableServices)
	return e.read(ctx, r, view{
		keys:  keys,
		index: func(s *state.Snapshot) uint64 { return serviceIndex(s, s.ServicesByAlloc(id)) },
		render: func(s *state.Snapshot) (*api.Response, error) {
			a := s.Alloc(id)
			if a == nil {
				return nil, notFound("allocation")
			}
			if err := r.Authorize(a.Namespace); err != nil {
				return nil, err
			}
			return body(show(s.ServicesByAlloc(id), showService))
		},
	})
}
