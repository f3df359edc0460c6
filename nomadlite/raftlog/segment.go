package raftlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// A segment begins with magic (8 bytes), version of the format (2), two zero
// bytes, the index of its first entry (8) and the CRC-32C of that (4).
const (
	segmentMagic = "nmltRLOG"
	version      = 1
	segmentHead  = 24
	// segmentBytes is how long a segment becomes. It is allocated at once:
	// writing into it then changes no metadata.
	segmentBytes = 64 << 20
	// newSegment is the name of a segment that is to replace another one.
	newSegment = "new-segment"
	// sector is what a disk writes as a whole.
	sector = 512
)

// segment is a file of the log.
type segment struct {
	file    *os.File
	path    string
	room    int64   // to allocate
	first   uint64  // index of the first entry
	offsets []int64 // of the records
	end     int64   // of the last record
}

func segmentName(first uint64) string { return fmt.Sprintf("log-%016x", first) }

func (s *segment) last() uint64 { return s.first + uint64(len(s.offsets)) - 1 }

// DamageError is something on disk that is not what was written.
type DamageError struct {
	Path   string
	Offset int64
	Err    error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("cannot use %q: it is damaged at offset %d: %v; restore the server's data directory from a copy, or remove it to let the server join anew",
		e.Path, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

func (s *segment) damage(offset int64, format string, args ...any) error {
	return &DamageError{Path: s.path, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// createSegment makes an empty segment that survives a crash.
func createSegment(dir string, first uint64, room int64) (*segment, error) {
	s := &segment{path: filepath.Join(dir, segmentName(first)), room: room, first: first, end: segmentHead}
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s.file = file
	if err := s.allocate(); err != nil {
		return nil, fail(file, err)
	}
	if _, err := file.WriteAt(segmentHeader(first), 0); err != nil {
		return nil, fail(file, err)
	}
	if err := file.Sync(); err != nil {
		return nil, fail(file, err)
	}
	return s, syncDir(dir)
}

func fail(file *os.File, err error) error {
	_ = file.Close()
	return err
}

// allocate gives the segment its room, in zeros.
func (s *segment) allocate() error {
	err := unix.Fallocate(int(s.file.Fd()), 0, 0, s.room)
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		if info, err := s.file.Stat(); err != nil || info.Size() >= s.room {
			return err
		}
		return s.file.Truncate(s.room)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: s.path, Err: err}
	}
	return nil
}

func segmentHeader(first uint64) []byte {
	head := make([]byte, segmentHead)
	copy(head, segmentMagic)
	binary.LittleEndian.PutUint16(head[8:], version)
	binary.LittleEndian.PutUint64(head[12:], first)
	binary.LittleEndian.PutUint32(head[20:], crc32.Checksum(head[:20], castagnoli))
	return head
}

// openSegment reads a segment as a whole. In the newest one an unfinished
// write may stand at the end: torn is set then.
func openSegment(path string, first uint64, room int64, newest bool) (s *segment, torn bool, err error) {
	s = &segment{path: path, room: room, first: first, end: segmentHead}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	if err := s.checkHead(content); err != nil {
		// A crash may come between making the file and its first write.
		if newest && len(bytes.Trim(content, "\x00")) == 0 {
			return s, true, nil
		}
		return nil, false, err
	}
	torn, err = s.scan(content, newest)
	if err != nil {
		return nil, false, err
	}
	return s, torn, nil
}

func (s *segment) checkHead(content []byte) error {
	if len(content) < segmentHead || string(content[:8]) != segmentMagic {
		return s.damage(0, "it is not a segment of a Raft log")
	}
	if v := binary.LittleEndian.Uint16(content[8:]); v != version && crc32.Checksum(content[:20], castagnoli) == binary.LittleEndian.Uint32(content[20:]) {
		return s.damage(8, "its format is %d, this build reads %d", v, version)
	}
	if !bytes.Equal(content[:segmentHead], segmentHeader(s.first)) {
		return s.damage(0, "its header does not say that it begins with entry %d", s.first)
	}
	return nil
}

// scan finds the records.
func (s *segment) scan(content []byte, newest bool) (torn bool, err error) {
	at := int64(segmentHead)
	complete := 0 // records up to the end of a write
	var l raft.Log
	for at < int64(len(content)) && len(bytes.Trim(content[at:min(at+recordHead, int64(len(content)))], "\x00")) > 0 {
		rec, err := record(content[at:])
		last := false
		if err == nil {
			if last, err = decode(rec, &l); err == nil && l.Index != s.first+uint64(len(s.offsets)) {
				err = fmt.Errorf("entry %d stands where entry %d belongs", l.Index, s.first+uint64(len(s.offsets)))
			}
		}
		if err != nil {
			if newest && s.unfinished(content, at) && !s.follows(content[at:]) {
				s.offsets = s.offsets[:complete]
				return true, nil
			}
			return false, s.damage(at, "%w", err)
		}
		s.offsets = append(s.offsets, at)
		at += int64(len(rec))
		if last {
			complete, s.end = len(s.offsets), at
		}
	}
	if rest := content[min(at, int64(len(content))):]; len(bytes.Trim(rest, "\x00")) > 0 {
		// Zeros where a record should begin, and something behind them.
		if !newest || !s.unfinished(content, at) || s.follows(rest) {
			return false, s.damage(at, "the record is missing")
		}
		torn = true
	}
	torn = torn || complete < len(s.offsets)
	if torn && !newest {
		return false, s.damage(s.end, "its last write is not finished, although the log goes on")
	}
	s.offsets = s.offsets[:complete]
	return torn, nil
}

// unfinished reports whether what begins at an offset may be a write that a
// crash ended: some sector of it still has its zeros, or the file ends first.
func (s *segment) unfinished(content []byte, at int64) bool {
	rest := content[at:]
	end := max(len(bytes.TrimRight(rest, "\x00")), extent(rest), recordHead)
	if end > len(rest) {
		return int64(len(content)) < s.room
	}
	for from := 0; from < end; {
		to := min(from+sector-int(at+int64(from))%sector, end)
		if len(bytes.Trim(rest[from:to], "\x00")) == 0 {
			return true
		}
		from = to
	}
	return false
}

// follows reports whether a later entry of this segment stands in b: then what
// is before it was finished.
func (s *segment) follows(b []byte) bool {
	from := s.first + uint64(len(s.offsets))
	used := len(bytes.TrimRight(b, "\x00"))
	var l raft.Log
	for i := 1; i+recordHead < used; i++ {
		if b[i+recordHead] > flagLast {
			continue
		}
		if index, n := binary.Uvarint(b[i+recordHead+1:]); n <= 0 || index <= from || index > from+1<<20 {
			continue
		}
		rec, err := record(b[i:])
		if err != nil {
			continue
		}
		if _, err := decode(rec, &l); err == nil {
			return true
		}
	}
	return false
}

// read reads the entry with an index that the segment has.
func (s *segment) read(index uint64, l *raft.Log) error {
	i := index - s.first
	from, to := s.offsets[i], s.end
	if i+1 < uint64(len(s.offsets)) {
		to = s.offsets[i+1]
	}
	b := make([]byte, to-from)
	if _, err := s.file.ReadAt(b, from); err != nil && err != io.EOF {
		return err
	}
	rec, err := record(b)
	if err == nil {
		_, err = decode(rec, l)
	}
	if err == nil && l.Index != index {
		err = fmt.Errorf("entry %d stands where entry %d belongs", l.Index, index)
	}
	if err != nil {
		return s.damage(from, "%w", err)
	}
	return nil
}

// cut removes what stands behind the last record, so that zeros follow.
func (s *segment) cut() error {
	if err := s.file.Truncate(s.end); err != nil {
		return err
	}
	if err := s.allocate(); err != nil {
		return err
	}
	return s.file.Sync()
}

// shortened writes the first n entries to a file of their own and puts it in
// the segment's place: after a crash one or the other is there.
func (s *segment) shortened(n int) (*segment, error) {
	b := segmentHeader(s.first)
	short := &segment{path: s.path, room: s.room, first: s.first}
	var l raft.Log
	for i := range n {
		if err := s.read(s.first+uint64(i), &l); err != nil {
			return nil, err
		}
		short.offsets = append(short.offsets, int64(len(b)))
		b = appendRecord(b, &l, i == n-1)
	}
	short.end = int64(len(b))
	dir := filepath.Dir(s.path)
	temp := filepath.Join(dir, newSegment)
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	short.file = file
	if _, err := file.WriteAt(b, 0); err != nil {
		return nil, fail(file, err)
	}
	if err := short.allocate(); err != nil {
		return nil, fail(file, err)
	}
	if err := file.Sync(); err != nil {
		return nil, fail(file, err)
	}
	if err := os.Rename(temp, s.path); err != nil {
		return nil, fail(file, err)
	}
	return short, syncDir(dir)
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
