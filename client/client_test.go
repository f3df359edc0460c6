package client

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/artifact"
	"github.com/nomadlite/nomadlite/client/artifact/fetch"
	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	"github.com/nomadlite/nomadlite/client/keeper"
	"github.com/nomadlite/nomadlite/drivers/rawexec"
	"github.com/nomadlite/nomadlite/structs"
)

// TestMain lets the test binary be the keeper and the driver plugin too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keeper":
			os.Exit(keeper.Main(os.Args[2:]))
		case fetch.Command:
			os.Exit(fetch.Main())
		case "plugin":
			rawexec.Serve()
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// patience bounds every wait of a test.
const patience = 20 * time.Second

// site is a node with its HTTP API.
type site struct {
	*Client
	servers *servers
	http    *api.Client
	stop    func()
}

// start runs a node on a directory. An ephemeral one ends its tasks with it.
func start(t *testing.T, dir string, s *servers, ephemeral bool) *site {
	t.Helper()
	return startWith(t, dir, s, ephemeral, func(*Client) {})
}

// startWith is start with a change to the node before it runs.
func startWith(t *testing.T, dir string, s *servers, ephemeral bool, change func(*Client)) *site {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{
		Servers: s, Workloads: s, Logger: testLogger(), StateDir: filepath.Join(dir, "client"), AllocDir: filepath.Join(dir, "alloc"), Binary: self,
		Node:           fingerprint.Config{Name: "n", Datacenter: "dc1", HTTPAddr: "127.0.0.1:4646"},
		Drivers:        []driver.Spec{{Name: "raw_exec", Argv: []string{self, "plugin", "raw_exec"}, Config: map[string]any{"enabled": true}}},
		Artifacts:      artifact.Config{HTTPTimeout: time.Minute, GitTimeout: time.Minute, S3Timeout: time.Minute, MaxDownload: 1 << 30, MaxSize: 1 << 30, MaxFiles: 4096},
		ArtifactCache:  1 << 20,
		MaxKillTimeout: 30 * time.Second, GCMaxAllocs: 50, GCInterval: time.Hour, Ephemeral: ephemeral,
	})
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	mux := api.NewMux(api.MuxConfig{Resolve: api.NoACLs})
	c.Bind(mux)
	web := httptest.NewServer(mux)
	client, err := api.NewClient(api.ClientConfig{Address: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("node ended with %v", err)
		}
		web.CloseClientConnections()
		web.Close()
	})
	t.Cleanup(func() {
		stop()
		if c.host == nil { // it never ran
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.host.Stop(ctx); err != nil { // a durable node's keeper and plugins live on
			t.Errorf("the keeper is left: %v", err)
		}
	})
	return &site{Client: c, servers: s, http: client, stop: stop}
}

// shortDir is a directory for sockets, whose paths must be short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nlc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// shell makes an allocation of one task that runs a script.
func shell(id, kind, script string) *structs.Allocation {
	task := &structs.Task{Name: "main", Driver: "raw_exec", Config: map[string]any{"command": "/bin/sh", "args": []any{"-c", script}},
		KillTimeout: structs.Ptr(2 * time.Second), Resources: &structs.Resources{CPU: structs.Ptr(100), MemoryMB: structs.Ptr(64)}}
	job := &structs.Job{ID: "job", Name: "job", Namespace: "default", Region: "global", Type: kind, TaskGroups: []*structs.TaskGroup{{Name: "g", Tasks: []*structs.Task{task}}}}
	job.Canonicalize()
	return &structs.Allocation{
		ID: id, Name: "job.g[0]", Namespace: "default", JobID: "job", Job: job, TaskGroup: "g", DesiredStatus: structs.AllocDesiredStatusRun,
		ClientStatus: structs.AllocClientStatusPending, AllocatedResources: &structs.AllocatedResources{Tasks: map[string]*structs.AllocatedTaskResources{
			"main": {Cpu: structs.AllocatedCpuResources{CpuShares: 100}, Memory: structs.AllocatedMemoryResources{MemoryMB: 64}}}},
	}
}

// Ids of allocations are this run's own: cgroups are known by them, and another
// run on the machine would end our tasks.
var firstID, secondID, thirdID, fourthID = idOf(1), idOf(2), idOf(3), idOf(4)

