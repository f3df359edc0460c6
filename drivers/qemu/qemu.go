// Package qemu is the qemu driver: virtual machines by the host's emulators.
// Facts: reference driver-plugin.md 10.4.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	Name          = "qemu"
	pluginVersion = "0.1.0"
)

const (
	fingerprintInterval = 30 * time.Second
	versionTimeout      = 20 * time.Second
	monitorTimeout      = 2 * time.Second
)

// Names of the sockets in a task's directory, as the contract has them.
const (
	monitorName = "qm.sock"
	agentName   = "qa.sock"
)

// inherited is the image as its emulator sees it: its first descriptor beside
// input and outputs. A path of ours would end with our process.
const inherited = "/proc/self/fd/3"

// Driver is the qemu driver.
type Driver struct {
	*executor.Runtime
	log hclog.Logger

	mu       sync.Mutex // guards what follows
	config   pluginConfig
	monitors map[string]string // by task id, of machines that are told to power down
	asked    string            // the emulators when they were asked
	said     *driver.Fingerprint
}

// New returns a driver; see executor.New for the keeper.
func New(k *keeper.Client, log hclog.Logger) *Driver {
	return &Driver{Runtime: executor.New(k, log), log: log, monitors: map[string]string{}}
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() {
	driver.Serve(func(log hclog.Logger) driver.Driver { return New(executor.Keeper(), log.Named(Name)) })
}

// PluginInfo implements base.Plugin.
func (*Driver) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDriver, APIVersions: []string{driver.APIVersion}, Version: pluginVersion, Name: Name}, nil
}

// ConfigSchema implements base.Plugin.
func (*Driver) ConfigSchema(context.Context) (*hclspec.Spec, error) { return pluginSchema, nil }

// SetConfig implements base.Plugin.
func (d *Driver) SetConfig(_ context.Context, config *base.Config) error {
	var c pluginConfig
	if err := config.Decode(&c); err != nil {
		return fmt.Errorf("cannot decode the configuration of %s: %w", Name, err)
	}
	if err := c.validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = c
	return nil
}

// TaskConfigSchema implements driver.Describer.
func (*Driver) TaskConfigSchema(context.Context) (*hclspec.Spec, error) { return taskSchema, nil }

// Capabilities implements driver.Describer.
func (*Driver) Capabilities(context.Context) (*driver.Capabilities, error) {
	return &driver.Capabilities{
		FSIsolation: driver.FSIsolationNone, MountConfigs: driver.MountConfigsNone,
		NetworkModes: []driver.NetworkMode{driver.NetworkHost, driver.NetworkGroup},
	}, nil
}

// emulators lists the emulators in PATH, without their prefix.
func emulators() []string {
	var out []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		found, _ := filepath.Glob(filepath.Join(dir, emulatorPrefix+"*")) // a bad pattern is impossible
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				out = append(out, strings.TrimPrefix(filepath.Base(path), emulatorPrefix))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Found reports whether this machine has an emulator.
func Found() bool { return len(emulators()) > 0 }

// Fingerprint implements driver.Describer.
func (d *Driver) Fingerprint(ctx context.Context, send func(*driver.Fingerprint) error) error {
	return base.StreamChanges(ctx, fingerprintInterval, d.look, send)
}

// look names the emulators and their version. One is started for that only
// when they have changed.
func (d *Driver) look(ctx context.Context) *driver.Fingerprint {
	all := emulators()
	if len(all) == 0 {
		return &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "there is no qemu-system-* in PATH: install QEMU"}
	}
	list := strings.Join(all, ",")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.said != nil && d.asked == list {
		return d.said
	}
	version, err := version(ctx, emulatorPrefix+all[0])
	if err != nil {
		return &driver.Fingerprint{Health: driver.HealthUnhealthy, HealthDescription: err.Error()}
	}
	d.asked = list
	d.said = &driver.Fingerprint{
		Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy,
		Attributes: map[string]base.Attribute{
			"driver." + Name:                base.BoolAttribute(true),
			"driver." + Name + ".version":   base.StringAttribute(version),
			"driver." + Name + ".emulators": base.StringAttribute(list),
		},
	}
	return d.said
}

// version asks an emulator, which says "QEMU emulator version 7.2.18 (…)".
func version(ctx context.Context, emulator string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, emulator, "--version").Output()
	_, rest, found := strings.Cut(string(text), "version ")
	if fields := strings.Fields(rest); found && len(fields) > 0 {
		return fields[0], nil
	}
	return "", fmt.Errorf("%s --version does not tell its version: %v", emulator, err)
}

