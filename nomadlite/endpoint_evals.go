package nomadlite

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func evalNamespace(e *structs.Evaluation) string       { return e.Namespace }
func evalModified(e *structs.Evaluation) uint64        { return e.ModifyIndex }
func deploymentNamespace(d *structs.Deployment) string { return d.Namespace }
func deploymentModified(d *structs.Deployment) uint64  { return d.ModifyIndex }

func evalKey(e *structs.Evaluation) api.Key {
	return api.Key{Namespace: e.Namespace, ID: e.ID, Index: e.CreateIndex}
}

func deploymentKey(d *structs.Deployment) api.Key {
	return api.Key{Namespace: d.Namespace, ID: d.ID, Index: d.CreateIndex}
}

// evals yields what a list of evaluations is made of.
func evals(r *api.Request, s *state.Snapshot) iter.Seq[*structs.Evaluation] {
	items := s.Evals()
	if r.Query.Prefix != "" {
		items = s.EvalsByIDPrefix(r.Query.Prefix)
	}
	job, status := r.Values.Get("job"), r.Values.Get("status")
	return visible(r, filtered(items, func(e *structs.Evaluation) bool {
		return (job == "" || e.JobID == job) && (status == "" || e.Status == status)
	}), evalNamespace)
}

func (e *endpoints) listEvals(ctx context.Context, r *api.Request) (*api.Response, error) {
	if r.Query.Filter != "" && (r.Values.Get("job") != "" || r.Values.Get("status") != "") {
		return nil, structs.Errorf(structs.Invalid, "Filter expression cannot be used with other filter parameters")
	}
	keys, _ := tables(state.TableEvals)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 { return scope(r, s, state.TableEvals) }, func(s *state.Snapshot) (*api.Response, error) {
		return page(api.List(r, "eval", evals(r, s), evalKey, itself[*structs.Evaluation]))
	}})
}

func (e *endpoints) countEvals(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, _ := tables(state.TableEvals)
	index := func(s *state.Snapshot) uint64 { return scope(r, s, state.TableEvals) }
	r.Query.PerPage = 0
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		all, _, err := api.List(r, "eval", evals(r, s), evalKey, func(*structs.Evaluation) struct{} { return struct{}{} })
		if err != nil {
			return nil, err
		}
		return body(&api.EvalCountResponse{Count: len(all), ResponseMeta: api.ResponseMeta{Index: index(s)}})
	}})
}

// deleteEvals removes the evaluations that a body names or describes.
func (e *endpoints) deleteEvals(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.EvalDeleteRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	switch n := len(req.EvalIDs); {
	case (n > 0) == (req.Filter != ""):
		return nil, structs.Errorf(structs.Invalid, "evals must be deleted by either ID or filter")
	case n > api.MaxEvalDeletes:
		return nil, structs.Errorf(structs.Invalid, "request includes %d evaluation IDs, must be %d or fewer", n, api.MaxEvalDeletes)
	}
	ids := req.EvalIDs
	if req.Filter != "" {
		matches, err := api.Matcher(req.Filter)
		if err != nil {
			return nil, err
		}
		if err := e.ops.ReadBarrier(ctx); err != nil {
			return nil, err
		}
		for eval := range e.store.Snapshot().Evals() {
			ok, err := matches(eval)
			if err != nil {
				return nil, err
			}
			if ok {
				ids = append(ids, eval.ID)
			}
		}
	}
	out, err := e.ops.DeleteEvals(ctx, ids)
	if err != nil {
		return nil, err
	}
	return written(out, out.Index, nil)
}

func (e *endpoints) readEval(ctx context.Context, r *api.Request) (*api.Response, error) {
	related, err := r.Bool("related", false)
	if err != nil {
		return nil, err
	}
	id := r.Param("id")
	if err := api.CheckID("eval", id); err != nil {
		return nil, err
	}
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyEval(id)},
		index: func(s *state.Snapshot) uint64 {
			if eval := s.Eval(id); eval != nil {
				return eval.ModifyIndex
			}
			return s.TableIndex(state.TableEvals)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			eval := s.Eval(id)
			if eval == nil {
				return nil, notFound("eval")
			}
			if err := r.Authorize(eval.Namespace); err != nil {
				return nil, err
			}
			if !related {
				return body(eval)
			}
			out := *eval
			out.RelatedEvals = relatedEvals(s, eval)
			return body(&out)
		},
	})
}

// maxRelated bounds how many relatives of an evaluation are listed.
const maxRelated = 1000

