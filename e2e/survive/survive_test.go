// Package survive kills parts of a node under running tasks and proves that
// the tasks do not notice: same processes, contiguous logs, right exit codes.
package survive

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

const tasks = 50

// job counts 50 allocations, each of which logs consecutive numbers until a
// file named stop appears in its folder, then exits with its own code.
const job = `{"Job": {"ID": "count", "Type": "batch", "TaskGroups": [{
  "Name": "g", "Count": 50,
  "EphemeralDisk": {"SizeMB": 30},
  "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 60000000000, "Delay": 1000000000},
  "ReschedulePolicy": {"Attempts": 0, "Unlimited": false},
  "Tasks": [{
    "Name": "t", "Driver": "raw_exec",
    "Resources": {"CPU": 1, "MemoryMB": 10},
    "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10},
    "Config": {"command": "/bin/sh", "args": ["-c",
      "i=0; while [ ! -e $NOMAD_TASK_DIR/stop ]; do i=$((i+1)); echo $i; sleep 0.1; done; exit $((NOMAD_ALLOC_INDEX % 7))"]}
  }]
}]}}`

type alloc struct {
	ID, Name, ClientStatus string
	TaskStates             map[string]struct {
		State    string
		Restarts uint64
		Events   []struct {
			Type    string
			Details map[string]string
		}
	}
}

func (a alloc) index() int {
	n, _ := strconv.Atoi(strings.TrimSuffix(a.Name[strings.IndexByte(a.Name, '[')+1:], "]"))
	return n
}

// cluster is an agent under 50 counting tasks.
type cluster struct {
	*agenttest.Agent
	t *testing.T
}

func start(t *testing.T) *cluster {
	c := &cluster{agenttest.New(t, true), t}
	put(t, c.Agent, job)
	c.await("running")
	c.awaitProgress(3)
	return c
}

// put registers a job.
func put(t *testing.T, a *agenttest.Agent, job string) {
	t.Helper()
	req, err := http.NewRequest("PUT", a.Addr+"/v1/jobs", strings.NewReader(job))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("register: %s", resp.Status)
	}
}

func (c *cluster) allocs() ([]alloc, error) { return allocsOf(c.Agent, "count") }

// allocsOf lists the allocations of a job.
func allocsOf(a *agenttest.Agent, job string) ([]alloc, error) {
	var out []alloc
	err := a.Get("/v1/job/"+job+"/allocations", &out)
	return out, err
}

// await waits until all allocations have one of the statuses.
func (c *cluster) await(statuses ...string) []alloc {
	c.t.Helper()
	var list []alloc
	agenttest.Eventually(c.t, "allocations "+strings.Join(statuses, " or "), func() error {
		var err error
		if list, err = c.allocs(); err != nil {
			return err
		}
		if len(list) != tasks {
			return fmt.Errorf("%d allocations", len(list))
		}
		for _, a := range list {
			if !slices.Contains(statuses, a.ClientStatus) {
				return fmt.Errorf("allocation %s is %s", a.Name, a.ClientStatus)
			}
		}
		return nil
	})
	return list
}

// pids are the processes of the tasks' shells by allocation.
func (c *cluster) pids() map[string]int {
	out := map[string]int{}
	for _, p := range c.Processes() {
		if !p.Task || len(p.Args) == 0 || p.Args[0] != "/bin/sh" {
			continue
		}
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.Pid))
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if id, ok := strings.CutPrefix(kv, "NOMAD_ALLOC_ID="); ok {
				if old, twice := out[id]; !twice || p.Pid < old {
					out[id] = p.Pid
				}
			}
		}
	}
	return out
}

// logged reads all numbers that an allocation has in its log files.
func (c *cluster) logged(id string) []int {
	var out []int
	for n := 0; ; n++ {
		f, err := os.Open(filepath.Join(c.Dir, "data/alloc", id, "alloc/logs", fmt.Sprintf("t.stdout.%d", n)))
		if err != nil {
			return out
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			v, _ := strconv.Atoi(sc.Text())
			out = append(out, v)
		}
		f.Close()
	}
}

