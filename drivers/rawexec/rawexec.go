// Package rawexec is the raw_exec driver: programs of the host, started as
// they are, without isolation. One process serves all tasks of the node; a
// running task costs it a parked goroutine and no thread.
//
// A task is a session of its own, in a cgroup of its own where cgroups can be
// written. It outlives this process: the next one finds it by pid, start time
// and boot id, and learns its exit from the keeper, which became its parent.
// Facts: reference driver-plugin.md 9 and 10.1.
package rawexec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

// Identity of the driver.
const (
	Name          = "raw_exec"
	pluginVersion = "0.1.0"
	// fingerprintInterval is how often an unchanged state is told again.
	fingerprintInterval = 30 * time.Second
)

// pluginConfig is the configuration of the plugin.
type pluginConfig struct {
	Enabled        bool     `codec:"enabled"`
	DeniedHostUIDs string   `codec:"denied_host_uids"`
	DeniedHostGIDs string   `codec:"denied_host_gids"`
	DeniedEnvvars  []string `codec:"denied_envvars"`
}

var pluginSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"enabled":          hclspec.NewDefault(hclspec.NewAttr("enabled", "bool", false), hclspec.NewLiteral("false")),
	"denied_host_uids": hclspec.NewDefault(hclspec.NewAttr("denied_host_uids", "string", false), hclspec.NewLiteral(`""`)),
	"denied_host_gids": hclspec.NewDefault(hclspec.NewAttr("denied_host_gids", "string", false), hclspec.NewLiteral(`""`)),
	"denied_envvars":   hclspec.NewAttr("denied_envvars", "list(string)", false),
})

// taskConfig is the config block of a task.
type taskConfig struct {
	Command          string              `codec:"command"`
	Args             []string            `codec:"args"`
	CgroupV2Override string              `codec:"cgroup_v2_override"`
	CgroupV1Override []map[string]string `codec:"cgroup_v1_override"`
	OOMScoreAdj      int                 `codec:"oom_score_adj"`
	WorkDir          string              `codec:"work_dir"`
	DeniedEnvvars    []string            `codec:"denied_envvars"`
}

var taskSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"command":            hclspec.NewAttr("command", "string", true),
	"args":               hclspec.NewAttr("args", "list(string)", false),
	"cgroup_v2_override": hclspec.NewAttr("cgroup_v2_override", "string", false),
	"cgroup_v1_override": hclspec.NewAttr("cgroup_v1_override", "list(map(string))", false),
	"oom_score_adj":      hclspec.NewDefault(hclspec.NewAttr("oom_score_adj", "number", false), hclspec.NewLiteral("0")),
	"work_dir":           hclspec.NewAttr("work_dir", "string", false),
	"denied_envvars":     hclspec.NewAttr("denied_envvars", "list(string)", false),
})

// Driver is the raw_exec driver.
type Driver struct {
	log    hclog.Logger
	keeper *keeper.Client // nil outside a keeper

	mu     sync.Mutex // guards what follows
	config pluginConfig
	denied deniedIDs
	tasks  map[string]*task
	// changed is closed and replaced when the configuration changes.
	changed chan struct{}
}

// New returns a driver. Exits of tasks that an earlier process started are
// asked of the keeper, which may be nil.
func New(k *keeper.Client, log hclog.Logger) *Driver {
	return &Driver{log: log, keeper: k, tasks: map[string]*task{}, changed: make(chan struct{})}
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() {
	var k *keeper.Client
	if socket := os.Getenv(keeper.SocketEnv); socket != "" {
		k = keeper.NewClient(socket)
	}
	driver.Serve(func(log hclog.Logger) driver.Driver { return New(k, log.Named(Name)) })
}

// PluginInfo implements base.Plugin.
func (d *Driver) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDriver, APIVersions: []string{driver.APIVersion}, Version: pluginVersion, Name: Name}, nil
}

// ConfigSchema implements base.Plugin.
func (d *Driver) ConfigSchema(context.Context) (*hclspec.Spec, error) { return pluginSchema, nil }

