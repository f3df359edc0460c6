// Package drivertest is a conformance suite for driver plugins: it starts a
// plugin's process as a host does and checks what the protocol promises, the
// death of the process included. It imports nothing but the protocol, so that
// authors of drivers can run it against theirs:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Suite{
//			Path: "./my-driver", Config: map[string]any{"enabled": true},
//			Task: func(b drivertest.Behaviour) map[string]any {
//				return map[string]any{"command": "/bin/sh", "args": []any{"-c", b.Script()}}
//			},
//			Shell: true,
//		})
//	}
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Suite describes the driver under test.
type Suite struct {
	// Path, Args and Env start the plugin's process. Env nil is this process's
	// own environment.
	Path string
	Args []string
	Env  []string
	// Config is the plugin block's config.
	Config map[string]any
	// BadConfig is a plugin config that must be refused; nil: not tested.
	BadConfig map[string]any
	// Task makes the config block of a task that behaves as told.
	Task func(Behaviour) map[string]any
	// Prepare puts what a task needs to behave as told (a program, an image)
	// into the directories of its allocation, and may change what the agent
	// says of the task, before it starts; nil: nothing is needed.
	Prepare func(testing.TB, Behaviour, *driver.TaskConfig)
	// Shell says that tasks are shell scripts (Behaviour.Script) and that
	// commands beside them are real.
	Shell bool
	// IgnoresStop says that tasks can ignore signals though they are no
	// scripts.
	IgnoresStop bool
	// OneOutput says that tasks have standard output alone, where others speak
	// too: the console of a machine.
	OneOutput bool
	// Exits is what the driver reports of a task that means to exit with a
	// code; nil: the code. Zero must stay zero and another code another.
	Exits func(code int) int
	// EchoCommand is a command for exec that prints "echo" to standard output;
	// nil with Shell: `sh -c 'echo echo'`. Empty without Shell: exec is not
	// tested.
	EchoCommand []string
	// RecoversExit says that the exit code of a task that ended while no
	// plugin process lived is known afterwards.
	RecoversExit bool
	// Forgets says that tasks end with the plugin's process.
	Forgets bool
	// Replays says that a task is played by its handle alone: it can be
	// recovered even after it was destroyed.
	Replays bool
	// User of tasks; empty: the driver's default.
	User string
	// Leaks lists what tasks left behind on the host, after all are destroyed;
	// nil: not tested.
	Leaks func() []string
	// Patience is how long anything may take; 0: 30 s.
	Patience time.Duration
}

// AllocPrefix is what the ids of all allocations of this process begin with: it
// helps Leaks to find what is the suite's.
func AllocPrefix() string { return fmt.Sprintf("%08x-0000-4000-8000-", os.Getpid()) }

// Cgroups lists the control groups of this process's allocations that are left
// below nomad.slice, where drivers of programs put tasks: a suite's Leaks.
func Cgroups() []string {
	var out []string
	for _, root := range []string{"/sys/fs/cgroup/nomad.slice", "/sys/fs/cgroup/*/nomad.slice"} {
		found, err := filepath.Glob(filepath.Join(root, AllocPrefix()+"*"))
		if err != nil {
			return []string{err.Error()}
		}
		out = append(out, found...)
	}
	return out
}

// Behaviour is what a task does: it prints, runs for a while and exits.
type Behaviour struct {
	Stdout, Stderr string
	RunFor         time.Duration
	ExitCode       int
	// IgnoreStop makes it ignore the usual signals.
	IgnoreStop bool
	// OnUSR1 is printed when SIGUSR1 arrives.
	OnUSR1 string
	// Shell replaces all of the above where tasks are scripts.
	Shell string
}

// Script is the behaviour as a POSIX shell script.
func (b Behaviour) Script() string {
	if b.Shell != "" {
		return b.Shell
	}
	var s strings.Builder
	if b.IgnoreStop {
		s.WriteString("trap '' INT TERM; ")
	} else { // a shell that is process 1 dies of no signal that it does not handle
		s.WriteString("trap 'exit 130' INT; trap 'exit 143' TERM; ")
	}
	if b.OnUSR1 != "" {
		fmt.Fprintf(&s, "trap 'echo %s' USR1; ", b.OnUSR1)
	}
	if b.Stdout != "" {
		fmt.Fprintf(&s, "echo '%s'; ", b.Stdout)
	}
	if b.Stderr != "" {
		fmt.Fprintf(&s, "echo '%s' >&2; ", b.Stderr)
	}
	if b.RunFor > 0 { // short sleeps: a trap runs between them
		fmt.Fprintf(&s, "i=0; while [ $i -lt %d ]; do i=$((i+1)); sleep 0.1; done; ", b.RunFor/(100*time.Millisecond)+1)
	}
	fmt.Fprintf(&s, "exit %d", b.ExitCode)
	return s.String()
}

