package rawexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

// newDriver makes a driver with the given plugin configuration.
func newDriver(t *testing.T, config map[string]any) *Driver {
	t.Helper()
	d := New(nil, hclog.NewNullLogger())
	schema, err := hclspec.Compile(pluginSchema)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetConfig(t.Context(), &base.Config{Msgpack: raw}); err != nil {
		t.Fatal(err)
	}
	return d
}

// newTask makes a task that runs a shell script.
func newTask(t *testing.T, script string, more ...any) *driver.TaskConfig {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "t", "local"), 0o777); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"command": "/bin/sh", "args": []any{"-c", script}}
	for i := 0; i+1 < len(more); i += 2 {
		config[more[i].(string)] = more[i+1]
	}
	schema, err := hclspec.Compile(taskSchema)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if err := os.WriteFile(out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	return &driver.TaskConfig{
		ID: fmt.Sprintf("test%d/t/%d", os.Getpid(), time.Now().UnixNano()), Name: "t", AllocDir: dir, MsgpackConfig: raw,
		Env: map[string]string{"PATH": os.Getenv("PATH"), "GREETING": "hello", "SECRET_KEY": "x"}, StdoutPath: out, StderrPath: out,
	}
}

func start(t *testing.T, d *Driver, cfg *driver.TaskConfig) *driver.TaskHandle {
	t.Helper()
	handle, _, err := d.StartTask(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil && !errors.Is(err, driver.ErrTaskNotFound) {
			t.Error(err)
		}
	})
	return handle
}

func output(t *testing.T, cfg *driver.TaskConfig) string {
	t.Helper()
	raw, err := os.ReadFile(cfg.StdoutPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRunAndWait(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true, "denied_envvars": []any{"SECRET*"}})
	cfg := newTask(t, `echo "$GREETING $${SECRET_KEY:-none} $(pwd | sed 's,.*/,,')"; exit 7`)
	start(t, d, cfg)
	for range 2 {
		result, err := d.WaitTask(t.Context(), cfg.ID)
		if err != nil || result.ExitCode != 7 || result.Signal != 0 || result.Err != nil {
			t.Fatalf("result %+v, %v", result, err)
		}
	}
	if got := output(t, cfg); got != "hello none t\n" {
		t.Errorf("output %q", got)
	}
	status, err := d.InspectTask(t.Context(), cfg.ID)
	if err != nil || status.State != driver.TaskExited || status.Result.ExitCode != 7 {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := d.DestroyTask(t.Context(), cfg.ID, false); err != nil {
		t.Error(err)
	}
	if _, err := d.WaitTask(t.Context(), cfg.ID); !errors.Is(err, driver.ErrTaskNotFound) {
		t.Errorf("a destroyed task is waited for: %v", err)
	}
}

// TestOutputBlocks: a program's writes wait for the reader, they do not fail.
func TestOutputBlocks(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "grep flags /proc/self/fdinfo/1")
	start(t, d, cfg)
	if _, err := d.WaitTask(t.Context(), cfg.ID); err != nil {
		t.Fatal(err)
	}
	flags, err := strconv.ParseUint(strings.Fields(output(t, cfg))[1], 8, 64)
	if err != nil || flags&syscall.O_NONBLOCK != 0 {
		t.Errorf("the output's flags are %o, %v", flags, err)
	}
}

func TestStartErrors(t *testing.T) {
	on := map[string]any{"enabled": true}
	for _, tc := range []struct {
		name   string
		config map[string]any
		change func(*driver.TaskConfig)
		more   []any
		want   string
	}{
		{"disabled", nil, nil, nil, "raw_exec is disabled"},
		{"no such program", on, nil, []any{"command", "no-such-program"}, `cannot run "no-such-program"`},
		{"not executable", on, nil, []any{"command", "/etc/passwd"}, "permission denied"},
		{"relative work_dir", on, nil, []any{"work_dir", "x"}, "work_dir must be an absolute path"},
		{"negative oom score", on, nil, []any{"oom_score_adj", -1}, "oom_score_adj must not be negative"},
		{"unknown user", on, func(c *driver.TaskConfig) { c.User = "nobody-at-all" }, nil, `cannot find user "nobody-at-all"`},
		{"denied user", map[string]any{"enabled": true, "denied_host_uids": "0-65535"}, func(c *driver.TaskConfig) { c.User = "root" }, nil, "running as uid 0 is disallowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDriver(t, tc.config)
			cfg := newTask(t, "true", tc.more...)
			if tc.change != nil {
				tc.change(cfg)
			}
			_, _, err := d.StartTask(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
			if driver.IsRecoverable(err) {
				t.Error("the error claims to pass by itself")
			}
		})
	}
}

