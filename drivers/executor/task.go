package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/keeper"
	"github.com/nomadlite/nomadlite/plugins/netns"
)

// taskState is what finds a task again; it travels in its handle.
type taskState struct {
	Pid       int
	StartTime uint64
	BootID    string
	Cgroup    string
	StartedAt int64 // unix nanoseconds

	// For programs beside it.
	Jail      *Jail
	User      string
	DeniedEnv []string
}

// task is one started task.
type task struct {
	config *driver.TaskConfig
	state  taskState
	cgroup *cgroup.Group
	pidfd  *os.File // of our own child; nil for a recovered task

	done chan struct{} // closed when it has ended
	// Set before done is closed.
	exit    keeper.Exit
	endedAt time.Time

	mu   sync.Mutex // guards last
	last *sample    // of stats
}

func (t *task) process() keeper.Process {
	return keeper.Process{Pid: t.state.Pid, StartTime: t.state.StartTime}
}

// Spec says what to start for a task.
type Spec struct {
	Command string
	Args    []string
	// WorkDir of the program; empty: the task's directory, in a jail its root.
	WorkDir     string
	Denied      DeniedIDs
	DefaultUser string // where the task names none; empty: our own
	DeniedEnv   []string
	OOMScoreAdj int
	// Files are the program's descriptors from 3 on; none in a jail. They stay
	// the caller's to close.
	Files []*os.File
	// Group makes the task's cgroup.
	Group func() (*cgroup.Group, error)
	Jail  *Jail // nil: no isolation
}

// start starts a task in its group. An error leaves nothing but the group
// behind.
func start(cfg *driver.TaskConfig, spec *Spec, group *cgroup.Group) (*task, error) {
	name := cfg.User
	if name == "" {
		name = spec.DefaultUser
	}
	cred, err := Credential(name, spec.Denied)
	if err != nil {
		return nil, err
	}
	t := &task{config: cfg, cgroup: group, done: make(chan struct{})}
	t.state = taskState{Jail: spec.Jail, User: name, DeniedEnv: spec.DeniedEnv}
	files, err := openStreams(cfg)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	p, err := t.spawn(&program{argv: append([]string{spec.Command}, spec.Args...), dir: spec.WorkDir, cred: cred, files: slices.Concat(files, spec.Files), oomScore: spec.OOMScoreAdj})
	if err != nil {
		return nil, err
	}
	t.pidfd = p.pidfd
	proc, err := keeper.Identify(p.pid)
	if err != nil {
		proc.Pid = p.pid
	}
	t.state.Pid, t.state.StartTime, t.state.BootID = p.pid, proc.StartTime, keeper.BootID()
	t.state.Cgroup, t.state.StartedAt = t.cgroup.Path(), time.Now().UnixNano()
	return t, nil
}

// program is one process to start for a task: its own, or one beside it.
type program struct {
	argv     []string
	dir      string
	cred     *syscall.Credential // nil: our own
	files    []*os.File          // input, two outputs, and what more it is given
	terminal bool                // files are one
	oomScore int
	join     bool // the jail of the running task, not a new one
}

// process is a started child of ours.
type process struct {
	pid   int
	pidfd *os.File // nil where the kernel gives none
}

// spawn starts a program inside the task's cgroup, network and jail.
func (t *task) spawn(p *program) (*process, error) {
	env := environ(t.config.Env, t.state.DeniedEnv)
	var pid, pidfd int
	var err error
	if t.state.Jail != nil {
		pid, pidfd, err = t.jailed(p, env)
	} else {
		pid, pidfd, err = t.plain(p, env)
	}
	if err != nil {
		return nil, err
	}
	if p.oomScore > 0 {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(p.oomScore)), 0)
	}
	out := &process{pid: pid}
	if pidfd >= 0 && unix.SetNonblock(pidfd, true) == nil {
		out.pidfd = os.NewFile(uintptr(pidfd), "pidfd of "+strconv.Itoa(pid))
	}
	return out, nil
}

// plain starts a program of the host.
func (t *task) plain(p *program, env []string) (pid, pidfd int, err error) {
	dir := filepath.Join(t.config.AllocDir, t.config.Name)
	path, err := lookUp(p.argv[0], dir, t.config.Env["PATH"])
	if err != nil {
		return 0, -1, err
	}
	if p.dir != "" {
		dir = p.dir
	}
	pidfd = -1
	attr := &syscall.ProcAttr{
		Dir: dir, Env: env, Files: descriptors(p.files),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: p.terminal, Credential: p.cred, PidFD: &pidfd},
	}
	err = netns.Inside(t.netns(), func() error {
		return t.cgroup.Start(attr.Sys, func() (err error) {
			pid, err = syscall.ForkExec(path, p.argv, attr)
			return err
		})
	})
	if err != nil {
		return 0, -1, &os.PathError{Op: "fork/exec", Path: path, Err: err}
	}
	return pid, pidfd, nil
}

// await waits for a child and tells how it ended.
func (p *process) await() keeper.Exit {
	if p.pidfd != nil {
		keeper.AwaitPidfd(p.pidfd)
		p.pidfd.Close()
	}
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.pid, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return keeper.Exit{}
		}
		return keeper.ExitOf(ws)
	}
}

// netns is the network namespace of the task's allocation, "" for the host's.
func (t *task) netns() string {
	if n := t.config.NetworkIsolation; n != nil {
		return n.Path
	}
	return ""
}

