package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestStoppedPeer_B62: a leader that is stopped (SIGSTOP) keeps its connections
// open and says nothing. The others elect another, every request to them is
// answered, theirs to the stopped one end in time, and the logs name it. When it
// goes on it follows.
func TestStoppedPeer_B62(t *testing.T) {
	c := start(t, Options{Servers: 3, Clients: 1})
	leader := c.awaitLeader(t, c.Servers...)
	left := without(c.Servers, leader)
	if err := leader.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leader.Signal(syscall.SIGCONT) })
	agenttest.Eventually(t, "another leader", func() error {
		for _, m := range left {
			if got := c.Leader(m); got == nil || got == leader {
				return fmt.Errorf("%s follows %v", m.Name, got)
			}
		}
		return nil
	})
	for i, m := range append(left, c.Clients...) {
		agenttest.Eventually(t, "a write by "+m.Name, func() error {
			_, err := m.Do("PUT", "/v1/jobs", Service(fmt.Sprintf("job%d", i), 1), nil)
			return err
		})
		// Asks every server, the stopped one too.
		if _, err := m.Do("GET", "/v1/operator/raft/configuration", nil, nil); err != nil {
			t.Errorf("a read by %s: %v", m.Name, err)
		}
	}
	agenttest.Eventually(t, "a log that names the stopped server", func() error {
		for _, m := range left {
			log, err := os.ReadFile(filepath.Join(m.Dir, "agent.log"))
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(log)) {
				if (strings.Contains(line, "[WARN]") || strings.Contains(line, "[ERROR]")) && strings.Contains(line, fmt.Sprintf("127.0.0.1:%d", leader.RPC)) {
					return nil
				}
			}
		}
		return fmt.Errorf("no warning names 127.0.0.1:%d", leader.RPC)
	})
	if err := leader.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the stopped server follows", func() error {
		_, err := leader.Do("GET", "/v1/job/job0?stale", nil, nil)
		return err
	})
}

// TestPeersFile_D08: two of three servers are lost for good. The third one does
// not lead, refuses a peers.json that does not name it, recovers with one that
// does, uses it once, and a new server joins it.
func TestPeersFile_D08(t *testing.T) {
	c := start(t, Options{Servers: 3})
	last := c.Servers[2]
	if _, err := c.Servers[0].Do("PUT", "/v1/jobs", Service("kept", 1), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "replication", func() error { _, err := last.Do("GET", "/v1/job/kept?stale", nil, nil); return err })
	for _, m := range c.Servers {
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(last.Dir, "data", "server")
	id, err := os.ReadFile(filepath.Join(data, "node-id"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(data, "raft", "peers.json")
	put := func(id string) {
		t.Helper()
		text, err := json.Marshal([]map[string]any{{"id": id, "address": fmt.Sprintf("127.0.0.1:%d", last.RPC)}})
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("00000000-0000-0000-0000-000000000000")
	if err := last.Again(); err != nil {
		t.Fatal(err)
	}
	if code, err := last.Wait(); err != nil || code != 1 || !strings.Contains(last.LogTail(), "it does not name this server, whose id is "+strings.TrimSpace(string(id))) {
		t.Errorf("a file that names another: %d, %v", code, err)
	}
	put(strings.TrimSpace(string(id)))
	if err := last.Again(); err != nil {
		t.Fatal(err)
	}
	c.Servers = c.Servers[2:]
	agenttest.Eventually(t, "a leader of one", func() error { _, err := last.Do("GET", "/v1/job/kept", nil, nil); return err })
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := last.Do("PUT", "/v1/jobs", Service("next", 1), nil); err != nil {
		t.Error(err)
	}
}

// TestStrangers_N07: who opens connections to the ports of a server and says
// nothing, little, or the wrong thing, is cut off; nobody else waits for that.
func TestStrangers_N07(t *testing.T) {
	c := start(t, Options{Servers: 1})
	m := c.Servers[0]
	var open []net.Conn
	defer func() {
		for _, one := range open {
			one.Close()
		}
	}()
	for i := range 200 {
		for port, text := range map[int]string{m.RPC: "", m.HTTP: "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
			conn, err := dial(port, text)
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			open = append(open, conn)
		}
	}
	for range 20 {
		if _, err := m.Do("GET", "/v1/jobs", nil, nil); err != nil {
			t.Fatalf("beside strangers: %v", err)
		}
	}
	for what, text := range map[string]string{"HTTP to the server port": "GET / HTTP/1.1\r\n\r\n", "TLS to a port in clear": "\x16\x03\x01\x02\x00\x01"} {
		conn, err := dial(m.RPC, text)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(agenttest.Patience))
		if n, err := conn.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Errorf("%s: %d bytes, %v", what, n, err)
		}
		agenttest.Eventually(t, what+" in the log", func() error {
			log, err := os.ReadFile(filepath.Join(m.Dir, "agent.log"))
			if want := "refused a connection to the server port: peer=" + conn.LocalAddr().String(); err == nil && !strings.Contains(string(log), want) {
				return fmt.Errorf("no line %q", want)
			}
			return err
		})
		conn.Close()
	}
}

func dial(port int, text string) (net.Conn, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		_, err = conn.Write([]byte(text))
	}
	return conn, err
}
