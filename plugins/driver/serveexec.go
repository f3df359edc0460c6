package driver

import (
	"context"
	"errors"
	"io"
	"sync"
)

// outputChunk is how many bytes one output message holds at most: the
// contract's number.
const outputChunk = 1024

// ExecIO is an exec session as pipes.
type ExecIO struct {
	Stdin  io.Reader // ends with the caller's input
	Stdout io.Writer
	Stderr io.Writer // with a terminal: the same as Stdout
	// Resize holds the newest size of the terminal that nobody has read.
	Resize <-chan TerminalSize
}

// ServeExec leads an exec session for a driver that has pipes: it runs a
// command with them and sends the ends and the result in the contract's order.
// The context of run ends when the caller goes away. An error of run ends the
// session without a result.
func ServeExec(ctx context.Context, request *ExecRequest, stream ExecStream, run func(context.Context, *ExecIO) (*ExitResult, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &execOutput{stream: stream}
	stdin, input := io.Pipe()
	resize := make(chan TerminalSize, 1)
	session := &ExecIO{Stdin: stdin, Stdout: &execWriter{out: out}, Stderr: &execWriter{out: out, stderr: true}, Resize: resize}
	if request.TTY {
		session.Stderr = session.Stdout
		if err := out.send(&ExecOutput{CloseStderr: true}); err != nil {
			return err
		}
	}

	var reader sync.WaitGroup
	inputCtx, stopInput := context.WithCancel(ctx)
	reader.Go(func() {
		if !feed(inputCtx, stream, input, resize) {
			cancel()
		}
	})
	result, err := run(ctx, session)
	stopInput()
	_ = stdin.Close() // always nil; frees a writer that nobody reads
	reader.Wait()
	if err != nil {
		return err
	}
	return out.end(request.TTY, result)
}

// feed carries input to the command until the caller closes it. It reports
// whether the caller is still there.
func feed(ctx context.Context, stream ExecStream, stdin *io.PipeWriter, resize chan TerminalSize) bool {
	for {
		in, err := stream.Recv(ctx)
		if err != nil {
			_ = stdin.Close() // always nil
			return errors.Is(err, io.EOF)
		}
		if in.Resize != nil {
			select { // the newest size wins
			case <-resize:
			default:
			}
			resize <- *in.Resize
		}
		if len(in.Stdin) > 0 {
			// A command that does not read its input any more is no error.
			_, _ = stdin.Write(in.Stdin)
		}
		if in.CloseStdin {
			_ = stdin.Close() // always nil
		}
	}
}

// execOutput orders the messages of two writers.
type execOutput struct {
	stream ExecStream

	mu sync.Mutex // guards stream.Send
}

func (o *execOutput) send(message *ExecOutput) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stream.Send(message)
}

// end closes the streams and sends the result.
func (o *execOutput) end(tty bool, result *ExitResult) error {
	if result == nil {
		result = &ExitResult{}
	}
	if err := o.send(&ExecOutput{CloseStdout: true}); err != nil {
		return err
	}
	if !tty {
		if err := o.send(&ExecOutput{CloseStderr: true}); err != nil {
			return err
		}
	}
	return o.send(&ExecOutput{Exited: true, Result: result})
}

// execWriter cuts one stream into messages.
type execWriter struct {
	out    *execOutput
	stderr bool
}

func (w *execWriter) Write(data []byte) (int, error) {
	for written := 0; written < len(data); {
		chunk := data[written:min(written+outputChunk, len(data))]
		message := &ExecOutput{Stdout: chunk}
		if w.stderr {
			message = &ExecOutput{Stderr: chunk}
		}
		if err := w.out.send(message); err != nil {
			return written, err
		}
		written += len(chunk)
	}
	return len(data), nil
}
