package alloc

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/client/task"
	"github.com/nomadlite/nomadlite/client/taskenv"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// Hook takes part in the life of all allocations of a node. Its name stands in
// logs and events; what it does, it says by the interfaces below. Hooks are
// called in the order of Deps.Hooks, at the end in the reverse order, and
// always beside the runner's loop: they may take time, until ctx ends.
type Hook interface{ Name() string }

// Chooser is a hook that only some allocations need; the others never hear of
// it. One that needed it once keeps it.
type Chooser interface {
	Needs(group *structs.TaskGroup) bool
}

// Checker is a hook whose word counts in the health of deployments. Both
// methods are called from the runner's loop and must not block.
type Checker interface {
	// Checks tells whether everything that the allocation is checked for passes,
	// and since when; else why not.
	Checks(allocID string) (passing bool, since time.Time, why string)
}

// Prerunner prepares an allocation before its first task; after a restart of
// the agent again. An error fails all of its tasks.
type Prerunner interface {
	Prerun(ctx context.Context, a *Alloc) error
}

// Prestarter prepares a task before each of its starts. A *Failure words the
// event of a start that does not happen; any other error is a setup failure
// that counts as recoverable.
type Prestarter interface {
	Prestart(ctx context.Context, t *Task) error
}

// Poststarter learns that a task runs: it was started, or found again after a
// restart of the agent (t.Found).
type Poststarter interface {
	Poststart(ctx context.Context, t *Task)
}

// Withdrawer takes a task out of use before it is stopped for good, ahead of
// its shutdown delay.
type Withdrawer interface {
	Withdraw(ctx context.Context, t *Task)
}

// Exiter learns that a started task has ended, for now or for good.
type Exiter interface {
	Exited(ctx context.Context, t *Task)
}

// AllocWithdrawer takes an allocation out of use before any of its tasks is
// stopped, ahead of the group's shutdown delay.
type AllocWithdrawer interface {
	WithdrawAlloc(ctx context.Context, a *Alloc)
}

// Updater learns of a newer version of an allocation that stays in place.
type Updater interface {
	Update(ctx context.Context, a *Alloc)
}

// Postrunner undoes Prerun: every task has ended for good.
type Postrunner interface {
	Postrun(ctx context.Context, a *Alloc) error
}

