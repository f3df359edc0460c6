package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

func testIdentity(t *testing.T, h *host) {
	info, err := h.driver.PluginInfo(h.ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Type != base.TypeDriver || info.Name == "" || info.Version == "" {
		t.Errorf("identity %+v", info)
	}
	if _, err := base.NegotiateVersion([]string{driver.APIVersion}, info.APIVersions); err != nil {
		t.Error(err)
	}
}

func testBadConfig(t *testing.T, h *host) {
	if h.suite.BadConfig == nil {
		t.Log("no bad configuration is known")
		return
	}
	if err := h.configure(h.ctx(t), h.suite.BadConfig); err == nil {
		t.Errorf("the configuration %v is accepted", h.suite.BadConfig)
	}
	if err := h.configure(h.ctx(t), h.suite.Config); err != nil {
		t.Errorf("the right configuration is refused after a bad one: %v", err)
	}
}

func testFingerprint(t *testing.T, h *host) {
	ctx, cancel := context.WithCancel(h.ctx(t))
	first := make(chan *driver.Fingerprint, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- h.driver.Fingerprint(ctx, func(fp *driver.Fingerprint) error {
			select {
			case first <- fp:
			default:
			}
			return nil
		})
	}()
	select {
	case fp := <-first:
		if fp.Health != driver.HealthHealthy || fp.Err != nil {
			t.Errorf("fingerprint %+v", fp)
		}
		for name, a := range fp.Attributes {
			if err := a.Validate(); err != nil || !strings.HasPrefix(name, "driver.") {
				t.Errorf("attribute %s: %v", name, err)
			}
		}
	case err := <-ended:
		t.Fatalf("the stream ended: %v", err)
	case <-ctx.Done():
		t.Fatal("no fingerprint is sent at once")
	}
	cancel()
	<-ended
}

func testUnknownTask(t *testing.T, h *host) {
	const id = "no/such/task"
	d := h.driver
	calls := map[string]func(context.Context) error{
		"WaitTask":    func(ctx context.Context) error { _, err := d.WaitTask(ctx, id); return err },
		"StopTask":    func(ctx context.Context) error { return d.StopTask(ctx, id, time.Second, "") },
		"DestroyTask": func(ctx context.Context) error { return d.DestroyTask(ctx, id, true) },
		"InspectTask": func(ctx context.Context) error { _, err := d.InspectTask(ctx, id); return err },
		"TaskStats": func(ctx context.Context) error {
			return d.TaskStats(ctx, id, time.Second, func(*driver.TaskStats) error { return nil })
		},
	}
	if h.caps.SendSignals {
		calls["SignalTask"] = func(ctx context.Context) error { return d.SignalTask(ctx, id, "SIGHUP") }
	}
	if h.caps.Exec {
		calls["ExecTask"] = func(ctx context.Context) error {
			_, err := d.ExecTask(ctx, id, []string{"true"}, time.Second)
			return err
		}
	}
	for name, call := range calls {
		if err := call(h.ctx(t)); !errors.Is(err, driver.ErrTaskNotFound) {
			t.Errorf("%s of an unknown task: %v, want %v", name, err, driver.ErrTaskNotFound)
		}
	}
}

func testExitCode(t *testing.T, h *host) {
	for _, code := range []int{0, 7} {
		r := h.start(t, Behaviour{RunFor: 100 * time.Millisecond, ExitCode: code})
		for range 2 { // any number of times, also after the exit
			if got := h.wait(t, r.ID); got.ExitCode != h.exits(code) || got.Successful() != (code == 0) {
				t.Errorf("exit %+v, want code %d", got, code)
			}
		}
		st, err := h.driver.InspectTask(h.ctx(t), r.ID)
		if err != nil || st.State != driver.TaskExited || st.Result == nil || st.Result.ExitCode != h.exits(code) || st.StartedAt.IsZero() {
			t.Errorf("state of an ended task: %+v, %v", st, err)
		}
		if err := h.driver.StopTask(h.ctx(t), r.ID, time.Second, ""); err != nil {
			t.Errorf("stopping an ended task: %v", err)
		}
		if err := h.driver.DestroyTask(h.ctx(t), r.ID, false); err != nil {
			t.Errorf("destroying an ended task: %v", err)
		}
		if _, err := h.driver.WaitTask(h.ctx(t), r.ID); !errors.Is(err, driver.ErrTaskNotFound) {
			t.Errorf("a destroyed task is known: %v", err)
		}
	}
}

func testOutput(t *testing.T, h *host) {
	r := h.start(t, Behaviour{Stdout: "to stdout", Stderr: "to stderr", RunFor: 100 * time.Millisecond})
	h.wait(t, r.ID)
	for name, want := range map[string]string{"stdout": "to stdout", "stderr": "to stderr"} {
		h.eventually(t, "output to "+name, func() bool { return h.said(r, name, want) })
	}
}

func testEnvironment(t *testing.T, h *host) {
	if !h.suite.Shell {
		t.Log("tasks are no scripts")
		return
	}
	r := h.start(t, Behaviour{Shell: `echo "$DRIVERTEST"; for d in "$NOMAD_ALLOC_DIR" "$NOMAD_TASK_DIR" "$NOMAD_SECRETS_DIR"; do echo x >"$d/probe" && echo ok; done`})
	h.wait(t, r.ID)
	h.eventually(t, "the task's view", func() bool { return r.output("stdout") == "from the host\nok\nok\nok\n" || r.output("stderr") != "" })
	if got := r.output("stdout"); got != "from the host\nok\nok\nok\n" {
		t.Errorf("output %q, %q", got, r.output("stderr"))
	}
}

func testBadTaskConfig(t *testing.T, h *host) {
	r := h.task(t, Behaviour{})
	r.MsgpackConfig = []byte{0xc1}
	_, _, err := h.driver.StartTask(h.ctx(t), r.TaskConfig)
	if err == nil {
		h.destroy(t, r.ID)
		t.Fatal("a config that cannot be read starts a task")
	}
	if driver.IsRecoverable(err) {
		t.Errorf("another try is said to help: %v", err)
	}
	if _, err := h.driver.InspectTask(h.ctx(t), r.ID); !errors.Is(err, driver.ErrTaskNotFound) {
		t.Errorf("a failed start left a task behind: %v", err)
	}
}

func testSameID(t *testing.T, h *host) {
	r := h.start(t, Behaviour{RunFor: long})
	if _, _, err := h.driver.StartTask(h.ctx(t), r.TaskConfig); err == nil {
		t.Error("the same task starts twice")
	}
	if st, err := h.driver.InspectTask(h.ctx(t), r.ID); err != nil || st.State != driver.TaskRunning {
		t.Errorf("the first start is lost: %+v, %v", st, err)
	}
}

func testStop(t *testing.T, h *host) {
	r := h.start(t, Behaviour{Stdout: "up", RunFor: long})
	h.eventually(t, "the task to run", func() bool { return strings.Contains(r.output("stdout"), "up") })
	begin := time.Now()
	if err := h.driver.StopTask(h.ctx(t), r.ID, h.suite.Patience/2, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > h.suite.Patience/3 {
		t.Errorf("a willing task took %v to stop", took)
	}
	// It has stopped when the call returns.
	ctx, cancel := context.WithTimeout(h.ctx(t), time.Second)
	defer cancel()
	if _, err := h.driver.WaitTask(ctx, r.ID); err != nil {
		t.Errorf("the task runs after StopTask has returned: %v", err)
	}
}

func testStopIgnored(t *testing.T, h *host) {
	if !h.suite.Shell && !h.suite.IgnoresStop {
		t.Log("tasks cannot ignore signals")
		return
	}
	r := h.start(t, Behaviour{Stdout: "up", RunFor: long, IgnoreStop: true})
	h.eventually(t, "the task to run", func() bool { return strings.Contains(r.output("stdout"), "up") })
	if err := h.driver.StopTask(h.ctx(t), r.ID, 500*time.Millisecond, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if got := h.wait(t, r.ID); got.Successful() || got.ExitCode != 137 {
		t.Errorf("exit of a killed task: %+v, want 137", got)
	}
}

func testSignal(t *testing.T, h *host) {
	if !h.caps.SendSignals || !h.suite.Shell {
		t.Log("the driver sends no signals, or tasks are no scripts")
		return
	}
	r := h.start(t, Behaviour{Stdout: "up", RunFor: long, OnUSR1: "heard"})
	h.eventually(t, "the task to run", func() bool { return strings.Contains(r.output("stdout"), "up") })
	if err := h.driver.SignalTask(h.ctx(t), r.ID, "SIGUSR1"); err != nil {
		t.Fatal(err)
	}
	h.eventually(t, "the signal to arrive", func() bool { return strings.Contains(r.output("stdout"), "heard") })
	if err := h.driver.SignalTask(h.ctx(t), r.ID, "SIGNONSENSE"); err == nil {
		t.Error("an unknown signal is sent")
	}
}

func testDestroy(t *testing.T, h *host) {
	r := h.start(t, Behaviour{RunFor: long})
	if err := h.driver.DestroyTask(h.ctx(t), r.ID, false); !errors.Is(err, driver.ErrTaskRunning) {
		t.Errorf("destroying a running task without force: %v", err)
	}
	if st, err := h.driver.InspectTask(h.ctx(t), r.ID); err != nil || st.State != driver.TaskRunning {
		t.Fatalf("a refused destroy changed the task: %+v, %v", st, err)
	}
	if err := h.driver.DestroyTask(h.ctx(t), r.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.driver.InspectTask(h.ctx(t), r.ID); !errors.Is(err, driver.ErrTaskNotFound) {
		t.Errorf("a destroyed task is known: %v", err)
	}
}

func testStats(t *testing.T, h *host) {
	r := h.start(t, Behaviour{RunFor: long})
	samples := 0
	stop := errors.New("enough")
	err := h.driver.TaskStats(h.ctx(t), r.ID, 200*time.Millisecond, func(s *driver.TaskStats) error {
		if s == nil || s.Usage == nil || s.Time.IsZero() {
			t.Errorf("usage %+v", s)
		}
		if samples++; samples == 3 {
			return stop
		}
		return nil
	})
	if samples != 3 || !errors.Is(err, stop) {
		t.Errorf("%d samples, %v", samples, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- h.driver.TaskStats(h.ctx(t), r.ID, time.Second, func(*driver.TaskStats) error { return nil })
	}()
	if err := h.driver.DestroyTask(h.ctx(t), r.ID, true); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: // how is the driver's affair
	case <-time.After(h.suite.Patience):
		t.Error("the stream outlives the task")
	}
}

func testExec(t *testing.T, h *host) {
	if !h.caps.Exec || h.suite.EchoCommand == nil {
		t.Log("the driver runs no commands")
		return
	}
	r := h.start(t, Behaviour{RunFor: long})
	res, err := h.driver.ExecTask(h.ctx(t), r.ID, h.suite.EchoCommand, h.suite.Patience)
	if err != nil || strings.TrimSpace(string(res.Stdout)) != "echo" || !res.Exit.Successful() {
		t.Errorf("exec: %+v, %v", res, err)
	}
	if !h.suite.Shell {
		return
	}
	res, err = h.driver.ExecTask(h.ctx(t), r.ID, []string{"/bin/sh", "-c", `echo "$DRIVERTEST"; echo e >&2; exit 5`}, h.suite.Patience)
	if err != nil || string(res.Stdout) != "from the host\n" || string(res.Stderr) != "e\n" || res.Exit.ExitCode != 5 {
		t.Errorf("exec: %+v, %v", res, err)
	}
}

func testExecTimeout(t *testing.T, h *host) {
	if !h.caps.Exec || !h.suite.Shell {
		t.Log("the driver runs no commands")
		return
	}
	r := h.start(t, Behaviour{RunFor: long})
	begin := time.Now()
	res, err := h.driver.ExecTask(h.ctx(t), r.ID, []string{"/bin/sh", "-c", "sleep 1000"}, 300*time.Millisecond)
	if took := time.Since(begin); took > h.suite.Patience/2 {
		t.Errorf("a command outlives its timeout by %v", took)
	}
	if err == nil && res.Exit.Successful() {
		t.Errorf("a killed command succeeds: %+v", res)
	}
}

// session runs a command and gathers what it says.
func session(t *testing.T, h *host, id string, req *driver.ExecRequest, c *caller) (stdout, stderr string, last *driver.ExecOutput) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- h.driver.ExecTaskStreaming(h.ctx(t), id, req, c) }()
	for {
		select {
		case out := <-c.out:
			stdout, stderr, last = stdout+string(out.Stdout), stderr+string(out.Stderr), out
			if out.Exited {
				if err := <-ended; err != nil {
					t.Errorf("session: %v", err)
				}
				return stdout, stderr, last
			}
		case err := <-ended:
			if len(c.out) > 0 {
				ended <- err
				continue
			}
			t.Fatalf("the session ended without a result: %v", err)
		case <-time.After(h.suite.Patience):
			t.Fatalf("the session does not end; output %q, %q", stdout, stderr)
		}
	}
}

func testExecStream(t *testing.T, h *host) {
	if !h.caps.Exec || !h.suite.Shell {
		t.Log("the driver runs no commands")
		return
	}
	r := h.start(t, Behaviour{RunFor: long})
	c := newCaller()
	c.in <- &driver.ExecInput{Stdin: []byte("one\n")}
	c.in <- &driver.ExecInput{Stdin: []byte("two\n")}
	c.in <- &driver.ExecInput{CloseStdin: true}
	stdout, stderr, last := session(t, h, r.ID, &driver.ExecRequest{Command: []string{"/bin/sh", "-c", "cat; echo e >&2; exit 4"}}, c)
	if stdout != "one\ntwo\n" || stderr != "e\n" || last.Result == nil || last.Result.ExitCode != 4 {
		t.Errorf("stdout %q, stderr %q, result %+v", stdout, stderr, last.Result)
	}
	// Much output, and a caller who leaves.
	ctx, cancel := context.WithCancel(h.ctx(t))
	c = newCaller()
	ended := make(chan error, 1)
	go func() {
		ended <- h.driver.ExecTaskStreaming(ctx, r.ID, &driver.ExecRequest{Command: []string{"/bin/sh", "-c", "while :; do echo much; done"}}, c)
	}()
	<-c.out
	cancel()
	for {
		select {
		case <-c.out:
			continue
		case err := <-ended:
			if err == nil {
				t.Error("a session that was cut succeeds")
			}
		case <-time.After(h.suite.Patience):
			t.Error("a session outlives its caller")
		}
		break
	}
	h.eventually(t, "the command to end with its caller", func() bool {
		res, err := h.driver.ExecTask(h.ctx(t), r.ID, []string{"/bin/sh", "-c", "grep -l 'echo muc[h]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"}, h.suite.Patience)
		return err == nil && strings.TrimSpace(string(res.Stdout)) == "0"
	})
}

func testExecTerminal(t *testing.T, h *host) {
	if !h.caps.Exec || !h.suite.Shell {
		t.Log("the driver runs no commands")
		return
	}
	r := h.start(t, Behaviour{RunFor: long})
	c := newCaller()
	c.in <- &driver.ExecInput{Resize: &driver.TerminalSize{Height: 33, Width: 77}}
	c.in <- &driver.ExecInput{Stdin: []byte("hello\n")}
	stdout, stderr, last := session(t, h, r.ID, &driver.ExecRequest{TTY: true, Command: []string{"/bin/sh", "-c", `[ -t 0 ] && echo terminal; read x; echo "got $x"; exit 3`}}, c)
	if !strings.Contains(stdout, "terminal") || !strings.Contains(stdout, "got hello") || stderr != "" || last.Result.ExitCode != 3 {
		t.Errorf("stdout %q, stderr %q, result %+v", stdout, stderr, last.Result)
	}
}

func testMany(t *testing.T, h *host) {
	const count = 12
	tasks := make([]*running, count)
	for i := range tasks {
		tasks[i] = h.task(t, Behaviour{Stdout: fmt.Sprint("number ", i), ExitCode: i})
	}
	var group sync.WaitGroup
	for i, r := range tasks {
		group.Go(func() {
			if _, _, err := h.driver.StartTask(h.ctx(t), r.TaskConfig); err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			defer h.destroy(t, r.ID)
			result, err := h.driver.WaitTask(h.ctx(t), r.ID)
			if err != nil || result.ExitCode != h.exits(i) {
				t.Errorf("exit of %d: %+v, %v", i, result, err)
			}
		})
	}
	group.Wait()
	for i, r := range tasks {
		h.eventually(t, fmt.Sprintf("output of task %d of %d", i, count), func() bool { return h.said(r, "stdout", fmt.Sprint("number ", i)) })
	}
}

func testRecover(t *testing.T, h *host) {
	if h.suite.Forgets {
		t.Log("tasks end with their plugin")
		return
	}
	r := h.start(t, Behaviour{Shell: `echo before; while [ ! -e "$NOMAD_TASK_DIR/go" ]; do sleep 0.1; done; echo after; exit 9`, RunFor: 3 * time.Second, Stdout: "before", ExitCode: 9})
	h.eventually(t, "the task to run", func() bool { return strings.Contains(r.output("stdout"), "before") })
	before, err := h.driver.InspectTask(h.ctx(t), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	h.crash(t)
	if _, err := h.driver.InspectTask(h.ctx(t), r.ID); !errors.Is(err, driver.ErrTaskNotFound) {
		t.Fatalf("a new process knows the task by itself: %v", err)
	}
	for range 2 { // known already: no error
		if err := h.driver.RecoverTask(h.ctx(t), r.handle); err != nil {
			t.Fatalf("RecoverTask: %v", err)
		}
	}
	after, err := h.driver.InspectTask(h.ctx(t), r.ID)
	if err != nil || after.State != driver.TaskRunning || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("recovered %+v, was %+v, %v", after, before, err)
	}
	if h.suite.Shell {
		res, err := h.driver.ExecTask(h.ctx(t), r.ID, []string{"/bin/sh", "-c", `touch "$NOMAD_TASK_DIR/ready"`}, h.suite.Patience)
		if err != nil || !res.Exit.Successful() {
			t.Fatalf("a command beside a recovered task: %+v, %v", res, err)
		}
		// The task ends by what the command made, once that has ended: a task
		// takes the commands beside it along.
		local := filepath.Join(r.AllocDir, "task/local")
		if err := os.Rename(filepath.Join(local, "ready"), filepath.Join(local, "go")); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.wait(t, r.ID); h.suite.RecoversExit && got.ExitCode != 9 {
		t.Errorf("exit of a recovered task: %+v, want 9", got)
	}
	if h.suite.Shell {
		h.eventually(t, "output after the crash", func() bool { return strings.Contains(r.output("stdout"), "after") })
	}
}

func testRecoverEnded(t *testing.T, h *host) {
	if h.suite.Forgets || !h.suite.RecoversExit {
		t.Log("the driver does not learn the end of tasks that it did not see")
		return
	}
	r := h.start(t, Behaviour{RunFor: 300 * time.Millisecond, ExitCode: 6})
	h.kill(t)
	time.Sleep(time.Second) // the task ends meanwhile; nothing is there to tell
	h.launch(t)
	if err := h.driver.RecoverTask(h.ctx(t), r.handle); err != nil {
		t.Fatalf("RecoverTask: %v", err)
	}
	if got := h.wait(t, r.ID); got.ExitCode != 6 {
		t.Errorf("exit of a task that ended meanwhile: %+v, want 6", got)
	}
}

func testRecoverUnknown(t *testing.T, h *host) {
	if h.suite.Forgets || h.suite.Replays {
		t.Log("the driver cannot tell what is gone")
		return
	}
	r := h.start(t, Behaviour{RunFor: long})
	h.destroy(t, r.ID)
	h.crash(t)
	// What is gone may be refused, or recovered as ended: not as running.
	if err := h.driver.RecoverTask(h.ctx(t), r.handle); err == nil {
		if got := h.wait(t, r.ID); got.Successful() {
			t.Errorf("a destroyed task is recovered with %+v", got)
		}
		h.destroy(t, r.ID)
	}
}

// testKillAtEveryStep kills the plugin's process at each step of a task's life
// and checks that the task is found, or is not there.
func testKillAtEveryStep(t *testing.T, h *host) {
	if h.suite.Forgets {
		t.Log("tasks end with their plugin")
		return
	}
	begin := func(t *testing.T) *running { return h.start(t, Behaviour{Stdout: "up", RunFor: long}) }
	recovered := func(t *testing.T, r *running) {
		t.Helper()
		if err := h.driver.RecoverTask(h.ctx(t), r.handle); err != nil {
			t.Fatalf("RecoverTask: %v", err)
		}
	}
	stopped := func(t *testing.T, r *running) {
		t.Helper()
		if err := h.driver.StopTask(h.ctx(t), r.ID, time.Second, "SIGTERM"); err != nil {
			t.Errorf("StopTask: %v", err)
		}
		h.wait(t, r.ID)
	}
	t.Run("Starting", func(t *testing.T) {
		for _, after := range []time.Duration{0, 3 * time.Millisecond, 30 * time.Millisecond, 300 * time.Millisecond} {
			h.crashInStart(t, after)
		}
	})
	t.Run("Started", func(t *testing.T) {
		r := begin(t)
		h.crash(t)
		recovered(t, r)
		stopped(t, r)
	})
	t.Run("Waiting", func(t *testing.T) {
		r := begin(t)
		ended := make(chan error, 1)
		go func() {
			_, err := h.driver.WaitTask(h.ctx(t), r.ID)
			ended <- err
		}()
		old := h.driver
		h.crash(t)
		if err := <-ended; !errors.Is(err, driver.ErrPluginShutdown) {
			t.Errorf("a wait whose process ended: %v, want %v", err, driver.ErrPluginShutdown)
		}
		if !old.Exited() {
			t.Error("the old process lives")
		}
		recovered(t, r)
		stopped(t, r)
	})
	t.Run("Stopping", func(t *testing.T) {
		r := begin(t)
		ctx, cancel := context.WithTimeout(h.ctx(t), 50*time.Millisecond)
		defer cancel()
		_ = h.driver.StopTask(ctx, r.ID, time.Second, "SIGTERM") // cut short
		h.crash(t)
		recovered(t, r)
		stopped(t, r)
	})
	t.Run("Destroying", func(t *testing.T) {
		r := begin(t)
		ctx, cancel := context.WithTimeout(h.ctx(t), 5*time.Millisecond)
		defer cancel()
		_ = h.driver.DestroyTask(ctx, r.ID, true) // cut short
		h.crash(t)
		if err := h.driver.RecoverTask(h.ctx(t), r.handle); err == nil {
			h.destroy(t, r.ID)
		}
	})
	t.Run("Ended", func(t *testing.T) {
		if h.suite.Replays {
			t.Log("the driver cannot tell what is gone")
			return
		}
		r := begin(t)
		stopped(t, r)
		h.crash(t)
		if err := h.driver.RecoverTask(h.ctx(t), r.handle); err == nil {
			h.wait(t, r.ID)
		}
	})
	t.Run("Twice", func(t *testing.T) {
		r := begin(t)
		h.crash(t)
		recovered(t, r)
		h.crash(t)
		recovered(t, r)
		stopped(t, r)
	})
}

// crashInStart kills the plugin's process while it starts a task. The agent has
// a handle, or none: then it starts the task again, and that must be the one
// that runs.
func (h *host) crashInStart(t *testing.T, after time.Duration) {
	t.Helper()
	r := h.task(t, Behaviour{Stdout: "up", RunFor: long})
	t.Cleanup(func() { h.destroy(t, r.ID) })
	ended := make(chan error, 1)
	started, old := h.ctx(t), h.driver
	go func() {
		var err error
		r.handle, _, err = old.StartTask(started, r.TaskConfig)
		ended <- err
	}()
	<-time.After(after)
	h.crash(t)
	if err := <-ended; err == nil {
		if err := h.driver.RecoverTask(h.ctx(t), r.handle); err != nil {
			t.Fatalf("RecoverTask after a crash %v into a start: %v", after, err)
		}
	} else if r.handle, _, err = h.driver.StartTask(h.ctx(t), r.TaskConfig); err != nil {
		t.Fatalf("StartTask after a crash %v into a start: %v", after, err)
	}
	h.eventually(t, "the task to run", func() bool { return strings.Contains(r.output("stdout"), "up") })
	if err := h.driver.StopTask(h.ctx(t), r.ID, time.Second, "SIGTERM"); err != nil {
		t.Errorf("StopTask: %v", err)
	}
	h.wait(t, r.ID)
	h.destroy(t, r.ID)
}

func testLeaks(t *testing.T, h *host) {
	if h.suite.Leaks == nil {
		t.Log("what could be left behind is not known")
		return
	}
	var left []string
	h.within(func() bool {
		left = h.suite.Leaks()
		return len(left) == 0
	})
	if len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}
