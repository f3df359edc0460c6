package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nomadlite/nomadlite/e2e/cluster"
)

// failoverRounds bounds the rounds: each kills processes and waits for them.
const failoverRounds = 100

// failover measures what the death of a machine's agent costs: of the leader,
// until a job that is registered at once is placed and runs; of a client, until
// its work runs on another.
func failover(b *bench) error {
	c, stop, err := startCluster(b, cluster.Options{Servers: 3, Clients: 2})
	if err != nil {
		return err
	}
	defer stop()
	if err := await(c.AwaitNodes(c.Servers[0], 2)); err != nil {
		return err
	}
	var leaders, clients []float64
	for i := range min(b.samples, failoverRounds) {
		took, err := killLeader(c, i)
		if err != nil {
			return err
		}
		leaders = append(leaders, took.Seconds())
		if took, err = killClient(c, i); err != nil {
			return err
		}
		clients = append(clients, took.Seconds())
	}
	b.quantiles("leader SIGKILLed: next job registered and running", leaders, "s")
	b.line("leader SIGKILLed: worst", quantile(leaders, 1), "s")
	b.quantiles("client SIGKILLed: replacement running elsewhere", clients, "s")
	b.line("client SIGKILLed: worst", quantile(clients, 1), "s")
	return nil
}

// await waits for a condition.
func await(cond func() error) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := cond()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within a minute: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// killLeader kills the leader and registers a job by another server at once.
func killLeader(c *cluster.Cluster, round int) (time.Duration, error) {
	var leader *cluster.Member
	if err := await(func() error {
		if leader = c.Leader(c.Servers[0]); leader == nil {
			return fmt.Errorf("no leader")
		}
		return nil
	}); err != nil {
		return 0, err
	}
	ask := c.Servers[0]
	if ask == leader {
		ask = c.Servers[1]
	}
	job := fmt.Sprintf("leader%d", round)
	began := time.Now()
	if err := leader.Kill(); err != nil {
		return 0, err
	}
	// A caller tries again until it is told that the job is there.
	if err := await(func() error { _, err := ask.Do("PUT", "/v1/jobs", cluster.Service(job, 1), nil); return err }); err != nil {
		return 0, err
	}
	if err := await(c.AwaitRunning(ask, job, 1)); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := leader.Again(); err != nil {
		return 0, err
	}
	if _, err := ask.Do("DELETE", "/v1/job/"+job+"?purge=true", nil, nil); err != nil {
		return 0, err
	}
	return took, await(func() error { _, err := leader.Do("GET", "/v1/nodes", nil, nil); return err })
}

// killClient kills the client that runs a job and waits for the other.
func killClient(c *cluster.Cluster, round int) (time.Duration, error) {
	ask, job := c.Servers[0], fmt.Sprintf("client%d", round)
	if err := await(c.AwaitNodes(ask, 2)); err != nil {
		return 0, err
	}
	if _, err := ask.Do("PUT", "/v1/jobs", cluster.Service(job, 1), nil); err != nil {
		return 0, err
	}
	if err := await(c.AwaitRunning(ask, job, 1)); err != nil {
		return 0, err
	}
	running, err := c.Running(ask, job)
	if err != nil {
		return 0, err
	}
	victim := c.Clients[0]
	if running[0].NodeName == c.Clients[1].Name {
		victim = c.Clients[1]
	}
	began := time.Now()
	if err := victim.Kill(); err != nil {
		return 0, err
	}
	if err := await(func() error {
		now, err := c.Running(ask, job)
		if err != nil {
			return err
		}
		if len(now) != 1 || now[0].NodeName == victim.Name {
			return fmt.Errorf("%v", now)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := victim.Again(); err != nil {
		return 0, err
	}
	if _, err := ask.Do("DELETE", "/v1/job/"+job+"?purge=true", nil, nil); err != nil {
		return 0, err
	}
	return took, await(c.AwaitNodes(ask, 2))
}

// startCluster starts a cluster of the binary under test; stop ends it and
// removes what it wrote.
func startCluster(b *bench, options cluster.Options) (c *cluster.Cluster, stop func(), err error) {
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Setenv("NOMADLITE_BIN", bin); err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "nomadlite-bench-")
	if err != nil {
		return nil, nil, err
	}
	c, err = cluster.Start(dir, options)
	stop = func() {
		if c != nil {
			c.Stop()
		}
		os.RemoveAll(dir)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return c, stop, nil
}
