package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/structs"
)

func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers()
		r := newReporter(s, func() (string, string) { return "id", "secret" }, hclog.NewNullLogger())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.run(ctx) }()
		report := func(id string, revision uint64, status string) {
			r.add(&structs.AllocUpdate{AllocID: id, Revision: revision, ClientStatus: status})
		}
		state := func() (calls int, status string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if u := s.updates["a"]; u != nil {
				status = u.ClientStatus
			}
			return s.reports, status
		}
		report("a", 1, "pending")
		synctest.Wait()
		if calls, status := state(); calls != 1 || status != "pending" {
			t.Errorf("the first change: %d calls, %s", calls, status)
		}
		// Changes within the window travel together, the newest of each.
		report("a", 2, "running")
		report("b", 1, "running")
		report("a", 3, "complete")
		report("a", 2, "running")
		synctest.Wait()
		if calls, _ := state(); calls != 1 {
			t.Errorf("%d calls within the window", calls)
		}
		time.Sleep(reportWindow)
		synctest.Wait()
		if calls, status := state(); calls != 2 || status != "complete" {
			t.Errorf("after the window: %d calls, %s", calls, status)
		}
		// What cannot be told is told later, unless something newer came.
		time.Sleep(reportWindow)
		s.mu.Lock()
		s.fail = errors.New("no leader")
		s.mu.Unlock()
		report("a", 4, "failed")
		time.Sleep(time.Second)
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(2 * maxRetry)
		synctest.Wait()
		if _, status := state(); status != "failed" {
			t.Errorf("after an outage the servers know %s", status)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
