package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// configured is a driver with a configuration, for a fake engine.
func configured(t *testing.T, f *fakeEngine, plugin object) *Driver {
	t.Helper()
	all := object{"endpoint": "tcp://" + strings.TrimPrefix(f.URL, "http://"), "infra_image": "pause:1"}
	for k, v := range plugin {
		all[k] = v
	}
	d := New(t.TempDir(), "n1", hclog.NewNullLogger())
	if err := d.SetConfig(t.Context(), &base.Config{Msgpack: encoded(t, pluginSchema, all)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// TestPullGivesUp: whose pull takes too long, or goes silent, is told which
// option ended it, and may try again.
func TestPullGivesUp(t *testing.T) {
	recoverable := func(t *testing.T, err error, want string) {
		t.Helper()
		var r *driver.RecoverableError
		if !errors.As(err, &r) || !r.Recoverable || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want a recoverable error with %q", err, want)
		}
	}
	stalled := func(t *testing.T) *fakeEngine {
		f := newFakeEngine(t)
		f.stall = make(chan struct{})
		return f
	}
	t.Run("the task's limit", func(t *testing.T) {
		t.Parallel()
		d, cfg := configured(t, stalled(t), nil), newTaskConfig(t)
		cfg.MsgpackConfig = encoded(t, taskSchema, object{"image": "slow:1", "image_pull_timeout": "50ms"})
		_, _, err := d.StartTask(t.Context(), cfg)
		recoverable(t, err, "not done within 50ms (image_pull_timeout)")
	})
	t.Run("the plugin's limit", func(t *testing.T) {
		t.Parallel()
		d, cfg := configured(t, stalled(t), object{"image_pull_timeout": "1s"}), newTaskConfig(t)
		cfg.MsgpackConfig = encoded(t, taskSchema, object{"image": "slow:1"})
		_, _, err := d.StartTask(t.Context(), cfg)
		recoverable(t, err, "not done within 1s (image_pull_timeout)")
	})
	t.Run("the limit of a group's image", func(t *testing.T) {
		t.Parallel()
		d := configured(t, stalled(t), object{"infra_image": "slow:1", "infra_image_pull_timeout": "1s"})
		_, _, err := d.CreateNetwork(t.Context(), "a1", "")
		recoverable(t, err, "not done within 1s (infra_image_pull_timeout)")
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		d := configured(t, stalled(t), nil)
		_, _, err := d.run.pulls.ensure(t.Context(), &pullRequest{
			image: "slow:1", timeout: time.Minute, limit: "image_pull_timeout", activity: 50 * time.Millisecond, tell: func(string, map[string]string) {},
		})
		recoverable(t, err, "no progress for 50ms (pull_activity_timeout)")
	})
}

// TestDangling: a container of this node that no task knows is removed in the
// second round that finds it, and not while it is young, kept on purpose, or
// only to be told of.
func TestDangling(t *testing.T) {
	t.Parallel()
	old, young := time.Now().Add(-time.Hour).Unix(), time.Now().Unix()
	stray := func(id string, created int64, state string) map[string]any {
		return map[string]any{"Id": id, "Created": created, "State": state, "Labels": map[string]string{labelAlloc: "x", labelNode: "n1"}}
	}
	dangling := func(more object) object { return object{"dangling_containers": list{more}} }
	for name, tt := range map[string]struct {
		gc   object
		want []string
	}{
		"default":  {object{}, []string{"remove ended", "remove running"}},
		"off":      {dangling(object{"enabled": false}), nil},
		"dry run":  {dangling(object{"dry_run": true}), nil},
		"grace":    {dangling(object{"creation_grace": "2h"}), nil},
		"kept":     {object{"container": false}, []string{"remove running"}},
		"all fine": {dangling(object{"creation_grace": "1m"}), []string{"remove ended", "remove running"}},
	} {
		f := newFakeEngine(t)
		f.containers = []map[string]any{stray("ended", old, "exited"), stray("running", old, "running"), stray("young", young, "running")}
		d := configured(t, f, object{"gc": list{tt.gc}})
		suspects := d.reap(d.run, nil)
		if told := f.transcript(); told != nil {
			t.Errorf("%s: %q in the first round", name, told)
		}
		d.reap(d.run, suspects)
		if told := f.transcript(); !slices.Equal(told, tt.want) {
			t.Errorf("%s: %q, want %q", name, told, tt.want)
		}
	}
	f := newFakeEngine(t)
	f.containers = []map[string]any{stray("ended", old, "exited")}
	d := configured(t, f, object{"gc": list{dangling(object{"period": "1s"})}})
	if _, err := d.session(); err != nil { // begins its rounds
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); !slices.Contains(f.transcript(), "remove ended"); {
		if time.Now().After(end) {
			t.Fatal("no round in 20 s, though they are to be each second")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestEndpoint: the engine is where the configuration says, else where the
// environment says, and is trusted as the configuration says.
func TestEndpoint(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:1")
	for endpoint, want := range map[string]string{"": "tcp://192.0.2.1:1", "unix:///run/x.sock": "unix:///run/x.sock"} {
		c, err := dial(site(t, object{"endpoint": endpoint}))
		if err != nil || c.DaemonHost() != want {
			t.Errorf("endpoint %q: %v, want %s", endpoint, err, want)
		}
	}
	if _, err := dial(site(t, object{"endpoint": "nonsense"})); err == nil {
		t.Error("nonsense is an endpoint")
	}
	shown := make(chan []*x509.Certificate, 10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case shown <- r.TLS.PeerCertificates:
		default:
		}
		w.Header().Set("Api-Version", "1.44")
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	defer srv.Close()
	dir := t.TempDir()
	write := func(name, typ string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := srv.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := write("cert.pem", "CERTIFICATE", pair.Certificate[0])
	files := object{"ca": cert, "cert": cert, "key": write("key.pem", "PRIVATE KEY", key)}
	c, err := dial(site(t, object{"endpoint": "tcp://" + strings.TrimPrefix(srv.URL, "https://"), "tls": list{files}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if certs := <-shown; len(certs) != 1 || !slices.Equal(certs[0].Raw, pair.Certificate[0]) {
		t.Errorf("shown %d certificates", len(certs))
	}
}

// TestNoLogCollection: a site that collects no logs has none copied.
func TestNoLogCollection(t *testing.T) {
	for _, off := range []bool{true, false} {
		d := configured(t, newFakeEngine(t), object{"disable_log_collection": off})
		caps, err := d.Capabilities(t.Context())
		if err != nil || caps.DisableLogCollection != off {
			t.Errorf("%v, %v", caps, err)
		}
		cfg := newTaskConfig(t)
		cfg.StdoutPath = filepath.Join(t.TempDir(), "out")
		cfg.MsgpackConfig = encoded(t, taskSchema, object{"image": "img:1"})
		if _, _, err := d.StartTask(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if k, err := d.find(cfg.ID); err != nil || k.state.NoLogs != off {
			t.Errorf("%+v, %v", k, err)
		}
	}
}

// TestParallelStarts: the engine is asked for no more containers at once than
// the site says; the next start waits for one of them.
func TestParallelStarts(t *testing.T) {
	d := configured(t, newFakeEngine(t), object{"max_parallel_starts": 1})
	d.run.starts <- struct{}{} // one is under way
	cfg := newTaskConfig(t)
	cfg.StdoutPath, cfg.StderrPath = os.DevNull, os.DevNull
	cfg.MsgpackConfig = encoded(t, taskSchema, object{"image": "img:1"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := d.StartTask(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second start beside the only one: %v", err)
	}
	<-d.run.starts
	if _, _, err := d.StartTask(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}

// TestStalled: an engine that takes requests and never answers makes each call
// of a task's life fail with a sentence, or succeed without it, and none hang.
func TestStalled(t *testing.T) {
	f := newFakeEngine(t)
	d := configured(t, f, nil)
	start := func(id string) (*driver.TaskHandle, error) {
		cfg := newTaskConfig(t)
		cfg.ID, cfg.StdoutPath, cfg.StderrPath = id, os.DevNull, os.DevNull
		cfg.MsgpackConfig = encoded(t, taskSchema, object{"image": "img:1"})
		handle, _, err := d.StartTask(t.Context(), cfg)
		return handle, err
	}
	handle, err := start("before")
	if err != nil {
		t.Fatal(err)
	}
	f.hang()
	d.run.engine.patience = 50 * time.Millisecond
	const silent = "the docker engine did not answer within"
	for what, call := range map[string]func() error{
		"start":   func() error { _, err := start("late"); return err },
		"stop":    func() error { return d.StopTask(t.Context(), "before", 0, "") },
		"signal":  func() error { return d.SignalTask(t.Context(), "before", "SIGHUP") },
		"destroy": func() error { return d.DestroyTask(t.Context(), "before", true) },
		"exec":    func() error { _, err := d.ExecTask(t.Context(), "before", []string{"true"}, time.Minute); return err },
		"network": func() error { _, _, err := d.CreateNetwork(t.Context(), "a2", ""); return err },
	} {
		var r *driver.RecoverableError
		if err := call(); err == nil || !strings.Contains(err.Error(), silent) || !errors.As(err, &r) || !r.Recoverable {
			t.Errorf("%s: %v, want a recoverable error with %q", what, err, silent)
		}
	}
	if fp := d.look(t.Context(), d.run); fp.Health == driver.HealthHealthy || !strings.Contains(fp.HealthDescription, silent) {
		t.Errorf("fingerprint %+v", fp)
	}
	next := configured(t, f, nil)
	next.run.engine.patience = 50 * time.Millisecond
	if err := next.RecoverTask(t.Context(), handle); err != nil {
		t.Errorf("recover: %v", err)
	}
	if st, err := next.InspectTask(t.Context(), "before"); err != nil || st.State != driver.TaskRunning {
		t.Errorf("recovered: %+v, %v", st, err)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
