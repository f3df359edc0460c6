package localdb

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	path := filepath.Join(t.TempDir(), "state.log")
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
	path := filepath.Join(t.TempDir(), "state.log")
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
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		kept   int
	}{
		"empty":   {func([]byte) []byte { return nil }, 0},
		"foreign": {func([]byte) []byte { return []byte(strings.Repeat("no database\n", 2000)) }, 0},
		"zeroed at the front": {func(b []byte) []byte {
			clear(b[:16])
			return b
		}, 0},
		"a hole in the middle": {func(b []byte) []byte {
			clear(b[len(b)/2 : len(b)/2+10])
			return b
		}, 49},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.log")
			db := open(t, path)
			for i := range 50 {
				must(t, db.PutAlloc(alloc(fmt.Sprint(i))))
			}
			must(t, db.Close())
			raw, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, c.damage(raw), 0o600))

			db, warning, err := Open(path, false)
			must(t, err)
			aside, _ := filepath.Glob(path + ".bad-*")
			if len(aside) != 1 || !strings.Contains(warning, aside[0]) {
				t.Errorf("warning %q, put aside %v", warning, aside)
			}
			must(t, db.PutAlloc(alloc("new")))
			must(t, db.Close())
			if got, err := open(t, path).Records(); err != nil || len(got) != c.kept+1 {
				t.Errorf("%d records, %v", len(got), err)
			}
		})
	}
}

// TestCutFileLosesTheUnfinishedAlone: wherever an append was cut off, all that
// was answered before it is there.
func TestCutFileLosesTheUnfinishedAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	db := open(t, path)
	var ends []int64
	for i := range 20 {
		must(t, db.PutAlloc(alloc(fmt.Sprintf("%02d", i))))
		ends = append(ends, db.size)
	}
	must(t, db.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	damaged := filepath.Join(t.TempDir(), "state.log")
	for cut := ends[0]; cut <= int64(len(whole)); cut += 37 {
		want := 0
		for want < len(ends) && ends[want] <= cut {
			want++
		}
		must(t, os.WriteFile(damaged, whole[:cut], 0o600))
		db := open(t, damaged)
		must(t, db.PutAlloc(alloc("new")))
		must(t, db.Close())
		db = open(t, damaged)
		if got, err := db.Records(); err != nil || len(got) != want+1 {
			t.Errorf("cut at %d of %d: %d records instead of %d, %v", cut, len(whole), len(got), want+1, err)
		}
		must(t, db.Close())
	}
}

// TestDamageCostsOnlyWhatItHit flips bits anywhere: the file opens, and every
// allocation none of whose frames was hit is there as it was.
func TestDamageCostsOnlyWhatItHit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	db := open(t, path)
	for i := range 30 {
		must(t, db.PutAlloc(alloc(fmt.Sprintf("%02d", i))))
	}
	for i := range 30 {
		must(t, db.PutRun(fmt.Sprintf("%02d", i), run(uint64(i+1))))
	}
	kept := maps.Clone(db.kept)
	must(t, db.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	damaged := filepath.Join(t.TempDir(), "state.log")
	for range 100 {
		raw, hit := slices.Clone(whole), map[int]bool{}
		for range 1 + random.IntN(4) {
			at := len(magic) + random.IntN(len(whole)-len(magic))
			raw[at] ^= 1 << random.IntN(8)
			hit[at] = true
		}
		must(t, os.WriteFile(damaged, raw, 0o600))
		db, _, err := Open(damaged, false)
		must(t, err)
		got, err := db.Records()
		must(t, err)
		there := map[string]*Run{}
		for _, r := range got {
			there[r.Alloc.ID] = r.Run
		}
		for id, e := range kept {
			touched := false
			for at := range hit {
				touched = touched || e.alloc.covers(at) || e.run.covers(at)
			}
			if number, _ := strconv.Atoi(id); !touched && (there[id] == nil || there[id].Revision != uint64(number+1)) {
				t.Errorf("bits at %v: allocation %s is lost", slices.Collect(maps.Keys(hit)), id)
			}
		}
		must(t, db.Close())
	}
}

