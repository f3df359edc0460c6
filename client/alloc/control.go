package alloc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/task"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// reattach finds the tasks again that an earlier agent started.
func (r *Runner) reattach() {
	for _, t := range r.tasks {
		if !t.restored {
			continue
		}
		if t.handle == nil {
			r.sweep(t)
			continue
		}
		r.recover(t)
	}
}

// recover has the driver take a task over again. While that is not decided the
// task counts as begun.
func (r *Runner) recover(t *taskRun) {
	handle, spec := t.handle, t.spec
	r.act(func(ctx context.Context) {
		inst, err := r.adopt(ctx, spec, handle)
		if ctx.Err() != nil {
			return
		}
		fifos, logErr := r.holdAgain(ctx, spec)
		if logErr != nil {
			r.log.Warn("cannot go on with a task's log", "task", spec.Name, "error", logErr)
		}
		r.postFrom(ctx, func() {
			t.restored, t.fifos = false, fifos
			if err == nil {
				r.perform(t, t.m.Step(task.Event{Kind: task.Recovered}, time.Now()), false)
				r.found(t, inst)
				r.await(t)
				return
			}
			r.log.Warn("cannot find a task again; it is started anew", "task", spec.Name, "error", err)
			r.perform(t, t.m.Note(&structs.TaskEvent{Type: structs.TaskRestoreFailed}, time.Now()), false)
			t.restored = true
			r.sweep(t)
		})
	})
}

// holdAgain opens the FIFOs that the earlier agent held.
func (r *Runner) holdAgain(ctx context.Context, spec *structs.Task) (held []*os.File, err error) {
	inst, err := r.deps.Drivers.Get(ctx, spec.Driver)
	if err != nil {
		return nil, err
	}
	return r.openLogs(ctx, spec, inst)
}

func (r *Runner) adopt(ctx context.Context, spec *structs.Task, handle *plugin.TaskHandle) (*driver.Instance, error) {
	getCtx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	inst, err := r.deps.Drivers.Get(getCtx, spec.Driver)
	if err != nil {
		return nil, err
	}
	return inst, inst.RecoverTask(ctx, handle)
}

// found tells the hooks of a task that an earlier agent started.
func (r *Runner) found(t *taskRun, inst *driver.Instance) {
	t.hook = &Task{Alloc: r.alloc, Group: r.group, Spec: t.spec, Node: r.deps.Node(), Dir: r.dir, Capabilities: inst.Capabilities, Found: true, r: r}
	t.hook.Env = r.environment(t.hook)
	hook := t.hook
	each(r, func(ctx context.Context, h Poststarter) { h.Poststart(ctx, hook) })
}

// sweep ends what may be left of a start that was intended and not finished,
// so that the task can be started anew.
func (r *Runner) sweep(t *taskRun) {
	id, spec := t.id, t.spec
	r.act(func(ctx context.Context) {
		getCtx, cancel := context.WithTimeout(ctx, driverTimeout)
		defer cancel()
		if inst, err := r.deps.Drivers.Get(getCtx, spec.Driver); err == nil {
			err = inst.DestroyTask(getCtx, id, true)
			if err != nil && !errors.Is(err, plugin.ErrTaskNotFound) {
				r.log.Warn("cannot destroy an unfinished start", "task", spec.Name, "error", err)
			}
		}
		killMarked(r.id, spec.Name)
		r.postFrom(ctx, func() { t.restored, t.id, t.handle = false, "", nil })
	})
}

// ask runs f in the loop and returns its result.
func ask[T any](r *Runner, f func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	ch := make(chan answer, 1)
	if r.post(func() { v, err := f(); ch <- answer{v, err} }) {
		select {
		case a := <-ch:
			return a.v, a.err
		case <-r.quit:
		}
	}
	var zero T
	return zero, structs.Errorf(structs.Unavailable, "the agent is stopping")
}