// Failure is a start that did not happen.
type Failure struct {
	Kind        string // structs.TaskSetupFailure, TaskDriverFailure, TaskFailedValidation, TaskArtifactDownloadFailed
	Err         error
	Recoverable bool // the restart policy decides; else the task fails at once
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives errors.Is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Alloc is an allocation as hooks see it. What it points to is only read.
type Alloc struct {
	Alloc *structs.Allocation
	Group *structs.TaskGroup
	Node  *structs.Node
	Dir   *rootfs.AllocDir
	// Restored says that an earlier agent ran it.
	Restored bool
	// Running are the tasks that were started and have not ended.
	Running []*Task

	r *Runner
}

// Note records an event of every task.
func (a *Alloc) Note(e *structs.TaskEvent) { a.r.Note(e) }

// Network is the allocation's own network; nil for the host's, and before it
// is made, and of an allocation without a runner.
func (a *Alloc) Network() *Network {
	if a.r == nil {
		return nil
	}
	return a.r.net()
}

// Look has the runner look at the health of the allocation again.
func (a *Alloc) Look() { a.r.post(func() {}) }

// Task returns the named task as hooks see it between its starts; nil for an
// unknown name.
func (a *Alloc) Task(name string) *Task {
	for _, spec := range a.Group.Tasks {
		if spec.Name == name {
			return &Task{Alloc: a.Alloc, Group: a.Group, Spec: spec, Node: a.Node, Dir: a.Dir, r: a.r}
		}
	}
	return nil
}

// Network tells what the allocation's own network is; nil for the host's.
type Network struct {
	Isolation *plugin.NetworkIsolationSpec
	DNS       *plugin.DNSConfig
	Status    *structs.AllocNetworkStatus
}

// SetNetwork hands over the allocation's network before any task starts.
func (a *Alloc) SetNetwork(n *Network) {
	a.r.netMu.Lock()
	defer a.r.netMu.Unlock()
	a.r.network = n
}

// Task is a task as hooks see it: what is to be prepared, and ways to act on
// it later. What it points to is only read; hooks of one start run one after
// another and share it.
type Task struct {
	Alloc *structs.Allocation
	Group *structs.TaskGroup
	Spec  *structs.Task
	Node  *structs.Node
	Dir   *rootfs.AllocDir
	// Env is the environment so far: the job's, and what earlier hooks added.
	// Values that name directories are those that the task sees.
	Env *taskenv.Env
	// Capabilities are the driver's.
	Capabilities plugin.Capabilities
	// Found says that an earlier agent started the task (Poststart).
	Found bool

	mounts  []*plugin.Mount
	devices []*plugin.Device
	r       *Runner
}

// ID names the task on this node, across its starts.
func (t *Task) ID() string { return t.Alloc.ID + "/" + t.Spec.Name }

// User is the user that the job names for the task, by its numbers; ok is false
// where it names none, or one that this host does not know.
func (t *Task) User() (uid, gid int, ok bool) {
	name := t.Env.Replace(t.Spec.User)
	if name == "" {
		return 0, 0, false
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return 0, 0, false
		}
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return uid, gid, err1 == nil && err2 == nil
}

// AddEnv sets variables over the job's. Values are taken as they are.
func (t *Task) AddEnv(vars map[string]string) { t.Env = t.Env.With(vars) }

// AddMount shows a host path inside the task.
func (t *Task) AddMount(m *plugin.Mount) { t.mounts = append(t.mounts, m) }

// AddDevice shows a device file inside the task.
func (t *Task) AddDevice(d *plugin.Device) { t.devices = append(t.devices, d) }

// Note records an event of the task.
func (t *Task) Note(e *structs.TaskEvent) { t.r.note(t.Spec.Name, e) }

// feed gives the task's machine an event.
func (t *Task) feed(ev task.Event) {
	t.r.post(func() {
		if run := t.r.find(t.Spec.Name); run != nil {
			t.r.feed(run, ev)
		}
	})
}

// Restart stops the task, if it runs, and starts it again. failure makes it
// count against the restart policy.
func (t *Task) Restart(announce *structs.TaskEvent, failure bool) {
	t.feed(task.Event{Kind: task.Restart, Announce: announce, Fails: failure})
}

// Fail ends the task for good, as failed.
func (t *Task) Fail(announce *structs.TaskEvent) {
	t.feed(task.Event{Kind: task.Kill, Announce: announce, Fails: true})
}

// Signal sends the running task a signal; reason is for its event.
func (t *Task) Signal(ctx context.Context, signal, reason string) error {
	return t.r.signal(ctx, t.Spec.Name, signal, reason)
}

// Exec runs a command in the running task.
func (t *Task) Exec(ctx context.Context, command []string, timeout time.Duration) (*plugin.ExecResult, error) {
	tasks, err := t.r.running(ctx, t.Spec.Name)
	if err != nil {
		return nil, err
	}
	l, ok := tasks[t.Spec.Name]
	if !ok {
		return nil, fmt.Errorf("task %q is not running", t.Spec.Name)
	}
	return l.inst.ExecTask(ctx, l.id, command, timeout)
}

// hookAlloc is the allocation for hooks. Call it from the loop.
func (r *Runner) hookAlloc() *Alloc {
	a := &Alloc{Alloc: r.alloc, Group: r.group, Node: r.deps.Node(), Dir: r.dir, Restored: r.restored, r: r}
	for _, t := range r.tasks {
		if t.hook != nil {
			a.Running = append(a.Running, t.hook)
		}
	}
	return a
}

// hooks are those that the allocation needs.
func (r *Runner) hooks() []Hook { return *r.chosen.Load() }

// choose finds the hooks that the group needs, beside those that it has.
func (r *Runner) choose() {
	var had []Hook
	if old := r.chosen.Load(); old != nil {
		had = *old
	}
	chosen := []Hook{}
	for _, h := range r.deps.Hooks {
		if c, picky := h.(Chooser); !picky || slices.Contains(had, h) || c.Needs(r.group) {
			chosen = append(chosen, h)
		}
	}
	r.chosen.Store(&chosen)
}

// checks is what the health of the allocation waits for besides its tasks, nil
// for nothing. Call it from the loop.
func (r *Runner) checks(rules *structs.UpdateStrategy) *checkView {
	if structs.Val(rules.HealthCheck) != "checks" {
		return nil
	}
	for _, c := range hooksOf[Checker](r.hooks()) {
		v := &checkView{}
		v.passing, v.since, v.why = c.Checks(r.id)
		return v
	}
	return nil
}

// hooksOf lists the hooks that can do T, in their order.
func hooksOf[T any](hooks []Hook) []T {
	var out []T
	for _, h := range hooks {
		if t, ok := h.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// each calls all hooks that can do T beside the loop. Call it from the loop.
func each[T any](r *Runner, call func(ctx context.Context, h T)) {
	hooks := hooksOf[T](r.hooks())
	if len(hooks) == 0 {
		return
	}
	r.act(func(ctx context.Context) {
		for _, h := range hooks {
			call(ctx, h)
		}
	})
}

// prestart runs the hooks of one start.
func (r *Runner) prestart(ctx context.Context, t *Task) error {
	for _, h := range r.hooks() {
		p, ok := h.(Prestarter)
		if !ok {
			continue
		}
		err := p.Prestart(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var fail *Failure
		if err == nil || errors.As(err, &fail) {
			if err != nil {
				return err
			}
			continue
		}
		return &Failure{structs.TaskSetupFailure, fmt.Errorf("prestart hook %q failed: %w", h.Name(), err), true}
	}
	return nil
}

// postrunTimeout bounds how long what was prepared for an allocation may take
// to undo.
const postrunTimeout = time.Minute

// prerun runs the hooks of an allocation.
func (r *Runner) prerun(ctx context.Context, a *Alloc) error {
	for _, h := range r.hooks() {
		if p, ok := h.(Prerunner); ok {
			if err := p.Prerun(ctx, a); err != nil {
				return fmt.Errorf("pre-run hook %q failed: %w", h.Name(), err)
			}
		}
	}
	return nil
}

// postrun undoes prerun, last hook first.
func (r *Runner) postrun(ctx context.Context, a *Alloc) {
	ctx, cancel := context.WithTimeout(ctx, postrunTimeout)
	defer cancel()
	hooks := r.hooks()
	for i := len(hooks) - 1; i >= 0; i-- {
		if p, ok := hooks[i].(Postrunner); ok {
			if err := p.Postrun(ctx, a); err != nil {
				r.log.Error("cannot undo what was prepared for the allocation", "hook", hooks[i].Name(), "error", err)
			}
		}
	}
}

// netState is the allocation's network as prerun made it.
type netState struct {
	netMu   sync.Mutex // guards network
	network *Network
}

func (n *netState) net() *Network {
	n.netMu.Lock()
	defer n.netMu.Unlock()
	return n.network
}