// idOf is the id of the n-th allocation of this run.
func idOf(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, os.Getpid()) }

// fails checks the whole text of an error.
func fails(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// TestServiceOverTheAPI runs a service and looks at it through every route.
func TestServiceOverTheAPI(t *testing.T) {
	s := newServers()
	n := start(t, shortDir(t), s, true)
	s.put(shell(firstID, structs.JobTypeService, `echo hello; echo oops >&2; trap 'echo hup' HUP; while :; do sleep 0.05; done`))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fs := n.http.FS()

	waitLog := func(kind, want string) {
		t.Helper()
		r, err := fs.Logs(ctx, api.LogsRequest{AllocID: firstID, Task: "main", Type: kind, Follow: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := ""
		for !strings.Contains(got, want) {
			var buf [256]byte
			k, err := r.Read(buf[:])
			if got += string(buf[:k]); err != nil {
				t.Fatalf("log ended with %v after %q, want %q", err, got, want)
			}
		}
	}
	waitLog("stdout", "hello\n")
	waitLog("stderr", "oops\n")

	entries, err := fs.List(ctx, firstID, "/alloc/logs", nil)
	if err != nil || len(entries) < 2 || entries[0].IsDir {
		t.Errorf("%+v %v", entries, err)
	}
	info, err := fs.Stat(ctx, firstID, "/alloc/logs/main.stdout.0", nil)
	if err != nil || info.Size < 6 || info.ContentType == "" {
		t.Errorf("%+v %v", info, err)
	}
	_, err = fs.Stat(ctx, firstID, "", nil)
	fails(t, "no path", err, "Unexpected response code: 400 (must provide a file name)")
	if _, err = fs.Stat(ctx, firstID, "/none", nil); err == nil || !strings.HasPrefix(err.Error(), "Unexpected response code: 404 (") {
		t.Errorf("no such file: %v", err)
	}
	if _, err = fs.List(ctx, firstID, "/../..", nil); err == nil || !strings.Contains(err.Error(), "Path escapes the alloc directory") {
		t.Errorf("outside: %v", err)
	}
	_, err = fs.List(ctx, "abc", "/", nil)
	fails(t, "short id", err, "Unexpected response code: 400 (must provide a valid alloc id)")
	_, err = fs.List(ctx, secondID, "/", nil)
	fails(t, "unknown", err, `Unexpected response code: 404 (Unknown allocation "`+secondID+`")`)
	_, err = fs.Logs(ctx, api.LogsRequest{AllocID: firstID, Task: "other", Type: "stdout"}, nil)
	fails(t, "unknown task", err, `Unexpected response code: 400 (unknown task name "other")`)
	_, err = fs.Logs(ctx, api.LogsRequest{AllocID: firstID, Task: "main", Type: "out"}, nil)
	fails(t, "log type", err, "Unexpected response code: 400 (must provide log type (stdout/stderr))")
	_, err = fs.Logs(ctx, api.LogsRequest{AllocID: firstID, Task: "main", Type: "stdout", Origin: "middle"}, nil)
	fails(t, "origin", err, "Unexpected response code: 400 (origin must be start or end)")

	allocs := n.http.Allocations()
	var stdout strings.Builder
	code, err := allocs.Exec(ctx, &api.ExecRequest{AllocID: firstID, Task: "main", Command: []string{"/bin/sh", "-c", "cat; exit 7"}, Stdin: strings.NewReader("typed"), Stdout: &stdout}, nil)
	if err != nil || code != 7 || stdout.String() != "typed" {
		t.Errorf("exec: code %d, %q, %v", code, stdout.String(), err)
	}
	_, err = allocs.Exec(ctx, &api.ExecRequest{AllocID: secondID, Task: "main", Command: []string{"x"}}, nil)
	fails(t, "exec unknown", err, `Unknown allocation "`+secondID+`"`)
	if err := allocs.Signal(ctx, firstID, &api.AllocSignalRequest{Task: "main", Signal: "SIGHUP"}, nil); err != nil {
		t.Error(err)
	}
	waitLog("stdout", "hup\n")
	stats, err := allocs.Stats(ctx, firstID, "", nil)
	if err != nil || stats.Tasks["main"] == nil || stats.Timestamp == 0 {
		t.Errorf("%+v %v", stats, err)
	}
	if host, err := n.http.Nodes().Stats(ctx, "", nil); err != nil || host.Memory == nil || host.Memory.Total == 0 {
		t.Errorf("%+v %v", host, err)
	}
	_, err = n.http.Nodes().Stats(ctx, secondID, nil)
	fails(t, "another node", err, `Unexpected response code: 404 (Unknown node "`+secondID+`")`)

	fails(t, "restart unknown", allocs.Restart(ctx, firstID, &api.AllocRestartRequest{TaskName: "x"}, nil), "Unexpected response code: 500 (Could not find task runner for task: x)")
	if err := allocs.Restart(ctx, firstID, &api.AllocRestartRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	s.await(t, firstID, func(u *structs.AllocUpdate) bool {
		m := u.TaskStates["main"]
		return m.Restarts == 1 && m.State == structs.TaskStateRunning
	})
	s.stop(firstID)
	u := s.await(t, firstID, is(structs.AllocClientStatusComplete))
	if m := u.TaskStates["main"]; m.State != structs.TaskStateDead || m.Failed || m.FinishedAt == nil {
		t.Errorf("%+v", m)
	}
	if err := n.http.Nodes().GC(ctx, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(n.cfg.AllocDir, firstID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// TestBatch runs tasks to their end, well and badly.
func TestBatch(t *testing.T) {
	s := newServers()
	start(t, shortDir(t), s, true)
	bad := shell(secondID, structs.JobTypeBatch, "exit 3")
	bad.Job.TaskGroups[0].Tasks[0].RestartPolicy = &structs.RestartPolicy{Attempts: structs.Ptr(0), Mode: structs.Ptr("fail")}
	s.put(shell(firstID, structs.JobTypeBatch, "exit 0"))
	s.put(bad)
	s.await(t, firstID, is(structs.AllocClientStatusComplete))
	u := s.await(t, secondID, is(structs.AllocClientStatusFailed))
	var kinds []string
	for _, e := range u.TaskStates["main"].Events {
		kinds = append(kinds, e.Type)
	}
	if got := strings.Join(kinds, ", "); got != "Received, Task Setup, Started, Terminated, Not Restarting" {
		t.Errorf("events: %s", got)
	}
	missing := shell(thirdID, structs.JobTypeBatch, "")
	missing.Job.TaskGroups[0].Tasks[0].Config = map[string]any{"command": "/no/such/program"}
	missing.Job.TaskGroups[0].Tasks[0].RestartPolicy = bad.Job.TaskGroups[0].Tasks[0].RestartPolicy
	s.put(missing)
	u = s.await(t, missing.ID, is(structs.AllocClientStatusFailed))
	said := false
	for _, e := range u.TaskStates["main"].Events {
		said = said || e.Type == structs.TaskDriverFailure && strings.Contains(e.Details["driver_error"], "/no/such/program")
	}
	if !said {
		t.Errorf("no event names the missing program: %+v", u.TaskStates["main"].Events)
	}
}

// TestRestartOfTheAgent: tasks go on while there is no agent, and the next one
// finds them.
func TestRestartOfTheAgent(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	n := start(t, dir, s, false)
	s.put(shell(firstID, structs.JobTypeService, `echo $$ >> $NOMAD_TASK_DIR/pids; while :; do sleep 0.05; done`))
	s.put(shell(secondID, structs.JobTypeBatch, `while [ ! -e $NOMAD_ALLOC_DIR/end ]; do sleep 0.02; done; exit 5`))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	s.await(t, secondID, is(structs.AllocClientStatusRunning))
	id := n.Node().ID
	n.stop()
	if err := os.WriteFile(filepath.Join(dir, "alloc", secondID, "alloc", "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, s, true)
	if again.Node().ID != id {
		t.Errorf("the node has the id %s, had %s", again.Node().ID, id)
	}
	u := s.await(t, secondID, func(u *structs.AllocUpdate) bool {
		for _, e := range u.TaskStates["main"].Events {
			if e.Type == structs.TaskTerminated {
				return true
			}
		}
		return false
	})
	for _, e := range u.TaskStates["main"].Events {
		if e.Type == structs.TaskTerminated && e.Details["exit_code"] != "5" {
			t.Errorf("ended with %v", e.Details)
		}
	}
	s.stop(firstID)
	s.await(t, firstID, is(structs.AllocClientStatusComplete))
	pids, err := os.ReadFile(filepath.Join(dir, "alloc", firstID, "main", "local", "pids"))
	if err != nil || strings.Count(string(pids), "\n") != 1 {
		t.Errorf("the service was started more than once: %q, %v", pids, err)
	}
}

// TestStoppedBeforeItStarted: what the servers stopped before it came here is
// reported as done.
func TestStoppedBeforeItStarted(t *testing.T) {
	s := newServers()
	a := shell(firstID, structs.JobTypeService, "exit 0")
	a.DesiredStatus = structs.AllocDesiredStatusStop
	s.put(a)
	start(t, shortDir(t), s, true)
	u := s.await(t, firstID, is(structs.AllocClientStatusComplete))
	if u.ClientDescription != "stopped before it started" {
		t.Errorf("%+v", u)
	}
}

// TestDamagedStateOfTheClient: without its records the next agent starts all
// the same; what still ran is stopped, and started again since the servers
// want it.
func TestDamagedStateOfTheClient(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	n := start(t, dir, s, false)
	s.put(shell(firstID, structs.JobTypeService, `echo $$ > $NOMAD_ALLOC_DIR/pid; while :; do sleep 0.05; done`))
	before := s.await(t, firstID, is(structs.AllocClientStatusRunning))
	pid := filepath.Join(dir, "alloc", firstID, "alloc", "pid")
	first := otherText(t, pid, "") // "running" comes before the shell's first word
	n.stop()
	if err := os.WriteFile(filepath.Join(dir, "client", "state.log"), []byte("half a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.allocs[firstID].ClientStatus = structs.AllocClientStatusRunning // as they know it
	s.mu.Unlock()
	start(t, dir, s, true)
	s.await(t, firstID, func(u *structs.AllocUpdate) bool {
		return u.Revision > before.Revision && u.ClientStatus == structs.AllocClientStatusRunning
	})
	otherText(t, pid, first)
	awaitGone(t, "/proc/"+strings.TrimSpace(first)) // the process of the lost record
}

// awaitGone waits until a path does not exist.
func awaitGone(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); ; {
		if _, err := os.Stat(path); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s is still there", path)
		}
	}
}

// otherText waits until a file holds a whole line that is not the one before.
func otherText(t *testing.T, path, before string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); ; {
		raw, err := os.ReadFile(path)
		if text := string(raw); err == nil && strings.HasSuffix(text, "\n") && text != before {
			return text
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s holds %q, %v", path, raw, err)
		}
	}
}

// TestStickyData: the allocation that replaces another on its node finds its
// data, and only once the other has ended.
func TestStickyData(t *testing.T) {
	s := newServers()
	dir := shortDir(t)
	start(t, dir, s, true)
	sticky := func(a *structs.Allocation) *structs.Allocation {
		a.Job.TaskGroups[0].EphemeralDisk = &structs.EphemeralDisk{Sticky: true, SizeMB: structs.Ptr(10)}
		return a
	}
	s.put(sticky(shell(firstID, structs.JobTypeService, `trap 'sleep 0.2; echo last >> $NOMAD_ALLOC_DIR/data/f; exit' INT; echo local > $NOMAD_TASK_DIR/f; echo first > $NOMAD_ALLOC_DIR/data/f; while :; do sleep 0.05; done`)))
	awaitFile(t, filepath.Join(dir, "alloc", firstID, "alloc/data/f"))
	next := sticky(shell(secondID, structs.JobTypeBatch, `[ "$(cat $NOMAD_TASK_DIR/f $NOMAD_ALLOC_DIR/data/f | tr '\n' ' ')" = "local first last " ]`))
	next.PreviousAllocation = firstID
	s.put(next)
	s.stop(firstID)
	if u := s.await(t, secondID, func(u *structs.AllocUpdate) bool { return u.TaskStates["main"].State == structs.TaskStateDead }); u.ClientStatus != structs.AllocClientStatusComplete {
		t.Errorf("the second allocation did not find the data: %+v", u.TaskStates["main"].Events)
	}
}

// awaitFile waits for a file that a task writes.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	limit := time.Now().Add(patience)
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s was never written", path)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func testLogger() hclog.Logger {
	if os.Getenv("TEST_LOG") == "" {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Debug})
}
