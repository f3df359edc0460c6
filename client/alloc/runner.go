package alloc

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/localdb"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/client/task"
	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
	"github.com/nomadlite/nomadlite/structs"
)

// Drivers finds the plugin of a driver.
type Drivers interface {
	Get(ctx context.Context, name string) (*driver.Instance, error)
}

// Logs collects the output of tasks; plugins/keeper's Client does.
type Logs interface {
	StartLogs(ctx context.Context, spec protocol.LogSpec) error
	StopLogs(ctx context.Context, id string) error
}

// DB keeps what a restarted agent needs.
type DB interface {
	PutAlloc(alloc *structs.Allocation) error
	PutRun(allocID string, run *localdb.Run) error
	Delete(allocID string) error
}

// Deps are what all runners of a node share.
type Deps struct {
	Drivers Drivers
	Logs    Logs
	DB      DB
	Logger  hclog.Logger // named "client.alloc_runner"
	// Node is the node as it is registered.
	Node func() *structs.Node
	// Report tells the servers, in time and together with others.
	Report func(*structs.AllocUpdate)
	// AllocBase holds the allocations' directories, FIFODir their FIFOs.
	AllocBase, FIFODir string
	MaxKillTimeout     time.Duration
	// Slots bounds how many tasks start at once on the node.
	Slots chan struct{}
	// Jitter is uniform in [0, 1).
	Jitter func() float64
	// Hooks take part in the life of allocations, in this order.
	Hooks []Hook
	// EnvDenylist replaces the names of the agent's variables that tasks never
	// see; nil is the default.
	EnvDenylist []string
}

// boxSize is how many messages may wait for a runner's loop.
const boxSize = 16

// Runner runs one allocation. Its loop owns all state; everything that takes
// time happens in goroutines that report back to it.
type Runner struct {
	deps Deps
	id   string
	dir  *rootfs.AllocDir
	log  hclog.Logger
	box  chan func()
	ops  sync.WaitGroup // goroutines that act for the loop
	busy atomic.Int32   // how many of them there are
	down chan struct{}  // closed when the allocation is over
	quit chan struct{}  // closed when the loop has ended
	gone chan struct{}  // closed when Run has returned
	netState
	chosen atomic.Pointer[[]Hook] // those of Deps.Hooks that the group needs

	dbMu    sync.Mutex // guards written, and orders writes
	written uint64     // the number of the newest snapshot that is durable

	// What follows belongs to the loop.
	ctx        context.Context
	alloc      *structs.Allocation
	group      *structs.TaskGroup
	tasks      []*taskRun
	restored   bool // an earlier agent ran it
	prepared   bool
	unprepare  context.CancelFunc // gives preparing up
	withdrawn  bool               // hooks were told that it is going to stop
	resetting  bool               // all tasks go down, to start again in their order
	ending     bool               // every task has ended: what is left is undone
	stop       bool               // it shall end
	stopAt     time.Time          // after the group's shutdown delay; zero before it is set
	noDelay    bool
	expired    bool // max_run_duration is over
	began      time.Time
	joined     time.Time // when it joined its deployment here
	returned   time.Time // when its tasks were told last that the node is back
	healthy    *bool     // in that deployment, nil until decided
	healthTime int64
	wake       *time.Timer
	dirty      bool
	dirtySince time.Time // zero while clean
	flushed    string    // the outline of what was flushed last
	flushing   bool
	revision   uint64
	snapshots  uint64

	mu   sync.Mutex // guards view
	view *structs.AllocUpdate
}

