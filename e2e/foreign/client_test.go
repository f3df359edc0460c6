// Package foreign drives nomadlite with the Go client that people already use,
// unchanged.
package foreign

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

const jobFile = `
job "foreign" {
  type = "service"
  group "g" {
    count = 2
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "echo hello from $NOMAD_ALLOC_INDEX; exec sleep 600"]
      }
      resources {
        cpu    = 10
        memory = 16
      }
    }
  }
}
`

func newClient(t *testing.T) *api.Client {
	t.Helper()
	agent := agenttest.New(t, false)
	client, err := api.NewClient(&api.Config{Address: agent.Addr})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// register parses the job file at the agent and registers it.
func register(t *testing.T, client *api.Client) *api.Job {
	t.Helper()
	job, err := client.Jobs().ParseHCL(jobFile, true)
	if err != nil {
		t.Fatal(err)
	}
	resp, _, err := client.Jobs().Register(job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.EvalID == "" || resp.JobModifyIndex == 0 {
		t.Fatalf("register answered %+v", resp)
	}
	return job
}

// running blocks on the job's allocations until all of them run.
func running(t *testing.T, client *api.Client, id string, count int) []*api.AllocationListStub {
	t.Helper()
	q := &api.QueryOptions{WaitTime: 10 * time.Second}
	deadline := time.Now().Add(agenttest.Patience)
	for time.Now().Before(deadline) {
		allocs, meta, err := client.Jobs().Allocations(id, false, q)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, a := range allocs {
			if a.ClientStatus == api.AllocClientStatusRunning {
				n++
			}
		}
		if n == count {
			return allocs
		}
		if meta.LastIndex < q.WaitIndex {
			t.Fatalf("the index went back from %d to %d", q.WaitIndex, meta.LastIndex)
		}
		q.WaitIndex = meta.LastIndex
	}
	t.Fatalf("job %q: not %d running within %v", id, count, agenttest.Patience)
	return nil
}

func TestClientRunsAJob(t *testing.T) {
	client := newClient(t)
	job := register(t, client)
	allocs := running(t, client, *job.ID, 2)

	t.Run("read", func(t *testing.T) {
		for _, stub := range allocs {
			alloc, _, err := client.Allocations().Info(stub.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			if alloc.Job == nil || *alloc.Job.ID != "foreign" || alloc.AllocatedResources == nil {
				t.Errorf("allocation %s has no job or resources: %+v", stub.ID, alloc)
			}
			if s := alloc.TaskStates["t"]; s == nil || s.State != "running" || s.StartedAt.IsZero() || len(s.Events) == 0 {
				t.Errorf("task state of %s: %+v", stub.ID, s)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		for _, stub := range allocs {
			alloc, _, err := client.Allocations().Info(stub.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("hello from %d\n", index(stub.Name))
			agenttest.Eventually(t, "logs", func() error {
				text, err := readLogs(client, alloc)
				if err == nil && text != want {
					err = fmt.Errorf("log %q, want %q", text, want)
				}
				return err
			})
		}
	})
	t.Run("exec", func(t *testing.T) { testExec(t, client, allocs[0].ID) })
	t.Run("stats", func(t *testing.T) {
		alloc, _, err := client.Allocations().Info(allocs[0].ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		usage, err := client.Allocations().Stats(alloc, nil)
		if err != nil {
			t.Fatal(err)
		}
		if usage.Tasks["t"] == nil {
			t.Errorf("no usage of the task: %+v", usage)
		}
	})
	t.Run("stop", func(t *testing.T) { testStop(t, client, *job.ID) })
}

func index(name string) int {
	var i int
	_, _ = fmt.Sscanf(name[strings.IndexByte(name, '['):], "[%d]", &i)
	return i
}

func readLogs(client *api.Client, alloc *api.Allocation) (string, error) {
	cancel := make(chan struct{})
	defer close(cancel)
	frames, errs := client.AllocFS().Logs(alloc, false, "t", "stdout", "start", 0, cancel, nil)
	var b strings.Builder
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				return b.String(), nil
			}
			b.Write(f.Data)
		case err := <-errs:
			if err == io.EOF {
				return b.String(), nil
			}
			return "", err
		}
	}
}

func testExec(t *testing.T, client *api.Client, id string) {
	alloc, _, err := client.Allocations().Info(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	code, err := client.Allocations().Exec(t.Context(), alloc, "t", false,
		[]string{"/bin/sh", "-c", "cat; echo $NOMAD_TASK_NAME; exit 7"}, strings.NewReader("in\n"), &out, &errOut, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if code != 7 || out.String() != "in\nt\n" {
		t.Errorf("exec: code %d, output %q, errors %q", code, out.String(), errOut.String())
	}
}

func testStop(t *testing.T, client *api.Client, id string) {
	if _, _, err := client.Jobs().Deregister(id, false, nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "all allocations complete", func() error {
		allocs, _, err := client.Jobs().Allocations(id, false, nil)
		if err != nil {
			return err
		}
		for _, a := range allocs {
			if a.ClientStatus != api.AllocClientStatusComplete {
				return fmt.Errorf("allocation %s is %s", a.ID, a.ClientStatus)
			}
		}
		return nil
	})
	job, _, err := client.Jobs().Info(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !*job.Stop || *job.Status != "dead" {
		t.Errorf("the job is %q, stop %v", *job.Status, *job.Stop)
	}
}

func TestClientReadsTheCluster(t *testing.T) {
	client := newClient(t)
	nodes, _, err := client.Nodes().List(nil)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %v, error %v", nodes, err)
	}
	node, _, err := client.Nodes().Info(nodes[0].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if node.HTTPAddr == "" || node.Drivers["raw_exec"] == nil || !node.Drivers["raw_exec"].Healthy {
		t.Errorf("node %+v", node)
	}
	if _, err := client.Agent().Self(); err != nil {
		t.Error(err)
	}
	if leader, err := client.Status().Leader(); err != nil || leader == "" {
		t.Errorf("leader %q, error %v", leader, err)
	}
	if _, err := client.Operator().RaftGetConfiguration(nil); err != nil {
		t.Error(err)
	}
	if _, _, err := client.Namespaces().List(nil); err != nil {
		t.Error(err)
	}
	if _, err := client.Operator().Metrics(nil); err != nil {
		t.Error(err)
	}
	if _, _, err := client.Jobs().Info("nothing", nil); err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "job not found") {
		t.Errorf("an unknown job answers %v", err)
	}
	if _, _, err := client.Search().PrefixSearch("a", "all", nil); err != nil {
		t.Error(err)
	}
}
