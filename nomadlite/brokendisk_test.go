package nomadlite

import (
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// failingLogs is a log whose disk can break.
type failingLogs struct {
	raft.LogStore
	broken *atomic.Bool
}

// StoreLogs implements raft.LogStore.
func (f failingLogs) StoreLogs(l []*raft.Log) error {
	if f.broken.Load() {
		return errDisk
	}
	return f.LogStore.StoreLogs(l)
}

// StoreLog implements raft.LogStore.
func (f failingLogs) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

// TestLeaderWithBrokenDisk_B87: a leader whose disk breaks leads no more; the
// others go on with everything that was acknowledged.
func TestLeaderWithBrokenDisk_B87(t *testing.T) {
	broken := map[string]*atomic.Bool{}
	all := startServersWith(t, 3, func(cfg *Config) {
		bad := &atomic.Bool{}
		broken[cfg.RPCAddr] = bad
		cfg.wrapStores = func(l raft.LogStore, s raft.StableStore) (raft.LogStore, raft.StableStore) {
			return failingLogs{l, bad}, s
		}
	})
	leader := leaderOf(t, all)
	register := func(s *testServer, id string) error {
		_, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: testJob(id, structs.JobTypeService)}, nil)
		return err
	}
	if err := register(leader, "before"); err != nil {
		t.Fatal(err)
	}
	broken[leader.cfg.RPCAddr].Store(true)
	if err := register(leader, "lost"); err == nil {
		t.Error("a write that could not be stored was acknowledged")
	}
	eventually(t, "the broken server ends", func() bool {
		select {
		case <-leader.stopped:
			return true
		default:
			return false
		}
	})
	left := rest(all, leader)
	next := leaderOf(t, left)
	if next.store.Snapshot().Job("default", "before") == nil {
		t.Error("what was acknowledged is lost")
	}
	for _, s := range left {
		if err := register(s, "after"); err != nil {
			t.Error(err)
		}
	}
}