// New makes the runner of an allocation; run is what an earlier agent kept of
// it, or nil.
func New(alloc *structs.Allocation, run *localdb.Run, deps Deps) (*Runner, error) {
	r := &Runner{
		deps: deps, id: alloc.ID, alloc: alloc, log: deps.Logger.With("alloc_id", alloc.ID),
		box: make(chan func(), boxSize), down: make(chan struct{}), quit: make(chan struct{}), gone: make(chan struct{}), began: time.Now(),
	}
	r.joined = r.began
	if alloc.Job != nil {
		r.group = alloc.Job.LookupGroup(alloc.TaskGroup)
	}
	if r.group == nil {
		return nil, fmt.Errorf("cannot run allocation %s: its job has no group %q", alloc.ID, alloc.TaskGroup)
	}
	var dirs []rootfs.TaskDir
	for _, t := range r.group.Tasks {
		d := rootfs.TaskDir{Name: t.Name}
		if t.Resources != nil {
			d.SecretsMB = structs.Val(t.Resources.SecretsMB)
		}
		dirs = append(dirs, d)
	}
	r.choose()
	r.dir = rootfs.NewAllocDir(deps.AllocBase, alloc.ID, dirs)
	for _, t := range r.group.Tasks {
		r.tasks = append(r.tasks, r.newTask(t, run))
	}
	r.stop = alloc.ServerTerminal() // an earlier agent may have been told already
	if run != nil {
		r.restored, r.revision = true, run.Revision
		if run.Began > 0 {
			r.began = time.Unix(0, run.Began)
		}
		if run.Deployment == alloc.DeploymentID {
			r.healthy, r.healthTime, r.joined = run.Healthy, run.HealthTime, time.Unix(0, run.Joined)
		}
	} else {
		r.revision = FirstRevision(alloc, time.Now()) - 1
	}
	r.flushed = r.outline()
	r.publish()
	return r, nil
}

// FirstRevision is the revision of the first report about an allocation that
// the node has no record of. Where the servers know more than that it was
// placed, the record was lost: a time is above every count, so that they do not
// take the report for an old one.
func FirstRevision(a *structs.Allocation, now time.Time) uint64 {
	if a.ClientStatus == structs.AllocClientStatusPending || a.ClientStatus == "" {
		return 1
	}
	return uint64(now.UnixMilli())
}

func (r *Runner) newTask(spec *structs.Task, run *localdb.Run) *taskRun {
	cfg := task.Config{Task: spec, JobType: r.alloc.Job.Type, MaxKillTimeout: r.deps.MaxKillTimeout}
	t := &taskRun{spec: spec, role: roleOf(spec), m: task.New(cfg)}
	if run == nil {
		t.m.Note(&structs.TaskEvent{Type: structs.TaskReceived}, time.Now())
		return t
	}
	if rec := run.Tasks[spec.Name]; rec != nil && rec.State != nil {
		t.m = task.Restore(cfg, rec.State)
		t.id, t.handle = rec.TaskID, rec.Handle
		t.restored = rec.State.State != structs.TaskStateDead && rec.TaskID != ""
	}
	return t
}

// Run runs the allocation until ctx ends; its tasks go on then.
func (r *Runner) Run(ctx context.Context) {
	defer close(r.gone)
	ctx, cancel := context.WithCancel(ctx)
	r.ctx = ctx
	r.wake = time.NewTimer(time.Hour)
	defer r.wake.Stop()
	if r.restored {
		// The earlier agent may have died between writing this down and telling
		// it; the servers ignore a revision that they have.
		r.deps.Report(r.update())
	}
	r.prepare()
	for {
		r.step()
		select {
		case f := <-r.box:
			f()
		case <-r.wake.C:
		case <-ctx.Done():
			cancel()
			close(r.quit)
			r.ops.Wait()
			for _, t := range r.tasks {
				t.release()
			}
			return
		}
	}
}

// post hands a message to the loop; false when it has ended.
func (r *Runner) post(f func()) bool {
	select {
	case r.box <- f:
		return true
	case <-r.quit:
		return false
	}
}

// act runs something that takes time beside the loop.
func (r *Runner) act(f func(ctx context.Context)) {
	ctx := r.ctx
	r.ops.Add(1)
	r.busy.Add(1)
	go func() {
		defer r.ops.Done()
		defer r.busy.Add(-1)
		f(ctx)
	}()
}

// postFrom is post for goroutines of act: they must not outlive the loop's
// wait for them.
func (r *Runner) postFrom(ctx context.Context, f func()) {
	select {
	case r.box <- f:
	case <-ctx.Done():
	}
}

// prepare makes the allocation's directories and runs its hooks beside the
// loop. Nothing is started, or found again, before.
func (r *Runner) prepare() {
	if r.finished() {
		return
	}
	hook := r.hookAlloc()
	ctx, cancel := context.WithCancel(r.ctx)
	r.unprepare = cancel
	r.act(func(whole context.Context) {
		defer cancel()
		err := r.deps.DB.PutAlloc(hook.Alloc)
		if err == nil {
			err = r.dir.Build()
		}
		if err == nil {
			err = r.prerun(ctx, hook)
		}
		r.postFrom(whole, func() { r.afterPrepare(err) })
	})
}

