package driver

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// DecodeDriverConfig reads the task's config into the struct that v points to,
// by its `codec` tags.
func (c *TaskConfig) DecodeDriverConfig(v any) error {
	return base.DecodeMsgpack(c.MsgpackConfig, v)
}

// SetDriverState stores the driver's own state of a task as msgpack.
func (h *TaskHandle) SetDriverState(v any) error {
	data, err := base.EncodeMsgpack(v)
	if err != nil {
		return err
	}
	h.DriverState = data
	return nil
}

// GetDriverState reads what SetDriverState stored.
func (h *TaskHandle) GetDriverState(v any) error {
	return base.DecodeMsgpack(h.DriverState, v)
}

// MarshalBinary is the handle as bytes for the agent's local database: its
// wire message.
func (h *TaskHandle) MarshalBinary() ([]byte, error) {
	return proto.Marshal(handleToProto(h))
}

// UnmarshalBinary is the reverse of MarshalBinary.
func (h *TaskHandle) UnmarshalBinary(data []byte) error {
	var p driverpb.TaskHandle
	if err := proto.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("cannot read a task handle of %d bytes: %w", len(data), err)
	}
	*h = *handleFromProto(&p)
	return nil
}
