// Package gc finds what is dead and old enough to be forgotten: evaluations
// with their allocations, jobs, deployments and nodes. It decides on a snapshot
// with Find, which is pure; the Collector commits what was found in bounded
// commands, and the state machine checks each row again.
package gc

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Thresholds say how long dead things are kept. The zero value keeps nothing.
type Thresholds struct {
	Eval       time.Duration
	BatchEval  time.Duration
	Job        time.Duration
	Deployment time.Duration
	Node       time.Duration
}

// maxBatch bounds the rows of one command.
const maxBatch = 4096

// finder looks through one snapshot.
type finder struct {
	snap *state.Snapshot
	keep Thresholds
	now  time.Time
	out  state.Collect
}

// Find returns everything of a snapshot that may be forgotten.
func Find(snap *state.Snapshot, keep Thresholds, now time.Time) *state.Collect {
	f := &finder{snap: snap, keep: keep, now: now}
	gone := map[state.JobKey]bool{}
	for job := range snap.Jobs("", "") {
		if f.jobDead(job) {
			key := state.JobKey{Namespace: job.Namespace, ID: job.ID}
			gone[key] = true
			f.out.Jobs = append(f.out.Jobs, key)
		}
	}
	for eval := range snap.Evals() {
		if gone[state.JobKey{Namespace: eval.Namespace, ID: eval.JobID}] || f.evalDead(eval) {
			f.out.Evals = append(f.out.Evals, eval.ID)
			for a := range snap.AllocsByEval(eval.ID) {
				f.out.Allocs = append(f.out.Allocs, a.ID)
			}
		}
	}
	for d := range snap.Deployments() {
		if f.deploymentDead(d) {
			f.out.Deployments = append(f.out.Deployments, d.ID)
		}
	}
	for n := range snap.Nodes() {
		if n.Status == structs.NodeStatusDown && f.old(time.Unix(n.StatusUpdatedAt, 0), keep.Node) && f.ended(snap.AllocsByNode(n.ID)) {
			f.out.Nodes = append(f.out.Nodes, n.ID)
		}
	}
	return &f.out
}

func (f *finder) old(at time.Time, keep time.Duration) bool { return !at.Add(keep).After(f.now) }

// ended reports whether no allocation can do anything any more.
func (f *finder) ended(allocs func(func(*structs.Allocation) bool)) bool {
	for a := range allocs {
		if !a.ClientTerminal() {
			return false
		}
	}
	return true
}

// jobDead reports whether a job is over with all that belongs to it. Tagged
// versions keep it, parents live until they are stopped, and what is scaled to
// zero waits to be scaled up again.
func (f *finder) jobDead(job *structs.Job) bool {
	if job.Status != structs.JobStatusDead || job.ScaledToZero() || !f.old(time.Unix(0, job.SubmitTime), f.keep.Job) {
		return false
	}
	if (job.Periodic != nil || job.Dispatchable()) && !job.Stop {
		return false
	}
	for _, v := range f.snap.JobVersions(job.Namespace, job.ID) {
		if v.VersionTag != nil {
			return false
		}
	}
	for e := range f.snap.EvalsByJob(job.Namespace, job.ID) {
		if !e.Terminal() || !f.old(time.Unix(0, e.ModifyTime), f.keep.Job) {
			return false
		}
	}
	for a := range f.snap.AllocsByJob(job.Namespace, job.ID, true) {
		if !a.ClientTerminal() || !f.old(time.Unix(0, a.ModifyTime), f.keep.Job) {
			return false
		}
	}
	return true
}

// evalDead reports whether an evaluation and all its allocations may go.
func (f *finder) evalDead(eval *structs.Evaluation) bool {
	keep := f.keep.Eval
	batch := eval.Type == structs.JobTypeBatch || eval.Type == structs.JobTypeSysBatch
	if batch {
		keep = f.keep.BatchEval
	}
	if !eval.Terminal() || !f.old(time.Unix(0, eval.ModifyTime), keep) {
		return false
	}
	job := f.snap.Job(eval.Namespace, eval.JobID)
	for a := range f.snap.AllocsByEval(eval.ID) {
		if !a.ClientTerminal() || !f.old(time.Unix(0, a.ModifyTime), keep) || f.needed(a, job, batch) {
			return false
		}
	}
	return true
}

// needed reports whether the scheduler still reads an allocation that is over:
// one of a live batch job says what is done already, a failed one that nothing
// has replaced says how often it was tried.
func (f *finder) needed(a *structs.Allocation, job *structs.Job, batch bool) bool {
	if job == nil || job.Stop || a.Job == nil || a.Job.CreateIndex != job.CreateIndex {
		return false
	}
	return batch || !a.ServerTerminal() && a.NextAllocation == ""
}

func (f *finder) deploymentDead(d *structs.Deployment) bool {
	if d.Active() || !f.old(time.Unix(0, d.ModifyTime), f.keep.Deployment) {
		return false
	}
	return f.ended(f.snap.AllocsByDeployment(d.ID))
}

// Config configures a Collector.
type Config struct {
	Store    *state.Store
	Interval time.Duration // between runs
	Keep     Thresholds
	// Collect commits a command.
	Collect func(ctx context.Context, c *state.Collect) error
	Logger  hclog.Logger
}

// Collector collects from time to time, and when it is told to.
type Collector struct {
	cfg Config
	mu  sync.Mutex // one collection at a time
}

// New returns a collector.
func New(cfg Config) *Collector { return &Collector{cfg: cfg} }

// Run collects every Interval until ctx ends. What fails is tried again the
// next time.
func (c *Collector) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := c.collect(ctx, c.cfg.Keep); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Error("cannot collect garbage; trying again", "in", c.cfg.Interval, "error", err)
		}
	}
}

// Force collects everything that is dead, however young.
func (c *Collector) Force(ctx context.Context) error { return c.collect(ctx, Thresholds{}) }

func (c *Collector) collect(ctx context.Context, keep Thresholds) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer metrics.MeasureSince([]string{"nomad", "gc", "collect"}, time.Now())
	found := Find(c.cfg.Store.Snapshot(), keep, time.Now())
	if n := len(found.Evals) + len(found.Allocs) + len(found.Jobs) + len(found.Deployments) + len(found.Nodes); n > 0 {
		c.cfg.Logger.Debug("collecting garbage", "evals", len(found.Evals), "allocs", len(found.Allocs), "jobs", len(found.Jobs), "deployments", len(found.Deployments), "nodes", len(found.Nodes))
	}
	for _, batch := range split(found) {
		if err := c.cfg.Collect(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// split makes commands of bounded size: allocations first, since what they
// belong to is kept while they are there.
func split(all *state.Collect) []*state.Collect {
	var out []*state.Collect
	for part := range slices.Chunk(all.Allocs, maxBatch) {
		out = append(out, &state.Collect{Allocs: part})
	}
	for part := range slices.Chunk(all.Evals, maxBatch) {
		out = append(out, &state.Collect{Evals: part})
	}
	for part := range slices.Chunk(all.Jobs, maxBatch) {
		out = append(out, &state.Collect{Jobs: part})
	}
	for part := range slices.Chunk(all.Deployments, maxBatch) {
		out = append(out, &state.Collect{Deployments: part})
	}
	for part := range slices.Chunk(all.Nodes, maxBatch) {
		out = append(out, &state.Collect{Nodes: part})
	}
	return out
}
