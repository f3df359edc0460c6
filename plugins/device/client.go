package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/devicepb"
)

// Client is a device plugin in another process: a Device. Its errors are the
// remote texts. Any number of calls may run at once.
type Client struct {
	*base.Client
	rpc devicepb.DevicePluginClient
}

// NewClient makes the host's side of a device plugin on a connection.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{Client: base.NewClient(conn), rpc: devicepb.NewDevicePluginClient(conn)}
}

var _ Device = (*Client)(nil)

// Fingerprint is Device's. It returns nil when the plugin ended the stream; a
// fingerprint that does not pass Validate ends it with an error.
func (c *Client) Fingerprint(ctx context.Context, send func([]*Group) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Fingerprint(ctx, &devicepb.FingerprintRequest{})
	if err != nil {
		return base.RemoteError(ctx, err)
	}
	return receive(ctx, stream, func(p *devicepb.FingerprintResponse) error {
		groups := groupsFromProto(p)
		if err := Validate(groups); err != nil {
			return fmt.Errorf("the device plugin sent what cannot be used: %w", err)
		}
		return send(groups)
	})
}

// Reserve is Device's.
func (c *Client) Reserve(ctx context.Context, ids []string) (*Reservation, error) {
	resp, err := c.rpc.Reserve(ctx, &devicepb.ReserveRequest{DeviceIds: ids})
	if err != nil {
		return nil, base.RemoteError(ctx, err)
	}
	return reservationFromProto(resp.GetContainerRes()), nil
}

// Stats is Device's. It returns nil when the plugin ended the stream.
func (c *Client) Stats(ctx context.Context, interval time.Duration, send func([]*GroupStats) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Stats(ctx, &devicepb.StatsRequest{CollectionInterval: durationpb.New(interval)})
	if err != nil {
		return base.RemoteError(ctx, err)
	}
	return receive(ctx, stream, func(p *devicepb.StatsResponse) error { return send(statsFromProto(p)) })
}

// receive hands over the messages of a stream until it ends or take fails.
func receive[T any](ctx context.Context, stream grpc.ServerStreamingClient[T], take func(*T) error) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return base.RemoteError(ctx, err)
		}
		if err := take(message); err != nil {
			return err
		}
	}
}
