package docker

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestLeastPrivileges: the driver's process has the four capabilities that it
// uses and gains no others, holds no file of the agent, and does not know what
// the agent authenticates with; with that it does all that TestJob asks.
func TestLeastPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has what could be dropped")
	}
	t.Setenv("NOMAD_TOKEN", "not-for-plugins")
	t.Setenv("SITE_SETTING", "for-plugins")
	a := newAgent(t, "")
	a.run("busy", "batch", sh("exit 0"), nil)
	a.await("busy", "complete")
	proc := fmt.Sprintf("/proc/%d/", a.plugin())
	tasks, err := os.ReadDir(proc + "task")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	const want = 1<<0 | 1<<1 | 1<<3 | 1<<5 // chown, dac_override, fowner, kill
	for _, task := range tasks {
		raw, err := os.ReadFile(proc + "task/" + task.Name() + "/status")
		if err != nil {
			continue // a thread that ended
		}
		for _, line := range []string{
			fmt.Sprintf("CapPrm:\t%016x\n", want), fmt.Sprintf("CapEff:\t%016x\n", want), fmt.Sprintf("CapBnd:\t%016x\n", want), "NoNewPrivs:\t1\n",
		} {
			if !strings.Contains(string(raw), line) {
				t.Errorf("thread %s: want %q in\n%s", task.Name(), line, raw)
			}
		}
	}
	env, err := os.ReadFile(proc + "environ")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(env); strings.Contains(text, "not-for-plugins") || !strings.Contains(text, "SITE_SETTING=for-plugins") {
		t.Errorf("environment %q", strings.ReplaceAll(text, "\x00", " "))
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, err := os.Readlink(proc + "fd/" + f.Name())
		if err == nil && strings.HasPrefix(to, a.Dir) && !strings.HasSuffix(to, "/docker.log") {
			t.Errorf("file %s is %s", f.Name(), to)
		}
	}
}
