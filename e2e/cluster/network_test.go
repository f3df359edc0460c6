package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// apart starts a cluster whose members have namespaces of their own.
func apart(t *testing.T, opts Options) (*Cluster, *Network) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	n, err := NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	opts.Network = n
	return start(t, opts), n
}

// move cuts or heals a member.
func move(t *testing.T, do func(*Member) error, m *Member) time.Time {
	t.Helper()
	if err := do(m); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// TestLeaderCutOff: a leader that the network has lost steps down and
// acknowledges nothing; the others elect one of them, which places work on all
// nodes; no allocation moves. When the network is whole again the old leader
// follows, with what was written meanwhile and without what it never
// acknowledged.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	c, net := apart(t, Options{Servers: 3, Clients: 2})
	leader := c.awaitLeader(t, c.Servers...)
	left := without(c.Servers, leader)
	if _, err := leader.Do("PUT", "/v1/jobs", Service("web", 4), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "four allocations", c.AwaitRunning(leader, "web", 4))
	before, err := c.Running(leader, "web")
	if err != nil {
		t.Fatal(err)
	}

	cut := move(t, net.Cut, leader)
	lost := make(chan error, 1)
	go func() {
		_, err := leader.Do("PUT", "/v1/jobs", Service("lost", 1), nil)
		lost <- err
	}()
	next := c.awaitLeader(t, left...)
	if next == leader {
		t.Fatal("the cut off server leads")
	}
	if _, err := next.Do("PUT", "/v1/jobs", Service("kept", 2), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "work under the next leader", c.AwaitRunning(next, "kept", 2))
	t.Logf("the next leader's work runs %v after the cut", time.Since(cut))
	if err := <-lost; err == nil {
		t.Error("a cut off leader acknowledged a write")
	}
	if _, err := leader.Do("GET", "/v1/job/web", nil, nil); err == nil {
		t.Error("a cut off leader answered a default read")
	}
	h, err := leader.Do("GET", "/v1/job/web?stale", nil, nil)
	if err != nil || h.Get("X-Nomad-Knownleader") != "false" {
		t.Errorf("a stale read of the cut off leader: %v, %v", h, err)
	}

	move(t, net.Heal, leader)
	agenttest.Eventually(t, "the old leader follows", func() error {
		_, err := leader.Do("GET", "/v1/job/kept?stale", nil, nil)
		return err
	})
	now := c.awaitLeader(t, c.Servers...)
	for _, m := range c.Servers {
		if _, err := m.Do("GET", "/v1/job/lost?stale", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("what was never acknowledged, by %s: %v", m.Name, err)
		}
	}
	agenttest.Eventually(t, "all nodes", c.AwaitNodes(now, 2))
	if after, err := c.Running(now, "web"); err != nil || ids(after) != ids(before) {
		t.Errorf("work moved: %v, then %v (%v)", before, after, err)
	}
	if all, err := c.Allocs(now, "web"); err != nil || len(all) != 4 {
		t.Errorf("%d allocations of four were made: %v", len(all), err)
	}
}

// silentLimit is within what time the work of a silent host runs elsewhere: its
// TTL and grace.
const silentLimit = 20 * time.Second

