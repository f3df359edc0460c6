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
		after := func(d time.Duration, wantCalls int, wantStatus string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if calls, status := state(); calls != wantCalls || status != wantStatus {
				t.Errorf("%d calls, %q; want %d, %q", calls, status, wantCalls, wantStatus)
			}
		}
		// An event alone waits for the window.
		report("a", 1, "pending")
		after(reportWindow-1, 0, "")
		after(1, 1, "pending")
		time.Sleep(time.Second)
		// A change of status waits for a breath, and takes along what follows.
		report("a", 2, "running")
		report("b", 1, "running")
		report("a", 3, "complete")
		report("a", 2, "running")
		after(reportBreath-1, 1, "pending")
		after(1, 2, "complete")
		// A few may follow without a pause, then one a window is sent.
		report("a", 4, "running")
		after(reportBreath, 3, "running")
		report("a", 5, "failed")
		after(reportBreath, 4, "failed")
		report("a", 6, "running")
		after(reportBreath, 4, "failed")
		after(reportWindow, 5, "running")
		// What cannot be told is told later, unless something newer came.
		time.Sleep(time.Second)
		s.mu.Lock()
		s.fail = errors.New("no leader")
		s.mu.Unlock()
		report("a", 7, "failed")
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
