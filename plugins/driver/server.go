package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// server answers the RPCs of the driver service from a Driver.
type server struct {
	driverpb.UnimplementedDriverServer
	impl Driver

	mu       sync.Mutex               // guards starting
	starting map[string]chan struct{} // closed when the start of that task is over
}

// begin notes that a task is being started; call what it returns when that is
// over.
func (s *server) begin(id string) (done func()) {
	over := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting == nil {
		s.starting = map[string]chan struct{}{}
	}
	s.starting[id] = over
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.starting[id] == over {
			delete(s.starting, id)
		}
		close(over)
	}
}

// settled waits until a start of the task that is under way is over.
func (s *server) settled(ctx context.Context, id string) error {
	s.mu.Lock()
	over := s.starting[id]
	s.mu.Unlock()
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unsupported is the answer where the driver lacks an optional interface.
func unsupported(operation string) error {
	return toStatus(fmt.Errorf("%w: %s", ErrNotSupported, operation))
}

func (s *server) Init(ctx context.Context, _ *driverpb.InitRequest) (*driverpb.InitResponse, error) {
	l, ok := s.impl.(Lifecycle)
	if !ok {
		return &driverpb.InitResponse{}, nil
	}
	return &driverpb.InitResponse{}, toStatus(l.Init(ctx))
}

func (s *server) Shutdown(ctx context.Context, _ *driverpb.ShutdownRequest) (*driverpb.ShutdownResponse, error) {
	l, ok := s.impl.(Lifecycle)
	if !ok {
		return &driverpb.ShutdownResponse{}, nil
	}
	return &driverpb.ShutdownResponse{}, toStatus(l.Shutdown(ctx))
}

func (s *server) TaskConfigSchema(ctx context.Context, _ *driverpb.TaskConfigSchemaRequest) (*driverpb.TaskConfigSchemaResponse, error) {
	spec, err := s.impl.TaskConfigSchema(ctx)
	return &driverpb.TaskConfigSchemaResponse{Spec: spec}, toStatus(err)
}

func (s *server) Capabilities(ctx context.Context, _ *driverpb.CapabilitiesRequest) (*driverpb.CapabilitiesResponse, error) {
	caps, err := s.impl.Capabilities(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &driverpb.CapabilitiesResponse{Capabilities: capabilitiesToProto(caps)}, nil
}

func (s *server) Fingerprint(_ *driverpb.FingerprintRequest, stream grpc.ServerStreamingServer[driverpb.FingerprintResponse]) error {
	return toStatus(s.impl.Fingerprint(stream.Context(), func(f *Fingerprint) error {
		return stream.Send(fingerprintToProto(f))
	}))
}

func (s *server) RecoverTask(ctx context.Context, req *driverpb.RecoverTaskRequest) (*driverpb.RecoverTaskResponse, error) {
	handle := handleFromProto(req.GetHandle())
	if handle == nil || handle.Config == nil {
		return nil, toStatus(errors.New("cannot recover a task without its handle and config"))
	}
	return &driverpb.RecoverTaskResponse{}, toStatus(s.impl.RecoverTask(ctx, handle))
}

func (s *server) StartTask(ctx context.Context, req *driverpb.StartTaskRequest) (*driverpb.StartTaskResponse, error) {
	task := taskConfigFromProto(req.GetTask())
	if task == nil {
		return nil, toStatus(errors.New("cannot start a task without its config"))
	}
	defer s.begin(task.ID)()
	if err := ctx.Err(); err != nil { // its agent died: nobody would have the handle
		return nil, toStatus(err)
	}
	handle, network, err := s.impl.StartTask(ctx, task)
	if err != nil {
		return nil, toStatus(err)
	}
	return &driverpb.StartTaskResponse{
		Result:          driverpb.StartTaskResponse_SUCCESS,
		Handle:          handleToProto(handle),
		NetworkOverride: overrideToProto(network),
	}, nil
}

func (s *server) WaitTask(ctx context.Context, req *driverpb.WaitTaskRequest) (*driverpb.WaitTaskResponse, error) {
	result, err := s.impl.WaitTask(ctx, req.GetTaskId())
	if err != nil {
		return nil, toStatus(err)
	}
	out := &driverpb.WaitTaskResponse{Result: exitToProto(result)}
	if result != nil && result.Err != nil {
		out.Err = result.Err.Error()
	}
	return out, nil
}

func (s *server) StopTask(ctx context.Context, req *driverpb.StopTaskRequest) (*driverpb.StopTaskResponse, error) {
	err := s.impl.StopTask(ctx, req.GetTaskId(), durationFromProto(req.GetTimeout()), req.GetSignal())
	return &driverpb.StopTaskResponse{}, toStatus(err)
}

// DestroyTask waits for a start of the task that is under way: an agent that
// died asked for it, and the next one, which has no handle of it, wants to be
// sure that nothing of it runs.
func (s *server) DestroyTask(ctx context.Context, req *driverpb.DestroyTaskRequest) (*driverpb.DestroyTaskResponse, error) {
	if err := s.settled(ctx, req.GetTaskId()); err != nil {
		return nil, toStatus(err)
	}
	return &driverpb.DestroyTaskResponse{}, toStatus(s.impl.DestroyTask(ctx, req.GetTaskId(), req.GetForce()))
}

func (s *server) InspectTask(ctx context.Context, req *driverpb.InspectTaskRequest) (*driverpb.InspectTaskResponse, error) {
	st, err := s.impl.InspectTask(ctx, req.GetTaskId())
	if err != nil {
		return nil, toStatus(err)
	}
	return statusToProto(st), nil
}

func (s *server) TaskStats(req *driverpb.TaskStatsRequest, stream grpc.ServerStreamingServer[driverpb.TaskStatsResponse]) error {
	interval := durationFromProto(req.GetCollectionInterval())
	return toStatus(s.impl.TaskStats(stream.Context(), req.GetTaskId(), interval, func(st *TaskStats) error {
		return stream.Send(&driverpb.TaskStatsResponse{Stats: statsToProto(st)})
	}))
}

func (s *server) TaskEvents(_ *driverpb.TaskEventsRequest, stream grpc.ServerStreamingServer[driverpb.DriverTaskEvent]) error {
	return toStatus(s.impl.TaskEvents(stream.Context(), func(e *TaskEvent) error {
		return stream.Send(eventToProto(e))
	}))
}

func (s *server) SignalTask(ctx context.Context, req *driverpb.SignalTaskRequest) (*driverpb.SignalTaskResponse, error) {
	d, ok := s.impl.(Signaler)
	if !ok {
		return nil, unsupported("signals")
	}
	return &driverpb.SignalTaskResponse{}, toStatus(d.SignalTask(ctx, req.GetTaskId(), req.GetSignal()))
}

func (s *server) ExecTask(ctx context.Context, req *driverpb.ExecTaskRequest) (*driverpb.ExecTaskResponse, error) {
	d, ok := s.impl.(Executor)
	if !ok {
		return nil, unsupported("exec")
	}
	result, err := d.ExecTask(ctx, req.GetTaskId(), req.GetCommand(), durationFromProto(req.GetTimeout()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &driverpb.ExecTaskResponse{
		Stdout: result.Stdout,
		Stderr: result.Stderr,
		Result: exitToProto(result.Exit),
	}, nil
}

func (s *server) CreateNetwork(ctx context.Context, req *driverpb.CreateNetworkRequest) (*driverpb.CreateNetworkResponse, error) {
	d, ok := s.impl.(NetworkManager)
	if !ok {
		return nil, unsupported("networks")
	}
	spec, created, err := d.CreateNetwork(ctx, req.GetAllocId(), req.GetHostname())
	if err != nil {
		return nil, toStatus(err)
	}
	return &driverpb.CreateNetworkResponse{IsolationSpec: networkSpecToProto(spec), Created: created}, nil
}

func (s *server) DestroyNetwork(ctx context.Context, req *driverpb.DestroyNetworkRequest) (*driverpb.DestroyNetworkResponse, error) {
	d, ok := s.impl.(NetworkManager)
	if !ok {
		return nil, unsupported("networks")
	}
	err := d.DestroyNetwork(ctx, req.GetAllocId(), networkSpecFromProto(req.GetIsolationSpec()))
	return &driverpb.DestroyNetworkResponse{}, toStatus(err)
}
