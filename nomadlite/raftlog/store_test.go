package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// testRoom makes short segments.
const testRoom = 8 << 10

func mustOpen(t interface{ Fatal(...any) }, dir string) *Store {
	s, err := open(dir, testRoom)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeEntry(index uint64, size int) *raft.Log {
	l := &raft.Log{Index: index, Term: 1 + index/10, Type: raft.LogType(index % 2), Data: bytes.Repeat([]byte{byte(index) | 1}, size)}
	if index%3 == 0 {
		l.AppendedAt, l.Extensions = time.Unix(0, int64(index)), []byte{7}
	}
	return l
}

// content reads everything.
func content(s *Store) ([]*raft.Log, error) {
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	var all []*raft.Log
	for i := first; i <= last && first > 0; i++ {
		l := new(raft.Log)
		if err := s.GetLog(i, l); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// TestStoreAgainstSlice runs random writes, deletions at either end and
// restarts beside a slice that does the same.
func TestStoreAgainstSlice(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "log")
		if err != nil {
			r.Fatal(err)
		}
		s := mustOpen(r, dir)
		defer func() { _ = s.Close() }()
		var want []*raft.Log
		next := uint64(rapid.IntRange(1, 9).Draw(r, "begin"))
		term := uint64(0)
		for range rapid.IntRange(1, 15).Draw(r, "steps") {
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0, 1, 2:
				var batch []*raft.Log
				for range rapid.IntRange(1, 6).Draw(r, "batch") {
					batch = append(batch, makeEntry(next, rapid.IntRange(0, 3000).Draw(r, "size")))
					next++
				}
				if err := s.StoreLogs(batch); err != nil {
					r.Fatal(err)
				}
				want = append(want, batch...)
			case 3:
				if len(want) == 0 {
					continue
				}
				n := rapid.IntRange(1, len(want)).Draw(r, "head")
				if err := s.DeleteRange(want[0].Index, want[n-1].Index); err != nil {
					r.Fatal(err)
				}
				if want = want[n:]; len(want) == 0 {
					next += uint64(rapid.IntRange(0, 5).Draw(r, "gap"))
				}
			case 4:
				if len(want) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(want)-1).Draw(r, "tail")
				if err := s.DeleteRange(want[n].Index, want[len(want)-1].Index); err != nil {
					r.Fatal(err)
				}
				next, want = want[n].Index, want[:n]
			case 5:
				term++
				if err := s.SetUint64([]byte("CurrentTerm"), term); err != nil {
					r.Fatal(err)
				}
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = mustOpen(r, dir)
			}
			have, err := content(s)
			if err != nil {
				r.Fatal(err)
			}
			if d := cmp.Diff(want, have, cmp.Comparer(sameEntry)); len(want)+len(have) > 0 && d != "" {
				r.Fatal(d)
			}
			if v, err := s.GetUint64([]byte("CurrentTerm")); err != nil || v != term {
				r.Fatalf("term %d, want %d, %v", v, term, err)
			}
		}
	})
}

func sameEntry(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && a.AppendedAt.Equal(b.AppendedAt) &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}

// fill writes a log of several segments, and the votes.
func fill(t *testing.T) (dir string, logs []*raft.Log) {
	dir = t.TempDir()
	s := mustOpen(t, dir)
	if err := s.SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	next := uint64(1)
	for n := range 12 {
		var batch []*raft.Log
		for range 1 + n%4 {
			batch = append(batch, makeEntry(next, int(200+next*37%900)))
			next++
		}
		if err := s.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, batch...)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(files(t, dir)) < 4 {
		t.Fatal("the test needs several segments")
	}
	return dir, logs
}

