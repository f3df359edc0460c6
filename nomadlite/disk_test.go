package nomadlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// TestHalfWrittenLog cuts the last entry of the log as a crash in the middle
// of a write would: the server starts, with everything before it.
func TestHalfWrittenLog(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	for _, id := range []string{"first", "second"} {
		s.register(testJob(id, structs.JobTypeService))
	}
	stop()
	segments, err := filepath.Glob(filepath.Join(dir, "raft", "log", "log-*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("log segments %v, %v", segments, err)
	}
	last := slices.Max(segments)
	raw, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	end := len(strings.TrimRight(string(raw), "\x00"))
	if err := os.Truncate(last, int64(end-24)); err != nil {
		t.Fatal(err)
	}
	again, _ := startServer(t, dir)
	if err := again.ReadBarrier(again.context()); err != nil {
		t.Fatal(err)
	}
	if again.store.Snapshot().Job("default", "first") == nil {
		t.Error("what stood before the last entry is lost")
	}
	again.register(testJob("third", structs.JobTypeService))
}

// faultyDisk fails every write after the first few.
type faultyDisk struct {
	raft.LogStore
	raft.StableStore
	left *atomic.Int64
}

var errDisk = errors.New("no space left on device")

func (d *faultyDisk) fails() bool { return d.left.Add(-1) < 0 }

func (d *faultyDisk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *faultyDisk) StoreLogs(l []*raft.Log) error {
	if d.fails() {
		return errDisk
	}
	return d.LogStore.StoreLogs(l)
}

func (d *faultyDisk) Set(k, v []byte) error {
	if d.fails() {
		return errDisk
	}
	return d.StableStore.Set(k, v)
}

func (d *faultyDisk) SetUint64(k []byte, v uint64) error {
	if d.fails() {
		return errDisk
	}
	return d.StableStore.SetUint64(k, v)
}

// TestFailingDisk lets the disk fail after any number of writes: the server
// ends with that error, and after a restart everything that it acknowledged is
// there.
func TestFailingDisk(t *testing.T) {
	for _, writes := range []int64{0, 1, 3, 6, 10, 15, 25} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			dir := t.TempDir()
			left := new(atomic.Int64)
			left.Store(writes)
			cfg := Config{Name: "test", DataDir: dir, RPCAddr: "127.0.0.1:4647", NumSchedulers: 1}
			cfg.wrapStores = func(l raft.LogStore, s raft.StableStore) (raft.LogStore, raft.StableStore) {
				d := &faultyDisk{LogStore: l, StableStore: s, left: left}
				return d, d
			}
			acked, ended := runUntilBroken(t, cfg)
			if ended == nil || !strings.Contains(ended.Error(), errDisk.Error()) && !strings.Contains(ended.Error(), errStoreFailed.Error()) {
				t.Fatalf("the server ended with %v", ended)
			}
			again, _ := startServer(t, dir)
			if err := again.ReadBarrier(again.context()); err != nil {
				t.Fatal(err)
			}
			for _, id := range acked {
				if again.store.Snapshot().Job("default", id) == nil {
					t.Errorf("job %q was acknowledged and is lost", id)
				}
			}
		})
	}
}

// runUntilBroken registers jobs until the server has ended.
func runUntilBroken(t *testing.T, cfg Config) (acked []string, ended error) {
	srv, err := New(cfg)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() { done <- srv.Run(ctx) }()
	for i := 0; ; i++ {
		select {
		case err := <-done:
			return acked, err
		default:
		}
		id := fmt.Sprint("job-", i)
		job := testJob(id, structs.JobTypeService)
		if _, err := srv.RegisterJob(ctx, &api.JobRegisterRequest{Job: job}); err == nil {
			acked = append(acked, id)
		} else if ctx.Err() != nil {
			t.Fatal("the server goes on without its disk")
		}
	}
}

// TestDamagedSnapshot: a snapshot that is not what was written is refused with
// its path and the place, and the state is untouched.
func TestDamagedSnapshot(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	s.register(testJob("web", structs.JobTypeService))
	if err := s.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	stop()
	snapshots := filepath.Join(dir, "raft", "snapshots")
	names, err := filepath.Glob(filepath.Join(snapshots, "*", "state.bin"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	good, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(filepath.Dir(names[0]), "meta.json")
	goodMeta, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 4
	for what, c := range map[string]struct {
		state, meta []byte
		want        []string
	}{
		"bit flip":     {flipped, goodMeta, []string{names[0], "offset", "checksum"}},
		"cut":          {good[:len(good)-9], goodMeta, []string{names[0], "offset", "cut short"}},
		"another file": {[]byte("hello"), goodMeta, []string{names[0], "header"}},
		"other index":  {good, []byte(strings.Replace(string(goodMeta), `"Index":`, `"Index":1`, 1)), []string{meta, "damaged"}},
		"no meta":      {good, nil, []string{meta, "damaged"}},
	} {
		t.Run(what, func(t *testing.T) {
			if err := errors.Join(os.WriteFile(names[0], c.state, 0o600), os.WriteFile(meta, c.meta, 0o600)); err != nil {
				t.Fatal(err)
			}
			_, err := New(Config{Name: "test", DataDir: dir, RPCAddr: "127.0.0.1:4647", NumSchedulers: 1})
			if err == nil {
				t.Fatal("the server starts")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			store := state.New(state.Options{})
			before := store.Snapshot().Hash()
			if err := restoreNewest(snapshots, fsm.New(store, hclog.NewNullLogger(), nil)); err == nil || store.Snapshot().Hash() != before {
				t.Errorf("the state was touched, %v", err)
			}
		})
	}
	if err := errors.Join(os.WriteFile(names[0], good, 0o600), os.WriteFile(meta, goodMeta, 0o600)); err != nil {
		t.Fatal(err)
	}
	again, _ := startServer(t, dir)
	if err := again.ReadBarrier(again.context()); err != nil {
		t.Fatal(err)
	}
	if again.store.Snapshot().Job("default", "web") == nil {
		t.Error("the job is lost")
	}
}
