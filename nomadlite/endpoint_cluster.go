package nomadlite

import (
	"context"
	"net/http"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

func (e *endpoints) leader(context.Context, *api.Request) (*api.Response, error) {
	addr, _, _ := e.ops.Leader()
	return body(addr)
}

func (e *endpoints) peers(context.Context, *api.Request) (*api.Response, error) {
	peers, err := e.ops.Peers()
	if err != nil {
		return nil, err
	}
	return body(peers)
}

func (e *endpoints) regions(context.Context, *api.Request) (*api.Response, error) {
	return body(e.ops.Regions())
}

func (e *endpoints) raftConfiguration(context.Context, *api.Request) (*api.Response, error) {
	cfg, err := e.ops.RaftConfiguration()
	if err != nil {
		return nil, err
	}
	return body(cfg)
}

func (e *endpoints) raftRemovePeer(ctx context.Context, r *api.Request) (*api.Response, error) {
	switch {
	case r.Values.Has("address"):
		return nil, structs.Errorf(structs.Invalid, "cannot remove a peer by address: this is unsupported, use id")
	case r.Values.Get("id") == "":
		return nil, structs.Errorf(structs.Invalid, "Must specify the peer's ID to remove")
	}
	return nil, e.ops.RemovePeer(ctx, r.Values.Get("id"))
}

func (e *endpoints) raftTransfer(ctx context.Context, r *api.Request) (*api.Response, error) {
	ids, addrs := r.Values["id"], r.Values["address"]
	switch {
	case len(ids)+len(addrs) == 0:
		return nil, structs.Errorf(structs.Invalid, "must specify id or address")
	case len(ids) > 0 && len(addrs) > 0:
		return nil, structs.Errorf(structs.Invalid, "must specify either id or address")
	case len(ids)+len(addrs) > 1:
		return nil, structs.Errorf(structs.Invalid, "must specify only one id or address")
	case r.Values.Get("id")+r.Values.Get("address") == "":
		return nil, structs.Errorf(structs.Invalid, "id and address must not be empty")
	}
	out, err := e.ops.TransferLeadership(ctx, r.Values.Get("id"), r.Values.Get("address"))
	if err != nil {
		return nil, err
	}
	return body(out)
}

func (e *endpoints) autopilotConfig(context.Context, *api.Request) (*api.Response, error) {
	return body(e.ops.AutopilotConfig())
}

func (e *endpoints) setAutopilotConfig(ctx context.Context, r *api.Request) (*api.Response, error) {
	cfg := &structs.AutopilotConfiguration{}
	if err := r.Decode(cfg); err != nil {
		return nil, err
	}
	check, err := casOf(r)
	if err != nil {
		return nil, err
	}
	updated, err := e.ops.SetAutopilotConfig(ctx, cfg, check)
	if err != nil {
		return nil, err
	}
	return body(updated)
}

func (e *endpoints) autopilotHealth(ctx context.Context, _ *api.Request) (*api.Response, error) {
	health, err := e.ops.ServerHealth(ctx)
	if err != nil {
		return nil, err
	}
	if !health.Healthy {
		return &api.Response{Body: health, Status: http.StatusTooManyRequests}, nil
	}
	return body(health)
}

// Limits of what is shown of the broker's queues.
const (
	shownEvals    = 100
	maxShownEvals = 1000
)

func (e *endpoints) evalQueues(ctx context.Context, r *api.Request) (*api.Response, error) {
	limit, given, err := r.Uint("limit")
	if err != nil {
		return nil, err
	}
	if !given {
		limit = shownEvals
	}
	queues, err := e.ops.EvalQueues(ctx, int(min(limit, maxShownEvals)))
	if err != nil {
		return nil, err
	}
	return body(queues)
}

func (e *endpoints) collectGarbage(ctx context.Context, _ *api.Request) (*api.Response, error) {
	return nil, e.ops.CollectGarbage(ctx)
}

func (e *endpoints) reconcileSummaries(ctx context.Context, _ *api.Request) (*api.Response, error) {
	return nil, e.ops.ReconcileSummaries(ctx)
}

func (e *endpoints) schedulerConfig(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, index := tables(state.TableSchedulerConfig)
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		cfg := s.SchedulerConfig()
		return body(&api.SchedulerConfigurationResponse{SchedulerConfig: cfg, ResponseMeta: api.ResponseMeta{Index: max(1, cfg.ModifyIndex)}})
	}})
}

func (e *endpoints) setSchedulerConfig(ctx context.Context, r *api.Request) (*api.Response, error) {
	cfg := &structs.SchedulerConfiguration{}
	if err := r.Decode(cfg); err != nil {
		return nil, err
	}
	if cfg.SchedulerAlgorithm == "" {
		cfg.SchedulerAlgorithm = structs.SchedulerAlgorithmBinpack
	}
	if err := scheduler.CheckAlgorithm(cfg.SchedulerAlgorithm); err != nil {
		return nil, structs.Errorf(structs.Invalid, "invalid scheduler algorithm: %s (%v)", cfg.SchedulerAlgorithm, err)
	}
	check, err := casOf(r)
	if err != nil {
		return nil, err
	}
	updated, index, err := e.ops.SetSchedulerConfig(ctx, cfg, check)
	return written(&api.SchedulerSetConfigurationResponse{Updated: updated, ResponseMeta: api.ResponseMeta{Index: index}}, index, err)
}

func (e *endpoints) listNamespaces(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, index := tables(state.TableNamespaces)
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		mine := func(n *structs.Namespace) bool {
			return strings.HasPrefix(n.Name, r.Query.Prefix) && r.ACL.Allows(r.Route.Capability, n.Name)
		}
		return body(show(filtered(s.Namespaces(), mine), itself[*structs.Namespace]))
	}})
}

func (e *endpoints) readNamespace(ctx context.Context, r *api.Request) (*api.Response, error) {
	name := r.Param("name")
	keys, index := tables(state.TableNamespaces)
	return e.read(ctx, r, view{keys, func(s *state.Snapshot) uint64 {
		if n := s.Namespace(name); n != nil {
			return n.ModifyIndex
		}
		return index(s)
	}, func(s *state.Snapshot) (*api.Response, error) {
		if n := s.Namespace(name); n != nil {
			return body(n)
		}
		return nil, notFound("Namespace")
	}})
}
