package cluster

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestClientAndLeaderTogether_B08: a node's agent and the leader are killed at
// the same moment and come back together. No task dies, none is placed again.
// TOGETHER says how often (3); row F-12 asks for 100.
func TestClientAndLeaderTogether_B08(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: reads other processes' environments")
	}
	times := 3
	if text := os.Getenv("TOGETHER"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		times = n
	}
	const count = 4
	c := start(t, Options{Servers: 3, Clients: 1})
	client := c.Clients[0]
	if _, err := c.Servers[0].Do("PUT", "/v1/jobs", Service("stay", count), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the job runs", c.AwaitRunning(c.Servers[0], "stay", count))
	tasks := func() map[int]bool {
		pids := map[int]bool{}
		for _, p := range client.Processes() {
			if p.Task {
				pids[p.Pid] = true
			}
		}
		return pids
	}
	before := tasks()
	if len(before) != count {
		t.Fatalf("%d tasks run", len(before))
	}
	for n := range times {
		leader := c.awaitLeader(t, c.Servers...)
		both := []*Member{client, leader}
		if n%2 == 1 {
			both[0], both[1] = leader, client
		}
		for _, m := range both {
			if err := m.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range both {
			if err := m.Again(); err != nil {
				t.Fatal(err)
			}
		}
		ask := c.awaitLeader(t, c.Servers...)
		agenttest.Eventually(t, "the node is ready", c.AwaitNodes(ask, 1))
		agenttest.Eventually(t, "the tasks are known again", func() error {
			var all []Alloc
			if _, err := ask.Do("GET", "/v1/job/stay/allocations", nil, &all); err != nil {
				return err
			}
			for _, a := range all {
				if a.ClientStatus != "running" || a.DesiredStatus != "run" {
					return fmt.Errorf("%+v", a)
				}
			}
			if len(all) != count {
				return fmt.Errorf("%d allocations: %+v", len(all), all)
			}
			return nil
		})
		if now := tasks(); !maps.Equal(now, before) {
			t.Fatalf("round %d: other processes run: %v, before %v", n, now, before)
		}
	}
}