// TestSilentHost: the work of a client whose host is silent, without a
// connection that ends, runs elsewhere within TTL and grace; when the host is
// back it ends what was replaced. An agent that is back within 3 s of its death
// keeps all that it has.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	c, net := apart(t, Options{Servers: 3, Clients: 2})
	ask := c.Servers[0]
	if _, err := ask.Do("PUT", "/v1/jobs", Service("web", 4), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "four allocations", c.AwaitRunning(ask, "web", 4))
	before, err := c.Running(ask, "web")
	if err != nil {
		t.Fatal(err)
	}

	victim := c.Clients[0]
	died := time.Now()
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(died.Add(2 * time.Second)))
	if err := victim.Again(); err != nil {
		t.Fatal(err)
	}
	// Longer than a node without an agent is given.
	<-time.After(time.Until(died.Add(6 * time.Second)))
	if all, err := c.Allocs(ask, "web"); err != nil || len(all) != 4 {
		t.Errorf("an agent that was back in two seconds: %d allocations of four, %v", len(all), err)
	}
	if after, err := c.Running(ask, "web"); err != nil || ids(after) != ids(before) {
		t.Errorf("an agent that was back in two seconds: %v, then %v (%v)", before, after, err)
	}

	cut := move(t, net.Cut, victim)
	elsewhere := func() error {
		now, err := c.Running(ask, "web")
		if err != nil {
			return err
		}
		for _, a := range now {
			if a.NodeName == victim.Name {
				return fmt.Errorf("%s counts on the silent host", a.ID)
			}
		}
		if len(now) != 4 {
			return fmt.Errorf("%d of four run", len(now))
		}
		return nil
	}
	agenttest.Eventually(t, "the work elsewhere", elsewhere)
	took := time.Since(cut)
	t.Logf("replaced %v after the cut", took)
	if took > silentLimit+time.Second { // for the placement, on a busy machine
		t.Errorf("replaced %v after the cut, want %v", took, silentLimit)
	}

	move(t, net.Heal, victim)
	agenttest.Eventually(t, "the silent node", c.AwaitNodes(ask, 2))
	agenttest.Eventually(t, "an end of what was replaced", func() error {
		for _, p := range victim.Processes() {
			if p.Task && p.Job == "web" {
				return fmt.Errorf("%v still runs", p)
			}
		}
		return elsewhere()
	})
}

// TestClustersNeverMerge: two clusters of one region that are told of each
// other, by the operator and by their configuration, stay two: no server is
// taken as a peer or a member, the log says why, and each keeps its own work.
func TestClustersNeverMerge(t *testing.T) {
	t.Parallel()
	c, net := apart(t, Options{Servers: 1})
	other := start(t, Options{Servers: 1, Network: net})
	a, b := c.Servers[0], other.Servers[0]
	for job, m := range map[string]*Member{"a": a, "b": b} {
		if _, err := m.Do("PUT", "/v1/jobs", Service(job, 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []int{b.Serf, b.RPC} {
		// What it answers is the operator's; what comes of it is looked at below.
		_, _ = a.Do("PUT", fmt.Sprintf("/v1/agent/join?address=%s:%d", b.Host, to), nil, nil)
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.Dir, "agent.hcl")
	conf, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	join := fmt.Sprintf("server {\n  server_join {\n    retry_join = [\"%s:%d\"]\n    retry_interval = \"1s\"\n  }\n", a.Host, a.Serf)
	if err := os.WriteFile(file, []byte(strings.Replace(string(conf), "server {\n", join, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Again(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "a log that says why", func() error {
		for _, m := range []*Member{a, b} {
			log, err := os.ReadFile(filepath.Join(m.Dir, "agent.log"))
			if err != nil {
				return err
			}
			if strings.Contains(string(log), "clusters never merge") {
				return nil
			}
		}
		return fmt.Errorf("neither log has it")
	})
	for job, one := range map[string]*Cluster{"a": c, "b": other} {
		m := one.Servers[0]
		one.awaitLeader(t, m)
		if peers := one.peers(t, m); len(peers) != 1 {
			t.Errorf("%s has the peers %v", m.Name, peers)
		}
		agenttest.Eventually(t, "one member", func() error {
			var members struct {
				Members []struct{ Name, Addr, Status string }
			}
			if _, err := m.Do("GET", "/v1/agent/members", nil, &members); err != nil || len(members.Members) != 1 {
				return fmt.Errorf("%s has the members %v, %v", job, members, err)
			}
			return nil
		})
		var jobs []struct{ ID string }
		if _, err := m.Do("GET", "/v1/jobs", nil, &jobs); err != nil || len(jobs) != 1 || jobs[0].ID != job {
			t.Errorf("the jobs of %s: %v, %v", job, jobs, err)
		}
	}
}
