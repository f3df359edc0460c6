package cluster

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// start starts a cluster for a test and waits until it has a leader and all of
// its nodes.
func start(t *testing.T, opts Options) *Cluster {
	t.Helper()
	return startIn(t, t.TempDir(), opts)
}

// startIn is start with a folder that may hold files already.
func startIn(t *testing.T, dir string, opts Options) *Cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: ends processes by their environment")
	}
	c, err := Start(dir, opts)
	if c != nil {
		t.Cleanup(func() {
			for _, m := range c.All() {
				if t.Failed() {
					t.Logf("%s:\n%s", m.Name, m.LogTail())
				}
			}
			c.Stop()
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.awaitLeader(t, c.Servers...)
	agenttest.Eventually(t, "nodes", c.AwaitNodes(c.Servers[0], opts.Clients))
	return c
}

// awaitLeader waits until all of the servers follow the same leader and
// returns it.
func (c *Cluster) awaitLeader(t *testing.T, servers ...*Member) *Member {
	t.Helper()
	var leader *Member
	agenttest.Eventually(t, "a leader", func() error {
		leader = nil
		for _, s := range servers {
			got := c.Leader(s)
			if got == nil || leader != nil && got != leader {
				return fmt.Errorf("%s says that %v leads", s.Name, got)
			}
			leader = got
		}
		// It must answer as the leader, not only be elected.
		_, err := leader.Do("GET", "/v1/jobs", nil, nil)
		return err
	})
	return leader
}

// without are the members but one.
func without(all []*Member, one *Member) []*Member {
	var out []*Member
	for _, m := range all {
		if m != one {
			out = append(out, m)
		}
	}
	return out
}

// TestServers: three servers find each other by gossip and elect a leader; any
// of them takes writes and answers reads; when the leader is killed the others
// go on, with its variables and keys.
func TestServers(t *testing.T) {
	c := start(t, Options{Servers: 3})
	leader := c.awaitLeader(t, c.Servers...)
	followers := without(c.Servers, leader)
	if _, err := followers[0].Do("PUT", "/v1/jobs", Service("one", 1), nil); err != nil {
		t.Fatal(err)
	}
	h, err := followers[1].Do("GET", "/v1/job/one", nil, nil)
	if err != nil {
		t.Fatalf("a default read by the other follower: %v", err)
	}
	if h.Get("X-Nomad-Knownleader") != "true" || h.Get("X-Nomad-Lastcontact") != "0" || len(h.Values("X-Nomad-Index")) != 1 {
		t.Errorf("headers of a forwarded read: %v", h)
	}
	agenttest.Eventually(t, "a stale read by a follower", func() error {
		_, err := followers[1].Do("GET", "/v1/job/one?stale", nil, nil)
		return err
	})
	var members struct {
		Members []struct {
			Status string
			Tags   map[string]string
		}
	}
	agenttest.Eventually(t, "three members", func() error {
		if _, err := followers[0].Do("GET", "/v1/agent/members", nil, &members); err != nil || len(members.Members) != 3 {
			return fmt.Errorf("%v %v", members, err)
		}
		return nil
	})
	secret := map[string]any{"Path": "a", "Items": map[string]string{"k": "v"}}
	if _, err := followers[0].Do("PUT", "/v1/var/a", secret, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := followers[0].Do("PUT", "/v1/operator/keyring/rotate?full=true", nil, nil); err != nil {
		t.Fatal(err)
	}
	before := keySet(t, leader)
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	next := c.awaitLeader(t, followers...)
	if next == leader {
		t.Fatal("the killed server leads")
	}
	for _, s := range followers {
		var v struct{ Items map[string]string }
		if _, err := s.Do("GET", "/v1/var/a", nil, &v); err != nil || v.Items["k"] != "v" {
			t.Errorf("the variable by %s: %v, %v", s.Name, v.Items, err)
		}
		if after := keySet(t, s); after != before {
			t.Errorf("the keys of identities by %s: %s, before %s", s.Name, after, before)
		}
	}
	if _, err := next.Do("PUT", "/v1/operator/keyring/rotate", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := without(followers, next)[0].Do("PUT", "/v1/jobs", Service("two", 1), nil); err != nil {
		t.Fatal(err)
	}
	if err := leader.Again(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the killed server follows and has caught up", func() error {
		_, err := leader.Do("GET", "/v1/job/two?stale", nil, nil)
		return err
	})
}

// keySet is what verifies identities, as text; a leader has a key at once.
func keySet(t *testing.T, m *Member) string {
	t.Helper()
	var set struct{ Keys []struct{ Kid, X string } }
	agenttest.Eventually(t, "a key set", func() error {
		if _, err := m.Do("GET", "/.well-known/jwks.json", nil, &set); err != nil || len(set.Keys) == 0 {
			return fmt.Errorf("%v, %v", set, err)
		}
		return nil
	})
	return fmt.Sprint(set.Keys)
}

// TestStaleReadWithoutLeader: a server without its majority answers stale
// reads, says for how long it has been alone, and refuses the rest.
func TestStaleReadWithoutLeader(t *testing.T) {
	c := start(t, Options{Servers: 3})
	leader := c.awaitLeader(t, c.Servers...)
	followers := without(c.Servers, leader)
	if _, err := leader.Do("PUT", "/v1/jobs", Service("one", 1), nil); err != nil {
		t.Fatal(err)
	}
	last := followers[0]
	agenttest.Eventually(t, "replication", func() error { _, err := last.Do("GET", "/v1/job/one?stale", nil, nil); return err })
	for _, s := range without(c.Servers, last) {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	agenttest.Eventually(t, "known leader false", func() error {
		h, err := last.Do("GET", "/v1/job/one?stale", nil, nil)
		if err != nil {
			t.Fatalf("a stale read: %v", err)
		}
		if h.Get("X-Nomad-Knownleader") != "false" || h.Get("X-Nomad-Lastcontact") == "0" {
			return fmt.Errorf("headers %v", h)
		}
		return nil
	})
	if _, err := last.Do("PUT", "/v1/jobs", Service("two", 1), nil); err == nil || !strings.Contains(err.Error(), "No cluster leader") {
		t.Errorf("a write without a leader: %v", err)
	}
}

// TestClients: clients of their own run work, whichever server they talk to;
// logs are read through any server; a killed server costs nothing, and the work
// of a killed client is running elsewhere within seconds.
func TestClients(t *testing.T) {
	c := start(t, Options{Servers: 3, Clients: 2})
	asked := c.Servers[0]
	if _, err := asked.Do("PUT", "/v1/jobs", Service("web", 4), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "four allocations", c.AwaitRunning(asked, "web", 4))
	before, err := c.Running(asked, "web")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.All() {
		for _, a := range before {
			agenttest.Eventually(t, "the log of "+a.ID+" by "+m.Name, c.logs(m, a.ID))
		}
	}

	leader := c.awaitLeader(t, c.Servers...)
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	left := without(c.Servers, leader)
	c.awaitLeader(t, left...)
	for _, a := range before {
		agenttest.Eventually(t, "the log of "+a.ID+" after a server was killed", c.logs(left[0], a.ID))
	}
	after, err := c.Running(left[0], "web")
	if err != nil || ids(after) != ids(before) {
		t.Fatalf("a killed server moved work: %v, then %v (%v)", before, after, err)
	}

	victim := c.Clients[0]
	began := time.Now()
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "replacements on the other client", func() error {
		got, err := c.Running(left[0], "web")
		if err != nil {
			return err
		}
		for _, a := range got {
			if a.NodeName == victim.Name {
				return fmt.Errorf("%s still counts on %s", a.ID, victim.Name)
			}
		}
		if len(got) != 4 {
			return fmt.Errorf("%d run", len(got))
		}
		return nil
	})
	t.Logf("replaced within %v", time.Since(began))
}

// logs is a condition: the member reads an allocation's log.
func (c *Cluster) logs(m *Member, alloc string) func() error {
	return func() error {
		resp, err := web.Get(m.Addr + "/v1/client/fs/logs/" + alloc + "?task=t&type=stdout&plain=true")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || string(text) != "hello from "+alloc+"\n" {
			return fmt.Errorf("%s: %q %v", resp.Status, text, err)
		}
		return nil
	}
}

// ids are the ids of allocations, in order.
func ids(all []Alloc) string {
	var out []string
	for _, a := range all {
		out = append(out, a.ID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// peer is a Raft peer as operators see it.
type peer struct {
	ID, Address   string
	Leader, Voter bool
}

func (c *Cluster) peers(t *testing.T, ask *Member) []peer {
	t.Helper()
	var out struct{ Servers []peer }
	if _, err := ask.Do("GET", "/v1/operator/raft/configuration", nil, &out); err != nil {
		t.Fatal(err)
	}
	return out.Servers
}

// TestMembership: a server joins, votes once it is stable, and leaves;
// leadership moves when it is told to; a variable is readable by every leader;
// gossip keys are rotated under way, on servers and clients.
func TestMembership(t *testing.T) {
	const first, second = "T7A3N0kNqNYo1hWXxvYHmAGtLJzjVfn4xzFHZ0yMB0w=", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFE="
	encrypt := "  encrypt = \"" + first + "\"\n"
	c := start(t, Options{
		Servers: 3, Clients: 1, ByGossip: true, Client: encrypt, Server: encrypt,
		Extra: "leave_on_interrupt = true\nautopilot {\n  server_stabilization_time = \"2s\"\n  last_contact_threshold = \"5s\"\n}",
	})
	asked := c.Servers[0]
	if _, err := asked.Do("PUT", "/v1/var/a", map[string]any{"Path": "a", "Items": map[string]string{"k": "v"}}, nil); err != nil {
		t.Fatal(err)
	}
	added, err := c.AddServer(0)
	if err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "a fourth voter", func() error {
		for _, p := range c.peers(t, asked) {
			if p.Address == fmt.Sprintf("127.0.0.1:%d", added.RPC) && p.Voter {
				return nil
			}
		}
		return fmt.Errorf("peers %v", c.peers(t, asked))
	})

	for _, step := range []struct{ action, key string }{{"install", second}, {"use", second}, {"remove", first}} {
		agenttest.Eventually(t, step.action+" a key", func() error {
			_, err := asked.Do("PUT", "/v1/agent/keyring/"+step.action, map[string]string{"Key": step.key}, nil)
			return err
		})
	}
	var keys struct {
		Keys     map[string]int
		NumNodes int
	}
	if _, err := asked.Do("GET", "/v1/agent/keyring/list", nil, &keys); err != nil || len(keys.Keys) != 1 || keys.Keys[second] != 5 || keys.NumNodes != 5 {
		t.Errorf("keys %+v, %v", keys, err)
	}

	if code, err := added.Interrupt(); err != nil || code != 0 {
		t.Fatalf("a graceful leave ended with %d, %v", code, err)
	}
	if got := c.peers(t, asked); len(got) != 3 {
		t.Errorf("after a leave the peers are %v", got)
	}
	c.Servers = c.Servers[:3]

	leader := c.awaitLeader(t, c.Servers...)
	next := without(c.Servers, leader)[0]
	agenttest.Eventually(t, "a transfer of leadership", func() error {
		_, err := next.Do("PUT", fmt.Sprintf("/v1/operator/raft/transfer-leadership?address=127.0.0.1:%d", next.RPC), nil, nil)
		return err
	})
	agenttest.Eventually(t, "the new leader", func() error {
		if got := c.Leader(asked); got != next {
			return fmt.Errorf("the leader is %v", got)
		}
		return nil
	})
	var v struct{ Items map[string]string }
	agenttest.Eventually(t, "the variable", func() error { _, err := asked.Do("GET", "/v1/var/a", nil, &v); return err })
	if v.Items["k"] != "v" {
		t.Errorf("the new leader reads %v", v)
	}
	agenttest.Eventually(t, "healthy servers", func() error {
		_, err := asked.Do("GET", "/v1/operator/autopilot/health", nil, nil)
		return err
	})
}

// TestDrainOnShutdown: a client that is stopped tells systemd what it does, has
// its work moved away first, and leaves nothing behind.
func TestDrainOnShutdown(t *testing.T) {
	c := start(t, Options{
		Servers: 1, Clients: 1, Extra: "leave_on_interrupt = true",
		Client: "drain_on_shutdown {\n    deadline = \"20s\"\n  }",
	})
	systemd := listenNotify(t)
	second, err := c.AddClient()
	if err != nil {
		t.Fatal(err)
	}
	systemd.expect(t, "READY=1")
	asked := c.Servers[0]
	agenttest.Eventually(t, "nodes", c.AwaitNodes(asked, 2))
	if err := second.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	systemd.expect(t, "RELOADING=1\nMONOTONIC_USEC=")
	systemd.expect(t, "READY=1")
	job := Service("web", 4)
	group := job["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["Spreads"] = []any{map[string]any{"Attribute": "${node.unique.name}", "Weight": 100}}
	group["Migrate"] = map[string]any{"MaxParallel": 2, "HealthCheck": "task_states", "MinHealthyTime": 100_000_000, "HealthyDeadline": 60_000_000_000}
	if _, err := asked.Do("PUT", "/v1/jobs", job, nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "four allocations", c.AwaitRunning(asked, "web", 4))
	if code, err := second.Interrupt(); err != nil || code != 0 {
		t.Fatalf("the agent ended with %d, %v", code, err)
	}
	systemd.expect(t, "STOPPING=1")
	got, err := c.Running(asked, "web")
	if err != nil || len(got) != 4 {
		t.Fatalf("when the drained agent has ended %d run: %v, %v", len(got), got, err)
	}
	for _, a := range got {
		if a.NodeName == second.Name {
			t.Errorf("%s still runs on the drained node", a.ID)
		}
	}
}

// notified is a socket that agents take for systemd's.
type notified struct{ conn *net.UnixConn }

// listenNotify makes agents that are started from now on speak to it.
func listenNotify(t *testing.T) *notified {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &notified{conn}
}

// expect waits for the next message.
func (n *notified) expect(t *testing.T, prefix string) {
	t.Helper()
	_ = n.conn.SetReadDeadline(time.Now().Add(agenttest.Patience))
	b := make([]byte, 1024)
	size, err := n.conn.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:size]), prefix) {
		t.Fatalf("systemd was told %q, %v; want %q", b[:size], err, prefix)
	}
}

// TestStrictIntroduction: servers that ask for it take no client without a
// token, one with it, and the same one again without.
func TestStrictIntroduction(t *testing.T) {
	c := start(t, Options{Servers: 1, Server: "  client_introduction {\n    enforcement = \"strict\"\n  }"})
	asked := c.Servers[0]
	m, err := c.AddClient()
	if err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "a refusal", func() error {
		log, err := os.ReadFile(filepath.Join(m.Dir, "agent.log"))
		if err == nil && !strings.Contains(string(log), "it showed no introduction token; make a token with: nomadlite node intro create -node-name client1") {
			return fmt.Errorf("the client's log says nothing of it")
		}
		return err
	})
	if nodes, err := c.Nodes(asked); err != nil || len(nodes) != 0 {
		t.Fatalf("nodes without a token: %v, %v", nodes, err)
	}
	var out struct{ JWT string }
	if _, err := asked.Do("PUT", "/v1/acl/identity/client-introduction-token", map[string]any{"NodeName": "client1"}, &out); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.Dir, "data", "client", "intro_token.jwt")
	if err := os.WriteFile(file, []byte(out.JWT+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the introduced node", c.AwaitNodes(asked, 1))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the node is down", c.AwaitNodes(asked, 0))
	if err := m.Again(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the node is back", c.AwaitNodes(asked, 1))
}
