package raftlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

// FuzzRecord reads bodies of any content, with checksums that are right.
func FuzzRecord(f *testing.F) {
	for i := range uint64(4) {
		f.Add(appendRecord(nil, makeEntry(i+1, int(i)*50), i%2 == 0)[recordHead:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		head := make([]byte, recordHead, recordHead+len(body))
		binary.LittleEndian.PutUint32(head, uint32(len(body)))
		binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(head[:4], castagnoli))
		binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(body, castagnoli))
		b, err := record(append(head, body...))
		if err != nil {
			if len(body) > 0 && len(body) <= maxRecord {
				t.Fatalf("a record with the right checksums: %v", err)
			}
			return
		}
		l := new(raft.Log)
		last, err := decode(b, l)
		if err != nil {
			return
		}
		again := new(raft.Log)
		if l2, err := decode(appendRecord(nil, l, last), again); err != nil || l2 != last || again.Index != l.Index || again.Term != l.Term || string(again.Data) != string(l.Data) {
			t.Fatalf("written again it reads %+v (%v), not %+v", again, err, l)
		}
	})
}

// FuzzOpen opens logs whose one segment has any content: it is read or refused
// by file, and what was read can be read again.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s := mustOpen(f, dir)
	for i := range uint64(6) {
		if err := s.StoreLog(makeEntry(i+1, 40)); err != nil {
			f.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	stable, err1 := os.ReadFile(filepath.Join(dir, stableName))
	segment, err2 := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err := errors.Join(err1, err2); err != nil {
		f.Fatal(err)
	}
	f.Add(segment)
	f.Add(segment[:len(segment)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, stableName), stable, 0o600), os.WriteFile(filepath.Join(dir, segmentName(1)), content, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := open(dir, testRoom)
		if err != nil {
			var damage *DamageError
			if !errors.As(err, &damage) || damage.Path == "" {
				t.Fatalf("refused without a file: %v", err)
			}
			return
		}
		last, _ := s.LastIndex()
		for i := uint64(1); i <= last; i++ {
			if err := s.GetLog(i, new(raft.Log)); err != nil {
				t.Fatalf("entry %d of %d: %v", i, last, err)
			}
		}
		if err := s.StoreLog(makeEntry(last+1, 8)); err != nil {
			t.Fatalf("the log does not go on: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
