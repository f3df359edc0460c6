package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// agent is a durable agent whose node has the docker driver.
type agent struct {
	*agenttest.Agent
	t testing.TB
	e *Engine // its node's
}

// newAgent starts an agent; config is added to the docker plugin's.
func newAgent(t testing.TB, config string) *agent {
	t.Helper()
	need(t)
	return newAgentOf(t, engine, engine.Host, config)
}

// newAgentOf starts an agent whose node has an engine at an endpoint.
func newAgentOf(t testing.TB, e *Engine, endpoint, config string) *agent {
	t.Helper()
	file := filepath.Join(t.TempDir(), "docker.hcl")
	text := fmt.Sprintf("plugin \"docker\" {\n  config {\n    endpoint = %q\n    infra_image = %q\n%s\n  }\n}\n", endpoint, Image, config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &agent{agenttest.New(t, true, "-config", file), t, e}
	agenttest.Eventually(t, "the docker driver", func() error {
		drivers, err := a.Drivers()
		if err == nil && !drivers["docker"].Healthy {
			err = fmt.Errorf("%+v", drivers)
		}
		return err
	})
	return a
}

func (a *agent) put(path string, body any) {
	a.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPut, a.Addr+path, bytes.NewReader(raw))
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s: %s", path, resp.Status, answer)
	}
}

type object = map[string]any

// run registers a job of one docker task.
func (a *agent) run(id, typ string, config object, more object) {
	a.t.Helper()
	if config["image"] == nil {
		config["image"] = Image
	}
	task := object{"Name": "t", "Driver": "docker", "Config": config, "Resources": object{"CPU": 20, "MemoryMB": 32}, "KillTimeout": int64(2 * time.Second), "LogConfig": object{"MaxFiles": 2, "MaxFileSizeMB": 10}}
	group := object{
		"Name": "g", "Count": 1, "Tasks": []any{task}, "EphemeralDisk": object{"SizeMB": 50},
		"RestartPolicy": object{"Attempts": 0, "Mode": "fail", "Interval": int64(time.Minute), "Delay": int64(time.Second)}, "ReschedulePolicy": object{"Attempts": 0, "Unlimited": false},
	}
	for k, v := range more {
		if strings.HasPrefix(k, "task.") {
			task[strings.TrimPrefix(k, "task.")] = v
		} else {
			group[k] = v
		}
	}
	a.put("/v1/jobs", object{"Job": object{"ID": id, "Type": typ, "TaskGroups": []any{group}}})
}

type allocation struct {
	ID, ClientStatus, DesiredStatus string
	TaskStates                      map[string]struct {
		State    string
		Failed   bool
		Restarts int
		Events   []struct {
			Type    string
			Details map[string]string
		}
	}
}

// events are the types of a task's events, with their details as text.
func (al *allocation) events() string {
	var out strings.Builder
	for _, e := range al.TaskStates["t"].Events {
		fmt.Fprintln(&out, e.Type, e.Details)
	}
	return out.String()
}

// await waits until the job's newest allocation has a status.
func (a *agent) await(job, status string) *allocation {
	a.t.Helper()
	var found allocation
	agenttest.Eventually(a.t, job+" to be "+status, func() error {
		var list []allocation
		if err := a.Get("/v1/job/"+job+"/allocations", &list); err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("no allocation")
		}
		found = list[0]
		if found.ClientStatus != status {
			return fmt.Errorf("%s:\n%s", found.ClientStatus, found.events())
		}
		return nil
	})
	return &found
}

func (a *agent) logs(alloc, kind string) string {
	var text string
	_ = a.Get("/v1/client/fs/logs/"+alloc+"?task=t&plain=true&type="+kind, &text)
	return text
}

// cli runs a verb and returns its output and exit code.
func (a *agent) cli(args ...string) (string, int) { return a.CLI(a.t, args...) }

