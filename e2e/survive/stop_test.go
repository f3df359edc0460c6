package survive

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// stubborn has a task of each driver that notes the signals it gets and lives on,
// with a child in a session of its own that ignores them.
const stubborn = `{"Job": {"ID": "stubborn", "TaskGroups": [%s]}}`

const stubbornGroup = `{"Name": %q, "EphemeralDisk": {"SizeMB": 30}, "ShutdownDelay": %d, "Tasks": [{
  "Name": "t", "Driver": %q, "KillSignal": "SIGUSR1", "KillTimeout": %d,
  "Resources": {"CPU": 1, "MemoryMB": 20}, "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10},
  "Config": {"command": "/bin/sh", "args": ["-c", %q]}}]}`

const stubbornScript = `trap 'date +%s.%N >> $NOMAD_TASK_DIR/told' USR1; trap 'echo term >> $NOMAD_TASK_DIR/told' TERM INT
setsid /bin/sh -c 'trap "" USR1 TERM INT HUP; while :; do sleep 0.1; done' &
touch $NOMAD_TASK_DIR/ready; while :; do sleep 0.1; done`

const (
	shutdownDelay = 300 * time.Millisecond
	killTimeout   = time.Second
	// stopLimit is how long after its kill_timeout a task may have processes.
	stopLimit = 30 * time.Second
)

// alive are the processes that a task left or has, by the mark in their
// environment.
func alive(alloc string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range all {
		env, _ := os.ReadFile(file)
		if strings.Contains("\x00"+string(env), "\x00NOMAD_ALLOC_ID="+alloc+"\x00") {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}

// TestStop_I10: a task that is stopped keeps its services' time (shutdown_delay),
// gets its kill_signal once and no other, has its kill_timeout, and then nothing
// of its tree is left, though all of it ignores signals.
func TestStop_I10(t *testing.T) {
	needRoot(t)
	a := agenttest.New(t, true)
	awaitDrivers(t, a)
	drivers := []string{"raw_exec", "exec"}
	groups := make([]string, len(drivers))
	for i, driver := range drivers {
		groups[i] = fmt.Sprintf(stubbornGroup, driver, shutdownDelay.Nanoseconds(), driver, killTimeout.Nanoseconds(), stubbornScript)
	}
	put(t, a, fmt.Sprintf(stubborn, strings.Join(groups, ",")))
	var list []alloc
	local := func(a2 alloc, file string) string { return filepath.Join(a.Dir, "data/alloc", a2.ID, "t/local", file) }
	agenttest.Eventually(t, "all tasks set up", func() error {
		var err error
		if list, err = allocsOf(a, "stubborn"); err != nil || len(list) != len(drivers) {

			return fmt.Errorf("%d allocations (%v)", len(list), err)
		}
		for _, one := range list {
			if _, err := os.Stat(local(one, "ready")); err != nil {
				return err
			}
		}
		return nil
	})
	for _, one := range list {
		if n := len(alive(one.ID)); n < 2 {
			t.Fatalf("%s has %d processes, want the task and its child", one.Name, n)
		}
	}
	stopped := time.Now()
	if out, code := a.CLI(t, "job", "stop", "-detach", "stubborn"); code != 0 {
		t.Fatal(out)
	}
	agenttest.Within(t, shutdownDelay+killTimeout+stopLimit, "no process of the tasks", func() error {
		for _, one := range list {
			if pids := alive(one.ID); len(pids) > 0 {
				return fmt.Errorf("%s has %v", one.Name, pids)
			}
		}
		return nil
	})
	if lived := time.Since(stopped); lived < shutdownDelay+killTimeout {
		t.Errorf("the tasks were gone after %v, before their delay and timeout were over", lived)
	}
	for _, one := range list {
		raw, err := os.ReadFile(local(one, "told"))
		if err != nil {
			t.Error(err)
			continue
		}
		var seconds float64
		if _, err := fmt.Sscanf(string(raw), "%f", &seconds); err != nil || strings.Count(string(raw), "\n") != 1 {
			t.Errorf("%s was told %q, want its kill_signal once", one.Name, raw)
			continue
		}
		if after := time.Unix(0, int64(seconds*1e9)).Sub(stopped); after < shutdownDelay {
			t.Errorf("%s was told %v after the stop, before its shutdown_delay", one.Name, after)
		}
	}
	agenttest.Eventually(t, "the allocations ended", func() error {
		list, err := allocsOf(a, "stubborn")
		for _, one := range list {
			if one.ClientStatus != "complete" && one.ClientStatus != "failed" {
				return fmt.Errorf("%s is %s", one.Name, one.ClientStatus)
			}
		}
		return err
	})
}