func (r *Runner) afterPrepare(err error) {
	r.unprepare = nil
	if err == nil || r.stop {
		r.prepared = true
		r.reattach()
		return
	}
	r.log.Error("cannot prepare the allocation", "error", err)
	for _, t := range r.tasks {
		r.perform(t, t.m.Step(task.Event{Kind: task.Start}, time.Now()), true)
		r.feed(t, task.Event{Kind: task.StartFailed, Failure: structs.TaskSetupFailure, Error: "failed to setup alloc: " + err.Error()})
	}
}

func (r *Runner) finished() bool { return over(r.views()) }

func (r *Runner) views() []taskView {
	out := make([]taskView, len(r.tasks))
	for i, t := range r.tasks {
		out[i] = taskView{name: t.spec.Name, role: t.role, leader: t.spec.Leader, state: t.m.State(), begun: t.m.Begun() || t.restored}
	}
	return out
}

// step looks at everything once and does what is due.
func (r *Runner) step() {
	now := time.Now()
	next := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	r.checkDuration(now, sooner)
	stopNow := r.stopDue(now, sooner)
	views := r.views()
	if r.prepared && !r.finding() && !r.isResetting(stopNow) {
		o := coordinate(views, stopNow)
		for _, k := range o.kill {
			r.feed(r.find(k.name), task.Event{Kind: task.Kill, Announce: k.announce, Fails: k.fails, NoDelay: r.noDelay})
		}
		for _, name := range o.start {
			r.feed(r.find(name), task.Event{Kind: task.Start})
		}
		if len(o.kill)+len(o.start) > 0 {
			views = r.views()
		}
	}
	r.judgeHealth(views, now, sooner)
	if over(views) && !r.ending {
		r.ending = true
		r.finish()
	}
	r.flush(now, sooner)
	r.wake.Reset(max(next.Sub(now), time.Millisecond))
}

// finding reports whether it is open what became of a task that an earlier
// agent started: to stop it, or to start another, waits for that.
func (r *Runner) finding() bool {
	for _, t := range r.tasks {
		if t.restored {
			return true
		}
	}
	return false
}

// isResetting reports whether tasks that are to start again in their order are
// still going down; an end of the allocation does not wait for that.
func (r *Runner) isResetting(stop bool) bool {
	if !r.resetting {
		return false
	}
	for _, t := range r.tasks {
		if t.m.Begun() && !stop {
			return true
		}
	}
	r.resetting = false
	return false
}

// finish undoes what stands around the tasks, once they have all ended, and
// then says that the allocation is over.
func (r *Runner) finish() {
	r.closeLogs()
	if len(hooksOf[Postrunner](r.hooks())) == 0 {
		close(r.down)
		return
	}
	hook := r.hookAlloc()
	r.act(func(ctx context.Context) {
		r.postrun(ctx, hook)
		if ctx.Err() == nil {
			close(r.down)
		}
	})
}

// stopDue reports whether the tasks shall be stopped now: the group's shutdown
// delay may come first.
func (r *Runner) stopDue(now time.Time, sooner func(time.Time)) bool {
	if !r.stop {
		return false
	}
	if r.unprepare != nil {
		r.unprepare()
	}
	if !r.withdrawn {
		r.withdrawn = true
		hook := r.hookAlloc()
		each(r, func(ctx context.Context, h AllocWithdrawer) { h.WithdrawAlloc(ctx, hook) })
	}
	if r.stopAt.IsZero() {
		r.stopAt = now
		if !r.noDelay {
			r.stopAt = now.Add(structs.Val(r.group.ShutdownDelay))
		}
	}
	if now.Before(r.stopAt) && !r.noDelay {
		sooner(r.stopAt)
		return false
	}
	return true
}

// checkDuration ends an allocation that ran for its max_run_duration: poststop
// tasks that run then end with the others.
func (r *Runner) checkDuration(now time.Time, sooner func(time.Time)) {
	limit := structs.Val(r.group.MaxRunDuration)
	if limit <= 0 || r.expired || r.finished() {
		return
	}
	end := r.began.Add(limit)
	if now.Before(end) {
		sooner(end)
		return
	}
	r.stop, r.expired, r.dirty = true, true, true
	for _, t := range r.tasks {
		if t.role == rolePoststop && t.m.Begun() {
			r.feed(t, task.Event{Kind: task.Kill, NoDelay: true})
		}
	}
}

