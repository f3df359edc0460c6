package alloc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/task"
	"github.com/nomadlite/nomadlite/client/taskenv"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of calls to drivers.
const (
	driverTimeout  = 30 * time.Second // until a driver answers at all
	stopMargin     = 30 * time.Second // beyond a task's kill timeout
	stopTries      = 5
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

// failure is a start that did not happen.
type failure struct {
	kind        string
	err         error
	recoverable bool
}

func (f *failure) Error() string { return f.err.Error() }

// launched is a start that did.
type launched struct {
	id     string
	handle *plugin.TaskHandle
	fifos  []*os.File
}

// launch prepares and starts a task beside the loop.
func (r *Runner) launch(t *taskRun) {
	id := fmt.Sprintf("%s/%s/%s", r.id, t.spec.Name, invocation())
	t.id, t.handle = id, nil
	alloc, group, hold := r.alloc, r.group, t.fifos == nil
	run := r.record() // with the intent: this id, no handle
	r.act(func(ctx context.Context) {
		select {
		case r.deps.Slots <- struct{}{}:
			defer func() { <-r.deps.Slots }()
		case <-ctx.Done():
			return
		}
		if err := r.deps.DB.PutRun(r.id, run); err != nil {
			r.log.Error("cannot persist the intent to start a task", "task", t.spec.Name, "error", err)
		}
		l, err := r.start(ctx, alloc, group, t.spec, id, hold)
		r.postFrom(ctx, func() { r.afterLaunch(t, l, err) })
	})
}

// invocation tells the starts of one task apart.
func invocation() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (r *Runner) afterLaunch(t *taskRun, l *launched, err error) {
	if l != nil && l.fifos != nil {
		t.fifos = l.fifos
	}
	var fail *failure
	switch {
	case errors.As(err, &fail):
		r.log.Warn("task did not start", "task", t.spec.Name, "error", fail.err)
		t.id = ""
		r.feed(t, task.Event{Kind: task.StartFailed, Failure: fail.kind, Error: fail.err.Error(), Recoverable: fail.recoverable})
	case err != nil: // the agent stops
	default:
		t.handle = l.handle
		r.feed(t, task.Event{Kind: task.Started})
		r.await(t)
	}
}

// start does all that takes time: output, environment, configuration, and the
// driver's own start. The handle is durable before anybody is told.
func (r *Runner) start(ctx context.Context, alloc *structs.Allocation, group *structs.TaskGroup, spec *structs.Task, id string, hold bool) (*launched, error) {
	if what := unsupported(spec); what != "" {
		return nil, &failure{structs.TaskSetupFailure, fmt.Errorf("the task uses %s, which this build of nomadlite cannot run", what), false}
	}
	getCtx, cancel := context.WithTimeout(ctx, driverTimeout)
	inst, err := r.deps.Drivers.Get(getCtx, spec.Driver)
	cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &failure{structs.TaskDriverFailure, err, true}
	}
	l := &launched{id: id}
	if hold {
		if l.fifos, err = r.openLogs(ctx, spec, inst); err != nil {
			return l, &failure{structs.TaskSetupFailure, err, true}
		}
	}
	cfg, err := r.taskConfig(alloc, group, spec, id, inst)
	if err != nil {
		return l, err
	}
	if d := spec.DispatchPayload; d != nil && len(alloc.Job.Payload) > 0 {
		if err := r.writePayload(spec, alloc.Job.Payload); err != nil {
			return l, &failure{structs.TaskSetupFailure, err, false}
		}
	}
	l.handle, _, err = inst.StartTask(ctx, cfg)
	if ctx.Err() != nil {
		return l, ctx.Err()
	}
	if err != nil {
		recoverable := plugin.IsRecoverable(err) || errors.Is(err, plugin.ErrPluginShutdown)
		return l, &failure{structs.TaskDriverFailure, err, recoverable}
	}
	return l, nil
}

// unsupported names what of a task this build cannot do.
func unsupported(t *structs.Task) string {
	switch {
	case len(t.Artifacts) > 0:
		return "artifact"
	case len(t.Templates) > 0:
		return "template"
	case t.Vault != nil:
		return "vault"
	case len(t.VolumeMounts) > 0:
		return "volume_mount"
	case t.CSIPluginConfig != nil:
		return "csi_plugin"
	case len(t.Secrets) > 0:
		return "secret"
	}
	return ""
}

// writePayload puts a dispatch payload where the task expects it.
func (r *Runner) writePayload(spec *structs.Task, payload []byte) error {
	dir, err := r.dir.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.WriteFile(spec.Name+"/local/"+spec.DispatchPayload.File, payload, 0o644)
}