// relatedEvals are the evaluations that an evaluation leads to by its previous,
// next and blocked ones, and those by theirs, in order of creation.
func relatedEvals(s *state.Snapshot, eval *structs.Evaluation) []*structs.EvaluationStub {
	found := map[string]*structs.Evaluation{eval.ID: eval}
	for open := []*structs.Evaluation{eval}; len(open) > 0 && len(found) <= maxRelated; {
		next := open[0]
		open = open[1:]
		for _, id := range []string{next.PreviousEval, next.NextEval, next.BlockedEval} {
			if other := s.Eval(id); id != "" && other != nil && found[id] == nil {
				found[id] = other
				open = append(open, other)
			}
		}
	}
	delete(found, eval.ID)
	out := []*structs.EvaluationStub{}
	for _, other := range found {
		out = append(out, evalStub(other))
	}
	slices.SortFunc(out, func(a, b *structs.EvaluationStub) int {
		return cmp.Or(cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func evalStub(e *structs.Evaluation) *structs.EvaluationStub {
	return &structs.EvaluationStub{
		ID: e.ID, Priority: e.Priority, Type: e.Type, TriggeredBy: e.TriggeredBy,
		Namespace: e.Namespace, JobID: e.JobID, NodeID: e.NodeID, DeploymentID: e.DeploymentID,
		Status: e.Status, StatusDescription: e.StatusDescription, WaitUntil: e.WaitUntil,
		NextEval: e.NextEval, PreviousEval: e.PreviousEval, BlockedEval: e.BlockedEval,
		CreateIndex: e.CreateIndex, ModifyIndex: e.ModifyIndex, CreateTime: e.CreateTime, ModifyTime: e.ModifyTime,
	}
}

// allocsView lists the allocations that belong to an evaluation or to a
// deployment, whose namespace is that of the object.
func (e *endpoints) allocsView(ctx context.Context, r *api.Request, key state.Key, namespace func(*state.Snapshot) string, allocs func(*state.Snapshot) iter.Seq[*structs.Allocation]) (*api.Response, error) {
	return e.read(ctx, r, view{
		keys:  []state.Key{key},
		index: func(s *state.Snapshot) uint64 { return newest(s, state.TableAllocs, allocs(s), allocModified) },
		render: func(s *state.Snapshot) (*api.Response, error) {
			if err := r.Authorize(namespace(s)); err != nil {
				return nil, err
			}
			return body(show(allocs(s), showAllocStub))
		},
	})
}

func (e *endpoints) evalAllocs(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("eval", id); err != nil {
		return nil, err
	}
	return e.allocsView(ctx, r, state.KeyEvalAllocs(id), func(s *state.Snapshot) string {
		if eval := s.Eval(id); eval != nil {
			return eval.Namespace
		}
		return r.Query.Namespace
	}, func(s *state.Snapshot) iter.Seq[*structs.Allocation] { return s.AllocsByEval(id) })
}

func (e *endpoints) listDeployments(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, _ := tables(state.TableDeployments)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 { return scope(r, s, state.TableDeployments) }, func(s *state.Snapshot) (*api.Response, error) {
		items := s.Deployments()
		if r.Query.Prefix != "" {
			items = s.DeploymentsByIDPrefix(r.Query.Prefix)
		}
		return page(api.List(r, "deployment", visible(r, items, deploymentNamespace), deploymentKey, itself[*structs.Deployment]))
	}})
}

func (e *endpoints) readDeployment(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("deployment", id); err != nil {
		return nil, err
	}
	return e.read(ctx, r, view{
		keys: []state.Key{state.KeyDeployment(id)},
		index: func(s *state.Snapshot) uint64 {
			if d := s.Deployment(id); d != nil {
				return d.ModifyIndex
			}
			return s.TableIndex(state.TableDeployments)
		},
		render: func(s *state.Snapshot) (*api.Response, error) {
			d := s.Deployment(id)
			if d == nil {
				return nil, notFound("deployment")
			}
			if err := r.Authorize(d.Namespace); err != nil {
				return nil, err
			}
			return body(d)
		},
	})
}

func (e *endpoints) deploymentAllocs(ctx context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	if err := api.CheckID("deployment", id); err != nil {
		return nil, err
	}
	return e.allocsView(ctx, r, state.KeyDeploymentAllocs(id), func(s *state.Snapshot) string {
		if d := s.Deployment(id); d != nil {
			return d.Namespace
		}
		return r.Query.Namespace
	}, func(s *state.Snapshot) iter.Seq[*structs.Allocation] { return s.AllocsByDeployment(id) })
}
