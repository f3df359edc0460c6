package plugin

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// accelerators is an agent with the example of a device plugin, and the folder
// whose files are its accelerators.
type accelerators struct {
	*agenttest.Agent
	t   *testing.T
	dir string
}

func newAccelerators(t *testing.T) *accelerators {
	t.Helper()
	plugins := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(plugins, "fakeaccel"), "./docs/examples/fakeaccel")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	a := &accelerators{t: t, dir: t.TempDir()}
	a.set("a", "ok")
	a.set("b", "ok")
	a.set("c", "overheated")
	file := filepath.Join(t.TempDir(), "plugin.hcl")
	library := t.TempDir()
	if err := errors.Join(os.Chmod(library, 0o755), os.WriteFile(filepath.Join(library, "version"), []byte("library 7\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("plugin_dir = %q\nplugin \"fakeaccel\" {\n  config {\n    dir = %q\n    library = %q\n  }\n}\n", plugins, a.dir, library)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Agent = agenttest.New(t, true, "-config", file)
	a.health("a", true, "")
	return a
}

// set makes an accelerator, or changes what it says; it is renamed into place,
// so that nobody reads half of it.
func (a *accelerators) set(id, state string) {
	a.t.Helper()
	temp := filepath.Join(a.t.TempDir(), id)
	if err := os.WriteFile(temp, []byte(state), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(a.dir, id)); err != nil {
		a.t.Fatal(err)
	}
}

// health waits until the node says this of an accelerator.
func (a *accelerators) health(id string, healthy bool, why string) {
	a.t.Helper()
	agenttest.Eventually(a.t, "accelerator "+id, func() error {
		var nodes []struct{ ID string }
		if err := a.Get("/v1/nodes", &nodes); err != nil {
			return err
		}
		if len(nodes) != 1 {
			return fmt.Errorf("%d nodes", len(nodes))
		}
		var node struct {
			NodeResources struct {
				Devices []struct {
					Vendor, Type, Name string
					Attributes         map[string]struct {
						Int  int64
						Unit string
					}
					Instances []struct {
						ID, HealthDescription string
						Healthy               bool
					}
				}
			}
			Drivers map[string]any
		}
		if err := a.Get("/v1/node/"+nodes[0].ID, &node); err != nil {
			return err
		}
		if node.Drivers["fakeaccel"] != nil {
			return fmt.Errorf("a device plugin stands among the drivers: %v", node.Drivers)
		}
		for _, g := range node.NodeResources.Devices {
			for _, d := range g.Instances {
				memory := g.Attributes["memory"]
				if g.Vendor+"/"+g.Type+"/"+g.Name == "acme/accelerator/a1" && memory.Int == 16384 && memory.Unit == "MiB" &&
					d.ID == id && d.Healthy == healthy && d.HealthDescription == why {
					return nil
				}
			}
		}
		return fmt.Errorf("%+v", node.NodeResources.Devices)
	})
}

// run registers a job of one task that asks for accelerators and prints which
// it may see.
func (a *accelerators) run(id, ask string, count int, more string) {
	a.t.Helper()
	a.runIn("exec", id, ask, count, "echo sees $FAKEACCEL_VISIBLE_DEVICES", more)
}

// runIn is run with a driver and a command of one's own.
func (a *accelerators) runIn(driver, id, ask string, count int, command, more string) {
	a.t.Helper()
	job := fmt.Sprintf(`{"Job": {"ID": %q, "Type": "service", "TaskGroups": [{"Name": "g", "EphemeralDisk": {"SizeMB": 50}, "Tasks": [{"Name": "t", "Driver": %q,
	  "Config": {"command": "/bin/sh", "args": ["-c", %q]},
	  "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10},
	  "Resources": {"CPU": 20, "MemoryMB": 20, "Devices": [{"Name": %q, "Count": %d %s}]}}]}]}}`, id, driver, command+"; exec sleep 600", ask, count, more)
	resp, err := http.Post(a.Addr+"/v1/jobs", "application/json", strings.NewReader(job))
	if err != nil {
		a.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("register: %s", resp.Status)
	}
}

// cli runs a verb.
func (a *accelerators) cli(args ...string) string {
	a.t.Helper()
	out, code := a.CLI(a.t, args...)
	if code != 0 {
		a.t.Fatalf("%v: exit code %d\n%s", args, code, out)
	}
	return out
}

// TestDevices leads the example of a device plugin through the life of its
// devices: found, given, used, out of order, and without their plugin.
func TestDevices(t *testing.T) {
	a := newAccelerators(t)
	a.health("c", false, "overheated")

	// Both that work go to one task; what they need comes with them.
	a.run("pair", "acme/accelerator", 2, `, "Constraints": [{"LTarget": "${device.attr.memory}", "Operand": ">=", "RTarget": "8 GiB"}]`)
	pair := await(t, a.Agent, "pair", "running")
	agenttest.Eventually(t, "the task's devices", func() error {
		if out := a.cli("alloc", "logs", pair); out != "sees a,b\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	var stats struct {
		ResourceUsage struct {
			DeviceStats []struct {
				Name          string
				InstanceStats map[string]struct {
					Summary struct{ IntNumeratorVal, IntDenominatorVal int64 }
				}
			}
		}
	}
	if err := a.Get("/v1/client/allocation/"+pair+"/stats", &stats); err != nil {
		t.Fatal(err)
	}
	if d := stats.ResourceUsage.DeviceStats; len(d) != 1 || len(d[0].InstanceStats) != 2 || d[0].InstanceStats["a"].Summary.IntDenominatorVal != 16384 {
		t.Errorf("stats of the allocation: %+v", d)
	}
	if out := a.cli("node", "status", "-self", "-stats"); !strings.Contains(out, "Device Resource Utilization") || !strings.Contains(out, "acme/accelerator/a1[a]  2 / 16384 MiB") {
		t.Errorf("node status:\n%s", out)
	}

	// The third is mended: a job that waited for one gets it.
	a.run("third", "accelerator", 1, "")
	agenttest.Eventually(t, "the job to wait", func() error {
		if out := a.cli("job", "status", "third"); !strings.Contains(out, "devices") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	a.set("c", "ok")
	third := await(t, a.Agent, "third", "running")
	agenttest.Eventually(t, "the third device", func() error {
		if out := a.cli("alloc", "logs", third); out != "sees c\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})

	// Of two models, a task gets the one that it likes more, and in a jail what
	// the plugin says that it needs: a device file and a mount.
	a.set("d", "ok")
	a.set("big1", "ok")
	a.health("d", true, "")
	agenttest.Eventually(t, "the other model", func() error {
		if out := a.cli("node", "status", "-self", "-stats"); !strings.Contains(out, "acme/accelerator/a2[big1]  2 / 65536 MiB") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	a.runIn("exec", "large", "accelerator", 1, "echo sees $FAKEACCEL_VISIBLE_DEVICES; cat /usr/local/accel/version; test -c /dev/accel-big1 && echo usable; touch /usr/local/accel/x 2>/dev/null || echo read-only",
		`, "Affinities": [{"LTarget": "${device.attr.memory}", "Operand": ">=", "RTarget": "32 GiB", "Weight": 100}]`)
	large := await(t, a.Agent, "large", "running")
	agenttest.Eventually(t, "the large device", func() error {
		if out := a.cli("alloc", "logs", large); out != "sees big1\nlibrary 7\nusable\nread-only\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})

	// The plugin dies: its tasks go on, and it is started again.
	for _, p := range a.Processes() {
		if strings.HasSuffix(p.Args[0], "/fakeaccel") {
			if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.set("b", "on fire")
	a.health("b", false, "on fire")
	if now := await(t, a.Agent, "pair", "running"); now != pair {
		t.Errorf("another allocation: %s, was %s", now, pair)
	}
}
