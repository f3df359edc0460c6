package cluster

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestMigrateDisk: when a node is drained, the data of a group that asks for it
// arrives on the next node before the first task starts; nobody else may read
// it.
func TestMigrateDisk(t *testing.T) {
	c := start(t, Options{Servers: 1, Clients: 2})
	server := c.Servers[0]
	job := Service("mover", 1)
	group := job["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["EphemeralDisk"] = map[string]any{"SizeMB": 20, "Migrate": true, "Sticky": true}
	group["Migrate"] = map[string]any{"MinHealthyTime": 100 * time.Millisecond, "MaxParallel": 1, "HealthCheck": "task_states", "HealthyDeadline": time.Minute}
	group["Tasks"].([]any)[0].(map[string]any)["Config"] = map[string]any{"command": "/bin/sh", "args": []string{"-c",
		`cat $NOMAD_ALLOC_DIR/data/who local/deep/who; mkdir -p local/deep; echo data $NOMAD_ALLOC_ID >> $NOMAD_ALLOC_DIR/data/who; echo local $NOMAD_ALLOC_ID >> local/deep/who; echo ready; exec sleep 100000`}}
	if _, err := server.Do("PUT", "/v1/jobs", job, nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "it runs", c.AwaitRunning(server, "mover", 1))
	first, err := c.Running(server, "mover")
	if err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "it wrote", func() error { _, err := c.said(server, first[0].ID, "ready"); return err })
	resp, err := web.Get(server.Addr + "/v1/client/allocation/" + first[0].ID + "/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("anybody may read the disk: %s", resp.Status)
	}
	nodes, err := c.Nodes(server)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == first[0].NodeName {
			drain := map[string]any{"DrainSpec": map[string]any{"Deadline": time.Minute}}
			if _, err := server.Do("PUT", "/v1/node/"+n.ID+"/drain", drain, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	var next Alloc
	agenttest.Eventually(t, "it runs elsewhere", func() error {
		got, err := c.Running(server, "mover")
		if err != nil || len(got) != 1 || got[0].NodeName == first[0].NodeName {
			return fmt.Errorf("%+v %v", got, err)
		}
		next = got[0]
		return nil
	})
	agenttest.Eventually(t, "the data arrived", func() error {
		text, err := c.said(server, next.ID, "ready")
		if want := "data " + first[0].ID + "\nlocal " + first[0].ID + "\nready\n"; err == nil && text != want {
			err = fmt.Errorf("it found %q, want %q", text, want)
		}
		return err
	})
}

// said is a task's output once it holds a word.
func (c *Cluster) said(m *Member, alloc, word string) (string, error) {
	resp, err := web.Get(m.Addr + "/v1/client/fs/logs/" + alloc + "?task=t&type=stdout&plain=true")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(text), word) {
		err = fmt.Errorf("%s: %q", resp.Status, text)
	}
	return string(text), err
}
