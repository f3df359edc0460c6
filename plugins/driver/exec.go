package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// ErrNoSetup is the answer to an exec session that does not begin with its
// setup; the text is the contract's.
var ErrNoSetup = errors.New("first message should always be setup")

// stdinChunk bounds one input message, far below gRPC's 4 MiB.
const stdinChunk = 64 << 10

// ExecTaskStreaming is Executor's: it carries the caller's stream to the
// driver's process and back, and returns after Exited was sent.
func (c *Client) ExecTaskStreaming(ctx context.Context, taskID string, request *ExecRequest, stream ExecStream) error {
	sessionCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := c.rpc.ExecTaskStreaming(sessionCtx)
	if err != nil {
		return c.err(ctx, err)
	}
	setup := &driverpb.ExecTaskStreamingRequest_Setup{TaskId: taskID, Command: request.Command, Tty: request.TTY}
	if err := rpc.Send(&driverpb.ExecTaskStreamingRequest{Setup: setup}); err != nil && !errors.Is(err, io.EOF) {
		return c.err(ctx, err)
	}

	input := make(chan error, 1)
	go func() {
		err := sendInput(sessionCtx, rpc, stream)
		if err != nil {
			cancel() // the caller is gone: end the command
		}
		input <- err
	}()
	err = receiveOutput(rpc, stream)
	cause := sessionCtx.Err()
	cancel()
	if inputErr := <-input; inputErr != nil && cause != nil && ctx.Err() == nil {
		return inputErr
	}
	return c.err(ctx, err)
}

// sendInput carries input until the caller sends no more. An error is the
// caller's; one of the RPC shows itself in receiveOutput.
func sendInput(ctx context.Context, rpc grpc.BidiStreamingClient[driverpb.ExecTaskStreamingRequest, driverpb.ExecTaskStreamingResponse], stream ExecStream) error {
	for {
		in, err := stream.Recv(ctx)
		if errors.Is(err, io.EOF) {
			_ = rpc.CloseSend() // always nil
			return nil
		}
		if err != nil {
			return err
		}
		for _, message := range inputToProto(in) {
			if rpc.Send(message) != nil {
				return nil
			}
		}
	}
}

// receiveOutput carries output until the command has exited.
func receiveOutput(rpc grpc.BidiStreamingClient[driverpb.ExecTaskStreamingRequest, driverpb.ExecTaskStreamingResponse], stream ExecStream) error {
	for {
		message, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the driver ended the exec session without the command's result")
		}
		if err != nil {
			return err
		}
		out := outputFromProto(message)
		if err := stream.Send(out); err != nil {
			return err
		}
		if out.Exited {
			return nil
		}
	}
}

// inputToProto cuts input into messages of at most stdinChunk bytes; an empty
// input is one heartbeat.
func inputToProto(in *ExecInput) []*driverpb.ExecTaskStreamingRequest {
	var out []*driverpb.ExecTaskStreamingRequest
	if in.Resize != nil {
		size := &driverpb.ExecTaskStreamingRequest_TerminalSize{Height: in.Resize.Height, Width: in.Resize.Width}
		out = append(out, &driverpb.ExecTaskStreamingRequest{TtySize: size})
	}
	for data := in.Stdin; len(data) > 0; {
		n := min(len(data), stdinChunk)
		out = append(out, &driverpb.ExecTaskStreamingRequest{Stdin: &driverpb.ExecTaskStreamingIOOperation{Data: data[:n]}})
		data = data[n:]
	}
	if in.CloseStdin {
		out = append(out, &driverpb.ExecTaskStreamingRequest{Stdin: &driverpb.ExecTaskStreamingIOOperation{Close: true}})
	}
	if len(out) == 0 {
		out = append(out, &driverpb.ExecTaskStreamingRequest{})
	}
	return out
}

