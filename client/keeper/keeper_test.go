package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// TestMain lets the test binary be the keeper and a plugin too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keeper":
			os.Exit(Main(os.Args[2:]))
		case "fake-plugin":
			os.Exit(fakePlugin())
		}
	}
	os.Exit(m.Run())
}

// fakePlugin prints a handshake, starts a child that outlives it, tells the
// child's pid in a file, and waits.
func fakePlugin() int {
	fmt.Println("1|2|unix|/nowhere|grpc")
	child := exec.Command("/bin/sh", "-c", "while [ ! -e "+os.Getenv("DIR")+"/end ]; do sleep 0.05; done; exit 9")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return 1
	}
	tmp := filepath.Join(os.Getenv("DIR"), "child.tmp")
	_ = os.WriteFile(tmp, []byte(strconv.Itoa(child.Process.Pid)), 0o600)
	_ = os.Rename(tmp, filepath.Join(os.Getenv("DIR"), "child"))
	// Not select{}: the runtime would call that a deadlock and end the process.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	<-signals
	return 0
}

func startHost(t *testing.T) *Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "nlk") // sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	h, err := Start(t.Context(), filepath.Join(dir, "k"), self, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(dir, "end"), nil, 0o600)
		if raw, err := os.ReadFile(filepath.Join(dir, "child")); err == nil {
			if pid, err := strconv.Atoi(string(raw)); err == nil {
				eventually(t, "the end of the plugin's child", func() bool {
					child, err := protocol.Identify(pid)
					return err != nil || !child.Alive()
				})
			}
		}
		_ = h.Stop(context.Background())
		os.RemoveAll(dir)
	})
	return h
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in time", what)
		}
	}
}

