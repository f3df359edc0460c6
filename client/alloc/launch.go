package alloc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/task"
	"github.com/nomadlite/nomadlite/client/taskenv"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// launched is a start that happened.
type launched struct {
	id     string
	handle *plugin.TaskHandle
	fifos  []*os.File
}

// launch prepares and starts a task beside the loop.
func (r *Runner) launch(t *taskRun) {
	id := fmt.Sprintf("%s/%s/%s", r.id, t.spec.Name, invocation())
	t.id, t.handle = id, nil
	hook := &Task{Alloc: r.alloc, Group: r.group, Spec: t.spec, Node: r.deps.Node(), Dir: r.dir, r: r}
	hold := t.fifos == nil
	ctx, cancel := context.WithCancel(r.ctx)
	t.abort = cancel
	r.act(func(whole context.Context) {
		defer cancel()
		l, err := r.start(ctx, hook, id, hold)
		r.postFrom(whole, func() { r.afterLaunch(t, hook, l, err) })
	})
}

// invocation tells the starts of one task apart.
func invocation() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (r *Runner) afterLaunch(t *taskRun, hook *Task, l *launched, err error) {
	if l != nil && l.fifos != nil {
		t.fifos = l.fifos
	}
	t.abort = nil
	var fail *Failure
	switch {
	case errors.As(err, &fail):
		r.log.Warn("task did not start", "task", t.spec.Name, "error", fail.Err)
		t.id = ""
		r.feed(t, task.Event{Kind: task.StartFailed, Failure: fail.Kind, Error: fail.Err.Error(), Recoverable: fail.Recoverable})
	case err != nil: // it was told to give up
		t.id = ""
		r.feed(t, task.Event{Kind: task.Aborted})
	default:
		t.handle, t.hook = l.handle, hook
		r.feed(t, task.Event{Kind: task.Started})
		each(r, func(ctx context.Context, h Poststarter) { h.Poststart(ctx, hook) })
		r.await(t)
	}
}

