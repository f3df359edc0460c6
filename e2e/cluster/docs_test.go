package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// document reads the blocks of a kind in docs/clusters.md.
func document(t *testing.T, kind string) []string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/clusters.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		out = append(out, m[1])
	}
	return out
}

// certificates runs the document's commands in dir and returns the gossip key
// that the last one prints.
func certificates(t *testing.T, dir string) string {
	t.Helper()
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(document(t, "sh")[0]) {
		args := strings.Fields(line)
		cmd := exec.Command(bin, args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		last = string(bytes.TrimSpace(out))
	}
	return last
}

// TestDocument starts the cluster that docs/clusters.md describes, on loopback
// addresses in place of its machines: five agents with TLS everywhere, a job,
// its log through any agent, new certificates under way, a saved state.
func TestDocument(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: ends processes by their environment")
	}
	dir := t.TempDir()
	key := certificates(t, dir)
	if err := SetTLS(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Transport = nil })
	blocks := document(t, "hcl")
	c := &Cluster{Dir: dir}
	t.Cleanup(func() {
		for _, m := range c.All() {
			if t.Failed() {
				t.Logf("%s:\n%s", m.Name, m.LogTail())
			}
		}
		c.Stop()
	})
	for i := 1; i <= 5; i++ {
		name, block := fmt.Sprintf("server%d", i), blocks[0]
		if i > 3 {
			name, block = fmt.Sprintf("client%d", i-3), blocks[1]
		}
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o755); err != nil {
			t.Fatal(err)
		}
		conf := regexp.MustCompile(`(?m)^bind_addr = .*$`).ReplaceAllString(block, fmt.Sprintf("bind_addr = \"10.0.0.%d\"", i))
		conf = regexp.MustCompile(`(?m)^name      = .*$`).ReplaceAllString(conf, fmt.Sprintf("name = %q", name))
		conf = strings.NewReplacer("10.0.0.", "127.0.77.", "GOSSIP-KEY", key, "/var/lib/nomadlite", filepath.Join(home, "data"), "/etc/nomadlite", dir).Replace(conf)
		agent, err := agenttest.Launch(home, conf, 4646)
		if err != nil {
			t.Fatal(err)
		}
		agent.Addr = fmt.Sprintf("https://127.0.77.%d:4646", i)
		m := &Member{Agent: agent, Name: name, HTTP: 4646, RPC: 4647, Serf: 4648}
		if i > 3 {
			c.Clients = append(c.Clients, m)
		} else {
			c.Servers = append(c.Servers, m)
		}
	}
	asked := c.Servers[1]
	agenttest.Eventually(t, "two nodes", c.AwaitNodes(asked, 2))
	if _, err := asked.Do("PUT", "/v1/jobs", Service("web", 2), nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "two allocations", c.AwaitRunning(asked, "web", 2))
	running, err := c.Running(asked, "web")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.All() {
		agenttest.Eventually(t, "the log by "+m.Name, c.logs(m, running[0].ID))
	}

	// New certificates of the same authority, read by SIGHUP.
	for _, f := range []string{"global-server-nomad", "global-client-nomad"} {
		for _, suffix := range []string{".pem", "-key.pem"} {
			if err := os.Remove(filepath.Join(dir, f+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"-server", "-client"} {
		cmd := exec.Command(bin, "tls", "cert", "create", role)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, m := range c.All() {
		if err := m.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		agenttest.Eventually(t, "requests after a reload of "+m.Name, func() error { _, err := m.Do("GET", "/v1/job/web", nil, nil); return err })
	}
	if again, err := c.Running(asked, "web"); err != nil || ids(again) != ids(running) {
		t.Errorf("new certificates moved work: %v, then %v (%v)", running, again, err)
	}

	// Cleartext and foreign callers get nothing.
	if resp, err := http.Get("http" + strings.TrimPrefix(asked.Addr, "https") + "/v1/jobs"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("cleartext was answered")
		}
	}
}
