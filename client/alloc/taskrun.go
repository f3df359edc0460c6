package alloc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/task"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of calls to drivers.
const (
	driverTimeout  = 30 * time.Second // until a driver answers at all
	stopMargin     = 30 * time.Second // beyond a task's kill timeout
	stopQuiet      = 3                // tries of a stop before it is told that they fail
	maxStopDelay   = 10 * time.Second
	recoverTries   = 5
	retryDelay     = 50 * time.Millisecond
	destroyTimeout = 30 * time.Second
)

// taskRun is one task of a runner. Its fields belong to the runner's loop.
type taskRun struct {
	spec     *structs.Task
	role     role
	m        *task.Machine
	id       string             // of the current start, at the driver
	handle   *plugin.TaskHandle // nil until it is started
	restored bool               // an earlier agent started it; not found again yet
	fifos    []*os.File         // held open: writers must not fail
	timer    *time.Timer
	abort    context.CancelFunc // gives the start under way up; nil when there is none
	hook     *Task              // of the current start; nil before it
}

// release lets go of what the process holds for the task.
func (t *taskRun) release() {
	for _, f := range t.fifos {
		f.Close()
	}
	t.fifos = nil
	if t.timer != nil {
		t.timer.Stop()
	}
}

// perform does what a machine decided; quiet leaves out the driver's part.
func (r *Runner) perform(t *taskRun, actions []task.Action, quiet bool) {
	for _, a := range actions {
		switch a.Do {
		case task.Save:
			r.dirty = true
		case task.SetTimer:
			r.setTimer(t, a.Delay)
		case task.Launch:
			if !quiet {
				r.launch(t)
			}
		case task.Abort:
			if t.abort != nil {
				t.abort()
			}
		case task.Withdraw:
			if hook := t.hook; hook != nil {
				each(r, func(ctx context.Context, h Withdrawer) { h.Withdraw(ctx, hook) })
			}
		case task.Stop:
			r.stopTask(t, a)
		case task.Destroy:
			r.destroyTask(t)
		}
	}
}

func (r *Runner) setTimer(t *taskRun, delay time.Duration) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(delay, func() {
		r.post(func() { r.feed(t, task.Event{Kind: task.Timer}) })
	})
}

// collects reports whether the keeper copies the task's output.
func collects(spec *structs.Task, inst *driver.Instance) bool {
	disabled := spec.LogConfig != nil && structs.Val(spec.LogConfig.Disabled)
	return !disabled && !inst.Capabilities.DisableLogCollection
}

// openLogs makes and holds the task's FIFOs and has the keeper read them.
func (r *Runner) openLogs(ctx context.Context, spec *structs.Task, inst *driver.Instance) ([]*os.File, error) {
	if !collects(spec, inst) {
		return nil, nil
	}
	var held []*os.File
	for _, kind := range []string{"stdout", "stderr"} {
		path := r.fifoPath(spec.Name, kind)
		if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, syscall.EEXIST) {
			return held, fmt.Errorf("cannot make a FIFO for the task's output: %w", err)
		}
		f, err := protocol.OpenFIFO(path)
		if err != nil {
			return held, err
		}
		held = append(held, f)
	}
	return held, r.startLogs(ctx, spec)
}

// startLogs asks the keeper to collect; asking again is harmless.
func (r *Runner) startLogs(ctx context.Context, spec *structs.Task) error {
	files, size := 10, int64(10)
	if c := spec.LogConfig; c != nil {
		files, size = structs.Val(c.MaxFiles), int64(structs.Val(c.MaxFileSizeMB))
	}
	return r.deps.Logs.StartLogs(ctx, protocol.LogSpec{
		ID: r.logID(spec.Name), Dir: r.dir.Task(spec.Name).Logs, Task: spec.Name,
		Stdout: r.fifoPath(spec.Name, "stdout"), Stderr: r.fifoPath(spec.Name, "stderr"),
		MaxFiles: max(files, 1), MaxBytes: max(size, 1) << 20,
	})
}

// closeLogs ends the collection of every task's output.
func (r *Runner) closeLogs() {
	specs := r.group.Tasks
	for _, t := range r.tasks {
		t.release()
	}
	r.act(func(ctx context.Context) {
		for _, spec := range specs {
			if err := r.deps.Logs.StopLogs(ctx, r.logID(spec.Name)); err != nil && ctx.Err() == nil {
				r.log.Warn("cannot close a task's log", "task", spec.Name, "error", err)
			}
			for _, kind := range []string{"stdout", "stderr"} {
				_ = os.Remove(r.fifoPath(spec.Name, kind))
			}
		}
	})
}

