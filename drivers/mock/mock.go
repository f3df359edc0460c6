// Package mock is the driver mock_driver: it runs no processes but plays the
// scripts of its tasks' configs, faults included. It exists for tests of
// everything above a driver. Options: the driver protocol, section 10.5.
package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Name is what job files call the driver.
const Name = "mock_driver"

// Version is the version of the driver.
const Version = "0.1.0"

// fingerprintInterval is the contract's.
const fingerprintInterval = 500 * time.Millisecond

// Driver is mock_driver.
type Driver struct {
	log    hclog.Logger
	exit   func(code int)
	events driver.Events

	mu     sync.Mutex // guards what follows
	config pluginConfig
	since  time.Time // when the configuration was set
	tasks  map[string]*task
}

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Signaler = (*Driver)(nil)
	_ driver.Executor = (*Driver)(nil)
)

// New makes a driver without tasks. exit ends the process where a task's
// plugin_exit_after asks for it.
func New(log hclog.Logger, exit func(code int)) *Driver {
	return &Driver{log: log.Named(Name), exit: exit, tasks: make(map[string]*task)}
}

// Serve is the main function of the driver's process; it does not return.
func Serve() {
	driver.Serve(func(log hclog.Logger) driver.Driver { return New(log, os.Exit) })
}

// PluginInfo is base.Plugin's.
func (d *Driver) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDriver, APIVersions: []string{driver.APIVersion}, Version: Version, Name: Name}, nil
}

// ConfigSchema is base.Plugin's.
func (d *Driver) ConfigSchema(context.Context) (*hclspec.Spec, error) { return pluginSchema, nil }

// SetConfig is base.Plugin's.
func (d *Driver) SetConfig(_ context.Context, config *base.Config) error {
	var c pluginConfig
	if err := config.Decode(&c); err != nil {
		return err
	}
	if _, ok := isolations[c.FSIsolation]; !ok && c.FSIsolation != "" {
		return fmt.Errorf("cannot use fs_isolation = %q: use none, chroot, image or unveil", c.FSIsolation)
	}
	if c.ShutdownPeriodicAfter && c.ShutdownPeriodicDuration <= 0 {
		return errors.New("shutdown_periodic_after needs shutdown_periodic_duration, in nanoseconds")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config, d.since = c, time.Now()
	return nil
}

// TaskConfigSchema is driver.Describer's.
func (d *Driver) TaskConfigSchema(context.Context) (*hclspec.Spec, error) { return taskSchema, nil }

// Capabilities is driver.Describer's.
func (d *Driver) Capabilities(context.Context) (*driver.Capabilities, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &driver.Capabilities{
		SendSignals:  true,
		Exec:         true,
		FSIsolation:  isolations[d.config.FSIsolation],
		MountConfigs: driver.MountConfigsNone,
	}, nil
}

// Fingerprint is driver.Describer's: healthy, until shutdown_periodic_after.
func (d *Driver) Fingerprint(ctx context.Context, send func(*driver.Fingerprint) error) error {
	return base.StreamChanges(ctx, fingerprintInterval, d.look, send)
}

func (d *Driver) look(context.Context) *driver.Fingerprint {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := time.Duration(d.config.ShutdownPeriodicDuration)
	if d.config.ShutdownPeriodicAfter && time.Since(d.since) >= after {
		return &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "shut down by shutdown_periodic_after"}
	}
	return &driver.Fingerprint{
		Attributes:        map[string]base.Attribute{"driver." + Name: base.BoolAttribute(true)},
		Health:            driver.HealthHealthy,
		HealthDescription: driver.HealthDescriptionHealthy,
	}
}

// state is what a handle carries.
type state struct {
	StartedAt int64 // unix nanoseconds
}

