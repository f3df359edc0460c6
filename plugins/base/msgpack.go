package base

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// handle is how all plugins of this protocol read and write msgpack.
var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.TimeNotBuiltin = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	return h
}

// DecodeMsgpack reads configuration or driver state into the struct that v
// points to, by its `codec` tags. Empty data leaves v as it is.
func DecodeMsgpack(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	if err := codec.NewDecoderBytes(data, handle).Decode(v); err != nil {
		return fmt.Errorf("cannot decode %d bytes of msgpack into %T: %w", len(data), v, err)
	}
	return nil
}

// EncodeMsgpack is the reverse of DecodeMsgpack.
func EncodeMsgpack(v any) ([]byte, error) {
	var out []byte
	if err := codec.NewEncoderBytes(&out, handle).Encode(v); err != nil {
		return nil, fmt.Errorf("cannot encode %T as msgpack: %w", v, err)
	}
	return out, nil
}

// Decode reads the plugin's configuration into the struct that v points to, by
// its `codec` tags.
func (c *Config) Decode(v any) error { return DecodeMsgpack(c.Msgpack, v) }
