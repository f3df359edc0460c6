package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// agent is one running agent and all that it started.
type agent struct {
	cmd     *exec.Cmd
	addr    string
	dir     string
	cgroup  string // accounting cgroup, "" without one
	started time.Time
	exited  chan struct{}
}

// startSimulated runs a durable server with simulated nodes, and more in its
// server block.
func (b *bench) startSimulated(nodes int, server string) (*agent, error) {
	return b.launch(true, nodes, "enable_debug = true\n"+simulated(nodes)+"server {\n"+server+"}\n")
}

// start runs a dev agent (or one with a data directory) on ports of its own.
func (b *bench) start(dataDir bool) (*agent, error) { return b.launch(dataDir, 1, "") }

// launch starts an agent with more configuration and waits for its nodes.
func (b *bench) launch(dataDir bool, nodes int, more string) (*agent, error) {
	dir, err := os.MkdirTemp("", "nomadlite-bench-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("ports {\n http = %d\n rpc = %d\n serf = %d\n}\nlimits { http_max_conns_per_client = 0 }\n", ports[0], ports[1], ports[2])
	args := []string{"agent", "-dev", "-config", filepath.Join(dir, "agent.hcl"), "-log-level", "WARN"}
	if dataDir {
		conf += fmt.Sprintf("data_dir = %q\nbind_addr = \"127.0.0.1\"\nserver {\n enabled = true\n bootstrap_expect = 1\n}\nclient { enabled = true }\nplugin \"raw_exec\" {\n config { enabled = true }\n}\n", filepath.Join(dir, "data"))
		args = append(args[:1], args[2:]...)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.hcl"), []byte(conf+more), 0o600); err != nil {
		return nil, err
	}
	a := &agent{addr: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), dir: dir, exited: make(chan struct{})}
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return nil, err
	}
	a.cmd = exec.Command(bin, args...)
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	if err := a.account(); err != nil {
		return nil, err
	}
	a.started = time.Now()
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = a.cmd.Wait(); close(a.exited) }()
	if err := a.ready(nodes); err != nil {
		a.stop()
		return nil, fmt.Errorf("%w; see %s", err, log.Name())
	}
	return a, nil
}

// account puts the agent in a cgroup that counts the CPU time of all that it
// starts, the ended included. Without the right to make one, /proc serves.
func (a *agent) account() error {
	for _, root := range []string{"/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, filepath.Base(a.dir))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		a.cgroup = dir
		a.cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, dir, a.cmd.Path}, a.cmd.Args[1:]...)
		path, err := exec.LookPath("sh")
		a.cmd.Path = path
		return err
	}
	return nil
}

// ready waits until the node is ready for work.
func (a *agent) ready(nodes int) error {
	limit := 30*time.Second + time.Duration(nodes)*20*time.Millisecond
	deadline := time.After(limit)
	tick := time.NewTicker(2*time.Millisecond + time.Duration(nodes)*50*time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-a.exited:
			return fmt.Errorf("the agent exited")
		case <-deadline:
			return fmt.Errorf("%d nodes were not ready within %v", nodes, limit)
		case <-tick.C:
			var list []struct{ Status string }
			if _, err := a.get("/v1/nodes", &list); err == nil && len(list) == nodes {
				ready := 0
				for _, n := range list {
					if n.Status == "ready" {
						ready++
					}
				}
				if ready == nodes {
					return nil
				}
			}
		}
	}
}

// stop ends the agent and everything that it left running, then removes its
// files. Only members of its own cgroup or descendants are signalled.
func (a *agent) stop() {
	procs := a.procs()
	_ = a.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-a.exited:
	case <-time.After(5 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.exited
	}
	for deadline := time.Now().Add(5 * time.Second); len(procs) > 0 && time.Now().Before(deadline); procs = a.procs() {
		for _, p := range procs {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
	unmountUnder(a.dir)
	if a.cgroup != "" {
		_ = os.Remove(a.cgroup)
	}
	_ = os.RemoveAll(a.dir)
}

func unmountUnder(dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
}

// procs lists the live processes that the agent started, and itself.
func (a *agent) procs() []int {
	seen := map[int]bool{a.cmd.Process.Pid: true}
	if a.cgroup != "" {
		members, _ := os.ReadFile(filepath.Join(a.cgroup, "cgroup.procs"))
		for _, f := range strings.Fields(string(members)) {
			if pid, err := strconv.Atoi(f); err == nil {
				seen[pid] = true
			}
		}
	}
	parents := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if f := statFields(pid); len(f) > 1 && f[0] != "Z" {
				parents[pid], _ = strconv.Atoi(f[1])
			}
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if !seen[pid] && seen[parent] {
				seen[pid], grown = true, true
			}
		}
	}
	var out []int
	for pid := range seen {
		if parents[pid] != 0 {
			out = append(out, pid)
		}
	}
	return out
}

// statFields are the fields of /proc/PID/stat after the name: state first.
func statFields(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
}

// cpuSeconds is the CPU time used by the agent and all that it started.
func (a *agent) cpuSeconds() float64 {
	if a.cmd == nil {
		return 0 // of several servers
	}
	if raw, err := os.ReadFile(filepath.Join(a.cgroup, "cpuacct.usage")); a.cgroup != "" && err == nil {
		n, _ := strconv.ParseFloat(strings.TrimSpace(string(raw)), 64)
		return n / 1e9
	}
	if raw, err := os.ReadFile(filepath.Join(a.cgroup, "cpu.stat")); a.cgroup != "" && err == nil {
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "usage_usec" {
				n, _ := strconv.ParseFloat(f[1], 64)
				return n / 1e6
			}
		}
	}
	ticks := 0.0
	for _, pid := range a.procs() {
		if f := statFields(pid); len(f) > 14 {
			for _, i := range []int{11, 12, 13, 14} {
				n, _ := strconv.ParseFloat(f[i], 64)
				ticks += n
			}
		}
	}
	return ticks / 100
}

// memory is MiB of a process: resident, and its share of what several map.
type memory struct{ rss, pss float64 }

func procMemory(pid int) memory {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}
	}
	defer f.Close()
	var m memory
	for sc := bufio.NewScanner(f); sc.Scan(); {
		key, rest, _ := strings.Cut(sc.Text(), ":")
		words := strings.Fields(rest)
		if len(words) == 0 {
			continue
		}
		n, _ := strconv.ParseFloat(words[0], 64)
		switch key {
		case "Rss":
			m.rss = n / 1024
		case "Pss":
			m.pss = n / 1024
		}
	}
	return m
}

// ownMemory sums the processes that run our binary, and counts them.
func (a *agent) ownMemory() (total memory, agentRSS float64, count int) {
	self, err := os.Stat(fmt.Sprintf("/proc/%d/exe", a.cmd.Process.Pid))
	if err != nil {
		return
	}
	for _, pid := range a.procs() {
		exe, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || !os.SameFile(self, exe) {
			continue
		}
		m := procMemory(pid)
		total.rss, total.pss = total.rss+m.rss, total.pss+m.pss
		count++
		if pid == a.cmd.Process.Pid {
			agentRSS = m.rss
		}
	}
	return
}

// get decodes an answer and returns its X-Nomad-Index.
func (a *agent) get(path string, into any) (uint64, error) {
	return a.do(context.Background(), "GET", path, nil, into)
}

func (a *agent) do(ctx context.Context, method, path string, body, into any) (uint64, error) {
	var rd io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		rd = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.addr+path, rd)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Nomad-Index"), 10, 64)
	if into != nil {
		return index, json.Unmarshal(raw, into)
	}
	return index, nil
}

func freePorts(n int) ([]int, error) {
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