// plugin is the process id of the docker driver.
func (a *agent) plugin() int {
	for _, p := range a.Processes() {
		if len(p.Args) == 3 && p.Args[1] == "plugin" && p.Args[2] == "docker" {
			return p.Pid
		}
	}
	a.t.Fatal("no docker driver runs")
	return 0
}

// containers lists the containers of an allocation by id.
func (a *agent) containerID(alloc string) string {
	a.t.Helper()
	c, err := a.e.ContainerInspect(a.t.Context(), "t-"+alloc)
	if err != nil {
		a.t.Fatal(err)
	}
	return c.ID
}

func sh(script string) object { return object{"command": "/bin/sh", "args": []any{"-c", script}} }

// counting prints numbers until the file stop appears, and ends with code 7.
const counting = `i=0; trap 'echo hup' HUP; while [ ! -e /local/stop ]; do i=$((i+1)); echo $i; sleep 0.1; done; exit 7`

// stopCounting makes the file from outside: a command in the task might be
// killed with it before it can tell how it ended.
func (a *agent) stopCounting(alloc string) {
	a.t.Helper()
	c, err := a.e.ContainerInspect(a.t.Context(), "t-"+alloc)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, m := range c.Mounts {
		if m.Destination == "/local" {
			if err := os.WriteFile(filepath.Join(m.Source, "stop"), nil, 0o644); err != nil {
				a.t.Fatal(err)
			}
			return
		}
	}
	a.t.Fatalf("no /local in %+v", c.Mounts)
}

