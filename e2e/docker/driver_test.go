package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/docker"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// newDriver makes a driver in this process.
func newDriver(t testing.TB, config object) *docker.Driver {
	t.Helper()
	need(t)
	d := docker.New(t.TempDir(), "unit", hclog.NewNullLogger())
	all := object{"endpoint": engine.Host, "infra_image": Image}
	for k, v := range config {
		all[k] = v
	}
	spec, err := d.ConfigSchema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetConfig(t.Context(), &base.Config{Msgpack: encode(t, spec, all)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func encode(t testing.TB, spec *hclspec.Spec, config object) []byte {
	t.Helper()
	schema, err := hclspec.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var taskNumber = struct {
	sync.Mutex
	n int
}{}

// newTask describes a task of an allocation of its own.
func newTask(t testing.TB, d *docker.Driver, config object) *driver.TaskConfig {
	t.Helper()
	taskNumber.Lock()
	taskNumber.n++
	n := taskNumber.n
	taskNumber.Unlock()
	dir := t.TempDir()
	for _, p := range []string{"alloc/logs", "t/local", "t/secrets", "t/private"} {
		if err := os.MkdirAll(filepath.Join(dir, p), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"out", "err"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if config["image"] == nil {
		config["image"] = Image
	}
	spec, err := d.TaskConfigSchema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alloc := fmt.Sprintf("unit%d-%d", os.Getpid(), n)
	return &driver.TaskConfig{
		ID: alloc + "/t/1", AllocID: alloc, Name: "t", NodeID: "unit", AllocDir: dir, MsgpackConfig: encode(t, spec, config),
		StdoutPath: filepath.Join(dir, "out"), StderrPath: filepath.Join(dir, "err"), Env: map[string]string{"NAME": "value"},
		Resources: &driver.Resources{CPUShares: 100, MemoryMB: 32, Linux: &driver.LinuxResources{PercentTicks: 0.1}},
	}
}

// startTask starts a task and destroys it with the test.
func startTask(t testing.TB, d *docker.Driver, cfg *driver.TaskConfig) (*driver.TaskHandle, error) {
	t.Helper()
	handle, _, err := d.StartTask(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() {
			if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil && !errors.Is(err, driver.ErrTaskNotFound) {
				t.Error(err)
			}
		})
	}
	return handle, err
}

// output runs a task to its end and returns what it printed.
func output(t testing.TB, d *docker.Driver, cfg *driver.TaskConfig) string {
	t.Helper()
	if _, err := startTask(t, d, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WaitTask(t.Context(), cfg.ID); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(cfg.StdoutPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestPull: pulls with each kind of credentials, with bad and with none, and
// one download for many tasks.
func TestPull(t *testing.T) {
	need(t)
	open, err := NewRegistry("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	r, err := NewRegistry("user", "pa55word")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file := filepath.Join(t.TempDir(), "config.json")
	raw, err := json.Marshal(object{"auths": object{strings.TrimPrefix(r.URL, "http://"): object{"username": r.User, "password": r.Password}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	good := []any{object{"username": r.User, "password": r.Password}}
	bad := []any{object{"username": r.User, "password": "wrong"}}
	withFile := object{"auth": []any{object{"config": file}}}
	for _, tt := range []struct {
		name   string
		plugin object
		task   object
		want   string // of the error
	}{
		{"public", nil, object{"image": open.Name("public:1")}, ""},
		{"task's", nil, object{"image": r.Name("private1:1"), "auth": good}, ""},
		{"file's", withFile, object{"image": r.Name("private2:1")}, ""},
		{"none", nil, object{"image": r.Name("private3:1")}, "cannot pull image"},
		{"bad", nil, object{"image": r.Name("private4:1"), "auth": bad}, "the registry refuses the credentials"},
		{"task's before file's", withFile, object{"image": r.Name("private5:1"), "auth": bad}, "the registry refuses the credentials"},
		{"no such tag", nil, object{"image": open.Name("public:nope")}, "no such image or tag"},
		{"no such registry", nil, object{"image": "127.0.0.1:1/x:1"}, "cannot pull image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(t, tt.plugin)
			config := sh("exit 0")
			for k, v := range tt.task {
				config[k] = v
			}
			cfg := newTask(t, d, config)
			_, err := startTask(t, d, cfg)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "wrong") || strings.Contains(err.Error(), r.Password)) {
				t.Errorf("the error tells a password: %v", err)
			}
			name := tt.task["image"].(string)
			t.Cleanup(func() { _, _ = engine.ImageRemove(context.Background(), name, image.RemoveOptions{Force: true}) })
		})
	}
}

// TestNameTaken_B53: what an earlier start left behind is removed, or taken
// over when it runs and is what is asked for; a stranger is left alone.
func TestNameTaken_B53(t *testing.T) {
	d := newDriver(t, nil)
	labels := func(alloc string) map[string]string {
		return map[string]string{"com.hashicorp.nomad.alloc_id": alloc, "com.nomadlite.node_id": "unit"}
	}
	occupy := func(cfg *driver.TaskConfig, labels map[string]string) string {
		t.Helper()
		made, err := engine.ContainerCreate(t.Context(), &container.Config{Image: Image, Labels: labels}, nil, nil, nil, "t-"+cfg.AllocID)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = engine.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true})
		})
		return made.ID
	}
	ours := newTask(t, d, sh("echo mine"))
	occupy(ours, labels(ours.AllocID))
	if out := output(t, d, ours); out != "mine\n" {
		t.Errorf("output %q", out)
	}
	foreign := newTask(t, d, sh("echo mine"))
	id := occupy(foreign, nil)
	if _, err := startTask(t, d, foreign); err == nil || !strings.Contains(err.Error(), "is not ours") {
		t.Errorf("a stranger's name: %v", err)
	}
	if _, err := engine.ContainerInspect(t.Context(), id); err != nil {
		t.Errorf("the stranger was removed: %v", err)
	}
	// A start whose answer was lost: another process starts the same task.
	twice := newTask(t, d, sh("sleep 1000"))
	if _, err := startTask(t, d, twice); err != nil {
		t.Fatal(err)
	}
	before, err := engine.ContainerInspect(t.Context(), "t-"+twice.AllocID)
	if err != nil {
		t.Fatal(err)
	}
	next, again := newDriver(t, nil), *twice
	again.ID = twice.AllocID + "/t/2"
	if _, err := startTask(t, next, &again); err != nil {
		t.Fatal(err)
	}
	after, err := engine.ContainerInspect(t.Context(), "t-"+twice.AllocID)
	if err != nil || after.ID != before.ID {
		t.Errorf("the running container was replaced: %v", err)
	}
}

// TestOptionsInside_N13: what a job asks for is what its container has.
func TestOptionsInside_N13(t *testing.T) {
	d := newDriver(t, nil)
	config := sh(`ulimit -n; cat /proc/sys/net/core/somaxconn; touch /x 2>/dev/null || echo readonly; echo x >/t/f && echo tmpfs; pwd; id -u; cat /etc/resolv.conf; echo x 2>/dev/null >/alloc/logs/f || echo nologs; grep CapEff /proc/self/status; echo $NAME; hostname`)
	for k, v := range (object{
		"ulimit": []any{object{"nofile": "100:200"}}, "sysctl": []any{object{"net.core.somaxconn": "77"}}, "readonly_rootfs": true, "hostname": "box",
		"mount": []any{object{"type": "tmpfs", "target": "/t"}}, "work_dir": "/tmp", "cap_drop": []any{"all"}, "cap_add": []any{"chown"},
	}) {
		config[k] = v
	}
	cfg := newTask(t, d, config)
	cfg.DNS = &driver.DNSConfig{Servers: []string{"192.0.2.1"}}
	want := "100\n77\nreadonly\ntmpfs\n/tmp\n0\nnameserver 192.0.2.1\nnologs\nCapEff:\t0000000000000001\nvalue\nbox\n"
	if got := output(t, d, cfg); got != want {
		raw, _ := os.ReadFile(cfg.StderrPath)
		t.Errorf("inside: %q\nwant    %q\nstderr %q", got, want, raw)
	}
}

// TestGroupNetwork_B50: tasks of a group share the namespace that its container
// holds; asking again changes nothing, and nothing is left.
func TestGroupNetwork_B50(t *testing.T) {
	d := newDriver(t, nil)
	cfg := newTask(t, d, sh("cat /etc/hosts; readlink /proc/self/ns/net"))
	spec, made, err := d.CreateNetwork(t.Context(), cfg.AllocID, "box")
	if err != nil || !made || spec.Path == "" {
		t.Fatalf("%+v, %v, %v", spec, made, err)
	}
	same, made, err := d.CreateNetwork(t.Context(), cfg.AllocID, "box")
	if err != nil || made || same.Path != spec.Path {
		t.Errorf("again: %+v, %v, %v", same, made, err)
	}
	spec.Hosts = &driver.HostsConfig{Hostname: "box", Address: "192.0.2.9"}
	cfg.NetworkIsolation = spec
	if out := output(t, d, cfg); !strings.Contains(out, "192.0.2.9 box\n") {
		t.Errorf("inside: %q", out)
	}
	for range 2 { // gone already is no error
		if err := d.DestroyNetwork(t.Context(), cfg.AllocID, spec); err != nil {
			t.Error(err)
		}
	}
	if _, err := engine.ContainerInspect(t.Context(), "nomad_init_"+cfg.AllocID); err == nil {
		t.Error("the group's container is left")
	}
}

// TestPaused: a task that somebody paused is stopped all the same.
func TestPaused(t *testing.T) {
	d := newDriver(t, nil)
	cfg := newTask(t, d, sh("sleep 1000"))
	if _, err := startTask(t, d, cfg); err != nil {
		t.Fatal(err)
	}
	if err := engine.ContainerPause(t.Context(), "t-"+cfg.AllocID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.StopTask(ctx, cfg.ID, time.Second, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if result, err := d.WaitTask(ctx, cfg.ID); err != nil || result.Successful() {
		t.Errorf("%+v, %v", result, err)
	}
}