// dirPrefix begins the names of the directories of allocations.
const dirPrefix = "drivertest-"

// long is the life of tasks that a test ends.
const long = 10 * time.Minute

// Run runs the whole suite as subtests of t.
func Run(t *testing.T, s Suite) {
	if s.Patience == 0 {
		s.Patience = 30 * time.Second
	}
	if s.Exits == nil {
		s.Exits = func(code int) int { return code }
	}
	if s.EchoCommand == nil && s.Shell {
		s.EchoCommand = []string{"/bin/sh", "-c", "echo echo"}
	}
	h := &host{suite: s}
	h.launch(t)
	t.Cleanup(func() { h.driver.Kill() })
	for _, c := range []struct {
		name string
		test func(*testing.T, *host)
	}{
		{"Identity", testIdentity}, {"BadConfig", testBadConfig}, {"Fingerprint", testFingerprint},
		{"UnknownTask", testUnknownTask}, {"ExitCode", testExitCode}, {"Output", testOutput}, {"Environment", testEnvironment},
		{"BadTaskConfig", testBadTaskConfig}, {"SameID", testSameID},
		{"Stop", testStop}, {"StopIgnored", testStopIgnored}, {"Signal", testSignal}, {"Destroy", testDestroy},
		{"Stats", testStats}, {"Exec", testExec}, {"ExecTimeout", testExecTimeout}, {"ExecStream", testExecStream}, {"ExecTerminal", testExecTerminal},
		{"Many", testMany}, {"Recover", testRecover}, {"RecoverEnded", testRecoverEnded}, {"RecoverUnknown", testRecoverUnknown},
		{"KillAtEveryStep", testKillAtEveryStep}, {"Cycles_B55_B56", testCycles}, {"Leaks_B55", testLeaks},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
	}
}

// host is the agent's side of one driver.
type host struct {
	suite  Suite
	driver *driver.Process
	caps   *driver.Capabilities
	schema *hclspec.Schema
	starts atomic.Int64
}

// ctx ends when patience does.
func (h *host) ctx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), h.suite.Patience)
	t.Cleanup(cancel)
	return ctx
}

// launch starts the plugin's process and configures it.
func (h *host) launch(t testing.TB) {
	t.Helper()
	p, err := driver.Launch(h.ctx(t), base.LaunchConfig{Path: h.suite.Path, Args: h.suite.Args, Env: h.suite.Env})
	if err != nil {
		t.Fatal(err)
	}
	h.driver = p
	if err := h.configure(h.ctx(t), h.suite.Config); err != nil {
		t.Fatalf("the driver refuses its configuration: %v", err)
	}
	if err := p.Init(h.ctx(t)); err != nil {
		t.Fatalf("Init: %v", err)
	}
	if h.caps, err = p.Capabilities(h.ctx(t)); err != nil {
		t.Fatalf("Capabilities: %v", err)
	}
	spec, err := p.TaskConfigSchema(h.ctx(t))
	if err != nil {
		t.Fatalf("TaskConfigSchema: %v", err)
	}
	if h.schema, err = hclspec.Compile(spec); err != nil {
		t.Fatalf("the schema of tasks does not compile: %v", err)
	}
}

func (h *host) configure(ctx context.Context, config map[string]any) error {
	spec, err := h.driver.ConfigSchema(ctx)
	if err != nil {
		return err
	}
	schema, err := hclspec.Compile(spec)
	if err != nil {
		return err
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		return err
	}
	return h.driver.SetConfig(ctx, &base.Config{Msgpack: raw, APIVersion: driver.APIVersion})
}

// crash kills the plugin's process and starts another.
func (h *host) crash(t testing.TB) {
	t.Helper()
	h.kill(t)
	h.launch(t)
}

// kill ends the plugin's process as a crash would.
func (h *host) kill(t testing.TB) {
	t.Helper()
	pid := h.driver.Reattach().Pid
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.driver.Done():
	case <-time.After(h.suite.Patience):
		t.Fatal("the end of the plugin's process is not noticed")
	}
	h.driver.Kill() // removes its socket
}

// running is one task and what the agent holds for it.
type running struct {
	*driver.TaskConfig
	handle *driver.TaskHandle

	mu  sync.Mutex // guards out
	out map[string]*strings.Builder
}

