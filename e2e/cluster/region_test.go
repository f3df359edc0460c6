package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestRegions: two regions that were joined know each other, also after one of
// them was started again; a request for the other region, by its parameter or
// by its job, is answered there; nothing of one region shows in the other.
func TestRegions(t *testing.T) {
	home := start(t, Options{Servers: 3, Clients: 1})
	eu := start(t, Options{Servers: 1, Clients: 1, Extra: "region = \"eu\""})
	here, there := home.Servers[0], eu.Servers[0]
	if _, err := here.Do("GET", "/v1/jobs?region=eu", nil, nil); err == nil || !strings.Contains(err.Error(), "No path to region") {
		t.Errorf("a region that is not known: %v", err)
	}
	var joined struct {
		NumJoined int    `json:"num_joined"`
		Error     string `json:"error"`
	}
	if _, err := here.Do("PUT", fmt.Sprintf("/v1/agent/join?address=127.0.0.1:%d", there.RPC), nil, &joined); err != nil || joined.NumJoined != 1 {
		t.Fatalf("join: %+v, %v", joined, err)
	}
	knows := func(m *Member) func() error {
		return func() error {
			var names []string
			if _, err := m.Do("GET", "/v1/regions", nil, &names); err != nil || strings.Join(names, " ") != "eu global" {
				return fmt.Errorf("%s knows %v (%v)", m.Name, names, err)
			}
			return nil
		}
	}
	for _, m := range append(home.All(), eu.All()...) {
		agenttest.Eventually(t, "both regions on "+m.Name, knows(m))
	}

	// By the parameter, through a follower or a client; by the job; and back.
	if _, err := home.Clients[0].Do("PUT", "/v1/jobs?region=eu", Service("param", 1), nil); err != nil {
		t.Fatal(err)
	}
	job := Service("body", 1)
	job["Job"].(map[string]any)["Region"] = "eu"
	if _, err := home.Servers[1].Do("PUT", "/v1/jobs", job, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Do("PUT", "/v1/jobs?region=global", Service("back", 1), nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"param", "body"} {
		agenttest.Eventually(t, id+" runs", eu.AwaitRunning(there, id, 1))
	}
	agenttest.Eventually(t, "back runs", home.AwaitRunning(here, "back", 1))
	for path, want := range map[string]string{"/v1/jobs": "back", "/v1/jobs?region=eu": "body param", "/v1/jobs?region=global": "back"} {
		var jobs []struct{ ID string }
		if _, err := here.Do("GET", path, nil, &jobs); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, j := range jobs {
			got = append(got, j.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", path, got, want)
		}
	}
	allocs, err := eu.Running(there, "param")
	if err != nil || len(allocs) != 1 {
		t.Fatalf("%v, %v", allocs, err)
	}
	var stat []struct{ Name string }
	if _, err := here.Do("GET", "/v1/client/fs/ls/"+allocs[0].ID+"?region=eu&path=/", nil, &stat); err != nil || len(stat) == 0 {
		t.Errorf("files of an allocation in the other region: %v, %v", stat, err)
	}

	if err := there.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Do("GET", "/v1/jobs", nil, nil); err != nil {
		t.Errorf("our own region while the other is gone: %v", err)
	}
	if err := there.Again(); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "both regions again", knows(there))
}
