package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// Client is a driver in another process, with all of its optional interfaces:
// what the driver lacks answers ErrNotSupported. It holds no state; any number
// of calls may run at once, and a waiting call costs no CPU.
//
// A call whose process ends fails with ErrPluginShutdown.
type Client struct {
	*base.Client
	rpc  driverpb.DriverClient
	done <-chan struct{}
}

// NewClient makes the host's side of a driver on a connection. done is closed
// when the plugin process has ended; nil where there is none.
func NewClient(conn grpc.ClientConnInterface, done <-chan struct{}) *Client {
	return &Client{Client: base.NewClient(conn), rpc: driverpb.NewDriverClient(conn), done: done}
}

// Done is closed when the plugin process has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

func (c *Client) err(ctx context.Context, err error) error { return fromStatus(ctx, c.done, err) }

// optional forgives a driver that does not know an optional call.
func (c *Client) optional(ctx context.Context, err error) error {
	if err = c.err(ctx, err); errors.Is(err, ErrNotSupported) {
		return nil
	}
	return err
}

// Init is Lifecycle's; a driver without it succeeds.
func (c *Client) Init(ctx context.Context) error {
	_, err := c.rpc.Init(ctx, &driverpb.InitRequest{})
	return c.optional(ctx, err)
}

// Shutdown is Lifecycle's; a driver without it succeeds.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.rpc.Shutdown(ctx, &driverpb.ShutdownRequest{})
	return c.optional(ctx, err)
}

// TaskConfigSchema is Describer's.
func (c *Client) TaskConfigSchema(ctx context.Context) (*hclspec.Spec, error) {
	resp, err := c.rpc.TaskConfigSchema(ctx, &driverpb.TaskConfigSchemaRequest{})
	return resp.GetSpec(), c.err(ctx, err)
}

// Capabilities is Describer's.
func (c *Client) Capabilities(ctx context.Context) (*Capabilities, error) {
	resp, err := c.rpc.Capabilities(ctx, &driverpb.CapabilitiesRequest{})
	if err != nil {
		return nil, c.err(ctx, err)
	}
	return capabilitiesFromProto(resp.GetCapabilities()), nil
}

// Fingerprint is Describer's. It returns nil when the driver ended the stream.
func (c *Client) Fingerprint(ctx context.Context, send func(*Fingerprint) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Fingerprint(ctx, &driverpb.FingerprintRequest{})
	return pump(ctx, c, stream, err, func(p *driverpb.FingerprintResponse) error {
		return send(fingerprintFromProto(p))
	})
}

// RecoverTask is Runner's.
func (c *Client) RecoverTask(ctx context.Context, handle *TaskHandle) error {
	_, err := c.rpc.RecoverTask(ctx, &driverpb.RecoverTaskRequest{Handle: handleToProto(handle)})
	return c.err(ctx, err)
}

// StartTask is Runner's.
func (c *Client) StartTask(ctx context.Context, task *TaskConfig) (*TaskHandle, *NetworkOverride, error) {
	resp, err := c.rpc.StartTask(ctx, &driverpb.StartTaskRequest{Task: taskConfigToProto(task)})
	if err != nil {
		return nil, nil, c.err(ctx, err)
	}
	handle := handleFromProto(resp.GetHandle())
	if handle == nil {
		return nil, nil, fmt.Errorf("the driver started task %q but returned no handle: it cannot be found again", task.ID)
	}
	return handle, overrideFromProto(resp.GetNetworkOverride()), nil
}

// WaitTask is Runner's.
func (c *Client) WaitTask(ctx context.Context, taskID string) (*ExitResult, error) {
	resp, err := c.rpc.WaitTask(ctx, &driverpb.WaitTaskRequest{TaskId: taskID})
	if err != nil {
		return nil, c.err(ctx, err)
	}
	result := exitFromProto(resp.GetResult())
	if result == nil {
		result = &ExitResult{}
	}
	if resp.GetErr() != "" {
		result.Err = errors.New(resp.GetErr())
	}
	return result, nil
}