// covers says whether the span's frame holds the byte at an offset.
func (s span) covers(at int) bool {
	return int64(at) < s.at+int64(s.bytes) && int64(at) >= s.at+int64(s.bytes)-s.frame
}

// TestNewestRunIsDamaged: an older run is no stand-in for the newest.
func TestNewestRunIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	db := open(t, path)
	must(t, db.PutAlloc(alloc("a")))
	must(t, db.PutAlloc(alloc("b")))
	must(t, db.PutRun("b", run(1)))
	must(t, db.PutRun("b", run(2)))
	last := db.kept["b"].run.at
	must(t, db.Close())
	raw, err := os.ReadFile(path)
	must(t, err)
	raw[last] ^= 1
	must(t, os.WriteFile(path, raw, 0o600))
	db, warning, err := Open(path, false)
	must(t, err)
	defer db.Close()
	if want := "the run of allocation b has a wrong checksum"; !strings.Contains(warning, want) {
		t.Errorf("warning %q, want %q in it", warning, want)
	}
	if got, err := db.Records(); err != nil || len(got) != 1 || got[0].Alloc.ID != "a" {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// TestFileIsRewrittenWhenMostlyDead: the file stays within a small multiple of
// what it holds, and nothing is lost on the way.
func TestFileIsRewrittenWhenMostlyDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	db := open(t, path)
	for i := range 20 {
		must(t, db.PutAlloc(alloc(fmt.Sprintf("%02d", i))))
	}
	for i := range 12000 {
		must(t, db.PutRun(fmt.Sprintf("%02d", i%20), run(uint64(i))))
	}
	must(t, db.Delete("07"))
	if info, err := os.Stat(path); err != nil || info.Size() > 2*rewriteFrom {
		t.Errorf("%v bytes for 20 allocations, %v", info.Size(), err)
	}
	before, err := db.Records()
	must(t, err)
	must(t, db.Close())
	after, err := open(t, path).Records()
	if diff := cmp.Diff(before, after); err != nil || diff != "" || len(after) != 19 || after[18].Run.Revision != 11999 {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestFailedWriteLeavesTheFileWhole: the failure is said, and where it cannot be undone
// no later write is believed; what was answered before stays.
func TestFailedWriteLeavesTheFileWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	db := open(t, path)
	must(t, db.PutAlloc(alloc("a")))
	// A file that is only readable fails on the write, and on the cut after it.
	db.mu.Lock()
	good := db.file
	bad, err := os.Open(path)
	must(t, err)
	db.file = bad
	db.mu.Unlock()
	if err := db.PutAlloc(alloc("b")); err == nil || !strings.Contains(err.Error(), "cannot write the client's state "+path) {
		t.Errorf("the failed write: %v", err)
	}
	if err := db.PutAlloc(alloc("c")); err == nil || !strings.Contains(err.Error(), "takes no more writes") {
		t.Errorf("a write after one that could not be undone: %v", err)
	}
	db.mu.Lock()
	db.file = good
	db.mu.Unlock()
	must(t, db.Close())
	bad.Close()
	if got, err := open(t, path).Records(); err != nil || len(got) != 1 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func FuzzScan(f *testing.F) {
	whole := appendFrame([]byte(magic), kindAlloc, "a", []byte(`{"ID":"a"}`))
	f.Add(whole)
	f.Add(appendFrame(whole, kindDelete, "a", nil))
	f.Add(append([]byte(magic), whole[len(magic)+3:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		end, _, err := scan(data, func(h head, body int64, good bool) {
			if body < 0 || body+int64(h.body) > int64(len(data)) {
				t.Errorf("a body from %d of %d bytes in %d", body, h.body, len(data))
			}
		})
		if err == nil && (end < int64(len(magic)) || end > int64(len(data))) {
			t.Errorf("ends at %d of %d", end, len(data))
		}
	})
}

func TestFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.log")
	open(t, path)
	if _, _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("opened twice: %v", err)
	}
}