// task describes a task with a directory and output of its own.
func (h *host) task(t testing.TB, b Behaviour) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"alloc", "alloc/logs", "alloc/tmp", "alloc/data", "task", "task/local", "task/secrets", "task/private", "task/tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := h.schema.Decode(h.suite.Task(b), nil)
	if err != nil {
		t.Fatalf("the task's config does not fit its schema: %v", err)
	}
	// Ids as an agent makes them: every allocation is another.
	n := h.starts.Add(1)
	alloc := AllocPrefix() + fmt.Sprintf("%012x", time.Now().UnixNano()&0xffffffffffff)
	r := &running{out: map[string]*strings.Builder{}}
	r.TaskConfig = &driver.TaskConfig{
		ID: fmt.Sprintf("%s/task/%08x", alloc, n), AllocID: alloc, Name: "task", TaskGroupName: "group", JobName: "job", JobID: "job",
		Namespace: "default", NodeName: "node", NodeID: "drivertest", MsgpackConfig: raw, AllocDir: dir, User: h.suite.User,
		Resources: &driver.Resources{CPUShares: 100, MemoryMB: 64, Linux: &driver.LinuxResources{CPUShares: 100, MemoryLimitBytes: 64 << 20, PercentTicks: 0.05}},
		Env:       h.environ(dir),
	}
	if h.suite.Prepare != nil {
		h.suite.Prepare(t, b, r.TaskConfig)
	}
	r.StdoutPath, r.StderrPath = h.pipe(t, r, "stdout"), h.pipe(t, r, "stderr")
	return r
}

// environ is what an agent tells tasks of their folders.
func (h *host) environ(dir string) map[string]string {
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "DRIVERTEST": "from the host",
		"NOMAD_ALLOC_DIR": filepath.Join(dir, "alloc"), "NOMAD_TASK_DIR": filepath.Join(dir, "task/local"), "NOMAD_SECRETS_DIR": filepath.Join(dir, "task/secrets"),
	}
	if i := h.caps.FSIsolation; i == driver.FSIsolationChroot || i == driver.FSIsolationImage {
		env["NOMAD_ALLOC_DIR"], env["NOMAD_TASK_DIR"], env["NOMAD_SECRETS_DIR"] = "/alloc", "/local", "/secrets"
	}
	return env
}

// pipe makes the FIFO of one output and reads it as an agent does: the end of
// a writer is not the end of the output.
func (h *host) pipe(t testing.TB, r *running, name string) string {
	t.Helper()
	path := filepath.Join(r.AllocDir, name+".fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.out[name] = &strings.Builder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			r.mu.Lock()
			r.out[name].Write(buf[:n])
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		f.Close()
		<-done
	})
	return path
}

func (r *running) output(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[name].String()
}

// said reports whether a task's output is as told.
func (h *host) said(r *running, name, want string) bool {
	if h.suite.OneOutput {
		return name == "stderr" || strings.Contains(r.output(name), want)
	}
	return strings.TrimSpace(r.output(name)) == want
}

// exits is what the driver says of a task that means to exit with a code.
func (h *host) exits(code int) int32 { return int32(h.suite.Exits(code)) }

// start starts a task and destroys it with the test.
func (h *host) start(t testing.TB, b Behaviour) *running {
	t.Helper()
	r := h.task(t, b)
	h.begin(t, r)
	return r
}

func (h *host) begin(t testing.TB, r *running) {
	t.Helper()
	handle, _, err := h.driver.StartTask(h.ctx(t), r.TaskConfig)
	if err != nil {
		t.Fatalf("StartTask: %v", err)
	}
	r.handle = handle
	t.Cleanup(func() { h.destroy(t, r.ID) })
}

// destroy removes a task, whichever process knows it.
func (h *host) destroy(t testing.TB, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), h.suite.Patience)
	defer cancel()
	if err := h.driver.DestroyTask(ctx, id, true); err != nil && !errors.Is(err, driver.ErrTaskNotFound) {
		t.Errorf("DestroyTask: %v", err)
	}
}

// wait waits for the end of a task.
func (h *host) wait(t testing.TB, id string) *driver.ExitResult {
	t.Helper()
	result, err := h.driver.WaitTask(h.ctx(t), id)
	if err != nil {
		t.Fatalf("WaitTask: %v", err)
	}
	return result
}

// eventually waits until cond holds.
func (h *host) eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !h.within(cond) {
		t.Fatalf("%s: not within %v", what, h.suite.Patience)
	}
}

// within reports whether cond holds before patience ends.
func (h *host) within(cond func() bool) bool {
	deadline := time.Now().Add(h.suite.Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// caller is the caller's end of an exec session.
type caller struct {
	in  chan *driver.ExecInput
	out chan *driver.ExecOutput
}

func newCaller() *caller {
	return &caller{in: make(chan *driver.ExecInput, 16), out: make(chan *driver.ExecOutput, 1024)}
}

// Recv implements driver.ExecStream.
func (c *caller) Recv(ctx context.Context) (*driver.ExecInput, error) {
	select {
	case in, ok := <-c.in:
		if !ok {
			return nil, io.EOF
		}
		return in, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Send implements driver.ExecStream.
func (c *caller) Send(out *driver.ExecOutput) error {
	c.out <- out
	return nil
}