// StartTask is driver.Runner's.
func (d *Driver) StartTask(ctx context.Context, config *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	s, err := parseTask(config)
	if err != nil {
		return nil, nil, err
	}
	if s.startBlockFor > 0 {
		timer := time.NewTimer(s.startBlockFor)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	if s.startError != nil {
		return nil, nil, s.startError
	}
	t := newTask(config, s, time.Now())
	handle := &driver.TaskHandle{Version: driver.HandleVersion, Config: config, State: driver.TaskRunning}
	if err := handle.SetDriverState(state{StartedAt: t.startedAt.UnixNano()}); err != nil {
		return nil, nil, err
	}
	if err := d.begin(t); err != nil {
		return nil, nil, err
	}
	return handle, s.network, nil
}

// RecoverTask is driver.Runner's: the script goes on where time has brought
// it.
func (d *Driver) RecoverTask(_ context.Context, handle *driver.TaskHandle) error {
	if _, err := d.task(handle.Config.ID); err == nil {
		return nil
	}
	var st state
	if err := handle.GetDriverState(&st); err != nil {
		return err
	}
	s, err := parseTask(handle.Config)
	if err != nil {
		return err
	}
	err = d.begin(newTask(handle.Config, s, time.Unix(0, st.StartedAt)))
	if errors.Is(err, errTaskExists) {
		return nil // another call was faster
	}
	return err
}

var errTaskExists = errors.New("a task of this id exists already")

// begin tracks a task and plays its script in the background until it ends or
// is killed; DestroyTask waits for that end.
func (d *Driver) begin(t *task) error {
	stdout, err := driver.OpenOutput(t.config.StdoutPath)
	if err != nil {
		return err
	}
	stderr, err := driver.OpenOutput(t.config.StderrPath)
	if err != nil {
		return errors.Join(err, stdout.Close())
	}
	ctx, kill := context.WithCancelCause(context.Background())
	t.kill = kill
	d.mu.Lock()
	if d.tasks[t.config.ID] != nil {
		d.mu.Unlock()
		kill(nil)
		return errors.Join(fmt.Errorf("cannot start %s: %w", t.config.ID, errTaskExists), stdout.Close(), stderr.Close())
	}
	d.tasks[t.config.ID] = t
	d.mu.Unlock()
	go t.run(ctx, stdout, stderr)
	if left := time.Until(t.startedAt.Add(t.script.pluginExitAfter)); t.script.pluginExitAfter > 0 && left > 0 {
		time.AfterFunc(left, func() {
			d.log.Warn("ending the process as plugin_exit_after asks", "task_id", t.config.ID)
			d.exit(1)
		})
	}
	d.log.Debug("task runs", "task_id", t.config.ID, "run_for", t.script.runFor)
	return nil
}

// task finds a task.
func (d *Driver) task(id string) (*task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tasks[id]
	if t == nil {
		return nil, driver.ErrTaskNotFound
	}
	return t, nil
}

// WaitTask is driver.Runner's.
func (d *Driver) WaitTask(ctx context.Context, id string) (*driver.ExitResult, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.exited:
		return t.status().Result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// StopTask is driver.Runner's.
func (d *Driver) StopTask(ctx context.Context, id string, timeout time.Duration, signal string) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(signal)
	if err != nil {
		return err
	}
	return t.stop(ctx, timeout, sig)
}

// DestroyTask is driver.Runner's.
func (d *Driver) DestroyTask(ctx context.Context, id string, force bool) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	if t.status().State == driver.TaskRunning {
		if !force {
			return driver.ErrTaskRunning
		}
		if err := t.stop(ctx, 0, 0); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tasks, id)
	return nil
}

// InspectTask is driver.Observer's.
func (d *Driver) InspectTask(_ context.Context, id string) (*driver.TaskStatus, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	return t.status(), nil
}

// TaskStats is driver.Observer's; the numbers are made up and never change.
func (d *Driver) TaskStats(ctx context.Context, id string, interval time.Duration, send func(*driver.TaskStats) error) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	return base.StreamStats(ctx, interval, t.exited, func() (*driver.TaskStats, error) {
		return &driver.TaskStats{ID: id, Time: time.Now(), Usage: &driver.ResourceUsage{
			CPU:    &driver.CPUStats{Percent: 1, Measured: []string{driver.MeasuredPercent}},
			Memory: &driver.MemoryStats{RSS: 1 << 20, Measured: []string{driver.MeasuredRSS}},
		}}, nil
	}, send)
}

// TaskEvents is driver.Observer's.
func (d *Driver) TaskEvents(ctx context.Context, send func(*driver.TaskEvent) error) error {
	return d.events.Stream(ctx, send)
}

// SignalTask is driver.Signaler's. The signal shows as a task event.
func (d *Driver) SignalTask(_ context.Context, id, signal string) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(signal)
	if err != nil {
		return err
	}
	if t.script.signalError != "" {
		return errors.New(t.script.signalError)
	}
	d.events.Publish(&driver.TaskEvent{
		TaskID:      id,
		AllocID:     t.config.AllocID,
		TaskName:    t.config.Name,
		Time:        time.Now(),
		Message:     "signal received",
		Annotations: map[string]string{"signal": fmt.Sprint(int(sig))},
	})
	return nil
}

// ExecTask is driver.Executor's: it plays exec_command, whatever the command.
func (d *Driver) ExecTask(ctx context.Context, id string, command []string, timeout time.Duration) (*driver.ExecResult, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, errors.New("cannot run a command without a name")
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var stdout, stderr bytes.Buffer
	if t.script.exec == nil {
		return &driver.ExecResult{Exit: &driver.ExitResult{}}, nil
	}
	result := play(ctx, t.script.exec, time.Now(), &stdout, &stderr)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot wait for the command any longer: %w", err)
	}
	return &driver.ExecResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: &result}, nil
}

// ExecTaskStreaming is driver.Executor's: it plays exec_command, or without it
// prints its input until that ends.
func (d *Driver) ExecTaskStreaming(ctx context.Context, id string, request *driver.ExecRequest, stream driver.ExecStream) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	return driver.ServeExec(ctx, request, stream, func(ctx context.Context, session *driver.ExecIO) (*driver.ExitResult, error) {
		if t.script.exec == nil {
			_, err := io.Copy(session.Stdout, session.Stdin)
			return &driver.ExitResult{}, err
		}
		result := play(ctx, t.script.exec, time.Now(), session.Stdout, session.Stderr)
		return &result, ctx.Err()
	})
}
