package localdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// The file is a magic number and then frames, each one change:
//
//	CRC-32C of what follows up to the end of the key   4 bytes
//	CRC-32C of the body                                4
//	length of the body                                 4
//	kind                                               1
//	length of the key                                  1
//	key (an allocation's id), body
//
// Numbers are big-endian. The head has a sum of its own, so that a damaged body
// still says whose it was, and so that the next frame after damage can be found.
const (
	magic    = "nlstate1"
	headSize = 14
	// maxKey and maxBody bound what a frame may claim.
	maxKey  = math.MaxUint8
	maxBody = 64 << 20
)

// kind is what a frame changes.
type kind byte

const (
	kindAlloc  kind = iota + 1 // the body is the allocation
	kindRun                    // the body is the run
	kindDelete                 // the allocation is forgotten; no body
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the front of a frame.
type head struct {
	kind kind
	key  string
	body int // length
	sum  uint32
}

// size is the length of the whole frame.
func (h head) size() int64 { return int64(headSize + len(h.key) + h.body) }

// appendFrame appends the frame of one change to dst.
func appendFrame(dst []byte, k kind, key string, body []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, headSize)...)
	binary.BigEndian.PutUint32(dst[at+4:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint32(dst[at+8:], uint32(len(body)))
	dst[at+12], dst[at+13] = byte(k), byte(len(key))
	dst = append(dst, key...)
	binary.BigEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+4:], castagnoli))
	return append(dst, body...)
}

// parseHead reads the head at the front of data; ok is false when none stands
// there whole.
func parseHead(data []byte) (h head, ok bool) {
	if len(data) < headSize {
		return head{}, false
	}
	end := headSize + int(data[13])
	body := binary.BigEndian.Uint32(data[8:])
	if k := kind(data[12]); k < kindAlloc || k > kindDelete || len(data) < end || body > maxBody {
		return head{}, false
	}
	if crc32.Checksum(data[4:end], castagnoli) != binary.BigEndian.Uint32(data) {
		return head{}, false
	}
	return head{
		kind: kind(data[12]), key: string(data[headSize:end]),
		body: int(body), sum: binary.BigEndian.Uint32(data[4:]),
	}, true
}

// damage is a part of the file that cannot be believed.
type damage struct {
	at, bytes int64
	what      string
}

func (d damage) Error() string {
	return fmt.Sprintf("%d bytes at offset %d: %s", d.bytes, d.at, d.what)
}

var errForeign = errors.New("it does not begin as a client's state does")

// scan walks the frames of a file's content. For each whose head is whole it
// calls found with the offset of its body; good is false when the body is
// damaged. It returns the offset after the last whole frame: what follows is an
// append that a crash cut off. Damage before that is returned, not fatal.
func scan(data []byte, found func(h head, body int64, good bool)) (end int64, damaged []damage, err error) {
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		return 0, nil, errForeign
	}
	at := len(magic)
	end = int64(at)
	for at < len(data) {
		h, ok := parseHead(data[at:])
		if !ok || at+int(h.size()) > len(data) {
			next := nextFrame(data, at+1)
			if next < 0 {
				return end, damaged, nil
			}
			damaged = append(damaged, damage{at: int64(at), bytes: int64(next - at), what: "no record"})
			at = next
			continue
		}
		body := at + headSize + len(h.key)
		good := crc32.Checksum(data[body:body+h.body], castagnoli) == h.sum
		if !good {
			damaged = append(damaged, damage{at: int64(at), bytes: h.size(), what: fmt.Sprintf("the %s of allocation %s has a wrong checksum", h.kind, h.key)})
		}
		found(h, int64(body), good)
		at += int(h.size())
		end = int64(at)
	}
	return end, damaged, nil
}

// nextFrame is the offset of the next whole frame, -1 when there is none.
func nextFrame(data []byte, from int) int {
	for at := from; at+headSize <= len(data); at++ {
		if h, ok := parseHead(data[at:]); ok && at+int(h.size()) <= len(data) {
			return at
		}
	}
	return -1
}

func (k kind) String() string {
	switch k {
	case kindAlloc:
		return "record"
	case kindRun:
		return "run"
	}
	return "end"
}
