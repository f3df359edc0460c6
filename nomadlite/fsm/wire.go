package fsm

import (
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// writer builds the payload of a plan. The first error stays.
type writer struct {
	b   []byte
	one []byte // the last noun, whose room the next one uses
	err error
}

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) signed(n int64)  { w.b = binary.AppendVarint(w.b, n) }

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Forms of an id.
const (
	idNone = iota
	idUUID // 16 bytes
	idText
)

// id writes UUIDs, which most ids are, as 16 bytes.
func (w *writer) id(s string) {
	if s == "" {
		w.number(idNone)
		return
	}
	if raw, ok := parseUUID(s); ok {
		w.number(idUUID)
		w.b = append(w.b, raw[:]...)
		return
	}
	w.number(idText)
	w.text(s)
}

// noun writes a value by msgpack, with its length.
func (w *writer) noun(v any) {
	var err error
	if w.one, err = state.Append(w.one[:0], v); err != nil && w.err == nil {
		w.err = err
	}
	w.number(uint64(len(w.one)))
	w.b = append(w.b, w.one...)
}

func parseUUID(s string) (raw [16]byte, ok bool) {
	if len(s) != 36 {
		return raw, false
	}
	var digits [32]byte
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return raw, false
			}
			continue
		}
		if c >= 'A' && c <= 'F' {
			return raw, false // would come back in lower case
		}
		digits[n] = c
		n++
	}
	_, err := hex.Decode(raw[:], digits[:])
	return raw, err == nil
}

func formatUUID(raw []byte) string {
	var s [36]byte
	hex.Encode(s[:8], raw[:4])
	hex.Encode(s[9:13], raw[4:6])
	hex.Encode(s[14:18], raw[6:8])
	hex.Encode(s[19:23], raw[8:10])
	hex.Encode(s[24:], raw[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

var (
	errShort = errors.New("the payload is cut short")
	errLong  = errors.New("the payload has more than the plan")
	errValue = errors.New("the payload has a value out of range")
)

// reader reads what writer wrote, never beyond it. After an error everything
// reads as zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) signed() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[size:]
	return n
}

// below reads a number less than limit.
func (r *reader) below(limit int) int {
	n := r.number()
	if n >= uint64(limit) {
		r.fail(errValue)
		return 0
	}
	return int(n)
}

// count reads the number of items that take at least one byte each.
func (r *reader) count() int { return r.below(len(r.b) + 1) }

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text() string { return string(r.take(r.count())) }

func (r *reader) id() string {
	switch r.below(idText + 1) {
	case idUUID:
		if raw := r.take(16); raw != nil {
			return formatUUID(raw)
		}
	case idText:
		return r.text()
	}
	return ""
}

// noun reads what writer.noun wrote into v.
func (r *reader) noun(v any) {
	b := r.take(r.count())
	if r.err != nil {
		return
	}
	if err := state.Decode(b, v); err != nil {
		r.fail(err)
	}
}