func TestStopKillsTheTree(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, `trap '' INT; setsid sleep 1000 & (sleep 1000 & sleep 1000) & echo up; while :; do sleep 0.05; done`)
	start(t, d, cfg)
	var members []int
	await(t, "the task's processes", func() bool {
		members = processes(t, d, cfg.ID)
		return strings.Contains(output(t, cfg), "up") && len(members) >= 4
	})
	status, err := d.InspectTask(t.Context(), cfg.ID)
	if err != nil {
		t.Fatal(err)
	}
	group := status.Attributes["cgroup"]
	if err := d.DestroyTask(t.Context(), cfg.ID, false); !errors.Is(err, driver.ErrTaskRunning) {
		t.Errorf("destroyed while running: %v", err)
	}
	if err := d.StopTask(t.Context(), cfg.ID, 50*time.Millisecond, ""); err != nil {
		t.Fatal(err)
	}
	result, err := d.WaitTask(t.Context(), cfg.ID)
	if err != nil || result.Signal != int32(syscall.SIGKILL) || result.ExitCode != 137 {
		t.Errorf("result %+v, %v", result, err)
	}
	if group != "" {
		await(t, "the end of the tree", func() bool {
			for _, pid := range members {
				if p, err := keeper.Identify(pid); err == nil && p.Alive() {
					return false
				}
			}
			return true
		})
	}
	if err := d.DestroyTask(t.Context(), cfg.ID, true); err != nil {
		t.Fatal(err)
	}
	if group != "" {
		if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("cgroup %s is left: %v", group, err)
		}
	}
}

// processes lists a task's processes, as its statistics tell them.
func processes(t *testing.T, d *Driver, id string) []int {
	t.Helper()
	var out []int
	enough := errors.New("enough")
	err := d.TaskStats(t.Context(), id, time.Second, func(s *driver.TaskStats) error {
		for text := range s.ByPID {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Error(err)
			}
			out = append(out, pid)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return out
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in time", what)
		}
	}
}

func TestSignal(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, `trap 'echo got it; exit 3' USR1; echo up; while :; do sleep 0.02; done`)
	start(t, d, cfg)
	await(t, "the trap", func() bool { return strings.Contains(output(t, cfg), "up") })
	if err := d.SignalTask(t.Context(), cfg.ID, "SIGNONSENSE"); err == nil {
		t.Error("an unknown signal was sent")
	}
	if err := d.SignalTask(t.Context(), cfg.ID, "USR1"); err != nil {
		t.Fatal(err)
	}
	if result, err := d.WaitTask(t.Context(), cfg.ID); err != nil || result.ExitCode != 3 {
		t.Errorf("result %+v, %v", result, err)
	}
}

// TestRecover hands a running task to a second driver, as after the death of
// the first one's process; its exit is learnt from the kernel where that
// knows, else it is unknown and said so.
func TestRecover(t *testing.T) {
	first := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, `while [ ! -e local/end ]; do sleep 0.02; done; exit 5`)
	handle := start(t, first, cfg)
	second := newDriver(t, map[string]any{"enabled": true})
	for range 2 {
		if err := second.RecoverTask(t.Context(), handle); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.AllocDir, "t/local/end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if result, err := first.WaitTask(t.Context(), cfg.ID); err != nil || result.ExitCode != 5 {
		t.Errorf("the parent saw %+v, %v", result, err)
	}
	result, err := second.WaitTask(t.Context(), cfg.ID)
	if err != nil || (result.Err == nil && result.ExitCode != 5) {
		t.Errorf("the second driver saw %+v, %v", result, err)
	}
	stale := *handle
	state := struct {
		Pid    int
		BootID string
	}{1, "another boot"}
	if err := stale.SetDriverState(&state); err != nil {
		t.Fatal(err)
	}
	if err := newDriver(t, map[string]any{"enabled": true}).RecoverTask(t.Context(), &stale); err == nil {
		t.Error("a task of another boot was recovered")
	}
}

