package nomadlite

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/nomadlite/blocked"
	"github.com/nomadlite/nomadlite/nomadlite/broker"
	"github.com/nomadlite/nomadlite/nomadlite/deploy"
	"github.com/nomadlite/nomadlite/nomadlite/drain"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/gc"
	"github.com/nomadlite/nomadlite/nomadlite/heartbeat"
	"github.com/nomadlite/nomadlite/nomadlite/periodic"
	"github.com/nomadlite/nomadlite/nomadlite/planner"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/nomadlite/worker"
	"github.com/nomadlite/nomadlite/structs"
)

// failoverTTL is what every node has after a change of leader (runtime.md 12)
// when the configuration says nothing else.
const failoverTTL = 5 * time.Minute

// loops are the parts that run while this server leads.
type loops struct {
	broker    *broker.Broker
	heartbeat *heartbeat.Table
	suspects  *suspects
	gc        *gc.Collector
	list      []loop
}

// loop is one of them.
type loop struct {
	name string
	run  func(context.Context) error
}

// newLoops makes the loops of a leader; this is the one place that lists them.
func newLoops(s *Server) *loops {
	l := &loops{suspects: newSuspects()}
	l.broker = broker.New(broker.Config{Store: s.store, GiveUp: s.giveUp, Logger: s.log.Named("broker")})
	l.heartbeat = heartbeat.New(heartbeat.Config{
		MinTTL: s.cfg.MinHeartbeatTTL, Grace: s.cfg.HeartbeatGrace, MaxPerSecond: s.cfg.MaxHeartbeatsPerSecond,
		FailoverTTL: s.cfg.FailoverHeartbeatTTL, Missed: s.missed, Logger: s.log.Named("heartbeat"),
	})
	l.gc = gc.New(gc.Config{
		Store: s.store, Interval: s.cfg.JobGCInterval, Collect: s.collect, Logger: s.log.Named("gc"),
		Keep: gc.Thresholds{Eval: s.cfg.EvalGCThreshold, BatchEval: s.cfg.BatchEvalGCThreshold, Job: s.cfg.JobGCThreshold, Deployment: s.cfg.DeploymentGCThreshold, Node: s.cfg.NodeGCThreshold},
	})
	plans := planner.New(planner.Deps{Store: s.store, Apply: s.applyPlan})
	deployments := deploy.New(deploy.Deps{
		Store: s.store, Settle: s.settleDeployment, Promote: s.promoteDeployment, Evaluate: s.upsertEvals,
		Replace: s.transitionAllocs, NewID: newID, Logger: s.log.Named("deployments"),
	})
	drains := drain.New(drain.Deps{Store: s.store, Migrate: s.transitionAllocs, Finish: s.finishDrain, NewID: newID, Logger: s.log.Named("drain")})
	waker := blocked.New(blocked.Config{Store: s.store, Limit: 2 * worker.MaxPasses * s.cfg.NumSchedulers, Upsert: s.upsertEvals, Logger: s.log.Named("blocked")})
	launcher := periodic.New(periodic.Config{
		Store: s.store, Launch: s.launchChildren, Logger: s.log.Named("periodic"),
	})
	l.list = []loop{
		{"broker", l.broker.Run},
		{"blocked evaluations", waker.Run},
		{"heartbeat", func(ctx context.Context) error { return l.heartbeat.Run(ctx, readyNodes(s.store.Snapshot())) }},
		{"suspects", s.watchSuspects},
		{"autopilot", s.watchServers},
		{"keyring", s.tendKeyring},
		{"deployments", deployments.Run},
		{"drains", drains.Run},
		{"periodic jobs", launcher.Run},
		{"garbage collection", l.gc.Run},
		{"measures", func(ctx context.Context) error { return s.measure(ctx, plans) }},
	}
	for i := range s.cfg.NumSchedulers {
		w := worker.New(worker.Deps{Broker: l.broker, Planner: plans, Store: s.store, Logger: s.log.Named("worker"), NewID: newID})
		l.list = append(l.list, loop{fmt.Sprintf("worker %d", i), w.Run})
	}
	return l
}

// run runs all loops until ctx ends; the first failure ends all.
func (l *loops) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range l.list {
		group.Go(func() error {
			if err := one.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// readyNodes are the nodes that a new leader expects to hear from.
func readyNodes(snap *state.Snapshot) []string {
	var ids []string
	for n := range snap.Nodes() {
		if n.Status != structs.NodeStatusDown {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// applyPlan commits a plan.
func (s *Server) applyPlan(ctx context.Context, plan *structs.Plan) (*structs.PlanResult, error) {
	value, _, err := s.apply(ctx, fsm.PlanApply, plan)
	if err != nil {
		return nil, err
	}
	result, ok := value.(*structs.PlanResult)
	if !ok {
		return nil, structs.Errorf(structs.Internal, "cannot apply the plan of evaluation %s: it has no result", plan.EvalID)
	}
	return result, nil
}

func (s *Server) upsertEvals(ctx context.Context, evals []*structs.Evaluation) error {
	_, _, err := s.apply(ctx, fsm.EvalUpsert, &state.EvalUpsert{Evals: evals})
	return err
}

func (s *Server) transitionAllocs(ctx context.Context, c *state.AllocTransition) error {
	_, _, err := s.apply(ctx, fsm.AllocTransition, c)
	return err
}

func (s *Server) finishDrain(ctx context.Context, c *state.NodeDrain) error {
	_, _, err := s.apply(ctx, fsm.NodeDrain, c)
	return err
}

func (s *Server) collect(ctx context.Context, c *state.Collect) error {
	_, _, err := s.apply(ctx, fsm.Collect, c)
	return err
}

func (s *Server) settleDeployment(ctx context.Context, c *state.DeploymentStatus) error {
	_, _, err := s.apply(ctx, fsm.DeploymentStatus, c)
	return err
}

func (s *Server) promoteDeployment(ctx context.Context, c *state.DeploymentPromote) error {
	_, _, err := s.apply(ctx, fsm.DeploymentPromote, c)
	return err
}

// Follow-ups of evaluations that were given up wait this long (runtime.md 16).
const (
	followUpWait  = time.Minute
	followUpRange = 4 * time.Minute
)

// giveUp records that an evaluation failed, with the one that follows it up.
func (s *Server) giveUp(ctx context.Context, eval *structs.Evaluation) error {
	now := time.Now()
	failed, next := *eval, *eval
	failed.Status, failed.StatusDescription = structs.EvalStatusFailed, "evaluation reached delivery limit"
	failed.ModifyTime = now.UnixNano()
	at := now.Add(followUpWait + spread(eval.ID, followUpRange))
	next.ID, next.TriggeredBy, next.PreviousEval = newID(), structs.EvalTriggerFailedFollowUp, eval.ID
	next.WaitUntil, next.CreateTime, next.ModifyTime = &at, now.UnixNano(), now.UnixNano()
	next.CreateIndex, next.ModifyIndex, next.SnapshotIndex = 0, 0, 0
	failed.NextEval = next.ID
	return s.upsertEvals(ctx, []*structs.Evaluation{&failed, &next})
}

// spread is a time below limit that depends on the id alone.
func spread(id string, limit time.Duration) time.Duration {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return time.Duration(h % uint64(limit))
}