// taskConfig is all that the driver learns.
func (r *Runner) taskConfig(alloc *structs.Allocation, group *structs.TaskGroup, spec *structs.Task, id string, inst *driver.Instance) (*plugin.TaskConfig, error) {
	node := r.deps.Node()
	paths := r.dir.Task(spec.Name)
	dirs := taskenv.Dirs{Alloc: paths.Shared, Task: paths.Local, Secrets: paths.Secrets}
	if inst.Capabilities.FSIsolation == plugin.FSIsolationChroot || inst.Capabilities.FSIsolation == plugin.FSIsolationImage {
		dirs = taskenv.Dirs{Alloc: "/alloc", Task: "/local", Secrets: "/secrets"}
	}
	env := taskenv.Build(taskenv.Input{
		Alloc: alloc, Group: group, Task: spec, Node: node, Dirs: dirs,
		HostEnv: inst.Capabilities.FSIsolation != plugin.FSIsolationImage,
	})
	var variables map[string]cty.Value // most configurations name none
	if taskenv.Interpolates(spec.Config) {
		variables = env.Variables()
	}
	raw, err := inst.Schema.Decode(spec.Config, variables)
	if err != nil {
		return nil, &failure{structs.TaskFailedValidation, multiError("failed to parse config: ", err), false}
	}
	cfg := &plugin.TaskConfig{
		ID: id, Name: spec.Name, TaskGroupName: alloc.TaskGroup, JobName: alloc.Job.Name, JobID: alloc.JobID,
		ParentJobID: alloc.Job.ParentID, Namespace: alloc.Namespace, AllocID: alloc.ID, NodeName: node.Name, NodeID: node.ID,
		MsgpackConfig: raw, Env: env.Map(), User: env.Replace(spec.User), AllocDir: r.dir.Path(),
		StdoutPath: os.DevNull, StderrPath: os.DevNull, Resources: resources(alloc, spec.Name, node),
	}
	if collects(spec, inst) {
		cfg.StdoutPath, cfg.StderrPath = r.fifoPath(spec.Name, "stdout"), r.fifoPath(spec.Name, "stderr")
	}
	return cfg, nil
}

// multiError words several problems as the contract does.
func multiError(head string, err error) error {
	lines := append([]string{head}, strings.Split(err.Error(), "\n")...)
	return fmt.Errorf("%d errors occurred:\n\t* %s\n\n", len(lines), strings.Join(lines, "\n\t* "))
}

// resources are the task's share in the driver's terms.
func resources(alloc *structs.Allocation, name string, node *structs.Node) *plugin.Resources {
	out := &plugin.Resources{Linux: &plugin.LinuxResources{}}
	if alloc.AllocatedResources == nil {
		return out
	}
	if t := alloc.AllocatedResources.Tasks[name]; t != nil {
		out.CPUShares, out.MemoryMB, out.MemoryMaxMB = t.Cpu.CpuShares, t.Memory.MemoryMB, t.Memory.MemoryMaxMB
		out.Linux.CPUShares = t.Cpu.CpuShares
		out.Linux.MemoryLimitBytes = max(t.Memory.MemoryMB, t.Memory.MemoryMaxMB) << 20
		if n := node.NodeResources; n != nil && n.Cpu.CpuShares > 0 {
			out.Linux.PercentTicks = float64(t.Cpu.CpuShares) / float64(n.Cpu.CpuShares)
		}
		cores := make([]string, len(t.Cpu.ReservedCores))
		for i, c := range t.Cpu.ReservedCores {
			cores[i] = fmt.Sprint(c)
		}
		out.Linux.CpusetCpus = strings.Join(cores, ",")
	}
	for _, p := range alloc.AllocatedResources.Shared.Ports {
		out.Ports = append(out.Ports, &plugin.PortMapping{Label: p.Label, Value: int32(p.Value), To: int32(p.To), HostIP: p.HostIP})
	}
	return out
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
			if t.id == id {
				r.feed(t, ev)
			}
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

// stopTask asks the driver to stop a task beside the loop; its end comes back
// through await.
func (r *Runner) stopTask(t *taskRun, a task.Action) {
	id, name := t.id, t.spec.Driver
	r.act(func(ctx context.Context) {
		for try := range stopTries {
			inst, err := r.deps.Drivers.Get(ctx, name)
			if err != nil {
				return
			}
			callCtx, cancel := context.WithTimeout(ctx, a.Timeout+stopMargin)
			err = inst.StopTask(callCtx, id, a.Timeout, a.Signal)
			cancel()
			if err == nil || errors.Is(err, plugin.ErrTaskNotFound) || ctx.Err() != nil {
				return
			}
			r.log.Warn("cannot stop a task; trying again", "task", t.spec.Name, "try", try+1, "error", err)
			select {
			case <-time.After(retryDelay << try):
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