// fileSafe makes a task's name part of a file name.
func fileSafe(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '/' || c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, name)
}

// await waits for the end of a started task beside the loop, through any
// number of driver processes.
func (r *Runner) await(t *taskRun) {
	id, handle := t.id, t.handle
	r.act(func(ctx context.Context) {
		result, err := r.wait(ctx, t.spec.Driver, id, handle)
		if err != nil {
			return // the agent stops
		}
		ev := task.Event{Kind: task.Exited, Code: int(result.ExitCode), Signal: int(result.Signal), OOMKilled: result.OOMKilled}
		if result.Err != nil {
			ev.Message = result.Err.Error()
		}
		r.postFrom(ctx, func() {
			if t.id != id {
				return
			}
			if hook := t.hook; hook != nil {
				each(r, func(ctx context.Context, h Exiter) { h.Exited(ctx, hook) })
			}
			t.hook = nil
			if ev.OOMKilled {
				metrics.IncrCounterWithLabels([]string{"client", "allocs", "oom_killed"}, 1, []metrics.Label{
					{Name: "job", Value: r.alloc.JobID}, {Name: "task_group", Value: r.alloc.TaskGroup}, {Name: "task", Value: t.spec.Name}, {Name: "namespace", Value: r.alloc.Namespace},
				})
			}
			r.feed(t, ev)
		})
	})
}

// wait returns how a task ended. When the driver's process dies, the next one
// recovers the task.
func (r *Runner) wait(ctx context.Context, name, id string, handle *plugin.TaskHandle) (*plugin.ExitResult, error) {
	for tries := 0; ; {
		inst, err := r.deps.Drivers.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		result, err := inst.WaitTask(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			return result, nil
		case errors.Is(err, plugin.ErrTaskNotFound):
			if err = inst.RecoverTask(ctx, handle); err == nil {
				continue
			}
			fallthrough
		default:
			if !errors.Is(err, plugin.ErrPluginShutdown) {
				if tries++; tries >= recoverTries {
					return &plugin.ExitResult{ExitCode: 1, Err: fmt.Errorf("the task was lost with its driver: %w", err)}, nil
				}
			}
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stopTask asks the driver to stop a task beside the loop, until it does: what
// hinders it may take any time to pass. The task's end comes back through await.
func (r *Runner) stopTask(t *taskRun, a task.Action) {
	id, spec := t.id, t.spec
	r.act(func(ctx context.Context) {
		for try := 0; ; try++ {
			inst, err := r.deps.Drivers.Get(ctx, spec.Driver)
			if err != nil {
				return
			}
			callCtx, cancel := context.WithTimeout(ctx, a.Timeout+stopMargin)
			err = inst.StopTask(callCtx, id, a.Timeout, a.Signal)
			cancel()
			if err == nil || errors.Is(err, plugin.ErrTaskNotFound) || ctx.Err() != nil {
				return
			}
			r.log.Warn("cannot stop a task; trying again", "task", spec.Name, "try", try+1, "error", err)
			if try == stopQuiet {
				message := fmt.Sprintf("The task cannot be stopped now, and runs until it can: %v", err)
				r.postFrom(ctx, func() { r.driverSaid(&plugin.TaskEvent{TaskName: spec.Name, TaskID: id, Message: message}) })
			}
			select {
			case <-time.After(min(retryDelay<<min(try, 10), maxStopDelay)):
			case <-ctx.Done():
				return
			}
		}
	})
}

// destroyTask lets the driver forget a task that has ended.
func (r *Runner) destroyTask(t *taskRun) {
	id, name := t.id, t.spec.Driver
	t.id, t.handle = "", nil
	r.act(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, destroyTimeout)
		defer cancel()
		inst, err := r.deps.Drivers.Get(ctx, name)
		if err == nil {
			err = inst.DestroyTask(ctx, id, true)
		}
		if err != nil && !errors.Is(err, plugin.ErrTaskNotFound) && ctx.Err() == nil {
			r.log.Warn("cannot destroy an ended task", "task", t.spec.Name, "error", err)
		}
	})
}
