package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// TestStoppedRegion_B36: the servers of another region stand still, with their
// connections open. Who asks something of it is told so, a region that asks it
// for news goes on, and nothing of the own region waits.
func TestStoppedRegion_B36(t *testing.T) {
	home := start(t, Options{Servers: 1})
	eu := start(t, Options{Servers: 1, Extra: "region = \"eu\""})
	here, there := home.Servers[0], eu.Servers[0]
	if _, err := here.Do("PUT", fmt.Sprintf("/v1/agent/join?address=127.0.0.1:%d", there.RPC), nil, nil); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the other region answers", func() error {
		_, err := here.Do("GET", "/v1/jobs?region=eu", nil, nil)
		return err
	})
	if err := there.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = there.Signal(syscall.SIGCONT) })
	answers := make(chan int, 2) // statuses; 0 for none
	for _, path := range []string{"/v1/jobs?region=eu", "/v1/jobs?region=eu&index=1&wait=1s"} {
		go func() { // without a deadline of its own
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", here.HTTP, path))
			if err != nil {
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
	}
	own := func() error {
		if _, err := here.Do("PUT", "/v1/jobs", Service("web", 0), nil); err != nil {
			return err
		}
		_, err := here.Do("GET", "/v1/regions", nil, nil)
		return err
	}
	if err := own(); err != nil {
		t.Errorf("the own region: %v", err)
	}
	for range 2 {
		if status := <-answers; status < 500 {
			t.Errorf("status %d for a region that stands still", status)
		}
	}
	if err := there.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the other region answers again", func() error {
		_, err := here.Do("GET", "/v1/jobs?region=eu", nil, nil)
		if err != nil && strings.Contains(err.Error(), "No path") {
			t.Error(err)
		}
		return err
	})
}
