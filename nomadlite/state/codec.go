package state

import (
	"reflect"

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

// Encode returns v, a noun or a command, as bytes. Equal values are equal
// bytes.
func Encode(v any) ([]byte, error) {
	var b []byte
	err := codec.NewEncoderBytes(&b, handle).Encode(v)
	return b, err
}

// Decode reads what Encode wrote.
func Decode(b []byte, v any) error { return codec.NewDecoderBytes(b, handle).Decode(v) }