// SetConfig implements base.Plugin.
func (d *Driver) SetConfig(_ context.Context, config *base.Config) error {
	var c pluginConfig
	if err := config.Decode(&c); err != nil {
		return fmt.Errorf("cannot decode the configuration of %s: %w", Name, err)
	}
	uids, err := parseIDs("denied_host_uids", c.DeniedHostUIDs)
	if err != nil {
		return err
	}
	gids, err := parseIDs("denied_host_gids", c.DeniedHostGIDs)
	if err != nil {
		return err
	}
	for _, pattern := range c.DeniedEnvvars {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fmt.Errorf("denied_envvars: %q is no pattern: %w", pattern, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config, d.denied = c, deniedIDs{uids, gids}
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

// TaskConfigSchema implements driver.Describer.
func (d *Driver) TaskConfigSchema(context.Context) (*hclspec.Spec, error) { return taskSchema, nil }

// Capabilities implements driver.Describer.
func (d *Driver) Capabilities(context.Context) (*driver.Capabilities, error) {
	return &driver.Capabilities{
		SendSignals: true, Exec: true, FSIsolation: driver.FSIsolationNone,
		NetworkModes: []driver.NetworkMode{driver.NetworkHost, driver.NetworkGroup}, MountConfigs: driver.MountConfigsNone,
	}, nil
}

// Fingerprint implements driver.Describer.
func (d *Driver) Fingerprint(ctx context.Context, send func(*driver.Fingerprint) error) error {
	for {
		d.mu.Lock()
		enabled, changed := d.config.Enabled, d.changed
		d.mu.Unlock()
		fp := &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "disabled"}
		if enabled {
			fp = &driver.Fingerprint{
				Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy,
				Attributes: map[string]base.Attribute{"driver." + Name: base.BoolAttribute(true)},
			}
		}
		if err := send(fp); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(fingerprintInterval):
		}
	}
}

// find returns the task of an id.
func (d *Driver) find(id string) (*task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tasks[id]; t != nil {
		return t, nil
	}
	return nil, driver.ErrTaskNotFound
}

// StartTask implements driver.Runner.
func (d *Driver) StartTask(_ context.Context, cfg *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	d.mu.Lock()
	config, denied := d.config, d.denied
	_, known := d.tasks[cfg.ID]
	d.mu.Unlock()
	if !config.Enabled {
		return nil, nil, fmt.Errorf("%s is disabled", Name)
	}
	if known {
		return nil, nil, fmt.Errorf("task with ID %q already started", cfg.ID)
	}
	var tc taskConfig
	if err := cfg.DecodeDriverConfig(&tc); err != nil {
		return nil, nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	if err := tc.validate(); err != nil {
		return nil, nil, err
	}
	tc.DeniedEnvvars = append(append([]string(nil), config.DeniedEnvvars...), tc.DeniedEnvvars...)
	t, err := launch(cfg, &tc, denied)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to launch command with executor: %w", err)
	}
	handle := &driver.TaskHandle{Version: driver.HandleVersion, Config: cfg, State: driver.TaskRunning}
	if err := handle.SetDriverState(&t.state); err != nil {
		t.killTree()
		t.cgroup.Remove()
		return nil, nil, fmt.Errorf("failed to set driver state: %w", err)
	}
	d.track(t)
	go t.reapChild()
	return handle, nil, nil
}

func (d *Driver) track(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks[t.config.ID] = t
}

func (c *taskConfig) validate() error {
	switch {
	case c.Command == "":
		return fmt.Errorf("command must be set")
	case c.OOMScoreAdj < 0:
		return fmt.Errorf("oom_score_adj must not be negative: got %d", c.OOMScoreAdj)
	case c.CgroupV2Override != "" && len(c.CgroupV1Override) > 0:
		return fmt.Errorf("only one of cgroups_v1_override and cgroups_v2_override may be set")
	case c.WorkDir != "" && !filepath.IsAbs(c.WorkDir):
		return fmt.Errorf("work_dir must be an absolute path: got %q", c.WorkDir)
	}
	for _, pattern := range c.DeniedEnvvars {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fmt.Errorf("denied_envvars: %q is no pattern: %w", pattern, err)
		}
	}
	return nil
}

// RecoverTask implements driver.Runner.
func (d *Driver) RecoverTask(_ context.Context, handle *driver.TaskHandle) error {
	if handle == nil || handle.Config == nil {
		return fmt.Errorf("cannot recover a task without its handle")
	}
	if _, err := d.find(handle.Config.ID); err == nil {
		return nil
	}
	var state taskState
	if err := handle.GetDriverState(&state); err != nil {
		return fmt.Errorf("failed to decode task state from handle: %w", err)
	}
	if state.BootID != keeper.BootID() {
		return fmt.Errorf("cannot recover task %q: the host has been restarted since", handle.Config.ID)
	}
	t := &task{config: handle.Config, state: state, done: make(chan struct{})}
	if state.Cgroup != "" {
		var err error
		if t.cgroup, err = cgroup.Open(state.Cgroup); err != nil {
			return fmt.Errorf("cannot recover task %q: %w", handle.Config.ID, err)
		}
	}
	d.track(t)
	go t.reapOrphan(d.keeper, d.log)
	return nil
}

// WaitTask implements driver.Runner.
func (d *Driver) WaitTask(ctx context.Context, id string) (*driver.ExitResult, error) {
	t, err := d.find(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.done:
		return t.result(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// StopTask implements driver.Runner.
func (d *Driver) StopTask(ctx context.Context, id string, timeout time.Duration, signal string) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	return t.stop(ctx, timeout, signal)
}

// DestroyTask implements driver.Runner.
func (d *Driver) DestroyTask(_ context.Context, id string, force bool) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	if t.running() && !force {
		return driver.ErrTaskRunning
	}
	t.killTree()
	<-t.done
	t.cgroup.Remove()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tasks, id)
	return nil
}

// InspectTask implements driver.Observer.
func (d *Driver) InspectTask(_ context.Context, id string) (*driver.TaskStatus, error) {
	t, err := d.find(id)
	if err != nil {
		return nil, err
	}
	return t.status(), nil
}

// TaskEvents implements driver.Observer; raw_exec has nothing to say.
func (d *Driver) TaskEvents(ctx context.Context, _ func(*driver.TaskEvent) error) error {
	<-ctx.Done()
	return nil
}

// SignalTask implements driver.Signaler.
func (d *Driver) SignalTask(_ context.Context, id, name string) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	return t.signal(sig)
}
