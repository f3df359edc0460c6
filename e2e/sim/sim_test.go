package sim

import (
	"fmt"
	"os"
	"strconv"
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

// load is what users do.
func (c *cluster) load() {
	id := fmt.Sprint("job-", c.random.IntN(6))
	switch n := c.random.IntN(10); {
	case n < 7:
		job := c.job(id)
		c.propose(fsm.JobRegister, &state.JobRegister{Job: job, Eval: c.newEval(job, structs.EvalTriggerJobRegister), Now: c.now.UnixNano()}, func(_ any, err error) {
			if err == nil && job.Type == structs.JobTypeService { // batch jobs end, and are collected
				c.acked[id] = true
			}
		})
	case n == 7:
		c.stop(id, false)
	case n == 8:
		c.stop(id, true)
	default:
		// Whatever is over goes at once: nothing may trip over what is gone.
		c.propose(fsm.Collect, gc.Find(c.snapshot(), gc.Thresholds{}, c.now), nil)
	}
}

func (c *cluster) stop(id string, purge bool) {
	job := c.snapshot().Job("default", id)
	if job == nil {
		return
	}
	delete(c.acked, id) // from now on it may be gone
	c.propose(fsm.JobDeregister, &state.JobDeregister{Namespace: "default", JobID: id, Purge: purge, Eval: c.newEval(job, structs.EvalTriggerJobDeregister), Now: c.now.UnixNano()}, nil)
}

func (c *cluster) job(id string) *structs.Job {
	kind := structs.JobTypeService
	if id == "job-5" {
		kind = structs.JobTypeBatch
	}
	g := &structs.TaskGroup{Name: "g", Count: structs.Ptr(1 + c.random.IntN(4)), Update: &structs.UpdateStrategy{MaxParallel: structs.Ptr(0)},
		Tasks: []*structs.Task{{Name: "t", Driver: "mock", Resources: &structs.Resources{CPU: structs.Ptr(100 + 50*c.random.IntN(12)), MemoryMB: structs.Ptr(10 + c.random.IntN(300))}}}}
	if kind == structs.JobTypeService {
		g.ReschedulePolicy = &structs.ReschedulePolicy{Unlimited: structs.Ptr(true), Delay: structs.Ptr(5 * time.Second), DelayFunction: structs.Ptr(structs.DelayConstant)}
	}
	if id == "job-4" {
		g.Networks = []*structs.NetworkResource{{ReservedPorts: []structs.Port{{Label: "http", Value: 8080}}}}
	}
	job := &structs.Job{ID: id, Type: kind, Priority: 50 + 10*c.random.IntN(3), Datacenters: []string{"*"}, TaskGroups: []*structs.TaskGroup{g}}
	if kind == structs.JobTypeService {
		job.Update = &structs.UpdateStrategy{MaxParallel: structs.Ptr(0)}
	} else {
		g.Update = nil
	}
	job.Canonicalize()
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
	sweep := 0
	c.every(20*time.Millisecond, 40*time.Millisecond, c.schedule)
	c.every(20*time.Millisecond, 60*time.Millisecond, func() { sweep++; c.wake(sweep%100 == 0) })
	c.every(200*time.Millisecond, 300*time.Millisecond, c.watchNodes)
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
	c.run(storm, nil)
	c.faults = false
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

// TestCluster_I02_I03_I04_I05_I06_I14_I15_I16_I20_B05_B45 runs SIM_SEEDS seeds (200) from
// SIM_SEED (1) on.
func TestCluster_I02_I03_I04_I05_I06_I14_I15_I16_I20_B05_B45(t *testing.T) {
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

// TestPlantedBugs: each bug is found within a few seeds.
func TestPlantedBugs(t *testing.T) {
	for name, b := range map[string]bugs{
		"a leader lacks what was acknowledged":  {loseAcked: true},
		"a follower leaves an entry out":        {skipEntry: true},
		"a restored server leaves an entry out": {staleRestore: true},
		"nobody wakes what waits":               {deafWaker: true},
		"nodes forget the numbers of reports":   {forgetAck: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 30; seed++ {
				if failure, _ := runSeed(seed, b); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Error("30 seeds did not find it")
		})
	}
}
