package sim

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/gc"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

const (
	storm = 8 * time.Second // of faults and load
	calm  = 2 * time.Minute // until everything must be at rest
)

// every does something again and again.
func (c *cluster) every(min, max time.Duration, do func()) {
	c.after(c.some(min, max), func() {
		do()
		c.every(min, max, do)
	})
}

// ids are the jobs that users have: what they are is told by kinds.
var ids = []string{"job-0", "job-1", "job-2", "job-3", "port", "batch", "roll-0", "roll-1", "away", "system", "cron-0", "cron-1"}

// load is what users do.
func (c *cluster) load() {
	id := ids[c.random.IntN(len(ids))]
	switch n := c.random.IntN(14); {
	case n < 7:
		c.register(id)
	case n == 7:
		c.stop(id, false)
	case n == 8:
		c.stop(id, true)
	case n == 9:
		c.scale(id)
	case n <= 12:
		c.operate()
	default:
		// Whatever is over goes at once: nothing may trip over what is gone.
		c.collect()
	}
}

func (c *cluster) collect() {
	snap := c.snapshot()
	found := gc.Find(snap, gc.Thresholds{}, c.now)
	for _, k := range found.Jobs {
		if job := snap.Job(k.Namespace, k.ID); gaveUp(snap, job) {
			delete(c.acked, k.ID) // a service of which nothing runs is dead, though nobody stopped it
		}
	}
	c.propose(fsm.Collect, found, nil)
}

func (c *cluster) register(id string) {
	job := c.job(id)
	cmd := &state.JobRegister{Job: job, Now: c.now.UnixNano()}
	if job.Periodic == nil {
		cmd.Eval = c.newEval(job, structs.EvalTriggerJobRegister)
	}
	c.propose(fsm.JobRegister, cmd, func(_ any, err error) {
		if err == nil && job.Type != structs.JobTypeBatch { // batch jobs end, and are collected
			c.acked[id] = true
		}
	})
}

func (c *cluster) stop(id string, purge bool) {
	job := c.snapshot().Job("default", id)
	if job == nil {
		return
	}
	delete(c.acked, id) // from now on it may be gone
	cmd := &state.JobDeregister{Namespace: "default", JobID: id, Purge: purge, Now: c.now.UnixNano()}
	if job.Periodic == nil {
		cmd.Eval = c.newEval(job, structs.EvalTriggerJobDeregister)
	}
	c.propose(fsm.JobDeregister, cmd, func(any, error) { delete(c.acked, id) }) // what was registered before it is gone
}

func (c *cluster) scale(id string) {
	job := c.snapshot().Job("default", id)
	if job == nil || job.Stop || job.Type != structs.JobTypeService {
		return
	}
	c.propose(fsm.JobScale, &state.JobScale{Namespace: "default", JobID: id, Group: "g", Count: c.random.IntN(5),
		Eval: c.newEval(job, structs.EvalTriggerScaling), Now: c.now.UnixNano()}, nil)
}

func (c *cluster) job(id string) *structs.Job {
	kind, _, _ := strings.Cut(id, "-")
	g := &structs.TaskGroup{Name: "g", Count: structs.Ptr(1 + c.random.IntN(4)),
		Tasks: []*structs.Task{{Name: "t", Driver: "mock", Resources: &structs.Resources{CPU: structs.Ptr(100 + 50*c.random.IntN(12)), MemoryMB: structs.Ptr(10 + c.random.IntN(300))}}}}
	job := &structs.Job{ID: id, Type: structs.JobTypeService, Priority: 50 + 10*c.random.IntN(3), Datacenters: []string{"*"}, TaskGroups: []*structs.TaskGroup{g}}
	small := &structs.Resources{CPU: structs.Ptr(20 + c.random.IntN(30)), MemoryMB: structs.Ptr(10)}
	switch kind {
	case "batch":
		job.Type = structs.JobTypeBatch
	case "cron":
		job.Type, g.Count, g.Tasks[0].Resources = structs.JobTypeBatch, structs.Ptr(1), small
		job.Periodic = &structs.PeriodicConfig{Specs: []string{"*/2 * * * * * *"}, SpecType: "cron", ProhibitOverlap: id == "cron-0"}
	case "system":
		job.Type, g.Count, g.Tasks[0].Resources, job.Priority = structs.JobTypeSystem, structs.Ptr(1), small, 90
	case "port":
		g.Networks = []*structs.NetworkResource{{ReservedPorts: []structs.Port{{Label: "http", Value: 8080}}}}
	case "away":
		g.Disconnect = &structs.DisconnectStrategy{LostAfter: structs.Ptr(c.some(time.Second, 5*time.Second)), Replace: structs.Ptr(c.chance(0.7)),
			Reconcile: structs.Ptr([]string{"best_score", "keep_original", "keep_replacement", "longest_running"}[c.random.IntN(4)])}
	}
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(0)}
	if kind == "roll" {
		update = &structs.UpdateStrategy{MaxParallel: structs.Ptr(1 + c.random.IntN(2)), Canary: structs.Ptr(c.random.IntN(3)), HealthCheck: structs.Ptr(structs.HealthCheckTaskStates),
			MinHealthyTime: structs.Ptr(time.Duration(0)), HealthyDeadline: structs.Ptr(3 * time.Second), ProgressDeadline: structs.Ptr(6 * time.Second), AutoRevert: structs.Ptr(c.chance(0.5))}
		update.AutoPromote = structs.Ptr(*update.Canary > 0 && c.chance(0.5))
		g.Tasks[0].Resources.CPU = structs.Ptr(50 + 10*c.random.IntN(10))
	}
	if job.Type == structs.JobTypeService {
		job.Update = update
		g.ReschedulePolicy = &structs.ReschedulePolicy{Unlimited: structs.Ptr(true), Delay: structs.Ptr(5 * time.Second), DelayFunction: structs.Ptr(structs.DelayConstant)}
	}
	job.Canonicalize()
	if g.Migrate != nil {
		g.Migrate.MaxParallel, g.Migrate.HealthyDeadline = structs.Ptr(1+c.random.IntN(2)), structs.Ptr(c.some(500*time.Millisecond, 2*time.Second))
	}
	g.EphemeralDisk.SizeMB = structs.Ptr(10)
	return job
}