// start does all that takes time: hooks, output, environment, configuration,
// and the driver's own start. The handle is durable before anybody is told.
// When ctx ends before the driver is asked, its error comes back.
func (r *Runner) start(ctx context.Context, t *Task, id string, hold bool) (*launched, error) {
	if what := unsupported(t.Spec); what != "" {
		return nil, &Failure{structs.TaskSetupFailure, fmt.Errorf("the task uses %s, which this build of nomadlite cannot run", what), false}
	}
	getCtx, cancel := context.WithTimeout(ctx, driverTimeout)
	inst, err := r.deps.Drivers.Get(getCtx, t.Spec.Driver)
	cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &Failure{structs.TaskDriverFailure, err, true}
	}
	t.Capabilities = inst.Capabilities
	t.Env = r.environment(t)
	if d := t.Spec.DispatchPayload; d != nil && len(t.Alloc.Job.Payload) > 0 {
		if err := r.writePayload(t.Spec, t.Alloc.Job.Payload); err != nil {
			return nil, &Failure{structs.TaskSetupFailure, err, false}
		}
	}
	if err := r.prestart(ctx, t); err != nil {
		return nil, err
	}
	select {
	case r.deps.Slots <- struct{}{}:
		defer func() { <-r.deps.Slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := r.intend(ctx); ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil { // a start that nobody would find again must not be
		return nil, &Failure{structs.TaskSetupFailure, fmt.Errorf("cannot persist the intent to start the task: %w", err), true}
	}
	return r.startDriver(ctx, t, inst, id, hold)
}

// intend makes durable that a start is about to happen: its id is in the
// record, its handle is not.
func (r *Runner) intend(ctx context.Context) error {
	taken := make(chan snapshot, 1)
	r.postFrom(ctx, func() { taken <- r.snapshot() })
	select {
	case s := <-taken:
		return r.persist(s)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startDriver opens the task's output and has the driver start it.
func (r *Runner) startDriver(ctx context.Context, t *Task, inst *driver.Instance, id string, hold bool) (*launched, error) {
	l := &launched{id: id}
	var err error
	if hold {
		if l.fifos, err = r.openLogs(ctx, t.Spec, inst); err != nil {
			return l, &Failure{structs.TaskSetupFailure, err, true}
		}
	}
	cfg, err := r.taskConfig(t, id, inst)
	if err != nil {
		return l, err
	}
	if ctx.Err() != nil {
		return l, ctx.Err()
	}
	// From here on the driver may have it: an end of the task is no reason to
	// give up, only the agent's own end is.
	l.handle, _, err = inst.StartTask(r.ctx, cfg)
	if errors.Is(err, plugin.ErrPluginShutdown) { // the contract: once more, with the next process
		again, cancel := context.WithTimeout(r.ctx, driverTimeout)
		next, gerr := r.deps.Drivers.Get(again, t.Spec.Driver)
		cancel()
		if gerr == nil {
			l.handle, _, err = next.StartTask(r.ctx, cfg)
		}
	}
	if r.ctx.Err() != nil {
		return l, r.ctx.Err()
	}
	if err != nil {
		recoverable := plugin.IsRecoverable(err) || errors.Is(err, plugin.ErrPluginShutdown)
		return l, &Failure{structs.TaskDriverFailure, err, recoverable}
	}
	return l, nil
}

// environment is the task's, without what hooks add.
func (r *Runner) environment(t *Task) *taskenv.Env {
	paths := r.dir.Task(t.Spec.Name)
	dirs := taskenv.Dirs{Alloc: paths.Shared, Task: paths.Local, Secrets: paths.Secrets}
	isolation := t.Capabilities.FSIsolation
	if isolation == plugin.FSIsolationChroot || isolation == plugin.FSIsolationImage {
		dirs = taskenv.Dirs{Alloc: "/alloc", Task: "/local", Secrets: "/secrets"}
	}
	alloc := t.Alloc
	if n := r.net(); n != nil && n.Status != nil {
		own := *alloc
		own.NetworkStatus = n.Status
		alloc = &own
	}
	return taskenv.Build(taskenv.Input{
		Alloc: alloc, Group: t.Group, Task: t.Spec, Node: t.Node, Dirs: dirs,
		HostEnv: isolation != plugin.FSIsolationImage, Denylist: r.deps.EnvDenylist,
	})
}

// taskConfig is all that the driver learns.
func (r *Runner) taskConfig(t *Task, id string, inst *driver.Instance) (*plugin.TaskConfig, error) {
	alloc, spec := t.Alloc, t.Spec
	var variables map[string]cty.Value // most configurations name none
	if taskenv.Interpolates(spec.Config) {
		variables = t.Env.Variables()
	}
	raw, err := inst.Schema.Decode(spec.Config, variables)
	if err != nil {
		return nil, &Failure{structs.TaskFailedValidation, multiError("failed to parse config: ", err), false}
	}
	cfg := &plugin.TaskConfig{
		ID: id, Name: spec.Name, TaskGroupName: alloc.TaskGroup, JobName: alloc.Job.Name, JobID: alloc.JobID,
		ParentJobID: alloc.Job.ParentID, Namespace: alloc.Namespace, AllocID: alloc.ID, NodeName: t.Node.Name, NodeID: t.Node.ID,
		MsgpackConfig: raw, Env: t.Env.Map(), User: t.Env.Replace(spec.User), AllocDir: r.dir.Path(),
		StdoutPath: os.DevNull, StderrPath: os.DevNull, Resources: resources(alloc, spec.Name, t.Node),
		Mounts: t.mounts, Devices: t.devices,
	}
	if n := r.net(); n != nil {
		cfg.NetworkIsolation, cfg.DNS = n.Isolation, n.DNS
	}
	if collects(spec, inst) {
		cfg.StdoutPath, cfg.StderrPath = r.fifoPath(spec.Name, "stdout"), r.fifoPath(spec.Name, "stderr")
	}
	return cfg, nil
}

// unsupported names what of a task this build cannot do.
func unsupported(t *structs.Task) string {
	switch {
	case t.Vault != nil:
		return "vault"
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