// lookUp finds the program: below the task's directory, by absolute path, or
// in the PATH, in this order (reference driver-plugin.md 9).
func lookUp(command, taskDir, path string) (string, error) {
	candidates := []string{filepath.Join(taskDir, "local", command), filepath.Join(taskDir, command)}
	if filepath.IsAbs(command) {
		candidates = []string{command, candidates[0], candidates[1]}
	}
	if !strings.Contains(command, "/") {
		if path == "" {
			path = os.Getenv("PATH")
		}
		for _, dir := range filepath.SplitList(path) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, command))
			}
		}
	}
	for _, c := range candidates {
		info, err := os.Stat(c)
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 == 0 {
			if strings.HasPrefix(c, taskDir+"/") {
				_ = os.Chmod(c, info.Mode()|0o555)
				return c, nil
			}
			return "", fmt.Errorf("cannot run %q: permission denied, %s is not executable", command, c)
		}
		return c, nil
	}
	return "", fmt.Errorf("cannot run %q: no such program below the task's directory, as a path, or in PATH %q", command, path)
}

// environ is the environment without what is denied, in a stable order.
func environ(env map[string]string, denied []string) []string {
	out := make([]string, 0, len(env))
next:
	for k, v := range env {
		for _, pattern := range denied {
			if ok, _ := filepath.Match(pattern, k); ok {
				continue next
			}
		}
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}

// openStreams opens input from nowhere, and the two outputs. The host holds
// FIFOs open at their other end, so that this does not wait.
func openStreams(cfg *driver.TaskConfig) ([]*os.File, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	files := []*os.File{null}
	for _, path := range []string{cfg.StdoutPath, cfg.StderrPath} {
		if path == "" {
			path = os.DevNull
		}
		f, err := driver.OpenOutput(path)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		// Programs expect files that block, and Fd leaves this one alone.
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			f.Close()
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func descriptors(files []*os.File) []uintptr {
	out := make([]uintptr, len(files))
	for i, f := range files {
		out[i] = f.Fd()
	}
	return out
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// reapChild waits for our own child.
func (t *task) reapChild() {
	t.exit = (&process{t.state.Pid, t.pidfd}).await()
	t.ended()
}

// reapOrphan waits for a task that an earlier process started, and learns its
// exit from the keeper, else from the kernel.
func (t *task) reapOrphan(k *keeper.Client, log hclog.Logger) {
	defer t.ended()
	pidfd, err := keeper.OpenPidfd(t.process())
	if err == nil {
		keeper.AwaitPidfd(pidfd)
		defer pidfd.Close()
	}
	if k != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		exit, err := k.Wait(ctx, t.process())
		if err != nil {
			log.Warn("cannot ask the keeper how a task ended", "task", t.config.ID, "error", err)
		}
		if exit.Known {
			t.exit = exit
			return
		}
	}
	if pidfd != nil {
		t.exit = keeper.PidfdExit(pidfd)
	}
}

func (t *task) ended() {
	t.endedAt = time.Now()
	close(t.done)
}

func (t *task) running() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// result is how the task ended; call it after done.
func (t *task) result() *driver.ExitResult {
	if !t.exit.Known {
		return &driver.ExitResult{ExitCode: 1, Err: errors.New("the task ended while nobody watched it: its exit code is unknown")}
	}
	return &driver.ExitResult{ExitCode: int32(t.exit.Code), Signal: int32(t.exit.Signal), OOMKilled: t.cgroup.OOMKills() > 0}
}

func (t *task) status() *driver.TaskStatus {
	s := &driver.TaskStatus{
		ID: t.config.ID, Name: t.config.Name, State: driver.TaskRunning, StartedAt: time.Unix(0, t.state.StartedAt),
		Attributes: map[string]string{"pid": strconv.Itoa(t.state.Pid), "cgroup": t.cgroup.Path()},
	}
	if !t.running() {
		s.State, s.CompletedAt, s.Result = driver.TaskExited, t.endedAt, t.result()
	}
	return s
}

// signal sends a signal to the task's first process, if it is still the one.
func (t *task) signal(sig syscall.Signal) error {
	if !t.running() {
		return nil
	}
	if !t.process().Alive() {
		return nil
	}
	if err := syscall.Kill(t.state.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// stop asks the task to end, and after the timeout kills it; then whatever it
// left behind is killed too.
func (t *task) stop(ctx context.Context, timeout time.Duration, name string) error {
	sig := syscall.SIGINT
	if name != "" {
		var err error
		if sig, err = ParseSignal(name); err != nil {
			return err
		}
	}
	if timeout > 0 {
		if err := t.signal(sig); err != nil {
			return err
		}
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-t.done:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.killTree()
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killTree kills every process of the task: its first one, its session's group
// and the members of its cgroup; without a cgroup, all of its session.
func (t *task) killTree() {
	if t.running() && t.process().Alive() {
		_ = syscall.Kill(-t.state.Pid, syscall.SIGKILL)
		_ = syscall.Kill(t.state.Pid, syscall.SIGKILL)
	}
	if t.cgroup.Owned() {
		t.cgroup.Kill()
		return
	}
	for _, pid := range t.session() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// session lists the processes of the task's session. A number is not given
// away while its session lives: when another process has it, the session is
// that one's.
func (t *task) session() []int {
	if p, err := keeper.Identify(t.state.Pid); err == nil && p.StartTime != t.state.StartTime {
		return nil
	}
	return sessionMembers(t.state.Pid)
}

// sessionMembers lists the processes of a session.
func sessionMembers(session int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if sid, err := unix.Getsid(pid); err == nil && sid == session {
			out = append(out, pid)
		}
	}
	return out
}

// members lists the task's processes.
func (t *task) members() []int {
	if t.cgroup.Owned() {
		return t.cgroup.Procs()
	}
	return t.session()
}