// TestJob leads one container through what operators do with it.
func TestJob(t *testing.T) {
	a := newAgent(t, "")
	a.run("web", "service", sh(counting), object{"RestartPolicy": object{"Attempts": 3, "Mode": "delay", "Interval": int64(time.Hour), "Delay": int64(time.Second)}})
	al := a.await("web", "running")
	agenttest.Eventually(t, "output", func() error {
		if out := a.logs(al.ID, "stdout"); !strings.HasPrefix(out, "1\n2\n3\n") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	if out, code := a.cli("alloc", "exec", "-i=false", "-t=false", al.ID, "/bin/sh", "-c", "echo inside $NOMAD_JOB_NAME; exit 5"); code != 5 || !strings.Contains(out, "inside web") {
		t.Errorf("exec: %q, code %d", out, code)
	}
	if out, code := a.cli("alloc", "signal", "-s", "SIGHUP", al.ID); code != 0 {
		t.Errorf("signal: %s", out)
	}
	agenttest.Eventually(t, "the signal", func() error {
		if out := a.logs(al.ID, "stdout"); !strings.Contains(out, "hup\n") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	agenttest.Eventually(t, "usage", func() error {
		var usage struct {
			ResourceUsage struct {
				MemoryStats struct{ Usage uint64 }
			}
		}
		if err := a.Get("/v1/client/allocation/"+al.ID+"/stats", &usage); err != nil {
			return err
		}
		if usage.ResourceUsage.MemoryStats.Usage == 0 {
			return fmt.Errorf("%+v", usage)
		}
		return nil
	})
	before := a.containerID(al.ID)
	if out, code := a.cli("alloc", "restart", al.ID); code != 0 {
		t.Errorf("restart: %s", out)
	}
	agenttest.Eventually(t, "another container", func() error {
		c, err := engine.ContainerInspect(t.Context(), "t-"+al.ID)
		if err == nil && (c.ID == before || !c.State.Running) {
			err = fmt.Errorf("%s is %s", c.ID, c.State.Status)
		}
		return err
	})
	if out, code := a.cli("job", "stop", "-detach", "web"); code != 0 {
		t.Errorf("stop: %s", out)
	}
	al = a.await("web", "complete")
	if !strings.Contains(al.events(), "Killed") {
		t.Errorf("events:\n%s", al.events())
	}
	a.gone(al.ID)
}

// gone waits until no container of an allocation is left.
func (a *agent) gone(alloc string) {
	a.t.Helper()
	agenttest.Eventually(a.t, "its container to be removed", func() error {
		if c, err := a.e.ContainerInspect(a.t.Context(), "t-"+alloc); err == nil {
			return fmt.Errorf("%s is %s", c.ID, c.State.Status)
		}
		return nil
	})
}

// TestSurvives: the same container runs on, its output is whole and its exit
// code is known, whichever of agent, driver and both is killed.
func TestSurvives(t *testing.T) {
	a := newAgent(t, "")
	a.run("count", "batch", sh(counting), nil)
	al := a.await("count", "running")
	id := a.containerID(al.ID)
	progress := func() {
		t.Helper()
		seen := strings.Count(a.logs(al.ID, "stdout"), "\n")
		agenttest.Eventually(t, "more output", func() error {
			if n := strings.Count(a.logs(al.ID, "stdout"), "\n"); n < seen+5 {
				return fmt.Errorf("%d lines, were %d", n, seen)
			}
			return nil
		})
		if now := a.containerID(al.ID); now != id {
			t.Fatalf("another container: %s, was %s", now, id)
		}
	}
	progress()
	if err := syscall.Kill(a.plugin(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	progress()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := a.Again(); err != nil {
		t.Fatal(err)
	}
	progress()
	pid := a.plugin()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := a.Again(); err != nil {
		t.Fatal(err)
	}
	progress()
	if out, code := a.cli("alloc", "exec", "-i=false", "-t=false", al.ID, "/bin/true"); code != 0 {
		t.Fatalf("exec: %s", out)
	}
	a.stopCounting(al.ID)
	end := a.await("count", "failed")
	if !strings.Contains(end.events(), "exit_code:7") {
		t.Errorf("events:\n%s", end.events())
	}
	// Every number once; a kill may repeat the last few.
	want, repeated := 1, 0
	for _, line := range strings.Fields(a.logs(al.ID, "stdout")) {
		switch line {
		case fmt.Sprint(want):
			want++
		default:
			if repeated++; repeated > 10 {
				t.Fatalf("output is not contiguous at %q, want %d", line, want)
			}
		}
	}
	a.gone(al.ID)
}

// TestRemovedByOthers: a container that somebody removes ends its task, with a
// sentence.
func TestRemovedByOthers(t *testing.T) {
	a := newAgent(t, "")
	a.run("count", "batch", sh(counting), nil)
	al := a.await("count", "running")
	if err := engine.ContainerRemove(t.Context(), "t-"+al.ID, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if end := a.await("count", "failed"); !strings.Contains(end.events(), "Terminated") {
		t.Errorf("events:\n%s", end.events())
	}
}

// TestOOM: a task that takes too much memory is told so.
func TestOOM(t *testing.T) {
	a := newAgent(t, "")
	a.run("greedy", "batch", sh(`x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done`), nil)
	if end := a.await("greedy", "failed"); !strings.Contains(end.events(), "oom_killed:true") || !strings.Contains(end.events(), "OOM Killed") {
		t.Errorf("events:\n%s", end.events())
	}
}

// TestBadJobs: what cannot run says why, at once or as a restart would help.
func TestBadJobs(t *testing.T) {
	a := newAgent(t, "")
	for name, tt := range map[string]struct {
		config object
		want   string
	}{
		"nocommand":  {object{"command": "/no/such/program"}, "no such file"},
		"privileged": {object{"privileged": true}, "privileged mode is disabled"},
		"volume":     {object{"volumes": []any{"/etc:/x"}}, "volumes are not enabled"},
		"unknown":    {object{"bogus": 1}, `No argument or block type is named`},
		"netns":      {object{"network_mode": "container:nobody"}, "network_mode"},
	} {
		a.run(name, "batch", tt.config, nil)
		if end := a.await(name, "failed"); !strings.Contains(end.events(), tt.want) {
			t.Errorf("%s: events:\n%s", name, end.events())
		} else if _, err := engine.ContainerInspect(t.Context(), "t-"+end.ID); err == nil {
			t.Errorf("%s: its container is left", name)
		}
	}
}