// trouble is what breaks.
func (c *cluster) trouble() {
	follower := (c.leader + 1 + c.random.IntN(replicas-1)) % replicas
	switch c.random.IntN(5) {
	case 0:
		c.lead(follower)
	case 1:
		c.restart(follower)
	case 2:
		c.save(follower)
	default:
		c.nodes[c.random.IntN(len(c.nodes))].crash(c.chance(0.5), c.some(200*time.Millisecond, 3*time.Second))
	}
}

// runSeed runs a cluster from a seed and returns what went wrong, "" for
// nothing.
func runSeed(seed uint64, b bugs) (failure string, entries int) {
	c := newCluster(seed, b)
	for _, n := range c.nodes {
		n.register()
		c.every(100*time.Millisecond, 200*time.Millisecond, n.tick)
	}
	if c.chance(0.5) {
		c.propose(fsm.SchedulerConfig, &state.SchedulerConfig{Config: &structs.SchedulerConfiguration{
			PreemptionConfig: structs.PreemptionConfig{ServiceSchedulerEnabled: true, SystemSchedulerEnabled: true}}}, nil)
	}
	sweep := 0
	c.every(20*time.Millisecond, 40*time.Millisecond, c.schedule)
	c.every(20*time.Millisecond, 60*time.Millisecond, func() { sweep++; c.wake(sweep%100 == 0) })
	c.every(200*time.Millisecond, 300*time.Millisecond, func() { c.loops.heartbeat.Look(context.Background()) })
	for i := range replicas {
		c.every(10*time.Millisecond, 300*time.Millisecond, func() {
			if i != c.leader {
				c.follow(i, len(c.log)-c.random.IntN(3))
			}
		})
	}
	c.every(50*time.Millisecond, 400*time.Millisecond, func() {
		if c.faults {
			c.load()
		}
	})
	c.every(300*time.Millisecond, 900*time.Millisecond, func() {
		if c.faults {
			c.trouble()
		}
	})
	c.every(20*time.Millisecond, 100*time.Millisecond, c.step)
	c.run(storm, nil)
	c.faults = false
	c.every(300*time.Millisecond, 500*time.Millisecond, c.tidy)
	looks, state := 0, "nothing was looked at"
	c.run(calm, func() bool {
		if looks++; looks%64 == 0 {
			state = c.rest()
		}
		return state == ""
	})
	if c.failure == "" && state != "" {
		c.fail("no rest after %v without faults: %s", calm, state)
	}
	for i := range c.servers {
		c.follow(i, len(c.log))
		if c.failure == "" && c.servers[i].store.Snapshot().Hash() != c.snapshot().Hash() {
			c.fail("I-16: server %d differs at the end", i)
		}
	}
	return c.failure, len(c.log)
}

// number reads a number from the environment.
func number(t *testing.T, name string, def uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestCluster_I01_to_I09_I12_I14_to_I20_B01_B02_B05_B06_B30_B34_B45 runs
// SIM_SEEDS seeds (200) from SIM_SEED (1) on: services, batch, system and
// periodic jobs, rollouts with canaries, drains, scaling, preemption,
// disconnected nodes and garbage collection, under faults.
func TestCluster_I01_to_I09_I12_I14_to_I20_B01_B02_B05_B06_B30_B34_B45(t *testing.T) {
	first, entries := number(t, "SIM_SEED", 1), 0
	seeds := number(t, "SIM_SEEDS", 200)
	for seed := first; seed < first+seeds; seed++ {
		failure, n := runSeed(seed, bugs{})
		entries += n
		if failure != "" {
			t.Fatalf("seed %d: %s\nagain: SIM_SEED=%d SIM_SEEDS=1 go test ./sim", seed, failure, seed)
		}
	}
	t.Logf("%d seeds, %d entries", seeds, entries)
}

// TestSameSeedSameRun: a seed is a run, to the last entry.
func TestSameSeedSameRun(t *testing.T) {
	a, n := runSeed(3, bugs{})
	b, m := runSeed(3, bugs{})
	if a != b || n != m {
		t.Errorf("one run: %d entries, %q; another: %d entries, %q", n, a, m, b)
	}
}