// awaitProgress waits until each task has logged n numbers more.
func (c *cluster) awaitProgress(n int) {
	c.t.Helper()
	list := c.await("running")
	before := map[string]int{}
	for _, a := range list {
		before[a.ID] = len(c.logged(a.ID))
	}
	agenttest.Eventually(c.t, "progress of the logs", func() error {
		for _, a := range list {
			if got := len(c.logged(a.ID)); got < before[a.ID]+n {
				return fmt.Errorf("%s logged %d lines, then %d", a.Name, before[a.ID], got)
			}
		}
		return nil
	})
}

// finish lets the tasks end and checks codes, logs and leftovers.
func (c *cluster) finish(before map[string]int) {
	c.t.Helper()
	after := c.pids()
	for id, pid := range before {
		if after[id] != pid {
			c.t.Errorf("allocation %s: process %d became %d", id, pid, after[id])
		}
	}
	list := c.await("running")
	for _, a := range list {
		stop := filepath.Join(c.Dir, "data/alloc", a.ID, "t/local/stop")
		if err := os.WriteFile(stop, nil, 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, a := range c.await("complete", "failed") {
		want := strconv.Itoa(a.index() % 7)
		if got := exitCode(a); got != want {
			c.t.Errorf("%s ended with exit code %q, want %s", a.Name, got, want)
		}
		if n := a.TaskStates["t"].Restarts; n != 0 {
			c.t.Errorf("%s was restarted %d times", a.Name, n)
		}
		for i, v := range c.logged(a.ID) {
			if v != i+1 {
				c.t.Errorf("%s: line %d of the log is %d", a.Name, i+1, v)
				break
			}
		}
	}
}

func exitCode(a alloc) string {
	for _, e := range a.TaskStates["t"].Events {
		if e.Type == "Terminated" {
			return e.Details["exit_code"]
		}
	}
	return ""
}

// kill ends the one process of ours whose arguments contain all words.
func (c *cluster) kill(words ...string) {
	c.t.Helper()
	var found []agenttest.Process
	for _, p := range c.Processes() {
		line := strings.Join(p.Args, " ")
		if !p.Task && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("processes with %v: %v", words, found)
	}
	if err := syscall.Kill(found[0].Pid, syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: reads other processes' environments")
	}
}

// TestKilledAgent_I11: the agent is killed, and comes back; then it is stopped
// as an operator does, and another binary takes its place. The tasks do not
// notice: same processes, no restart, no line of log lost.
func TestKilledAgent_I11(t *testing.T) {
	needRoot(t)
	c := start(t)
	before := c.pids()
	if len(before) != tasks {
		t.Fatalf("%d task processes", len(before))
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Again(); err != nil {
		t.Fatal(err)
	}
	c.awaitProgress(3)
	if _, err := c.Interrupt(); err != nil {
		t.Fatal(err)
	}
	if err := c.Upgrade(); err != nil {
		t.Fatal(err)
	}
	c.awaitProgress(3)
	c.finish(before)
}

// TestKilledAgentMissesExits_I11 ends half of the tasks while no agent runs.
func TestKilledAgentMissesExits_I11(t *testing.T) {
	needRoot(t)
	c := start(t)
	list := c.await("running")
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.index()%2 == 0 {
			if err := os.WriteFile(filepath.Join(c.Dir, "data/alloc", a.ID, "t/local/stop"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	agenttest.Eventually(t, "half of the tasks ended", func() error {
		if n := len(c.pids()); n != tasks/2 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
	if err := c.Again(); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if err := os.WriteFile(filepath.Join(c.Dir, "data/alloc", a.ID, "t/local/stop"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range c.await("complete", "failed") {
		if want, got := strconv.Itoa(a.index()%7), exitCode(a); got != want {
			t.Errorf("%s ended with exit code %q, want %s", a.Name, got, want)
		}
	}
}

func TestKilledDriver_I11(t *testing.T) {
	needRoot(t)
	c := start(t)
	before := c.pids()
	c.kill("plugin", "raw_exec")
	c.awaitProgress(3)
	c.finish(before)
}

func TestKilledKeeper_I11(t *testing.T) {
	needRoot(t)
	c := start(t)
	before := c.pids()
	c.kill("keeper")
	c.awaitProgress(3)
	c.finish(before)
}