func TestExec(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "sleep 1000")
	start(t, d, cfg)
	result, err := d.ExecTask(t.Context(), cfg.ID, []string{"/bin/sh", "-c", "echo out $GREETING; echo err >&2; exit 4"}, time.Minute)
	if err != nil || string(result.Stdout) != "out hello\n" || string(result.Stderr) != "err\n" || result.Exit.ExitCode != 4 {
		t.Errorf("result %+v, %v", result, err)
	}
	if result, err = d.ExecTask(t.Context(), cfg.ID, []string{"sleep", "1000"}, 50*time.Millisecond); err != nil || result.Exit.Signal != 9 {
		t.Errorf("a command over its time: %+v, %v", result, err)
	}
	if _, err := d.ExecTask(t.Context(), cfg.ID, []string{"no-such-command"}, time.Second); err == nil {
		t.Error("a missing command ran")
	}
}

// script is an exec stream that sends prepared input and keeps the output.
type script struct {
	in          []*driver.ExecInput
	out, errOut bytes.Buffer
	closed      []string
	exit        *driver.ExitResult
}

func (s *script) Recv(ctx context.Context) (*driver.ExecInput, error) {
	if len(s.in) == 0 {
		<-ctx.Done()
		return nil, io.EOF
	}
	next := s.in[0]
	s.in = s.in[1:]
	return next, nil
}

func (s *script) Send(o *driver.ExecOutput) error {
	s.out.Write(o.Stdout)
	s.errOut.Write(o.Stderr)
	if o.CloseStdout {
		s.closed = append(s.closed, "stdout")
	}
	if o.CloseStderr {
		s.closed = append(s.closed, "stderr")
	}
	if o.Exited {
		s.exit = o.Result
	}
	return nil
}

func TestExecStreaming(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "sleep 1000")
	start(t, d, cfg)
	for _, tty := range []bool{false, true} {
		s := &script{in: []*driver.ExecInput{{Resize: &driver.TerminalSize{Height: 30, Width: 90}}, {Stdin: []byte("line\n")}, {CloseStdin: true}}}
		err := d.ExecTaskStreaming(t.Context(), cfg.ID, &driver.ExecRequest{Command: []string{"/bin/sh", "-c", "cat; echo err >&2; exit 6"}, TTY: tty}, s)
		if err != nil || s.exit == nil || s.exit.ExitCode != 6 || len(s.closed) != 2 {
			t.Fatalf("tty %v: exit %+v, closed %v, %v", tty, s.exit, s.closed, err)
		}
		if tty {
			if !strings.Contains(s.out.String(), "line\r\n") || !strings.Contains(s.out.String(), "err\r\n") {
				t.Errorf("terminal output %q", s.out.String())
			}
		} else if s.out.String() != "line\n" || s.errOut.String() != "err\n" {
			t.Errorf("output %q, errors %q", s.out.String(), s.errOut.String())
		}
	}
}

func TestStats(t *testing.T) {
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "sleep 1000")
	start(t, d, cfg)
	stop := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := d.TaskStats(ctx, cfg.ID, time.Millisecond, func(s *driver.TaskStats) error {
		if len(s.ByPID) == 0 {
			t.Error("no process")
		}
		if s.Usage.Memory.RSS == 0 {
			return nil // the kernel counts pages late
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

// BenchmarkStart measures a start and the end of a task.
func BenchmarkStart(b *testing.B) {
	d := New(nil, hclog.NewNullLogger())
	d.config.Enabled = true
	schema, err := hclspec.Compile(taskSchema)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := schema.Decode(map[string]any{"command": "/bin/true"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		cfg := &driver.TaskConfig{ID: fmt.Sprintf("bench%d/t/%d", os.Getpid(), i), Name: "t", AllocDir: b.TempDir(), MsgpackConfig: raw}
		if err := os.MkdirAll(filepath.Join(cfg.AllocDir, "t"), 0o777); err != nil {
			b.Fatal(err)
		}
		if _, _, err := d.StartTask(context.Background(), cfg); err != nil {
			b.Fatal(err)
		}
		if _, err := d.WaitTask(context.Background(), cfg.ID); err != nil {
			b.Fatal(err)
		}
		if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil {
			b.Fatal(err)
		}
	}
}