// StopTask is Runner's.
func (c *Client) StopTask(ctx context.Context, taskID string, timeout time.Duration, signal string) error {
	_, err := c.rpc.StopTask(ctx, &driverpb.StopTaskRequest{TaskId: taskID, Timeout: durationpb.New(timeout), Signal: signal})
	return c.err(ctx, err)
}

// DestroyTask is Runner's.
func (c *Client) DestroyTask(ctx context.Context, taskID string, force bool) error {
	_, err := c.rpc.DestroyTask(ctx, &driverpb.DestroyTaskRequest{TaskId: taskID, Force: force})
	return c.err(ctx, err)
}

// InspectTask is Observer's.
func (c *Client) InspectTask(ctx context.Context, taskID string) (*TaskStatus, error) {
	resp, err := c.rpc.InspectTask(ctx, &driverpb.InspectTaskRequest{TaskId: taskID})
	if err != nil {
		return nil, c.err(ctx, err)
	}
	return statusFromProto(resp), nil
}

// TaskStats is Observer's.
func (c *Client) TaskStats(ctx context.Context, taskID string, interval time.Duration, send func(*TaskStats) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.TaskStats(ctx, &driverpb.TaskStatsRequest{TaskId: taskID, CollectionInterval: durationpb.New(interval)})
	return pump(ctx, c, stream, err, func(p *driverpb.TaskStatsResponse) error {
		return send(statsFromProto(p.GetStats()))
	})
}

// TaskEvents is Observer's.
func (c *Client) TaskEvents(ctx context.Context, send func(*TaskEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.TaskEvents(ctx, &driverpb.TaskEventsRequest{})
	return pump(ctx, c, stream, err, func(p *driverpb.DriverTaskEvent) error {
		return send(eventFromProto(p))
	})
}

// SignalTask is Signaler's.
func (c *Client) SignalTask(ctx context.Context, taskID, signal string) error {
	_, err := c.rpc.SignalTask(ctx, &driverpb.SignalTaskRequest{TaskId: taskID, Signal: signal})
	return c.err(ctx, err)
}

// ExecTask is Executor's.
func (c *Client) ExecTask(ctx context.Context, taskID string, command []string, timeout time.Duration) (*ExecResult, error) {
	resp, err := c.rpc.ExecTask(ctx, &driverpb.ExecTaskRequest{TaskId: taskID, Command: command, Timeout: durationpb.New(timeout)})
	if err != nil {
		return nil, c.err(ctx, err)
	}
	result := &ExecResult{Stdout: resp.GetStdout(), Stderr: resp.GetStderr(), Exit: exitFromProto(resp.GetResult())}
	if result.Exit == nil {
		result.Exit = &ExitResult{}
	}
	return result, nil
}

// CreateNetwork is NetworkManager's.
func (c *Client) CreateNetwork(ctx context.Context, allocID, hostname string) (*NetworkIsolationSpec, bool, error) {
	resp, err := c.rpc.CreateNetwork(ctx, &driverpb.CreateNetworkRequest{AllocId: allocID, Hostname: hostname})
	if err != nil {
		return nil, false, c.err(ctx, err)
	}
	return networkSpecFromProto(resp.GetIsolationSpec()), resp.GetCreated(), nil
}

// DestroyNetwork is NetworkManager's. Without a spec there is nothing to do.
func (c *Client) DestroyNetwork(ctx context.Context, allocID string, spec *NetworkIsolationSpec) error {
	if spec == nil {
		return nil
	}
	_, err := c.rpc.DestroyNetwork(ctx, &driverpb.DestroyNetworkRequest{AllocId: allocID, IsolationSpec: networkSpecToProto(spec)})
	return c.err(ctx, err)
}

// pump hands the messages of a stream over until it ends.
func pump[T any](ctx context.Context, c *Client, stream grpc.ServerStreamingClient[T], err error, each func(*T) error) error {
	for err == nil {
		var message *T
		if message, err = stream.Recv(); err != nil {
			break
		}
		if err := each(message); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return c.err(ctx, err)
}
