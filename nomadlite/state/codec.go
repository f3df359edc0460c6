package state

import (
	"reflect"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// handle is the one msgpack dialect of commands and snapshots: maps sorted, so
// that equal nouns are equal bytes, and untyped numbers signed, so that a value
// is the same after any number of round trips.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.Canonical = true
	h.RawToString = true
	h.SignedInteger = true
	h.WriteExt = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	return h
}()

// encoder is kept, with its buffer: making one costs more than encoding a small
// noun.
type encoder struct {
	*codec.Encoder
	b []byte
}

// keptBuffer bounds the buffer of an encoder that is kept, in bytes.
const keptBuffer = 64 << 10

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.Encoder = codec.NewEncoderBytes(&e.b, handle)
	return e
}}

// Encode returns v, a noun or a command, as bytes. Equal values are equal
// bytes.
func Encode(v any) ([]byte, error) { return Append(nil, v) }

// Append appends v to dst as Encode would return it.
func Append(dst []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.ResetBytes(&e.b)
	if err := e.Encode(v); err != nil {
		return dst, err
	}
	dst = append(dst, e.b...)
	if cap(e.b) > keptBuffer {
		e.b = nil
	}
	return dst, nil
}

var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}

// Decode reads what Encode wrote.
func Decode(b []byte, v any) error {
	d := decoders.Get().(*codec.Decoder)
	d.ResetBytes(b)
	err := d.Decode(v)
	d.ResetBytes(nil)
	decoders.Put(d)
	return err
}
