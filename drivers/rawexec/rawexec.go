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
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/drivers/executor"
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
	"enabled":          hclspec.NewFlag("enabled"),
	"denied_host_uids": hclspec.NewText("denied_host_uids", ""),
	"denied_host_gids": hclspec.NewText("denied_host_gids", ""),
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
	"oom_score_adj":      hclspec.NewNumber("oom_score_adj", "0"),
	"work_dir":           hclspec.NewAttr("work_dir", "string", false),
	"denied_envvars":     hclspec.NewAttr("denied_envvars", "list(string)", false),
})

// Driver is the raw_exec driver.
type Driver struct {
	*executor.Runtime

	mu     sync.Mutex // guards what follows
	config pluginConfig
	denied executor.DeniedIDs
	// changed is closed and replaced when the configuration changes.
	changed chan struct{}
}

// New returns a driver. Exits of tasks that an earlier process started are
// asked of the keeper, which may be nil.
func New(k *keeper.Client, log hclog.Logger) *Driver {
	return &Driver{Runtime: executor.New(k, log), changed: make(chan struct{})}
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() {
	driver.Serve(func(log hclog.Logger) driver.Driver { return New(executor.Keeper(), log.Named(Name)) })
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
	denied, err := executor.ParseDenied(c.DeniedHostUIDs, c.DeniedHostGIDs)
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
	d.config, d.denied = c, denied
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
	return driver.RepeatFingerprint(ctx, fingerprintInterval, func(context.Context) (*driver.Fingerprint, <-chan struct{}, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.config.Enabled {
			return &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "disabled"}, d.changed, nil
		}
		return &driver.Fingerprint{
			Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy,
			Attributes: map[string]base.Attribute{"driver." + Name: base.BoolAttribute(true)},
		}, d.changed, nil
	}, send)
}

// StartTask implements driver.Runner.
func (d *Driver) StartTask(_ context.Context, cfg *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	d.mu.Lock()
	config, denied := d.config, d.denied
	d.mu.Unlock()
	if !config.Enabled {
		return nil, nil, fmt.Errorf("%s is disabled", Name)
	}
	var tc taskConfig
	if err := cfg.DecodeDriverConfig(&tc); err != nil {
		return nil, nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	if err := tc.validate(); err != nil {
		return nil, nil, err
	}
	handle, err := d.Start(cfg, &executor.Spec{
		Command: tc.Command, Args: tc.Args, WorkDir: tc.WorkDir, Denied: denied, OOMScoreAdj: tc.OOMScoreAdj,
		Group:     func() (*cgroup.Group, error) { return taskCgroup(cfg, &tc) },
		DeniedEnv: append(append([]string(nil), config.DeniedEnvvars...), tc.DeniedEnvvars...),
	})
	return handle, nil, err
}

// taskCgroup is the task's own group, or the one that its config names. Only
// version 2 limits memory and CPU of a task without isolation, as the contract
// has it; reserved cores hold everywhere.
func taskCgroup(cfg *driver.TaskConfig, tc *taskConfig) (*cgroup.Group, error) {
	if cgroup.Unified() && tc.CgroupV2Override != "" {
		g, err := cgroup.Override(tc.CgroupV2Override, nil)
		if err != nil {
			return nil, fmt.Errorf("cgroup_v2_override: %w", err)
		}
		return g, nil
	}
	if !cgroup.Unified() && len(tc.CgroupV1Override) > 0 {
		paths := map[string]string{}
		for _, m := range tc.CgroupV1Override {
			maps.Copy(paths, m)
		}
		g, err := cgroup.Override("", paths)
		if err != nil {
			return nil, fmt.Errorf("cgroup_v1_override: %w", err)
		}
		return g, nil
	}
	var l cgroup.Limits
	if r := cfg.Resources; r != nil {
		if r.Linux != nil {
			l.Cpuset = r.Linux.CpusetCpus
		}
		if cgroup.Unified() {
			l.Memory, l.MemoryMax, l.CPUShares = r.MemoryMB<<20, r.MemoryMaxMB, r.CPUShares
			if l.MemoryMax > 0 {
				l.MemoryMax <<= 20
			}
		}
	}
	return cgroup.New(cfg.ID, l)
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