// StartTask implements driver.Runner.
func (d *Driver) StartTask(_ context.Context, cfg *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	var tc taskConfig
	if err := cfg.DecodeDriverConfig(&tc); err != nil {
		return nil, nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	d.mu.Lock()
	config := d.config
	d.mu.Unlock()
	var memory int64
	var cpuset string
	if cfg.Resources != nil {
		memory = cfg.Resources.MemoryMB
		if cfg.Resources.Linux != nil {
			cpuset = cfg.Resources.Linux.CpusetCpus
		}
	}
	if err := tc.validate(&config, memory); err != nil {
		return nil, nil, err
	}
	forwards, err := tc.forwards(cfg.Resources)
	if err != nil {
		return nil, nil, err
	}
	m := &machine{name: cfg.Name, memoryMB: memory, cores: countCores(cpuset), forwards: forwards}
	if m.monitor, m.agent, err = tc.sockets(cfg); err != nil {
		return nil, nil, err
	}
	image, err := tc.image(cfg.AllocDir, cfg.Name, config.ImagePaths)
	if err != nil {
		return nil, nil, err
	}
	defer image.Close()
	m.image = inherited
	handle, err := d.Start(cfg, &executor.Spec{
		Command: tc.emulator(), Args: tc.arguments(m), Files: []*os.File{image},
		Group: func() (*cgroup.Group, error) { return cgroup.New(cfg.ID, cgroup.Limits{Cpuset: cpuset}) },
	})
	if err != nil {
		return nil, nil, err
	}
	if tc.GracefulShutdown {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.monitors[cfg.ID] = m.monitor
	}
	return handle, tc.network(forwards), nil
}

// network is what services advertise of a machine with one port.
func (c *taskConfig) network(forwards []forward) *driver.NetworkOverride {
	if len(c.PortMap) != 1 || len(forwards) == 0 {
		return nil
	}
	out := &driver.NetworkOverride{PortMap: map[string]int32{}}
	for label, guest := range c.PortMap[0] {
		out.PortMap[label] = int32(guest)
	}
	return out
}

// sockets are the paths of the monitor and of the guest agent, "" for none.
// Ones that a machine left behind are removed.
func (c *taskConfig) sockets(cfg *driver.TaskConfig) (monitor, agent string, err error) {
	dir := filepath.Join(cfg.AllocDir, cfg.Name)
	for name, path := range map[string]*string{monitorName: &monitor, agentName: &agent} {
		if name == monitorName && !c.GracefulShutdown || name == agentName && !c.GuestAgent {
			continue
		}
		*path = filepath.Join(dir, name)
		if len(*path) > maxSocketPath || strings.Contains(*path, ",") {
			return "", "", fmt.Errorf("the socket %s has %d bytes in its path: %d are possible, without commas; use a shorter alloc_dir", *path, len(*path), maxSocketPath)
		}
		if err := os.Remove(*path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", "", err
		}
	}
	return monitor, agent, nil
}

// RecoverTask implements driver.Runner.
func (d *Driver) RecoverTask(ctx context.Context, handle *driver.TaskHandle) error {
	if err := d.Runtime.RecoverTask(ctx, handle); err != nil {
		return err
	}
	var tc taskConfig
	if err := handle.Config.DecodeDriverConfig(&tc); err != nil {
		return fmt.Errorf("failed to decode driver config: %w", err)
	}
	if tc.GracefulShutdown {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.monitors[handle.Config.ID] = filepath.Join(handle.Config.AllocDir, handle.Config.Name, monitorName)
	}
	return nil
}

// StopTask implements driver.Runner: a machine with a monitor is told to power
// down, and has the whole timeout for it.
func (d *Driver) StopTask(ctx context.Context, id string, timeout time.Duration, signal string) error {
	d.mu.Lock()
	monitor := d.monitors[id]
	d.mu.Unlock()
	if monitor == "" {
		return d.Runtime.StopTask(ctx, id, timeout, signal)
	}
	began := time.Now()
	if err := powerDown(monitor); err != nil {
		d.log.Warn("cannot tell a virtual machine to power down; ending it", "task_id", id, "error", err)
		return d.Runtime.StopTask(ctx, id, timeout, signal)
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := d.WaitTask(wait, id); err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return d.Runtime.StopTask(ctx, id, max(timeout-time.Since(began), time.Second), signal)
}

// powerDown presses the machine's button.
func powerDown(monitor string) error {
	conn, err := net.DialTimeout("unix", monitor, monitorTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(monitorTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte("system_powerdown\n"))
	return err
}

// DestroyTask implements driver.Runner.
func (d *Driver) DestroyTask(ctx context.Context, id string, force bool) error {
	if err := d.Runtime.DestroyTask(ctx, id, force); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.monitors, id)
	return nil
}
