// Package sandbox is what the drivers of isolated programs share: a root of
// their own, namespaces, a cgroup, few capabilities and a system call filter. A
// driver runs as root and its tasks as nobody, unless they name a user. Facts:
// reference driver-plugin.md 10.2 and 10.3.
package sandbox

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/caps"
	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/drivers/executor"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

const (
	pluginVersion = "0.1.0"
	// fingerprintInterval is how often an unchanged state is told again.
	fingerprintInterval = 30 * time.Second
	defaultUser         = "nobody"
)

// pluginConfig is the configuration of the plugin.
type pluginConfig struct {
	NoPivotRoot    bool              `codec:"no_pivot_root"`
	DefaultPidMode string            `codec:"default_pid_mode"`
	DefaultIpcMode string            `codec:"default_ipc_mode"`
	AllowCaps      []string          `codec:"allow_caps"`
	DeniedHostUIDs string            `codec:"denied_host_uids"`
	DeniedHostGIDs string            `codec:"denied_host_gids"`
	AllowRoot      bool              `codec:"allow_root"`
	ChrootEnv      map[string]string `codec:"chroot_env"`
}

var pluginSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"no_pivot_root":    hclspec.NewFlag("no_pivot_root"),
	"default_pid_mode": hclspec.NewText("default_pid_mode", "private"),
	"default_ipc_mode": hclspec.NewText("default_ipc_mode", "private"),
	"allow_caps":       hclspec.NewAttr("allow_caps", "list(string)", false),
	"denied_host_uids": hclspec.NewText("denied_host_uids", ""),
	"denied_host_gids": hclspec.NewText("denied_host_gids", ""),
	"allow_root":       hclspec.NewFlag("allow_root"),
	"chroot_env":       hclspec.NewBlockAttrs("chroot_env", "string", false),
})

// Kind is what sets one driver of isolated programs apart.
type Kind struct {
	Name string
	// Schema is of the task's config, beside what Isolation takes.
	Schema map[string]*hclspec.Spec
	// Program reads what to run from a task's config.
	Program func(cfg *driver.TaskConfig) (command string, args []string, err error)
	// Look tells what a node has that is otherwise fit; nil: nothing more is
	// needed.
	Look func(ctx context.Context) *driver.Fingerprint
}

// isolation is what every task may say of its sandbox.
type isolation struct {
	PidMode string   `codec:"pid_mode"`
	IpcMode string   `codec:"ipc_mode"`
	CapAdd  []string `codec:"cap_add"`
	CapDrop []string `codec:"cap_drop"`
	WorkDir string   `codec:"work_dir"`
}

func taskSchema(own map[string]*hclspec.Spec) *hclspec.Spec {
	all := map[string]*hclspec.Spec{}
	maps.Copy(all, own)
	for _, name := range []string{"pid_mode", "ipc_mode", "work_dir"} {
		all[name] = hclspec.NewAttr(name, "string", false)
	}
	for _, name := range []string{"cap_add", "cap_drop"} {
		all[name] = hclspec.NewAttr(name, "list(string)", false)
	}
	return hclspec.NewObject(all)
}

// defaultRoot is what of the host every task sees, read-only, where a site
// says nothing else.
var defaultRoot = []string{"/bin", "/etc", "/lib", "/lib32", "/lib64", "/run/resolvconf", "/sbin", "/usr", "/run/systemd/resolve"}

// Driver is a driver of isolated programs.
type Driver struct {
	*executor.Runtime
	kind   Kind
	schema *hclspec.Spec

	mu     sync.Mutex // guards what follows
	config pluginConfig
	denied executor.DeniedIDs
	allow  []string
	// changed is closed and replaced when the configuration changes.
	changed chan struct{}
}

// New returns a driver; see executor.New for the keeper.
func New(kind Kind, k *keeper.Client, log hclog.Logger) *Driver {
	return &Driver{Runtime: executor.New(k, log), kind: kind, schema: taskSchema(kind.Schema), changed: make(chan struct{})}
}

// Serve serves a driver as a plugin process until the host ends it.
func Serve(kind Kind) {
	driver.Serve(func(log hclog.Logger) driver.Driver { return New(kind, executor.Keeper(), log.Named(kind.Name)) })
}

// PluginInfo implements base.Plugin.
func (d *Driver) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDriver, APIVersions: []string{driver.APIVersion}, Version: pluginVersion, Name: d.kind.Name}, nil
}

// ConfigSchema implements base.Plugin.
func (d *Driver) ConfigSchema(context.Context) (*hclspec.Spec, error) { return pluginSchema, nil }