// Restart restarts tasks: the named one, all that run, or with all every task
// in its lifecycle's order.
func (r *Runner) Restart(name string, all bool) error {
	_, err := ask(r, func() (struct{}, error) {
		if name != "" && r.find(name) == nil {
			return struct{}{}, structs.Errorf(structs.Internal, "Could not find task runner for task: %s", name)
		}
		if r.stop {
			return struct{}{}, structs.Errorf(structs.Internal, "allocation %s is being stopped", r.id)
		}
		if over(r.views()) {
			return struct{}{}, structs.Errorf(structs.Internal, "Task not running")
		}
		done := 0
		for _, t := range r.tasks {
			running := t.m.State().State == structs.TaskStateRunning
			if name != "" && t.spec.Name != name || !all && !running {
				continue
			}
			done++
			announce := &structs.TaskEvent{Type: structs.TaskRestartSignal, Details: map[string]string{"restart_reason": "User requested task to restart"}}
			if all {
				announce.Details["restart_reason"] = "User requested all tasks to restart"
			}
			r.feed(t, task.Event{Kind: task.Restart, Announce: announce, Gated: all})
		}
		r.resetting = all
		if done == 0 {
			return struct{}{}, structs.Errorf(structs.Internal, "Task not running")
		}
		return struct{}{}, nil
	})
	return err
}

// live is a task that its driver runs.
type live struct {
	inst *driver.Instance
	id   string
}

// running finds the driver's end of the named task, or of all running ones.
func (r *Runner) running(ctx context.Context, name string) (map[string]live, error) {
	ids, err := ask(r, func() (map[string][2]string, error) {
		if name != "" && r.find(name) == nil {
			return nil, structs.Errorf(structs.Invalid, "unknown task name %q", name)
		}
		out := map[string][2]string{}
		for _, t := range r.tasks {
			if (name == "" || t.spec.Name == name) && t.m.State().State == structs.TaskStateRunning && t.id != "" {
				out[t.spec.Name] = [2]string{t.spec.Driver, t.id}
			}
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string]live{}
	for task, pair := range ids {
		inst, err := r.deps.Drivers.Get(ctx, pair[0])
		if err != nil {
			return nil, err
		}
		out[task] = live{inst, pair[1]}
	}
	return out, nil
}

// Signal sends a signal to the named task, or to all that run.
func (r *Runner) Signal(ctx context.Context, name, signal string) error {
	return r.signal(ctx, name, signal, "User requested")
}

func (r *Runner) signal(ctx context.Context, name, signal, reason string) error {
	tasks, err := r.running(ctx, name)
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return structs.Errorf(structs.Internal, "Task not running")
	}
	for task, l := range tasks {
		if !l.inst.Capabilities.SendSignals {
			return structs.Errorf(structs.Internal, "driver of task %q doesn't support signals", task)
		}
		if err := l.inst.SignalTask(ctx, l.id, signal); err != nil {
			return structs.Errorf(structs.Internal, "%w", err)
		}
		r.note(task, &structs.TaskEvent{Type: structs.TaskSignaling, Details: map[string]string{"task_signal": signal, "task_signal_reason": reason}})
	}
	return nil
}

// Note records an event of every task.
func (r *Runner) Note(e *structs.TaskEvent) {
	r.post(func() {
		for _, t := range r.tasks {
			r.perform(t, t.m.Note(e, time.Now()), false)
		}
	})
}

func (r *Runner) note(name string, e *structs.TaskEvent) {
	r.post(func() {
		if t := r.find(name); t != nil {
			r.perform(t, t.m.Note(e, time.Now()), false)
		}
	})
}

// Stats reads what the running tasks use, by task.
func (r *Runner) Stats(ctx context.Context, name string) (map[string]*plugin.TaskStats, error) {
	tasks, err := r.running(ctx, name)
	if err != nil {
		return nil, err
	}
	out := map[string]*plugin.TaskStats{}
	for task, l := range tasks {
		one, cancel := context.WithCancel(ctx)
		err := l.inst.TaskStats(one, l.id, time.Second, func(s *plugin.TaskStats) error {
			out[task] = s
			cancel()
			return nil
		})
		cancel()
		if err != nil && out[task] == nil && ctx.Err() == nil {
			return nil, structs.Errorf(structs.Internal, "cannot read the usage of task %q: %w", task, err)
		}
	}
	return out, nil
}

// Exec runs a command in a running task.
func (r *Runner) Exec(ctx context.Context, name string, req *plugin.ExecRequest, stream plugin.ExecStream) error {
	if name == "" && len(r.group.Tasks) == 1 {
		name = r.group.Tasks[0].Name
	}
	tasks, err := r.running(ctx, name)
	if err != nil {
		return fmt.Errorf("task not found: %w", err)
	}
	l, ok := tasks[name]
	if !ok {
		return structs.Errorf(structs.Internal, "task %q is not running", name)
	}
	if !l.inst.Capabilities.Exec {
		return structs.Errorf(structs.Internal, "driver of task %q doesn't support exec", name)
	}
	return l.inst.ExecTaskStreaming(ctx, l.id, req, stream)
}