// files are the names of the store's files.
func files(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func copyDir(t *testing.T, from string) string {
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func snapshotDir(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	for _, name := range files(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

// refuses opens a damaged store: it must name the file, and leave everything
// as it is.
func refuses(t *testing.T, dir, file string) *DamageError {
	t.Helper()
	before := snapshotDir(t, dir)
	s, err := open(dir, testRoom)
	var damage *DamageError
	if err == nil {
		_ = s.Close()
	}
	if !errors.As(err, &damage) || filepath.Base(damage.Path) != file || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", damage.Offset)) {
		t.Fatalf("damage of %s: %v", file, err)
	}
	if d := cmp.Diff(before, snapshotDir(t, dir)); d != "" {
		t.Fatalf("a refused store was changed: %s", d)
	}
	return damage
}

// TestBitFlips_F31 flips one bit at many places, one after another: each is
// refused with file and offset, or hits nothing that was written.
func TestBitFlips_F31(t *testing.T) {
	dir, want := fill(t)
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 250 {
		broken := copyDir(t, dir)
		names := files(t, broken)
		name := names[random.IntN(len(names))]
		path := filepath.Join(broken, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := random.IntN(len(b))
		b[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(broken, testRoom)
		if err != nil {
			refused++
			if damage := refuses(t, broken, name); name != stableName && (int64(at) < damage.Offset || int64(at) > damage.Offset+2000) {
				t.Errorf("%s was hit at %d, the error says %d", name, at, damage.Offset)
			}
			continue
		}
		have, err := content(s)
		_ = s.Close()
		if d := cmp.Diff(want, have, cmp.Comparer(sameEntry)); err != nil || d != "" {
			t.Fatalf("bit flip in %s at %d was not seen: %v\n%s", name, at, err, d)
		}
	}
	if refused < 60 {
		t.Errorf("only %d flips were refused", refused)
	}
}

// TestCutTail_F31 cuts the newest segment at every byte of its last writes: the
// log begins with what was there, and only whole writes are in it.
func TestCutTail_F31(t *testing.T) {
	dir, want := fill(t)
	names := files(t, dir)
	newest := names[len(names)-2] // "stable" sorts last
	whole, err := os.ReadFile(filepath.Join(dir, newest))
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(whole, "\x00"))
	for cut := max(segmentHead, end-2500); cut < end; cut += 7 {
		for _, zeros := range []bool{false, true} {
			broken := copyDir(t, dir)
			b := slices.Clone(whole[:cut])
			if at := cut / sector * sector; zeros {
				// What a disk leaves: sectors that were not written yet.
				if b = slices.Clone(whole); at < segmentHead {
					continue
				}
				clear(b[at:])
			}
			if err := os.WriteFile(filepath.Join(broken, newest), b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, broken)
			have, err := content(s)
			if err != nil || len(have) >= len(want) {
				t.Fatalf("cut at %d: %d of %d entries, %v", cut, len(have), len(want), err)
			}
			if d := cmp.Diff(want[:len(have)], have, cmp.Comparer(sameEntry)); d != "" {
				t.Fatalf("cut at %d: %s", cut, d)
			}
			if err := s.StoreLog(makeEntry(uint64(len(have)+1), 700)); err != nil {
				t.Fatalf("cut at %d: the log does not go on: %v", cut, err)
			}
			_ = s.Close()
			again := mustOpen(t, broken)
			if after, err := content(again); err != nil || len(after) != len(have)+1 {
				t.Fatalf("cut at %d: %d entries after another write, %v", cut, len(after), err)
			}
			_ = again.Close()
		}
	}
}

// TestForeignFiles_F31: files that are missing, swapped or from elsewhere are
// refused by name.
func TestForeignFiles_F31(t *testing.T) {
	dir, _ := fill(t)
	names := files(t, dir)
	segments, newest := names[:len(names)-1], names[len(names)-2]
	for what, c := range map[string]struct {
		harm func(dir string) error
		file string
	}{
		"another file": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, segments[1]), []byte("#!/bin/sh\n"), 0o600)
		}, segments[1]},
		"another name": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "log-copy"), nil, 0o600) }, "log-copy"},
		"swapped segments": {func(dir string) error {
			a, b := filepath.Join(dir, segments[0]), filepath.Join(dir, segments[1])
			return errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b))
		}, segments[0]},
		"no first segment":     {func(dir string) error { return os.Remove(filepath.Join(dir, segments[0])) }, segments[1]},
		"no middle segment":    {func(dir string) error { return os.Remove(filepath.Join(dir, segments[1])) }, segments[2]},
		"no newest segment":    {func(dir string) error { return os.Remove(filepath.Join(dir, newest)) }, newest},
		"no vote":              {func(dir string) error { return os.Remove(filepath.Join(dir, stableName)) }, stableName},
		"another vote":         {func(dir string) error { return os.WriteFile(filepath.Join(dir, stableName), []byte("{}"), 0o600) }, stableName},
		"a cut, older segment": {func(dir string) error { return os.Truncate(filepath.Join(dir, segments[0]), 700) }, segments[0]},
	} {
		t.Run(what, func(t *testing.T) {
			broken := copyDir(t, dir)
			if err := c.harm(broken); err != nil {
				t.Fatal(err)
			}
			refuses(t, broken, c.file)
		})
	}
	s := mustOpen(t, dir)
	defer s.Close()
	if _, err := open(dir, testRoom); err == nil {
		t.Error("two processes may use one log")
	}
}

// TestFailedWrites lets each write fail in turn: nothing is taken afterwards,
// and what was acknowledged before is there after a restart.
func TestFailedWrites(t *testing.T) {
	full := errors.New("no space left on device")
	for fails := range 40 {
		dir := t.TempDir()
		s := mustOpen(t, dir)
		writes := 0
		s.write = func(file *os.File, b []byte, at int64) error {
			if writes++; writes > fails {
				half := (at + int64(len(b))/2) / sector * sector // a part comes through
				_, _ = file.WriteAt(b[:max(half-at, 0)], at)
				return full
			}
			return writeDurably(file, b, at)
		}
		acked := uint64(0)
		var failed error
		for i := uint64(1); i <= 30; i++ {
			err := s.StoreLog(makeEntry(i, 900))
			switch {
			case err == nil && failed != nil:
				t.Fatalf("entry %d was taken after a failure", i)
			case err == nil:
				acked = i
			case failed == nil && !errors.Is(err, full):
				t.Fatal(err)
			default:
				failed = err
			}
		}
		if failed != nil && s.SetUint64([]byte("CurrentTerm"), 3) == nil {
			t.Fatal("a vote was taken after a failure")
		}
		_ = s.Close()
		again, err := open(dir, testRoom)
		if err != nil {
			t.Fatalf("after %d writes: %v", fails, err)
		}
		have, err := content(again)
		_ = again.Close()
		if err != nil || uint64(len(have)) < acked {
			t.Fatalf("after %d writes: %d entries, %d were acknowledged, %v", fails, len(have), acked, err)
		}
	}
}

// TestNewest: entries are counted from the end by what they take, over several
// segments.
func TestNewest(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	const size, count = 500, 60
	for i := range uint64(count) {
		if err := s.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.segments) < 3 {
		t.Fatalf("%d segments", len(s.segments))
	}
	one := int64(s.Written() / count)
	for _, n := range []int64{0, 1, 7, 20, 59} {
		if got := s.Newest(n*one + one/2); got != uint64(n) {
			t.Errorf("%d entries fit into the bytes of %d", got, n)
		}
	}
	if got := s.Newest(1 << 40); got != count {
		t.Errorf("%d of %d entries fit into everything", got, count)
	}
}

func BenchmarkStoreLog(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ResetTimer()
	for i := range b.N {
		if err := s.StoreLog(makeEntry(uint64(i+1), 200)); err != nil {
			b.Fatal(err)
		}
	}
}