// SetConfig implements base.Plugin.
func (d *Driver) SetConfig(_ context.Context, config *base.Config) error {
	var c pluginConfig
	if err := config.Decode(&c); err != nil {
		return fmt.Errorf("cannot decode the configuration of %s: %w", d.kind.Name, err)
	}
	denied, err := executor.ParseDenied(c.DeniedHostUIDs, c.DeniedHostGIDs)
	if err != nil {
		return err
	}
	if !c.AllowRoot {
		denied = denied.DenyRoot()
	}
	allow := caps.Defaults
	if c.AllowCaps != nil {
		if allow, err = caps.Parse("allow_caps", c.AllowCaps); err != nil {
			return err
		}
	}
	for field, mode := range map[string]string{"default_pid_mode": c.DefaultPidMode, "default_ipc_mode": c.DefaultIpcMode} {
		if err := checkMode(field, mode); err != nil {
			return err
		}
	}
	for host, inside := range c.ChrootEnv {
		if !filepath.IsAbs(host) || !path.IsAbs(inside) || path.Clean(inside) == "/" {
			return fmt.Errorf("chroot_env: %q = %q: both are absolute paths, the second below the root", host, inside)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config, d.denied, d.allow = c, denied, allow
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

func checkMode(field, mode string) error {
	if mode != "" && mode != "private" && mode != "host" {
		return fmt.Errorf("%s must be %q or %q: got %q", field, "private", "host", mode)
	}
	return nil
}

// TaskConfigSchema implements driver.Describer.
func (d *Driver) TaskConfigSchema(context.Context) (*hclspec.Spec, error) { return d.schema, nil }

// Capabilities implements driver.Describer.
func (d *Driver) Capabilities(context.Context) (*driver.Capabilities, error) {
	return &driver.Capabilities{
		SendSignals: true, Exec: true, FSIsolation: driver.FSIsolationChroot,
		NetworkModes: []driver.NetworkMode{driver.NetworkHost, driver.NetworkGroup}, MountConfigs: driver.MountConfigsAny,
	}, nil
}

// Fingerprint implements driver.Describer.
func (d *Driver) Fingerprint(ctx context.Context, send func(*driver.Fingerprint) error) error {
	return driver.RepeatFingerprint(ctx, fingerprintInterval, func(ctx context.Context) (*driver.Fingerprint, <-chan struct{}, error) {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		return d.look(ctx), changed, nil
	}, send)
}

func (d *Driver) look(ctx context.Context) *driver.Fingerprint {
	switch {
	case os.Geteuid() != 0:
		return &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "Driver must run as root"}
	case !cgroup.Available():
		return &driver.Fingerprint{Health: driver.HealthUnhealthy, HealthDescription: "cgroups cannot be written: tasks could not be limited or found"}
	case d.kind.Look != nil:
		return d.kind.Look(ctx)
	}
	return &driver.Fingerprint{
		Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy,
		Attributes: map[string]base.Attribute{"driver." + d.kind.Name: base.BoolAttribute(true)},
	}
}

// StartTask implements driver.Runner.
func (d *Driver) StartTask(_ context.Context, cfg *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	var own isolation
	if err := cfg.DecodeDriverConfig(&own); err != nil {
		return nil, nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	command, args, err := d.kind.Program(cfg)
	if err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	config, denied, allow := d.config, d.denied, d.allow
	d.mu.Unlock()
	jail, err := own.jail(cfg, &config, allow)
	if err != nil {
		return nil, nil, err
	}
	handle, err := d.Start(cfg, &executor.Spec{
		Command: command, Args: args, WorkDir: own.WorkDir, Denied: denied, DefaultUser: defaultUser, Jail: jail,
		Group: func() (*cgroup.Group, error) { return cgroup.New(cfg.ID, limits(cfg.Resources)) },
	})
	return handle, nil, err
}

// jail checks a task's config and says what the task may see and do.
func (c *isolation) jail(cfg *driver.TaskConfig, config *pluginConfig, allow []string) (*executor.Jail, error) {
	for field, mode := range map[string]string{"pid_mode": c.PidMode, "ipc_mode": c.IpcMode} {
		if err := checkMode(field, mode); err != nil {
			return nil, err
		}
	}
	if err := executor.CheckWorkDir(c.WorkDir); err != nil {
		return nil, err
	}
	add, err := caps.Parse("cap_add", c.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, err := caps.Parse("cap_drop", c.CapDrop)
	if err != nil {
		return nil, err
	}
	effective, err := caps.Effective(allow, add, drop)
	if err != nil {
		return nil, err
	}
	mode := func(own, fallback string) bool { return own == "host" || own == "" && fallback == "host" }
	j := &executor.Jail{
		Root: filepath.Join(cfg.AllocDir, cfg.Name), Host: config.ChrootEnv, NoPivot: config.NoPivotRoot, Caps: effective, Added: add,
		HostPID: mode(c.PidMode, config.DefaultPidMode), HostIPC: mode(c.IpcMode, config.DefaultIpcMode),
	}
	if len(j.Host) == 0 {
		j.Host = map[string]string{}
		for _, p := range defaultRoot {
			j.Host[p] = p
		}
	}
	return j, nil
}

// limits are the task's share in terms of cgroups.
func limits(r *driver.Resources) cgroup.Limits {
	if r == nil {
		return cgroup.Limits{}
	}
	l := cgroup.Limits{Memory: r.MemoryMB << 20, MemoryMax: r.MemoryMaxMB, CPUShares: r.CPUShares}
	if l.MemoryMax > 0 {
		l.MemoryMax <<= 20
	}
	if r.Linux != nil {
		l.Cpuset = r.Linux.CpusetCpus
	}
	return l
}
