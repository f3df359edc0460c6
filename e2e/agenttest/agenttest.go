// Package agenttest runs real agents for tests: one process each on ports of
// its own, with everything that it starts found again and ended by process id.
package agenttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything may take on a loaded machine.
const Patience = 30 * time.Second

var buildOnce = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("NOMADLITE_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "nomadlite-e2e-")
	if err != nil {
		return "", err
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "nomadlite")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// moduleRoot is the folder of the product's go.mod: the one above this module's.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if raw, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(raw), "module github.com/nomadlite/nomadlite\n") {
			return dir, nil
		}
	}
	return "", errors.New("cannot find the product's go.mod above the working directory; set NOMADLITE_BIN")
}

// Binary is the binary under test: NOMADLITE_BIN, or one built for the run.
func Binary() (string, error) { return buildOnce() }

// Agent is one running agent.
type Agent struct {
	Dir  string // its folder: configuration, log, data
	Addr string // URL of the HTTP API
	Pid  int

	// Ready replaces the wait of Again for a ready node.
	Ready func() error

	bin    string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
	before []string // cgroups that stood empty before the agent came
}

// Start writes a configuration with free ports and starts an agent in dir.
// Further arguments go to `nomadlite agent`. A data directory makes state
// outlive the process.
func Start(dir string, durable bool, args ...string) (*Agent, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	return StartBinary(bin, dir, durable, args...)
}

// StartBinary is Start with a program other than the one under test.
func StartBinary(bin, dir string, durable bool, args ...string) (*Agent, error) {
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("bind_addr = \"127.0.0.1\"\nports {\n  http = %d\n  rpc  = %d\n  serf = %d\n}\n", ports[0], ports[1], ports[2])
	mode := []string{"-dev"}
	if durable {
		mode = nil
		conf += fmt.Sprintf("data_dir = %q\nserver {\n  enabled = true\n  bootstrap_expect = 1\n}\nclient {\n  enabled = true\n}\nplugin \"raw_exec\" {\n  config {\n    enabled = true\n  }\n}\n", filepath.Join(dir, "data"))
	}
	file := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	a := &Agent{
		Dir: dir, Addr: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), bin: bin,
		args: append(append(append([]string{"agent"}, mode...), "-config", file, "-log-level", "DEBUG"), args...),
	}
	a.before = emptyCgroups()
	return a, a.Again()
}

// Again starts the agent, for the first time or after it ended, and waits
// until its node is ready.
func (a *Agent) Again() error {
	log, err := os.OpenFile(filepath.Join(a.Dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd = exec.Command(a.bin, a.args...)
	a.cmd.Dir = a.Dir
	a.cmd.Env = append(os.Environ(), "TMPDIR="+a.Dir)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	a.Pid, a.exited = a.cmd.Process.Pid, make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(a.cmd, a.exited)
	if a.Ready != nil {
		return a.Ready()
	}
	return a.ready()
}

// Upgrade starts the agent again after it ended, from a copy of its binary, as a
// package does that replaces the file.
func (a *Agent) Upgrade() error {
	from, err := os.Open(a.bin)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(a.Dir, "nomadlite-new"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	a.bin = to.Name()
	return a.Again()
}

// Launch starts an agent with a configuration of the caller's, whose HTTP port
// is given, and waits for nothing.
func Launch(dir, conf string, http int) (*Agent, error) {
	return LaunchIn("", fmt.Sprintf("http://127.0.0.1:%d", http), dir, conf)
}

// LaunchIn is Launch in the network namespace of a file, "" for the test's own,
// with the URL of the agent's HTTP API.
func LaunchIn(netns, url, dir, conf string) (*Agent, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	a := &Agent{
		Dir: dir, Addr: url, bin: bin, Ready: func() error { return nil },
		args: []string{"agent", "-config", file, "-log-level", "DEBUG"}, before: emptyCgroups(),
	}
	if netns != "" { // nsenter becomes the agent
		a.args = append([]string{"--net=" + netns, bin}, a.args...)
		if a.bin, err = exec.LookPath("nsenter"); err != nil {
			return nil, err
		}
	}
	return a, a.Again()
}

// Signal sends the agent a signal.
func (a *Agent) Signal(sig os.Signal) error { return a.cmd.Process.Signal(sig) }

// Wait waits until the agent has ended and returns its exit code.
func (a *Agent) Wait() (int, error) {
	select {
	case <-a.exited:
		return a.cmd.ProcessState.ExitCode(), nil
	case <-time.After(Patience):
		return 0, fmt.Errorf("the agent did not end within %v:\n%s", Patience, a.LogTail())
	}
}

func (a *Agent) ready() error {
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		select {
		case <-a.exited:
			return fmt.Errorf("the agent exited at once:\n%s", a.LogTail())
		default:
		}
		var body string
		if err := a.Get("/v1/nodes", &body); err == nil && strings.Contains(body, `"Status":"ready"`) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the node was not ready within %v:\n%s", Patience, a.LogTail())
		}
	}
	return nil
}

// Get reads the answer of a route: JSON, or with a *string whatever it is. A
// status other than 200 is an error.
func (a *Agent) Get(path string, into any) error {
	resp, err := http.Get(a.Addr + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s, %v", path, resp.Status, raw, err)
	}
	if text, ok := into.(*string); ok {
		*text = string(raw)
		return nil
	}
	return json.Unmarshal(raw, into)
}

// Driver is what the agent's node says of a driver.
type Driver struct {
	Detected, Healthy bool
	HealthDescription string
}

// Drivers are those of the agent's node.
func (a *Agent) Drivers() (map[string]Driver, error) {
	var nodes []struct{ Drivers map[string]Driver }
	if err := a.Get("/v1/nodes", &nodes); err != nil {
		return nil, err
	}
	if len(nodes) != 1 {
		return nil, fmt.Errorf("%d nodes", len(nodes))
	}
	return nodes[0].Drivers, nil
}

// CLI runs a verb against the agent and returns its output and exit code.
func (a *Agent) CLI(t testing.TB, args ...string) (string, int) {
	t.Helper()
	bin, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+a.Addr)
	out, _ := cmd.CombinedOutput() // how it ended is the code
	return string(out), cmd.ProcessState.ExitCode()
}