// healthRules are what the health of the allocation is judged by: those of its
// deployment, else, of a service, those by which moves off a draining node are
// paced. Nil judges nothing.
func (r *Runner) healthRules() *structs.UpdateStrategy {
	m := r.group.Migrate
	switch {
	case r.alloc.DeploymentID != "" && r.group.Update != nil && structs.Val(r.group.Update.HealthCheck) == "manual":
		return nil
	case r.alloc.DeploymentID != "":
		return r.group.Update
	case m == nil || r.alloc.Job.Type != structs.JobTypeService:
		return nil
	}
	return &structs.UpdateStrategy{HealthCheck: m.HealthCheck, MinHealthyTime: m.MinHealthyTime, HealthyDeadline: m.HealthyDeadline}
}

// judgeHealth decides the health once.
func (r *Runner) judgeHealth(views []taskView, now time.Time, sooner func(time.Time)) {
	if r.healthy != nil || r.stop {
		return
	}
	rules := r.healthRules()
	if rules == nil {
		return
	}
	v := judge(rules, views, r.checks(rules), r.joined, now)
	if v.healthy == nil {
		if !v.again.IsZero() {
			sooner(v.again)
		}
		return
	}
	r.healthy, r.healthTime, r.dirty = v.healthy, now.UnixNano(), true
	if !*v.healthy {
		for _, t := range r.tasks {
			t.m.Note(&structs.TaskEvent{Type: "Alloc Unhealthy", Details: map[string]string{"message": v.reason}}, now)
		}
	}
}

func (r *Runner) find(name string) *taskRun {
	for _, t := range r.tasks {
		if t.spec.Name == name {
			return t
		}
	}
	return nil
}

// feed gives a task's machine an event and performs what it says.
func (r *Runner) feed(t *taskRun, ev task.Event) {
	ev.Jitter = r.deps.Jitter()
	r.perform(t, t.m.Step(ev, time.Now()), false)
}

// eventDelay is how long a change that is a new event alone may wait for
// others: it costs a write on disk and a message to the servers.
const eventDelay = 25 * time.Millisecond

// Done is closed when every task has ended for good.
func (r *Runner) Done() <-chan struct{} { return r.down }

// Dir is the allocation's directory.
func (r *Runner) Dir() *rootfs.AllocDir { return r.dir }

// Update hands over a newer version of the allocation from the servers.
func (r *Runner) Update(alloc *structs.Allocation) {
	r.post(func() {
		if alloc.DeploymentID != r.alloc.DeploymentID {
			r.healthy, r.healthTime, r.joined, r.dirty = nil, 0, time.Now(), true
		}
		if alloc.ClientStatus == structs.AllocClientStatusUnknown {
			r.reconnected()
		}
		r.alloc = alloc
		if g := alloc.Job.LookupGroup(alloc.TaskGroup); g != nil {
			r.group = g
			r.choose()
		}
		if alloc.ServerTerminal() {
			r.stop = true
			r.noDelay = structs.Val(alloc.DesiredTransition.NoShutdownDelay)
		}
		if err := r.deps.DB.PutAlloc(alloc); err != nil {
			r.log.Error("cannot persist the allocation", "error", err)
		}
		hook := r.hookAlloc()
		each(r, func(ctx context.Context, h Updater) { h.Update(ctx, hook) })
	})
}

// Stop ends all tasks without delay: the node itself goes away.
func (r *Runner) Stop() {
	r.post(func() { r.stop, r.noDelay = true, true })
}

// Destroy removes everything of an allocation that is over. Call it after Run
// has returned.
func (r *Runner) Destroy() error {
	if err := r.dir.Destroy(); err != nil {
		return err
	}
	return r.deps.DB.Delete(r.id)
}

// fifoPath names a FIFO of a task, outside the allocation's directory.
func (r *Runner) fifoPath(taskName, kind string) string {
	return filepath.Join(r.deps.FIFODir, r.logID(taskName)+"."+kind)
}

// logID names a task's log at the keeper.
func (r *Runner) logID(taskName string) string { return r.id + "-" + fileSafe(taskName) }

// Drain returns when what the runner has under way is done: the last state is
// told, logs are closed, the driver has forgotten the tasks. Call it after
// Done.
func (r *Runner) Drain() {
	for {
		idle, err := ask(r, func() (bool, error) { return !r.flushing && !r.dirty && r.busy.Load() == 0, nil })
		if idle || err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
