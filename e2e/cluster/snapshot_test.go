package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// everyNoun writes at least one of each noun that the state has.
func everyNoun(t *testing.T, c *Cluster) {
	t.Helper()
	m := c.Servers[0]
	put := func(path string, body any) {
		t.Helper()
		if _, err := m.Do("PUT", path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	nodes, err := c.Nodes(m)
	if err != nil {
		t.Fatal(err)
	}
	put("/v1/namespace/team", map[string]any{"Name": "team", "Description": "of the test"})
	put("/v1/node/pools", map[string]any{"Name": "gpu", "Description": "of the test"})
	put("/v1/operator/scheduler/configuration", map[string]any{"SchedulerAlgorithm": "spread", "PreemptionConfig": map[string]any{"BatchSchedulerEnabled": true}})
	put("/v1/operator/autopilot/configuration", map[string]any{"CleanupDeadServers": false, "LastContactThreshold": "7s", "MaxTrailingLogs": 99, "ServerStabilizationTime": "9s", "MinQuorum": 1})
	put("/v1/var/secret/path", map[string]any{"Path": "secret/path", "Items": map[string]string{"k": "v"}})
	put("/v1/operator/keyring/rotate", nil)
	put("/v1/volume/host/create", map[string]any{"Volume": map[string]any{"Name": "shelf", "Namespace": "default", "PluginID": "mkdir", "NodeID": nodes[0].ID,
		"RequestedCapabilities": []any{map[string]any{"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}}}})

	web := rolled("web", 2, "a")
	web["Submission"] = map[string]any{"Source": "job \"web\" {}", "Format": "hcl2"}
	group := web["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["Services"] = []any{map[string]any{"Name": "web-service", "Provider": "nomad", "Address": "10.1.2.3", "PortLabel": "80"}}
	put("/v1/jobs", web)
	agenttest.Eventually(t, "the first version", c.AwaitRunning(m, "web", 2))
	group["Tasks"].([]any)[0].(map[string]any)["Env"] = map[string]any{"MARK": "b"}
	put("/v1/jobs", web)
	agenttest.Eventually(t, "a deployment's end", func() error {
		var d struct {
			JobVersion uint64
			Status     string
		}
		if _, err := m.Do("GET", "/v1/job/web/deployment", nil, &d); err != nil || d.JobVersion != 1 || d.Status != "successful" {
			return fmt.Errorf("%+v %v", d, err)
		}
		return nil
	})
	put("/v1/job/web/scale", map[string]any{"Count": 3, "Target": map[string]string{"Group": "g"}, "Message": "of the test"})
	agenttest.Eventually(t, "the third", c.AwaitRunning(m, "web", 3))
	// One that waits for a node that is not there.
	waits := Service("waits", 1)
	waits["Job"].(map[string]any)["Constraints"] = []any{map[string]any{"LTarget": "${meta.none}", "RTarget": "x", "Operand": "="}}
	put("/v1/jobs", waits)
	cron := Service("cron", 1)
	cron["Job"].(map[string]any)["Type"] = "batch"
	cron["Job"].(map[string]any)["Periodic"] = map[string]any{"Enabled": true, "SpecType": "cron", "Specs": []string{time.Now().UTC().Add(3 * time.Second).Format("5 4 15 2 1 * 2006")}} // once
	put("/v1/jobs", cron)
	agenttest.Eventually(t, "the launched child", func() error {
		var all []Alloc
		if _, err := m.Do("GET", "/v1/allocations", nil, &all); err != nil {
			return err
		}
		for _, a := range all {
			if a.ClientStatus != "running" && a.DesiredStatus == "run" {
				return fmt.Errorf("%+v", a)
			}
		}
		if len(all) != 6 { // two of the first version, three of the second, one child
			return fmt.Errorf("%d allocations", len(all))
		}
		return nil
	})
}

// nouns reads all that there is, as JSON by path.
func nouns(m *Member) (map[string]string, error) {
	out := map[string]string{}
	read := func(path string, into any) error {
		var raw json.RawMessage
		if _, err := m.Do("GET", path, nil, &raw); err != nil {
			return err
		}
		out[path] = string(raw)
		if strings.HasPrefix(path, "/v1/allocation/") {
			var err error
			if out[path], err = withoutStanding(raw); err != nil {
				return err
			}
		}
		if into != nil {
			return json.Unmarshal(raw, into)
		}
		return nil
	}
	type named struct{ ID, Name, Namespace string }
	each := func(list, one string) error {
		var all []named
		if err := read(list, &all); err != nil {
			return err
		}
		for _, x := range all {
			if x.ID == "" {
				x.ID = x.Name
			}
			if err := read(fmt.Sprintf(one, strings.ReplaceAll(x.ID, "/", "%2F")), nil); err != nil {
				return err
			}
		}
		return nil
	}
	for list, one := range map[string]string{
		"/v1/namespaces": "/v1/namespace/%s", "/v1/node/pools": "/v1/node/pool/%s", "/v1/nodes?resources=true": "/v1/node/%s",
		"/v1/jobs?namespace=*&meta=true": "/v1/job/%s", "/v1/jobs": "/v1/job/%s/versions", "/v1/jobs?per_page=100": "/v1/job/%s/summary",
		"/v1/jobs?reverse=true": "/v1/job/%s/scale", "/v1/evaluations?namespace=*": "/v1/evaluation/%s", "/v1/allocations?namespace=*": "/v1/allocation/%s",
		"/v1/deployments?namespace=*": "/v1/deployment/%s", "/v1/volumes?type=host": "/v1/volume/host/%s",
	} {
		if err := each(list, one); err != nil {
			return nil, err
		}
	}
	for _, path := range []string{
		"/v1/job/web/submission?version=0", "/v1/vars", "/v1/var/secret/path", "/v1/services?namespace=*", "/v1/service/web-service", "/v1/scaling/policies",
		"/v1/operator/scheduler/configuration", "/v1/operator/autopilot/configuration", "/v1/operator/keyring/keys", "/.well-known/jwks.json",
	} {
		if err := read(path, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// withoutStanding is an allocation without what its copy of the job says of the
// job's standing: it is that of the placement before a restore, and that of the
// saved version after it. The version itself is compared whole.
func withoutStanding(raw []byte) (string, error) {
	var a map[string]any
	if err := json.Unmarshal(raw, &a); err != nil {
		return "", err
	}
	if job, ok := a["Job"].(map[string]any); ok {
		for _, key := range []string{"Status", "StatusDescription", "Stable", "ModifyIndex"} {
			delete(job, key)
		}
	}
	text, err := json.Marshal(a)
	return string(text), err
}

// counts are the rows of each table of a saved state, as its inspection says.
func counts(t *testing.T, archive []byte) map[string]int {
	t.Helper()
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "state.snap")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "operator", "snapshot", "inspect", "-json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var shown struct{ Counts map[string]int }
	if err := json.Unmarshal(out, &shown); err != nil || len(shown.Counts) == 0 {
		t.Fatalf("%s: %v", out, err)
	}
	return shown.Counts
}

// TestSnapshotIntoEmptyCluster_D05: a saved state that has a row of every table
// is restored into another, empty cluster, whose servers then show every noun as
// it was, byte for byte; half an archive is refused, and the new cluster goes on
// placing. The first cluster's KEK was put into its data directory (D-10).
func TestSnapshotIntoEmptyCluster_D05(t *testing.T) {
	c := start(t, Options{Servers: 1, Clients: 1})
	from := c.Servers[0]
	everyNoun(t, c)
	var want map[string]string
	var archive []byte
	agenttest.Eventually(t, "a saved state between two equal looks", func() error {
		before, err := nouns(from)
		if err != nil {
			return err
		}
		resp, err := web.Get(from.Addr + "/v1/operator/snapshot")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		archive, err = io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Digest"), "sha-256=") {
			return fmt.Errorf("%s %v %w", resp.Status, resp.Header, err)
		}
		if want, err = nouns(from); err != nil {
			return err
		}
		return same(before, want)
	})
	for table, rows := range counts(t, archive) {
		if rows == 0 {
			t.Errorf("the saved state has no %s: this test shows nothing of them", table)
		}
	}

	dir := t.TempDir()
	kek, err := os.ReadFile(filepath.Join(from.Dir, "data", "server", "keyring.kek"))
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "server1", "data", "server")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "keyring.kek"), kek, 0o600); err != nil {
		t.Fatal(err)
	}
	to := startIn(t, dir, Options{Servers: 3})
	put := func(body []byte) int {
		req, err := http.NewRequest("PUT", to.Servers[0].Addr+"/v1/operator/snapshot", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := put(archive[:len(archive)/2]); got != 400 {
		t.Errorf("half an archive: %d", got)
	}
	if got := put(archive); got != 200 {
		t.Fatalf("restore: %d", got)
	}
	for _, m := range to.Servers {
		agenttest.Eventually(t, "the nouns on "+m.Name, func() error {
			have, err := nouns(m)
			if err != nil {
				return err
			}
			return same(want, have)
		})
	}
	// A client registers with the new state, and what is new is placed.
	if _, err := to.AddClient(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "two nodes", to.AwaitNodes(to.Servers[0], 2))
	job := Service("next", 1)
	job["Job"].(map[string]any)["Constraints"] = []any{map[string]any{"LTarget": "${node.unique.name}", "RTarget": to.Clients[0].Name, "Operand": "="}}
	if _, err := to.Servers[0].Do("PUT", "/v1/jobs", job, nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "new work runs", to.AwaitRunning(to.Servers[0], "next", 1))
}

// same says what differs between two looks at all nouns.
func same(want, have map[string]string) error {
	for path, text := range want {
		if have[path] != text {
			at := 0
			for at < min(len(text), len(have[path])) && text[at] == have[path][at] {
				at++
			}
			around := func(s string) string { return s[min(max(at-150, 0), len(s)):min(at+150, len(s))] }
			return fmt.Errorf("%s:\nwant ...%s...\nhave ...%s...", path, around(text), around(have[path]))
		}
	}
	if len(want) != len(have) {
		return fmt.Errorf("%d paths, want %d", len(have), len(want))
	}
	return nil
}
