package raftlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A record is
//
//	length of the body (4 bytes), CRC-32C of the length (4), CRC-32C of the
//	body (4), body
//
// and a body is flags (1), index, term (varints), type (1), time of appending
// in unix nanoseconds, 0 for none (varint), extensions and data, each after its
// length. Numbers of fixed size are little endian.
const (
	recordHead = 12
	// maxRecord is more than Raft sends, so that a broken length is found.
	maxRecord = 64 << 20
)

// flagLast marks the last record of a write: writes count as a whole.
const flagLast = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord adds the record of an entry to b.
func appendRecord(b []byte, l *raft.Log, last bool) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHead)...)
	flags := byte(0)
	if last {
		flags = flagLast
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, l.Index)
	b = binary.AppendUvarint(b, l.Term)
	b = append(b, byte(l.Type))
	at := int64(0)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, at)
	b = append(binary.AppendUvarint(b, uint64(len(l.Extensions))), l.Extensions...)
	b = append(binary.AppendUvarint(b, uint64(len(l.Data))), l.Data...)
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-recordHead))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start:start+4], castagnoli))
	binary.LittleEndian.PutUint32(b[start+8:], crc32.Checksum(b[start+recordHead:], castagnoli))
	return b
}

// extent is the length of the record at the beginning of b, 0 when it does not
// say one that can be believed.
func extent(b []byte) int {
	if len(b) < recordHead || crc32.Checksum(b[:4], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return 0
	}
	if n := binary.LittleEndian.Uint32(b); n > 0 && n <= maxRecord {
		return recordHead + int(n)
	}
	return 0
}

// record cuts the record at the beginning of b, of which the checksums are
// right.
func record(b []byte) ([]byte, error) {
	n := extent(b)
	switch {
	case n == 0:
		return nil, errors.New("the head of the record is broken")
	case n > len(b):
		return nil, errors.New("the record is cut short")
	case crc32.Checksum(b[recordHead:n], castagnoli) != binary.LittleEndian.Uint32(b[8:]):
		return nil, errors.New("the checksum of the record is wrong")
	}
	return b[:n], nil
}

// decode reads a record into l, which gets bytes of its own.
func decode(record []byte, l *raft.Log) (last bool, err error) {
	d := decoder{b: record[recordHead:]}
	flags := d.byte()
	*l = raft.Log{Index: d.number(), Term: d.number(), Type: raft.LogType(d.byte())}
	if at := d.signed(); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	l.Extensions = d.bytes()
	l.Data = d.bytes()
	if d.bad || len(d.b) > 0 || flags > flagLast {
		return false, errors.New("the record is not an entry of a log")
	}
	return flags == flagLast, nil
}

// decoder reads a body. What cannot be read is zero and sets bad.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := append([]byte(nil), d.b[:n]...)
	d.b = d.b[n:]
	return v
}
