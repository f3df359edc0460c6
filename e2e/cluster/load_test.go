package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// load is users who write and read without a pause, and never ask twice.
type load struct {
	stop chan struct{}
	all  sync.WaitGroup
	done atomic.Int64 // requests that were answered

	mu     sync.Mutex // guards failed
	failed []string
}

// startLoad runs three users over agents that stay up.
func startLoad(t *testing.T, ask ...*Member) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	t.Cleanup(func() { l.end() })
	for user := range 3 {
		l.all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				l.step(ask[i%len(ask)], fmt.Sprintf("load-%d-%d", user, i%20))
			}
		})
	}
	return l
}

// step writes a job that makes no evaluation, and reads it.
func (l *load) step(m *Member, id string) {
	job := map[string]any{"Job": map[string]any{"ID": id, "Type": "batch", "ParameterizedJob": map[string]any{}, "TaskGroups": []any{map[string]any{
		"Name": "g", "Tasks": []any{map[string]any{"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/true"}}},
	}}}}
	began := time.Now()
	_, err := m.Do("PUT", "/v1/jobs", job, nil)
	if err == nil {
		l.done.Add(1)
		_, err = m.Do("GET", "/v1/job/"+id, nil, nil)
	}
	if err != nil {
		l.mu.Lock()
		l.failed = append(l.failed, fmt.Sprintf("%s after %v: %v", began.Format("15:04:05.000"), time.Since(began), err))
		l.mu.Unlock()
		return
	}
	l.done.Add(1)
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
}

// answered waits for more answers than there were.
func (l *load) answered(t *testing.T) {
	t.Helper()
	want := l.done.Load() + 30
	agenttest.Eventually(t, "answers", func() error {
		if got := l.done.Load(); got < want {
			return fmt.Errorf("%d requests were answered, want %d", got, want)
		}
		return nil
	})
}

// TestNothingIsLostUnderLoad: while users write and read, gossip keys and
// certificates are rotated on all agents and every server is started again, one
// after the other; no request fails, but a write whose fate a change of leader
// leaves open is told so.
func TestNothingIsLostUnderLoad(t *testing.T) {
	const first, second = "T7A3N0kNqNYo1hWXxvYHmAGtLJzjVfn4xzFHZ0yMB0w=", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFE="
	dir := t.TempDir()
	newCertificates(t, dir)
	encrypt := "  encrypt = \"" + first + "\"\n"
	c := start(t, Options{
		Servers: 3, Clients: 1, Server: encrypt, Client: encrypt,
		Extra: fmt.Sprintf("tls {\n  rpc = true\n  ca_file = %q\n  cert_file = %q\n  key_file = %q\n}\n",
			filepath.Join(dir, "nomad-agent-ca.pem"), filepath.Join(dir, "global-server-nomad.pem"), filepath.Join(dir, "global-server-nomad-key.pem")),
	})
	everywhere := startLoad(t, c.All()...)
	everywhere.answered(t)
	for _, step := range []struct{ action, key string }{{"install", second}, {"use", second}, {"remove", first}} {
		agenttest.Eventually(t, step.action+" a key", func() error {
			_, err := c.Servers[0].Do("PUT", "/v1/agent/keyring/"+step.action, map[string]string{"Key": step.key}, nil)
			return err
		})
		everywhere.answered(t)
	}
	newCertificates(t, dir)
	for _, m := range c.All() {
		if err := m.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		everywhere.answered(t)
	}
	everywhere.end()

	users := startLoad(t, c.Clients[0])
	for _, s := range c.Servers {
		users.answered(t)
		if code, err := s.Interrupt(); err != nil {
			t.Fatalf("%s ended with %d, %v", s.Name, code, err)
		}
		users.answered(t)
		if err := s.Again(); err != nil {
			t.Fatal(err)
		}
		agenttest.Eventually(t, "healthy servers", func() error {
			_, err := c.Clients[0].Do("GET", "/v1/operator/autopilot/health", nil, nil)
			return err
		})
	}
	users.answered(t)
	users.end()
	for _, text := range append(everywhere.failed, users.failed...) {
		// Short of time, servers may change their leader unasked. A write that
		// falls into that is never called done or not done.
		if strings.Contains(text, "PUT") && strings.Contains(text, "cannot say whether the request was done") {
			t.Log(text)
		} else {
			t.Error(text)
		}
	}
	t.Logf("%d and %d requests were answered", everywhere.done.Load(), users.done.Load())
}

// newCertificates makes a certificate of the authority in dir, and that when it
// is not there.
func newCertificates(t *testing.T, dir string) {
	t.Helper()
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	steps := [][]string{{"tls", "cert", "create", "-server", "-region", "global"}}
	if _, err := os.Stat(filepath.Join(dir, "nomad-agent-ca.pem")); err != nil {
		steps = append([][]string{{"tls", "ca", "create"}}, steps...)
	}
	for _, f := range []string{"global-server-nomad.pem", "global-server-nomad-key.pem"} {
		if err := os.RemoveAll(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range steps {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
