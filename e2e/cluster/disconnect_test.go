package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// cutoff is a server with a node of its own, and a client behind a wire that
// can be cut.
type cutoff struct {
	server, client *Member
	wire           *Wire
}

func startCutoff(t *testing.T) *cutoff {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: ends processes by their environment")
	}
	ports, err := agenttest.FreePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := NewWire(fmt.Sprintf("127.0.0.1:%d", ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wire.Close)
	c := &cutoff{wire: wire}
	launch := func(name string, ports []int, roles string) *Member {
		m := &Member{Name: name, HTTP: ports[0], RPC: ports[1], Serf: ports[2]}
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		conf := fmt.Sprintf("name = %q\nbind_addr = \"127.0.0.1\"\ndata_dir = %q\nports {\n  http = %d\n  rpc  = %d\n  serf = %d\n}\nplugin \"raw_exec\" {\n  config {\n    enabled = true\n  }\n}\n%s",
			name, filepath.Join(dir, "data"), m.HTTP, m.RPC, m.Serf, roles)
		m.Agent, err = agenttest.Launch(dir, conf, m.HTTP)
		if m.Agent != nil {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s:\n%s", name, m.LogTail())
				}
				m.Cleanup()
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	c.server = launch("server", ports[:3], "server {\n  enabled = true\n  bootstrap_expect = 1\n  min_heartbeat_ttl = \"2s\"\n  heartbeat_grace = \"8s\"\n}\nclient {\n  enabled = true\n}\n")
	c.client = launch("client", ports[3:], fmt.Sprintf("client {\n  enabled = true\n  servers = [\"127.0.0.1:%d\"]\n  meta {\n    away = \"yes\"\n  }\n}\n", wire.Port))
	patiently(t, "two nodes", (&Cluster{}).AwaitNodes(c.server, 2))
	return c
}

// awayJob prefers the node behind the wire.
func awayJob(id string, disconnect map[string]any) map[string]any {
	job := Service(id, 1)
	group := job["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["Disconnect"] = disconnect
	group["Affinities"] = []any{map[string]any{"LTarget": "${meta.away}", "RTarget": "yes", "Operand": "=", "Weight": 100}}
	group["ReschedulePolicy"] = map[string]any{"Unlimited": true, "Delay": 5 * time.Second, "DelayFunction": "constant", "MaxDelay": time.Minute}
	return job
}

// fate is what becomes of the allocation behind the wire and of its replacement.
type fate struct {
	Alloc
	DesiredDescription, PreviousAllocation string
	TaskStates                             map[string]struct {
		State  string
		Events []struct{ Type string }
	}
}

func (c *cutoff) fates(job string) ([]fate, error) {
	var all []fate
	_, err := c.server.Do("GET", "/v1/job/"+job+"/allocations", nil, &all)
	return all, err
}

// pair is the first allocation of a job and the one that replaced it, if there
// is one.
func (c *cutoff) pair(job string) (first, second *fate, err error) {
	all, err := c.fates(job)
	for i := range all {
		if all[i].NodeName == "client" {
			first = &all[i]
		} else {
			second = &all[i]
		}
	}
	if err == nil && (first == nil || len(all) > 2) {
		err = fmt.Errorf("%s has %+v", job, all)
	}
	return first, second, err
}

const second = time.Second

// patiently is agenttest.Eventually for what waits for heartbeats to be missed.
func patiently(t *testing.T, what string, cond func() error) {
	t.Helper()
	agenttest.Within(t, 3*agenttest.Patience, what, cond)
}

// TestDisconnect_B01_B04 cuts the network of a real client: each job's
// disconnect block decides what becomes of its allocation, while it is away and
// when it comes back.
func TestDisconnect_B01_B04(t *testing.T) {
	c := startCutoff(t)
	hour := 3600 * second
	jobs := map[string]map[string]any{
		"best":     {"LostAfter": hour},
		"original": {"LostAfter": hour, "Reconcile": "keep_original"},
		"replaced": {"LostAfter": hour, "Reconcile": "keep_replacement"},
		"longest":  {"LostAfter": hour, "Reconcile": "longest_running"},
		"waits":    {"LostAfter": hour, "Replace": false},
		"lost":     {"LostAfter": second},
		"itself":   {"StopOnClientAfter": 5 * second},
		"plain":    nil,
	}
	for id, disconnect := range jobs {
		if _, err := c.server.Do("PUT", "/v1/jobs", awayJob(id, disconnect), nil); err != nil {
			t.Fatal(err)
		}
	}
	for id := range jobs {
		patiently(t, id+" runs behind the wire", func() error {
			first, second, err := c.pair(id)
			if err == nil && (second != nil || first.ClientStatus != "running") {
				err = fmt.Errorf("%+v %+v", first, second)
			}
			return err
		})
	}

	c.wire.Cut()
	patiently(t, "the client stops by itself what says so, and nothing else", func() error {
		seen := map[string]bool{}
		for _, p := range c.client.Processes() {
			if p.Task {
				seen[p.Job] = true
			}
		}
		if seen["itself"] || len(seen) != len(jobs)-1 {
			return fmt.Errorf("running: %v", seen)
		}
		return nil
	})
	for id, want := range map[string]string{"best": "unknown", "original": "unknown", "replaced": "unknown", "longest": "unknown", "waits": "unknown",
		"lost": "lost", "itself": "lost", "plain": "lost"} {
		patiently(t, id+" away", func() error {
			first, second, err := c.pair(id)
			switch {
			case err != nil:
				return err
			case first.ClientStatus != want || (second == nil) != (id == "waits") || second != nil && second.ClientStatus != "running":
				return fmt.Errorf("%+v %+v", first, second)
			}
			return nil
		})
	}

	c.wire.Heal()
	for id := range jobs {
		stays := map[string]bool{"best": true, "original": true, "longest": true, "waits": true}[id]
		patiently(t, id+" back", func() error { return c.back(id, stays) })
	}
	patiently(t, "the event", func() error { return c.toldReconnected("best", "original", "longest", "waits") })
	patiently(t, "only what stays runs behind the wire", func() error {
		n := 0
		for _, p := range c.client.Processes() {
			if p.Task {
				n++
			}
		}
		if n != 4 {
			return fmt.Errorf("%d tasks run", n)
		}
		return nil
	})
}

// back is a condition: the original runs and its replacement was stopped, or
// the other way around.
func (c *cutoff) back(id string, stays bool) error {
	first, second, err := c.pair(id)
	if err != nil {
		return err
	}
	winner, loser := first, second
	if !stays {
		winner, loser = second, first
	}
	switch {
	case winner == nil || winner.ClientStatus != "running" || winner.DesiredStatus != "run":
		return fmt.Errorf("%s: the one that stays is %+v", id, winner)
	case loser != nil && (loser.DesiredStatus != "stop" || loser.ClientStatus == "running" || loser.ClientStatus == "unknown"):
		return fmt.Errorf("%s: the one that goes is %+v", id, loser)
	case stays && loser != nil && loser.DesiredDescription != "alloc not needed due to disconnected client reconnect":
		return fmt.Errorf("%s was stopped for %q", id, loser.DesiredDescription)
	}
	return nil
}

// toldReconnected is a condition: each allocation that stayed has the event, once.
func (c *cutoff) toldReconnected(ids ...string) error {
	for _, id := range ids {
		first, _, err := c.pair(id)
		if err != nil {
			return err
		}
		n := 0
		for _, e := range first.TaskStates["t"].Events {
			if e.Type == "Reconnected" {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%s has the event Reconnected %d times", id, n)
		}
	}
	return nil
}
