package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// Store is a raft.LogStore and raft.StableStore in a directory.
type Store struct {
	dir  string
	lock *os.File
	// write makes bytes of a file durable and keeps none; tests let it fail.
	write func(file *os.File, b []byte, at int64) error
	room  int64 // of a segment

	writer sync.Mutex // held while something changes; guards broken and buffer
	broken error      // of the first write that failed
	buffer []byte     // of the last records, whose room the next ones use

	// mu guards what follows: who writes it holds writer too, and who holds
	// writer reads it without. Reading the log does not wait for the disk.
	mu       sync.RWMutex
	segments []*segment // in order
	stable   *stable
	written  uint64 // bytes of records since Open
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
)

// Open opens the log in a directory, which it makes when it is missing. Errors
// of what is on disk are *DamageError; nothing was changed then.
func Open(dir string) (*Store, error) { return open(dir, segmentBytes) }

func open(dir string, room int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the Raft log: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the Raft log: %w", err)
	}
	s := &Store{dir: dir, lock: lock, write: writeDurably, room: room}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fail(lock, fmt.Errorf("cannot open the Raft log in %q: another process uses it: %w", dir, err))
	}
	if err := s.load(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func writeDurably(file *os.File, b []byte, at int64) error {
	if _, err := file.WriteAt(b, at); err != nil {
		return err
	}
	return unix.Fdatasync(int(file.Fd()))
}

// load reads everything, and only then cuts off what was not finished.
func (s *Store) load() error {
	var exists bool
	var err error
	if s.stable, exists, err = readStable(s.dir); err != nil {
		return err
	}
	firsts, err := s.names()
	if err != nil {
		return err
	}
	if !exists && len(firsts) > 0 {
		return &DamageError{Path: filepath.Join(s.dir, stableName), Err: errors.New("it is missing, although there is a log")}
	}
	torn := false
	for i, first := range firsts {
		var one *segment
		if one, torn, err = openSegment(filepath.Join(s.dir, segmentName(first)), first, s.room, i == len(firsts)-1); err != nil {
			return err
		}
		s.segments = append(s.segments, one)
	}
	if err := s.checkOrder(); err != nil {
		return err
	}
	return s.resume(torn)
}

// names lists the first indexes of the segments in order.
func (s *Store) names() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "log-")
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || segmentName(first) != e.Name() {
			return nil, &DamageError{Path: filepath.Join(s.dir, e.Name()), Err: errors.New("its name is not that of a segment")}
		}
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	return firsts, nil
}

// checkOrder finds segments that are missing.
func (s *Store) checkOrder() error {
	missing := func(path string, from, to uint64) error {
		return &DamageError{Path: path, Err: fmt.Errorf("entries %d to %d, which belong before it, are missing", from, to-1)}
	}
	for i, one := range s.segments {
		switch {
		case i == 0 && one.first > s.stable.first:
			return missing(one.path, s.stable.first, one.first)
		case i > 0 && one.first != s.segments[i-1].last()+1:
			return missing(one.path, s.segments[i-1].last()+1, one.first)
		}
	}
	if n := len(s.segments); s.stable.tail > 0 && (n == 0 || s.segments[n-1].first < s.stable.tail) {
		return &DamageError{Path: filepath.Join(s.dir, segmentName(s.stable.tail)), Err: errors.New("the newest segment of the log is missing")}
	}
	return nil
}

// resume opens the segments for use, without what was deleted or torn.
func (s *Store) resume(torn bool) error {
	for len(s.segments) > 0 && s.segments[0].last() < s.stable.first && (len(s.segments) > 1 || s.stable.tail == 0) {
		if err := os.Remove(s.segments[0].path); err != nil {
			return err
		}
		s.segments = s.segments[1:]
	}
	for i, one := range s.segments {
		flags := os.O_RDONLY
		if i == len(s.segments)-1 {
			flags = os.O_RDWR
		}
		file, err := os.OpenFile(one.path, flags, 0)
		if err != nil {
			return err
		}
		one.file = file
	}
	if !torn || len(s.segments) == 0 {
		return nil
	}
	newest := s.segments[len(s.segments)-1]
	if err := newest.cut(); err != nil {
		return err
	}
	if len(newest.offsets) > 0 {
		return nil
	}
	return s.write(newest.file, segmentHeader(newest.first), 0)
}

// Close closes the files.
func (s *Store) Close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.segments {
		if one.file != nil {
			_ = one.file.Close()
		}
	}
	s.segments = nil
	if s.broken == nil {
		s.broken = errors.New("the Raft log is closed")
	}
	return s.lock.Close()
}

// Written counts the bytes of the entries that were stored since Open.
func (s *Store) Written() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.written
}

// Newest counts the newest entries whose records together take at most so many
// bytes.
func (s *Store) Newest(bytes int64) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := uint64(0)
	for i := len(s.segments) - 1; i >= 0; i-- {
		one := s.segments[i]
		fit := sort.Search(len(one.offsets), func(k int) bool { return one.end-one.offsets[k] <= bytes })
		n += uint64(len(one.offsets) - fit)
		if fit > 0 {
			break
		}
		bytes -= one.end - segmentHead
	}
	return n
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.firstIndex(), nil
}

func (s *Store) firstIndex() uint64 {
	if s.lastIndex() == 0 {
		return 0
	}
	return max(s.segments[0].first, s.stable.first)
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lastIndex(), nil
}

// lastIndex is 0 for an empty log.
func (s *Store) lastIndex() uint64 {
	if len(s.segments) == 0 {
		return 0
	}
	if last := s.segments[len(s.segments)-1].last(); last >= s.stable.first && last > 0 && last >= s.segments[0].first {
		return last
	}
	return 0
}

