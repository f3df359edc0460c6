package docker

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// bridged is a job whose three tasks share a group's network: a server in a
// container, one that asks it over the loopback from another container, and one
// that does from a program of the host.
func (a *agent) bridged(id string) {
	a.t.Helper()
	ask := `while :; do /bin/busybox wget -q -O - http://127.0.0.1:8080/; sleep 0.2; done`
	task := func(name, driver string, config object) object {
		return object{"Name": name, "Driver": driver, "Config": config, "Resources": object{"CPU": 20, "MemoryMB": 32}, "KillTimeout": int64(time.Second), "LogConfig": object{"MaxFiles": 2, "MaxFileSizeMB": 10}}
	}
	inside := func(script string) object {
		config := sh(script)
		config["image"] = Image
		return config
	}
	a.run(id, "service", object{}, object{
		"Networks": []any{object{"Mode": "bridge", "DynamicPorts": []any{object{"Label": "http", "To": 8080}}}},
		"Tasks": []any{
			task("server", "docker", inside(`echo "hello from $NOMAD_TASK_NAME" >/local/index.html; exec /bin/busybox httpd -f -p 8080 -h /local`)),
			task("t", "docker", inside(ask)),
			task("program", "raw_exec", sh(ask)),
		},
	})
}

// TestGroupBridge_B50_B57: containers and programs of a group share its bridge
// network, talk over the loopback, and are reached by the mapped port; that
// holds over the death of the agent and of the driver, and ends with the group.
func TestGroupBridge_B50_B57(t *testing.T) {
	a := newBridgedAgent(t)
	a.bridged("trio")
	al := a.await("trio", "running")
	a.served(al.ID)
	joined := "container:" + a.sandbox(al.ID)
	for _, name := range []string{"server-", "t-"} {
		c, err := engine.ContainerInspect(t.Context(), name+al.ID)
		if err != nil || string(c.HostConfig.NetworkMode) != joined {
			t.Errorf("%s: %v, %v; want %s", name, c.HostConfig, err, joined)
		}
	}

	// Agent and driver die: the same network goes on.
	driver := a.plugin()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(driver, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := a.Again(); err != nil {
		t.Fatal(err)
	}
	a.served(al.ID)
	if now := "container:" + a.sandbox(al.ID); now != joined {
		t.Errorf("another network container: %s, was %s", now, joined)
	}

	// The group ends, and with it container, namespace and rules.
	if out, code := a.cli("job", "stop", "-detach", "trio"); code != 0 {
		t.Errorf("stop: %s", out)
	}
	a.await("trio", "complete")
	a.noNetwork(al.ID)
}

// TestGroupContainersRemoved_B50_B57: whichever containers of a group are
// removed behind our back, as the agent runs or while there is none, its end
// leaves nothing.
func TestGroupContainersRemoved_B50_B57(t *testing.T) {
	a := newBridgedAgent(t)
	for i, tt := range []struct {
		removed []string
		away    bool // while there is no agent
	}{
		{[]string{"nomad_init_"}, false},
		{[]string{"server-", "nomad_init_"}, false},
		{[]string{"server-", "t-", "nomad_init_"}, true},
	} {
		id := fmt.Sprintf("trio%d", i)
		a.bridged(id)
		al := a.await(id, "running")
		a.served(al.ID) // all of them run
		if tt.away {
			if err := a.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range tt.removed {
			if err := engine.ContainerRemove(t.Context(), name+al.ID, container.RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
		}
		if tt.away {
			if err := a.Again(); err != nil {
				t.Fatal(err)
			}
		}
		if out, code := a.cli("job", "stop", "-detach", id); code != 0 {
			t.Errorf("stop: %s", out)
		}
		agenttest.Eventually(t, "the allocation to end", func() error {
			var list []allocation
			if err := a.Get("/v1/job/"+id+"/allocations", &list); err != nil || len(list) == 0 {
				return fmt.Errorf("%v, %v", list, err)
			}
			for _, al := range list {
				if al.ClientStatus == "running" || al.ClientStatus == "pending" {
					return fmt.Errorf("%s is %s", al.ID, al.ClientStatus)
				}
			}
			return nil
		})
		a.noNetwork(al.ID)
	}
}

// newBridgedAgent is an agent whose node offers bridge networks.
func newBridgedAgent(t *testing.T) *agent {
	t.Helper()
	a := newAgent(t, "")
	var node []struct {
		ID            string
		NodeResources struct{ NodeNetworks []struct{ Mode string } }
	}
	if err := a.Get("/v1/nodes?resources=true", &node); err != nil {
		t.Fatal(err)
	}
	if modes := fmt.Sprint(node); !strings.Contains(modes, "{bridge}") {
		t.Skip("the node has no bridge network: the CNI plugins are not installed (containernetworking-plugins)")
	}
	return a
}

// served checks each way to the server.
func (a *agent) served(alloc string) {
	a.t.Helper()
	const want = "hello from server\n"
	for _, task := range []string{"t", "program"} {
		seen := a.taskLogs(alloc, task)
		agenttest.Eventually(a.t, task+" to hear the server over the loopback", func() error {
			if now := a.taskLogs(alloc, task); len(now) <= len(seen) || !strings.HasSuffix(now, want) {
				return fmt.Errorf("%q", now)
			}
			return nil
		})
	}
	var found struct {
		AllocatedResources struct {
			Shared struct {
				Ports []struct {
					HostIP    string
					Value, To int
				}
			}
		}
	}
	if err := a.Get("/v1/allocation/"+alloc, &found); err != nil || len(found.AllocatedResources.Shared.Ports) != 1 {
		a.t.Fatalf("%+v, %v", found, err)
	}
	port := found.AllocatedResources.Shared.Ports[0]
	agenttest.Eventually(a.t, "the mapped port", func() error {
		resp, err := http.Get(fmt.Sprintf("http://%s:%d/", port.HostIP, port.Value))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != want {
			return fmt.Errorf("%q, %v", text, err)
		}
		return nil
	})
}

func (a *agent) taskLogs(alloc, task string) string {
	var text string
	_ = a.Get("/v1/client/fs/logs/"+alloc+"?task="+task+"&plain=true&type=stdout", &text)
	return text
}

// sandbox is the container that holds an allocation's network.
func (a *agent) sandbox(alloc string) string {
	a.t.Helper()
	c, err := engine.ContainerInspect(a.t.Context(), "nomad_init_"+alloc)
	if err != nil {
		a.t.Fatal(err)
	}
	return c.ID
}

// noNetwork waits until nothing of an allocation's network is left.
func (a *agent) noNetwork(alloc string) {
	a.t.Helper()
	agenttest.Eventually(a.t, "the network to be gone", func() error {
		list, err := engine.ContainerList(a.t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "com.hashicorp.nomad.alloc_id="+alloc))})
		if err != nil || len(list) > 0 {
			return fmt.Errorf("containers %v, %v", list, err)
		}
		rules, err := exec.Command("iptables-save").Output()
		if err != nil {
			return err
		}
		if strings.Contains(string(rules), alloc) {
			return fmt.Errorf("rules of %s are left", alloc)
		}
		return nil
	})
}

// TestAbandonedStarts_B50: a caller that gives up at any moment of a start
// leaves no container behind.
func TestAbandonedStarts_B50(t *testing.T) {
	d := newDriver(t, nil)
	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*8*time.Millisecond)
		cfg := newTask(t, d, sh("sleep 1000"))
		spec, _, err := d.CreateNetwork(ctx, cfg.AllocID, "")
		cancel()
		if err == nil {
			if err := d.DestroyNetwork(t.Context(), cfg.AllocID, spec); err != nil {
				t.Error(err)
			}
		}
	}
	agenttest.Eventually(t, "no container to be left", func() error {
		if found := left(t, "unit"); len(found) > 0 {
			return fmt.Errorf("%v", found)
		}
		return nil
	})
}
