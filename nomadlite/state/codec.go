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

// encoders are kept: making one costs more than encoding a small noun.
var encoders = sync.Pool{New: func() any { return codec.NewEncoderBytes(new([]byte), handle) }}

// Encode returns v, a noun or a command, as bytes. Equal values are equal
// bytes.
func Encode(v any) ([]byte, error) {
	var b []byte
	e := encoders.Get().(*codec.Encoder)
	e.ResetBytes(&b)
	err := e.Encode(v)
	e.ResetBytes(new([]byte)) // keep nothing of the caller's
	encoders.Put(e)
	return b, err
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