// GetLog implements raft.LogStore.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if first := s.firstIndex(); first == 0 || index < first || index > s.lastIndex() {
		return raft.ErrLogNotFound
	}
	i, found := slices.BinarySearchFunc(s.segments, index, func(one *segment, index uint64) int {
		switch {
		case one.last() < index:
			return -1
		case one.first > index:
			return 1
		}
		return 0
	})
	if !found {
		return raft.ErrLogNotFound
	}
	return s.segments[i].read(index, l)
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *Store) IsMonotonic() bool { return true }

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. After a crash all the entries are there,
// or none.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	return s.change(func() error { return s.store(logs) })
}

// change makes a change unless an earlier one failed.
func (s *Store) change(do func() error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.broken != nil {
		return fmt.Errorf("cannot write the Raft log after an earlier failure: %w", s.broken)
	}
	if err := do(); err != nil {
		s.broken = err
		return err
	}
	return nil
}

// publish changes what readers see.
func (s *Store) publish(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// keptBuffer bounds the room that is kept for records, in bytes.
const keptBuffer = 1 << 20

func (s *Store) store(logs []*raft.Log) error {
	b, ends := s.buffer[:0], make([]int64, len(logs))
	for i, l := range logs {
		b = appendRecord(b, l, i == len(logs)-1)
		ends[i] = int64(len(b))
		if l.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("entry %d follows entry %d", l.Index, logs[0].Index+uint64(i)-1)
		}
	}
	if cap(b) <= keptBuffer {
		s.buffer = b
	}
	if err := s.ready(logs[0].Index, len(b)); err != nil {
		return err
	}
	one := s.segments[len(s.segments)-1]
	if err := s.write(one.file, b, one.end); err != nil {
		return err
	}
	s.publish(func() {
		from := one.end
		for _, end := range ends {
			one.offsets = append(one.offsets, one.end)
			one.end = from + end
		}
		s.written += uint64(len(b))
	})
	return nil
}

// ready makes sure that the newest segment takes an entry with the index and
// has room for n bytes.
func (s *Store) ready(index uint64, n int) error {
	if last := s.lastIndex(); last > 0 && index != last+1 {
		return fmt.Errorf("entry %d follows entry %d", index, last)
	}
	if i := len(s.segments) - 1; i >= 0 {
		one := s.segments[i]
		if one.first == index && len(one.offsets) == 0 || s.lastIndex() > 0 && one.end+int64(n) <= s.room {
			return nil
		}
	}
	if s.lastIndex() == 0 {
		if err := s.removeAll(index); err != nil {
			return err
		}
	}
	// The segment before the word of it: a newer one than the word is no damage.
	one, err := createSegment(s.dir, index, s.room)
	if err != nil {
		return err
	}
	s.publish(func() { s.segments = append(s.segments, one) })
	return s.note(func() { s.stable.tail = index })
}

// note changes the stable file.
func (s *Store) note(change func()) error {
	s.publish(change)
	return s.stable.write(s.dir, s.write)
}

// DeleteRange implements raft.LogStore: from the beginning or to the end.
func (s *Store) DeleteRange(from, to uint64) error {
	return s.change(func() error {
		first, last := s.firstIndex(), s.lastIndex()
		switch {
		case last == 0 || from > to || to < first || from > last:
			return nil
		case from <= first && to >= last:
			return s.removeAll(last + 1)
		case from <= first:
			return s.deleteHead(to)
		case to >= last:
			return s.deleteTail(from)
		}
		return fmt.Errorf("cannot delete entries %d to %d: the log has %d to %d", from, to, first, last)
	})
}

// deleteHead deletes the entries up to an index. The word of it comes first:
// a crash leaves files that the next Open removes.
func (s *Store) deleteHead(to uint64) error {
	if err := s.note(func() { s.stable.first = to + 1 }); err != nil {
		return err
	}
	for s.segments[0].last() <= to {
		if err := s.remove(0); err != nil {
			return err
		}
	}
	return nil
}

// removeAll deletes every entry; the log goes on with next.
func (s *Store) removeAll(next uint64) error {
	if err := s.note(func() { s.stable.first, s.stable.tail = next, 0 }); err != nil {
		return err
	}
	for len(s.segments) > 0 {
		if err := s.remove(0); err != nil {
			return err
		}
	}
	return nil
}

// deleteTail deletes the entries from an index on, of which no one was told.
func (s *Store) deleteTail(from uint64) error {
	for i := len(s.segments) - 1; s.segments[i].first > from; i-- {
		if err := s.note(func() { s.stable.tail = s.segments[i-1].first }); err != nil {
			return err
		}
		if err := s.remove(i); err != nil {
			return err
		}
	}
	i := len(s.segments) - 1
	old := s.segments[i]
	short, err := old.shortened(int(from - old.first))
	if err != nil {
		return err
	}
	s.publish(func() {
		_ = old.file.Close()
		s.segments[i] = short
	})
	return nil
}

func (s *Store) remove(i int) error {
	one := s.segments[i]
	s.publish(func() { s.segments = slices.Delete(s.segments, i, i+1) })
	_ = one.file.Close()
	return os.Remove(one.path)
}

// Set implements raft.StableStore.
func (s *Store) Set(key, val []byte) error {
	return s.change(func() error {
		return s.note(func() { s.stable.vals[string(key)] = slices.Clone(val) })
	})
}

// Get implements raft.StableStore: nil for a key that was never set.
func (s *Store) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.stable.vals[string(key)]), nil
}

// SetUint64 implements raft.StableStore.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore: 0 for a key that was never set.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	if err != nil || len(val) == 0 {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("cannot read %q of the Raft vote: it has %d bytes", key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}
