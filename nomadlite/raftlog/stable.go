package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// The stable file has magic (8 bytes), version (2), two zero bytes; then, as
// varints, the index that the log begins with, the first index of its newest
// segment, and keys with values, each after its length; at last the CRC-32C of
// all that (4).
const (
	stableName  = "stable"
	stableMagic = "nmltVOTE"
	stableHead  = 12
)

// stable is what the stable file says.
type stable struct {
	first uint64 // entries before it were deleted; 0 before the first entry
	tail  uint64 // a segment that begins here, or later, exists
	vals  map[string][]byte
}

func (s *stable) encode() []byte {
	b := append([]byte(stableMagic), version, 0, 0, 0)
	b = binary.AppendUvarint(b, s.first)
	b = binary.AppendUvarint(b, s.tail)
	for _, k := range slices.Sorted(maps.Keys(s.vals)) {
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		b = append(binary.AppendUvarint(b, uint64(len(s.vals[k]))), s.vals[k]...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readStable reads the stable file; exists is false when there is none.
func readStable(dir string) (s *stable, exists bool, err error) {
	path := filepath.Join(dir, stableName)
	s = &stable{vals: map[string][]byte{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	damage := func(at int, format string, args ...any) (*stable, bool, error) {
		return nil, false, &DamageError{Path: path, Offset: int64(at), Err: fmt.Errorf(format, args...)}
	}
	body := len(b) - 4
	if body < stableHead || string(b[:8]) != stableMagic {
		return damage(0, "it is not a Raft vote")
	}
	if crc32.Checksum(b[:body], castagnoli) != binary.LittleEndian.Uint32(b[body:]) {
		return damage(body, "its checksum is wrong")
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != version {
		return damage(8, "its format is %d, this build reads %d", v, version)
	}
	d := decoder{b: b[stableHead:body]}
	s.first, s.tail = d.number(), d.number()
	for len(d.b) > 0 {
		k := d.bytes()
		s.vals[string(k)] = d.bytes()
	}
	if d.bad {
		return damage(stableHead, "it holds something else")
	}
	return s, true, nil
}

// write replaces the stable file.
func (s *stable) write(dir string, write func(*os.File, []byte, int64) error) error {
	path := filepath.Join(dir, stableName)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := write(file, s.encode(), 0); err != nil {
		return fail(file, err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}
