package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/e2e/cluster"
)

// nodesRest is how long idle nodes are watched: several heartbeats of each.
const nodesRest = time.Minute

// nodes measures what idle nodes cost the leader of three servers: simulated
// nodes in a process of their own, over the server port.
func nodes(b *bench) error {
	c, stop, err := startCluster(b, cluster.Options{Servers: 3, Clients: 1, Client: fmt.Sprintf("  simulate_nodes = %d\n", b.place.nodes)})
	if err != nil {
		return err
	}
	defer stop()
	for limit := time.Now().Add(b.place.limit); ; time.Sleep(time.Second) {
		if err = c.AwaitNodes(c.Servers[0], b.place.nodes)(); err == nil {
			break
		}
		if time.Now().After(limit) {
			return err
		}
	}
	time.Sleep(b.settle)
	leader := c.Leader(c.Servers[0])
	if leader == nil {
		return fmt.Errorf("no leader")
	}
	before := processSeconds(leader.Pid)
	time.Sleep(nodesRest)
	used := processSeconds(leader.Pid) - before
	if now := c.Leader(c.Servers[0]); now != leader {
		return fmt.Errorf("the leader changed meanwhile")
	}
	if err := c.AwaitNodes(c.Servers[0], b.place.nodes)(); err != nil {
		return err
	}
	name := fmt.Sprintf("nodes: leader of 3 with %d idle nodes, connections shared", b.place.nodes)
	b.line(name+": CPU", 1000*used/nodesRest.Seconds(), "ms/s")
	b.line(name+": RSS", procMemory(leader.Pid).rss, "MiB")
	return nil
}

// processSeconds is the CPU time of a process, without its children.
func processSeconds(pid int) float64 {
	f := statFields(pid)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}