func outputFromProto(p *driverpb.ExecTaskStreamingResponse) *ExecOutput {
	out := &ExecOutput{
		Stdout:      p.GetStdout().GetData(),
		CloseStdout: p.GetStdout().GetClose(),
		Stderr:      p.GetStderr().GetData(),
		CloseStderr: p.GetStderr().GetClose(),
		Exited:      p.GetExited(),
		Result:      exitFromProto(p.GetResult()),
	}
	if out.Exited && out.Result == nil {
		out.Result = &ExitResult{}
	}
	return out
}

func outputToProto(o *ExecOutput) *driverpb.ExecTaskStreamingResponse {
	out := &driverpb.ExecTaskStreamingResponse{Exited: o.Exited, Result: exitToProto(o.Result)}
	if len(o.Stdout) > 0 || o.CloseStdout {
		out.Stdout = &driverpb.ExecTaskStreamingIOOperation{Data: o.Stdout, Close: o.CloseStdout}
	}
	if len(o.Stderr) > 0 || o.CloseStderr {
		out.Stderr = &driverpb.ExecTaskStreamingIOOperation{Data: o.Stderr, Close: o.CloseStderr}
	}
	return out
}

// ExecTaskStreaming answers an exec session from the driver.
func (s *server) ExecTaskStreaming(rpc grpc.BidiStreamingServer[driverpb.ExecTaskStreamingRequest, driverpb.ExecTaskStreamingResponse]) error {
	first, err := rpc.Recv()
	if err != nil {
		return err
	}
	setup := first.GetSetup()
	if setup == nil {
		return toStatus(ErrNoSetup)
	}
	d, ok := s.impl.(Executor)
	if !ok {
		return unsupported("exec")
	}
	stream := &serverStream{rpc: rpc, inputs: make(chan *ExecInput)}
	// The reader ends when this handler returns: gRPC then fails rpc.Recv and
	// ends the stream's context.
	go stream.read()
	request := &ExecRequest{Command: setup.GetCommand(), TTY: setup.GetTty()}
	return toStatus(d.ExecTaskStreaming(rpc.Context(), setup.GetTaskId(), request, stream))
}

// serverStream is the ExecStream that a driver gets.
type serverStream struct {
	rpc    grpc.BidiStreamingServer[driverpb.ExecTaskStreamingRequest, driverpb.ExecTaskStreamingResponse]
	inputs chan *ExecInput

	mu  sync.Mutex
	err error // why inputs was closed
}

// read hands input over until the stream ends. Heartbeats are dropped.
func (s *serverStream) read() {
	defer close(s.inputs)
	for {
		message, err := s.rpc.Recv()
		if err == nil && message.GetSetup() != nil {
			err = errors.New("an exec session has one setup, this one sent another")
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
		in := inputFromProto(message)
		if in == nil {
			continue
		}
		select {
		case s.inputs <- in:
		case <-s.rpc.Context().Done():
			s.mu.Lock()
			s.err = s.rpc.Context().Err()
			s.mu.Unlock()
			return
		}
	}
}

// inputFromProto is nil for a heartbeat.
func inputFromProto(p *driverpb.ExecTaskStreamingRequest) *ExecInput {
	if p.GetTtySize() == nil && p.GetStdin() == nil {
		return nil
	}
	in := &ExecInput{Stdin: p.GetStdin().GetData(), CloseStdin: p.GetStdin().GetClose()}
	if size := p.GetTtySize(); size != nil {
		in.Resize = &TerminalSize{Height: size.GetHeight(), Width: size.GetWidth()}
	}
	return in
}

func (s *serverStream) Recv(ctx context.Context) (*ExecInput, error) {
	select {
	case in, ok := <-s.inputs:
		if ok {
			return in, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *serverStream) Send(out *ExecOutput) error {
	if err := s.rpc.Send(outputToProto(out)); err != nil {
		return fmt.Errorf("cannot send output to the exec session: %w", err)
	}
	return nil
}
