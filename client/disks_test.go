package client

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestDiskIsMeasured: a task that writes more than its group asked for is told
// once, and once again after it had made room.
func TestDiskIsMeasured(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	n := start(t, dir, s, true)
	a := shell(firstID, structs.JobTypeService, "exec sleep 600")
	a.Job.TaskGroups[0].EphemeralDisk.SizeMB = structs.Ptr(2)
	s.put(a)
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	told := func(u *structs.AllocUpdate) (n int) {
		for _, e := range u.TaskStates["main"].Events {
			if e.Type == structs.TaskDiskExceeded {
				n++
			}
		}
		return n
	}
	big := filepath.Join(dir, "alloc", firstID, "main/local/big")
	write := func(size int) {
		t.Helper()
		if err := os.WriteFile(big, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		n.lookAtDisks(t.Context())
		n.lookAtDisks(t.Context())
	}
	write(100 << 10)
	write(3 << 20)
	u := s.await(t, firstID, func(u *structs.AllocUpdate) bool { return told(u) == 1 })
	if text := event(u, structs.TaskDiskExceeded); text != "Task exceeded its disk limit of 2 MB" {
		t.Errorf("the event says %q", text)
	}
	write(100 << 10)
	write(3 << 20)
	s.await(t, firstID, func(u *structs.AllocUpdate) bool { return told(u) == 2 })
}

// TestOldLogsAndAllocationsGo: by age, but not what is written to.
func TestOldLogsAndAllocationsGo(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	n := startWith(t, dir, s, true, func(c *Client) { c.cfg.LogRetention, c.cfg.GCMaxAge = time.Hour, 2*time.Hour })
	s.put(shell(firstID, structs.JobTypeService, "exec sleep 600"))
	s.put(shell(secondID, structs.JobTypeBatch, "echo out"))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	s.await(t, secondID, is(structs.AllocClientStatusComplete))
	eventually(t, "it is over", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.runners[secondID].over()
	})
	eventually(t, "its log is written", func() bool {
		return content(filepath.Join(dir, "alloc", secondID, "alloc/logs/main.stdout.0")) == "out\n"
	})
	long := time.Now().Add(-90 * time.Minute)
	files := map[string]bool{ // and whether they stay
		firstID + "/alloc/logs/main.stdout.0": false, firstID + "/alloc/logs/main.stdout.1": false, firstID + "/alloc/logs/main.stdout.2": true,
		firstID + "/alloc/logs/main.other": true, secondID + "/alloc/logs/main.stdout.0": false,
	}
	for name := range files {
		at := filepath.Join(dir, "alloc", name)
		f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = os.Chtimes(at, long, long)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n.lookAtDisks(t.Context())
	for name, stays := range files {
		if _, err := os.Stat(filepath.Join(dir, "alloc", name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %t", name, err, stays)
		}
	}
	n.collectDue(t.Context())
	if _, err := os.Stat(filepath.Join(dir, "alloc", secondID)); err != nil {
		t.Errorf("an allocation that ended a moment ago is gone: %v", err)
	}
	if why := (room{finished: 1, maxFinished: -1, age: 3 * time.Hour, maxAge: 2 * time.Hour}).short(); why != "it ended 3h0m0s ago, gc_max_age is 2h0m0s" {
		t.Errorf("why: %q", why)
	}
}
