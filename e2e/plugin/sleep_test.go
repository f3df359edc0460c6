package plugin

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestDriversSleep: a driver that few jobs need has no process while no task
// needs it, stays in the node's list with all that it told, and is there when a
// task comes.
func TestDriversSleep(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("qemu is not installed")
	}
	a := agenttest.New(t, true)
	agenttest.Eventually(t, "a node that has qemu and no process for it", func() error {
		var nodes []struct{ ID string }
		if err := a.Get("/v1/nodes", &nodes); err != nil || len(nodes) != 1 {
			return fmt.Errorf("%v, %v", nodes, err)
		}
		var node struct {
			Attributes map[string]string
			Drivers    map[string]agenttest.Driver
		}
		if err := a.Get("/v1/node/"+nodes[0].ID, &node); err != nil {
			return err
		}
		if n := serving(a, "qemu"); n != 0 || !node.Drivers["qemu"].Healthy || node.Attributes["driver.qemu.version"] == "" {
			return fmt.Errorf("%d processes, %+v, version %q", n, node.Drivers["qemu"], node.Attributes["driver.qemu.version"])
		}
		return nil
	})
	const job = `{"Job": {"ID": "machine", "Type": "batch", "TaskGroups": [{"Name": "g", "EphemeralDisk": {"SizeMB": 50},
		  "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 60000000000, "Delay": 1000000000}, "ReschedulePolicy": {"Attempts": 0, "Unlimited": false},
		  "Tasks": [{"Name": "t", "Driver": "qemu", "Config": {"image_path": "none.img"}, "Resources": {"CPU": 20, "MemoryMB": 128}, "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1}}]}]}}`
	resp, err := http.Post(a.Addr+"/v1/jobs", "application/json", strings.NewReader(job))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("register: %s", resp.Status)
	}
	await(t, a, "machine", "failed")
	var list []struct {
		TaskStates map[string]struct {
			Events []struct{ DisplayMessage string }
		}
	}
	if err := a.Get("/v1/job/machine/allocations", &list); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(list); !strings.Contains(text, "none.img") {
		t.Errorf("the driver did not say what is wrong: %s", text)
	}
	if n := serving(a, "qemu"); n != 1 {
		t.Errorf("%d processes right after a task", n)
	}
}

// serving counts the processes that serve a driver of ours.
func serving(a *agenttest.Agent, driver string) int {
	n := 0
	for _, p := range a.Processes() {
		if len(p.Args) == 3 && p.Args[1] == "plugin" && p.Args[2] == driver {
			n++
		}
	}
	return n
}
