// Package executor runs programs of the host as tasks, for every driver that
// does: as they are, or in a jail with namespaces, a root, capabilities and a
// system call filter of its own. A running task costs the driver's process a
// parked goroutine and no thread, and there is no helper process beside it.
//
// A task is a session of its own, in a cgroup of its own where cgroups can be
// written. It outlives the driver's process: the next one finds it by pid,
// start time and boot id, and learns its exit from the keeper, which became
// its parent. Facts: reference driver-plugin.md 9 and 10.2.
package executor

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

// Runtime leads the tasks of one driver from their start to their end. Drivers
// embed it: it is all of driver.Driver that does not depend on configuration.
type Runtime struct {
	log    hclog.Logger
	keeper *keeper.Client // nil outside a keeper

	mu    sync.Mutex // guards what follows
	tasks map[string]*task
}

// New returns a runtime without tasks. Exits of tasks that an earlier process
// started are asked of the keeper, which may be nil.
func New(k *keeper.Client, log hclog.Logger) *Runtime {
	return &Runtime{log: log, keeper: k, tasks: map[string]*task{}}
}

// Keeper is the keeper that this plugin process runs under; nil for none.
func Keeper() *keeper.Client {
	if socket := os.Getenv(keeper.SocketEnv); socket != "" {
		return keeper.NewClient(socket)
	}
	return nil
}

// Start starts a task. An error leaves nothing behind.
func (r *Runtime) Start(cfg *driver.TaskConfig, spec *Spec) (*driver.TaskHandle, error) {
	if _, err := r.find(cfg.ID); err == nil {
		return nil, fmt.Errorf("task with ID %q already started", cfg.ID)
	}
	group, err := spec.Group()
	if err != nil {
		return nil, fmt.Errorf("failed to launch command with executor: %w", err)
	}
	t, err := start(cfg, spec, group)
	if err != nil {
		group.Remove()
		return nil, fmt.Errorf("failed to launch command with executor: %w", err)
	}
	handle := &driver.TaskHandle{Version: driver.HandleVersion, Config: cfg, State: driver.TaskRunning}
	if err := handle.SetDriverState(&t.state); err != nil {
		t.killTree()
		t.cgroup.Remove()
		return nil, fmt.Errorf("failed to set driver state: %w", err)
	}
	r.track(t)
	go t.reapChild()
	return handle, nil
}

// find returns the task of an id.
func (r *Runtime) find(id string) (*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[id]; t != nil {
		return t, nil
	}
	return nil, driver.ErrTaskNotFound
}

func (r *Runtime) track(t *task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks[t.config.ID] = t
}

// RecoverTask implements driver.Runner.
func (r *Runtime) RecoverTask(_ context.Context, handle *driver.TaskHandle) error {
	if handle == nil || handle.Config == nil {
		return fmt.Errorf("cannot recover a task without its handle")
	}
	if _, err := r.find(handle.Config.ID); err == nil {
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
	r.track(t)
	go t.reapOrphan(r.keeper, r.log)
	return nil
}

// WaitTask implements driver.Runner.
func (r *Runtime) WaitTask(ctx context.Context, id string) (*driver.ExitResult, error) {
	t, err := r.find(id)
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
func (r *Runtime) StopTask(ctx context.Context, id string, timeout time.Duration, signal string) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	return t.stop(ctx, timeout, signal)
}

// DestroyTask implements driver.Runner.
func (r *Runtime) DestroyTask(_ context.Context, id string, force bool) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	if t.running() && !force {
		return driver.ErrTaskRunning
	}
	t.killTree()
	<-t.done
	t.cgroup.Remove()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, id)
	return nil
}

// InspectTask implements driver.Observer.
func (r *Runtime) InspectTask(_ context.Context, id string) (*driver.TaskStatus, error) {
	t, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return t.status(), nil
}

// TaskEvents implements driver.Observer; these drivers have nothing to say.
func (r *Runtime) TaskEvents(ctx context.Context, _ func(*driver.TaskEvent) error) error {
	<-ctx.Done()
	return nil
}

// SignalTask implements driver.Signaler.
func (r *Runtime) SignalTask(_ context.Context, id, name string) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	sig, err := ParseSignal(name)
	if err != nil {
		return err
	}
	return t.signal(sig)
}