// LogTail is the end of the agent's log.
func (a *Agent) LogTail() string {
	raw, _ := os.ReadFile(filepath.Join(a.Dir, "agent.log"))
	if len(raw) > 6000 {
		raw = raw[len(raw)-6000:]
	}
	return string(raw)
}

// Kill ends the agent process with SIGKILL and nothing else.
func (a *Agent) Kill() error {
	if err := a.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-a.exited
	return nil
}

// Interrupt ends the agent as an operator does and returns its exit code.
func (a *Agent) Interrupt() (int, error) {
	if err := a.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	select {
	case <-a.exited:
		return a.cmd.ProcessState.ExitCode(), nil
	case <-time.After(Patience):
		return 0, fmt.Errorf("the agent did not end within %v of an interrupt:\n%s", Patience, a.LogTail())
	}
}

// Cleanup ends the agent and every process that belongs to its folder, and
// unmounts what is left under it.
func (a *Agent) Cleanup() {
	select {
	case <-a.exited:
	default:
		if a.cmd != nil && a.cmd.Process != nil {
			_ = a.Kill()
		}
	}
	cgroups := map[string]bool{}
	for range 100 {
		procs := a.Processes()
		if len(procs) == 0 {
			break
		}
		for _, p := range procs {
			for _, dir := range taskCgroups(p.Pid) {
				cgroups[dir] = true
			}
			_ = syscall.Kill(p.Pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond) // the kernel needs a moment to reap
	}
	for dir := range cgroups {
		_ = os.Remove(dir)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], a.Dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
}

// Process is a live process that belongs to an agent.
type Process struct {
	Pid  int
	Args []string
	Task bool // it runs in an allocation
	Job  string
}

// Processes lists what belongs to the agent's folder, the agent itself left
// out: keeper, drivers and tasks. They are known by the folder in their
// environment, which all of them inherit.
func (a *Agent) Processes() []Process {
	var out []Process
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == a.Pid || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !bytes.Contains(env, []byte(a.Dir)) {
			continue
		}
		if stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat")); err != nil || bytes.Contains(stat[bytes.LastIndexByte(stat, ')'):], []byte(") Z")) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		_, job, _ := bytes.Cut(env, []byte("\x00NOMAD_JOB_ID="))
		job, _, _ = bytes.Cut(job, []byte{0})
		out = append(out, Process{
			Job: string(job),
			Pid: pid, Args: strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"),
			Task: bytes.Contains(env, []byte("NOMAD_ALLOC_ID=")),
		})
	}
	return out
}

// FreePorts finds ports that nothing listens on.
func FreePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// New starts an agent for a test and ends it with the test; the log of a
// failed test is shown.
func New(t testing.TB, durable bool, args ...string) *Agent {
	t.Helper()
	a, err := Start(t.TempDir(), durable, args...)
	if a != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the agent's log:\n%s", a.LogTail())
			}
			a.Cleanup()
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Eventually waits until cond holds and fails the test when it does not.
func Eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	Within(t, Patience, what, cond)
}

// Within is Eventually for what takes longer than usual.
func Within(t testing.TB, limit time.Duration, what string, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		<-tick.C
	}
}
