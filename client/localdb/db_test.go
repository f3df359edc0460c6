package localdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, warning, err := Open(path, false)
	if err != nil || warning != "" {
		t.Fatalf("open: %q, %v", warning, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func alloc(id string) *structs.Allocation {
	return &structs.Allocation{ID: id, JobID: "web", Job: &structs.Job{ID: "web"}, TaskGroup: "g"}
}

func run(revision uint64) *Run {
	return &Run{Revision: revision, Began: 5, Healthy: structs.Ptr(true), Deployment: "d", Tasks: map[string]*Task{"t": {
		State: &structs.TaskState{State: structs.TaskStateRunning, Restarts: 2}, TaskID: "id",
		Handle: &driver.TaskHandle{Version: 1, DriverState: []byte{1, 2, 3}},
	}}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	must(t, db.PutAlloc(alloc("a")))
	must(t, db.PutRun("a", run(1)))
	must(t, db.PutRun("a", run(2)))
	must(t, db.PutAlloc(alloc("b")))
	must(t, db.PutAlloc(alloc("gone")))
	must(t, db.PutRun("gone", run(1)))
	must(t, db.Delete("gone"))
	must(t, db.PutRun("gone", run(2))) // last words after the end
	must(t, db.Delete("never there"))
	must(t, db.Close())
	if err := db.PutRun("a", run(3)); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	got, err := open(t, path).Records()
	want := []Record{{Alloc: alloc("a"), Run: run(2)}, {Alloc: alloc("b")}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestWritesOfManyAreGrouped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			id := fmt.Sprintf("%03d", i)
			if err := errors.Join(db.PutAlloc(alloc(id)), db.PutRun(id, run(uint64(i)))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := db.Records()
	if err != nil || len(got) != 200 || got[123].Run == nil || got[123].Run.Revision != 123 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// TestDamagedFileIsPutAside: whatever is wrong with the file, the node starts,
// says where the old one is, and can write.
func TestDamagedFileIsPutAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"foreign":   func([]byte) []byte { return []byte(strings.Repeat("no database\n", 2000)) },
		"truncated": func(b []byte) []byte { return b[:len(b)/4] },
		"zeroed": func(b []byte) []byte {
			clear(b[:8192])
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			db := open(t, path)
			for i := range 50 {
				must(t, db.PutAlloc(alloc(fmt.Sprint(i))))
			}
			must(t, db.Close())
			raw, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, damage(raw), 0o600))

			db, warning, err := Open(path, false)
			must(t, err)
			defer db.Close()
			aside, _ := filepath.Glob(path + ".bad-*")
			if len(aside) != 1 || !strings.Contains(warning, aside[0]) {
				t.Errorf("warning %q, put aside %v", warning, aside)
			}
			must(t, db.PutAlloc(alloc("new")))
			if got, err := db.Records(); err != nil || len(got) != 1 {
				t.Errorf("%d records, %v", len(got), err)
			}
		})
	}
}

// TestCutFileDoesNotEndTheProcess: wherever a file was cut, it is used or put
// aside, and the process lives. bbolt maps the file, so that a page beyond its
// end is a fault.
func TestCutFileDoesNotEndTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	for i := range 60 {
		must(t, db.PutAlloc(alloc(fmt.Sprint(i))))
		must(t, db.PutRun(fmt.Sprint(i), run(1)))
	}
	must(t, db.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		raw := whole[:1+random.IntN(len(whole)-1)]
		damaged := filepath.Join(t.TempDir(), "state.db")
		must(t, os.WriteFile(damaged, raw, 0o600))
		db, _, err := Open(damaged, false)
		if err != nil {
			continue // refused, in words
		}
		_, _ = db.Records()
		_ = db.PutAlloc(alloc("new"))
		_ = db.Delete("7")
		_ = db.Close()
	}
}

// TestDamagedRecordLeavesTheOthers flips a bit of one value.
func TestDamagedRecordLeavesTheOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	for _, id := range []string{"a", "b", "c"} {
		must(t, db.PutAlloc(alloc(id)))
	}
	must(t, db.do(func(tx *bolt.Tx) error {
		value := append([]byte(nil), tx.Bucket(allocsBucket).Get([]byte("b"))...)
		value[len(value)/2] ^= 1
		return tx.Bucket(allocsBucket).Put([]byte("b"), value)
	}))
	got, err := db.Records()
	if err == nil || !strings.Contains(err.Error(), "allocation b cannot be read") {
		t.Errorf("the damage is said as %v", err)
	}
	if len(got) != 2 || got[0].Alloc.ID != "a" || got[1].Alloc.ID != "c" {
		t.Errorf("%d records", len(got))
	}
}

func TestFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	open(t, path)
	if _, _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("opened twice: %v", err)
	}
}