// plugin starts the fake plugin and returns it and its orphan to be.
func plugin(t *testing.T, h *Host) (*protocol.Plugin, protocol.Process) {
	t.Helper()
	self, _ := os.Executable()
	dir := filepath.Dir(h.Dir())
	p, err := h.Client().StartPlugin(t.Context(), protocol.PluginSpec{
		Name: "fake", Argv: []string{self, "fake-plugin"}, Env: append(os.Environ(), "DIR="+dir), LogFile: filepath.Join(dir, "plugin.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	eventually(t, "the plugin's child", func() bool {
		raw, err = os.ReadFile(filepath.Join(dir, "child"))
		return err == nil
	})
	pid, err := strconv.Atoi(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	child, err := protocol.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, child
}

func end(t *testing.T, h *Host) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(h.Dir()), "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, p protocol.Process) {
	t.Helper()
	if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of a killed process", func() bool { return !p.Alive() })
}

func TestOrphansExitIsKept(t *testing.T) {
	h := startHost(t)
	p, child := plugin(t, h)
	if p.Handshake != "1|2|unix|/nowhere|grpc" {
		t.Errorf("handshake %q", p.Handshake)
	}
	kill(t, p.Process)
	waited := make(chan protocol.Exit, 1)
	go func() {
		exit, err := h.Client().Wait(context.Background(), child)
		if err != nil {
			t.Error(err)
		}
		waited <- exit
	}()
	end(t, h)
	want := protocol.Exit{Known: true, Code: 9}
	if got := <-waited; got != want {
		t.Errorf("exit %+v, want %+v", got, want)
	}
	if got, err := h.Client().Wait(t.Context(), child); err != nil || got != want {
		t.Errorf("asked again: %+v, %v", got, err)
	}
}

func TestUnknownProcess(t *testing.T) {
	h := startHost(t)
	exit, err := h.Client().Wait(t.Context(), protocol.Process{Pid: 1 << 22, StartTime: 1})
	if err != nil || exit.Known {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestKilledKeeperIsReplaced(t *testing.T) {
	h := startHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	restarted := make(chan struct{}, 1)
	h.OnRestart(func() { restarted <- struct{}{} })
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Run(ctx)
	}()
	p, child := plugin(t, h)
	before, err := h.Client().Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, before.Process)
	<-restarted
	after, err := h.Client().Info(ctx)
	if err != nil || after.Process == before.Process {
		t.Fatalf("info %+v, %v", after, err)
	}
	list, err := h.Client().Plugins(ctx)
	if err != nil || len(list) != 1 || list[0] != *p {
		t.Errorf("plugins %+v, %v; want %+v", list, err, p)
	}
	if !p.Process.Alive() || !child.Alive() {
		t.Error("plugin or task did not outlive the keeper")
	}
	if err := h.Client().StopPlugin(ctx, "fake"); err != nil {
		t.Error(err)
	}
	end(t, h)
	cancel()
	<-done
}

// TestLogsOutliveTheKeeper writes numbered lines through a FIFO while the
// keeper is killed, and finds all of them.
func TestLogsOutliveTheKeeper(t *testing.T) {
	l := startLog(t, 1000)
	l.write(0, 100)
	eventually(t, "the first lines", func() bool { return len(lines(l.dir)) == 100 })
	l.killKeeper()
	l.write(100, 200)
	<-l.restarted
	l.write(200, 300)
	got := l.stop()
	for i, line := range got {
		if line != strconv.Itoa(i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(got) != 300 {
		t.Errorf("%d lines", len(got))
	}
}

// TestFloodOutlivesTheKeeper_B54 kills the keeper again and again while a task
// writes all it can, over 10 MB a second: the task goes on, what is lost is at most what was
// in a pipe, and nothing comes twice or out of order.
func TestFloodOutlivesTheKeeper_B54(t *testing.T) {
	const (
		kills  = 3
		size   = 1000    // bytes of a line
		pipe   = 1 << 16 // bytes: what the kernel keeps, and as much is being copied
		pieces = 2000    // lines between two kills
	)
	l := startLog(t, 64<<20)
	pad := strings.Repeat("x", size-8)
	longest, n := time.Duration(0), 0
	piece := func() {
		for range pieces {
			began := time.Now()
			if _, err := fmt.Fprintf(l.w, "%07d%s\n", n, pad); err != nil {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(began))
			n++
		}
	}
	for range kills {
		piece()
		l.killKeeper()
		piece() // the pipe fills long before: a task that could block does
		<-l.restarted
	}
	piece()
	last := -1
	got := l.stop()
	for _, line := range got {
		i, err := strconv.Atoi(line[:min(7, len(line))])
		if err != nil || len(line) != size-1 { // the rest of a line that a kill has cut
			continue
		}
		if i <= last {
			t.Fatalf("line %d after line %d", i, last)
		}
		last = i
	}
	t.Logf("%d of %d lines after %d kills; the longest write took %v", len(got), n, kills, longest)
	if last != n-1 || (n-len(got))*size > kills*2*pipe {
		t.Errorf("%d of %d lines, the last is %d", len(got), n, last)
	}
	if longest > 5*time.Second { // the row says one; a loaded machine is slow to start a keeper
		t.Errorf("a write took %v", longest)
	}
}

// log is the log of a task under a keeper that is started again when it dies.
type log struct {
	t         *testing.T
	h         *Host
	dir       string
	w         *os.File // the task's end
	restarted chan struct{}
}

func startLog(t *testing.T, maxBytes int64) *log {
	t.Helper()
	h := startHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := &log{t: t, h: h, dir: filepath.Dir(h.Dir()), restarted: make(chan struct{}, 1)}
	h.OnRestart(func() { l.restarted <- struct{}{} })
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	spec := protocol.LogSpec{ID: "a-t", Dir: l.dir, Task: "t", Stdout: filepath.Join(l.dir, "o"), Stderr: filepath.Join(l.dir, "e"), MaxFiles: 5, MaxBytes: maxBytes}
	for _, fifo := range []string{spec.Stdout, spec.Stderr} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		held, err := protocol.OpenFIFO(fifo) // the agent's end
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { held.Close() })
	}
	if err := h.Client().StartLogs(ctx, spec); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.w, err = os.OpenFile(spec.Stdout, os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *log) write(from, to int) {
	for i := from; i < to; i++ {
		fmt.Fprintln(l.w, i)
	}
}

func (l *log) killKeeper() {
	l.t.Helper()
	info, err := l.h.Client().Info(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	kill(l.t, info.Process)
}

// stop ends the log and returns its lines.
func (l *log) stop() []string {
	l.t.Helper()
	l.w.Close()
	if err := l.h.Client().StopLogs(l.t.Context(), "a-t"); err != nil {
		l.t.Fatal(err)
	}
	return lines(l.dir)
}

func lines(dir string) []string {
	var out []string
	for n := 0; ; n++ {
		f, err := os.Open(filepath.Join(dir, "t.stdout."+strconv.Itoa(n)))
		if err != nil {
			return out
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			out = append(out, strings.TrimSpace(sc.Text()))
		}
		f.Close()
	}
}

// TestAbandonedStart: a keeper whose start is given up before it listens does not
// go on unknown to everybody.
func TestAbandonedStart(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "binary")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $$ > "+dir+"/tmp; mv "+dir+"/tmp "+dir+"/pid\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, filepath.Join(dir, "k"), script, hclog.NewNullLogger())
		ended <- err
	}()
	var pid int
	eventually(t, "the process", func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
		}
		return err == nil
	})
	proc, err := protocol.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the start ended with %v", err)
	}
	eventually(t, "its end", func() bool { return !proc.Alive() })
}

func TestRefusals(t *testing.T) {
	h := startHost(t)
	ctx := t.Context()
	if _, err := h.Client().StartPlugin(ctx, protocol.PluginSpec{Name: "x", Argv: []string{"/no/such/program"}, LogFile: os.DevNull}); err == nil {
		t.Error("a missing program was started")
	}
	if _, err := h.Client().StartPlugin(ctx, protocol.PluginSpec{Name: "x", Argv: []string{"/bin/false"}, LogFile: os.DevNull}); err == nil {
		t.Error("a plugin without a handshake was accepted")
	}
	for _, id := range []string{"", "../x", "a/b", ".", ".."} {
		if err := h.Client().StartLogs(ctx, protocol.LogSpec{ID: id}); err == nil {
			t.Errorf("log id %q was accepted", id)
		}
	}
	gone := protocol.NewClient(filepath.Join(t.TempDir(), "s"))
	if _, err := gone.Info(ctx); !errors.Is(err, protocol.ErrGone) {
		t.Errorf("no keeper: %v", err)
	}
}
