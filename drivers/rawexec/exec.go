package rawexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/nomadlite/nomadlite/drivers/netns"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

// Limits of commands beside tasks.
const (
	maxExecOutput = 10 << 20 // kept of each stream of ExecTask
	execChunk     = 1024     // of a streamed message, as the protocol has it
)

// ExecTask implements driver.Executor.
func (d *Driver) ExecTask(ctx context.Context, id string, command []string, timeout time.Duration) (*driver.ExecResult, error) {
	t, err := d.find(id)
	if err != nil {
		return nil, err
	}
	cmd, err := t.command(command)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var stdout, stderr limitedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := t.startBeside(cmd); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	exit, err := exitOf(cmd.Wait())
	if err != nil {
		return nil, err
	}
	return &driver.ExecResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: exit}, nil
}

// limitedBuffer keeps the first bytes that are written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxExecOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// command is a command in the task's directory, with its environment and user.
func (t *task) command(argv []string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("exec command is required")
	}
	if !t.running() {
		return nil, fmt.Errorf("task %q is not running", t.config.Name)
	}
	dir := filepath.Join(t.config.AllocDir, t.config.Name)
	path, err := lookUp(argv[0], dir, t.config.Env["PATH"])
	if err != nil {
		return nil, err
	}
	cred, err := credential(t.config.User, deniedIDs{})
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: path, Args: argv, Dir: dir, Env: environ(t.config.Env, nil),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: cred},
		// Output that a left-over background process holds open must not hold us.
		WaitDelay: time.Second,
	}, nil
}

// startBeside starts a command inside the task's cgroup, so that it ends with
// the task, and in its network.
func (t *task) startBeside(cmd *exec.Cmd) error {
	return netns.Inside(t.netns(), func() error { return t.cgroup.Start(cmd.SysProcAttr, cmd.Start) })
}

// exitOf turns the end of a command into a result; only a failure to run or
// wait is an error.
func exitOf(err error) (*driver.ExitResult, error) {
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return &driver.ExitResult{}, nil
	case errors.As(err, &exit):
		e := keeper.ExitOf(exit.Sys().(syscall.WaitStatus))
		return &driver.ExitResult{ExitCode: int32(e.Code), Signal: int32(e.Signal)}, nil
	}
	return nil, err
}

// ExecTaskStreaming implements driver.Executor.
func (d *Driver) ExecTaskStreaming(ctx context.Context, id string, req *driver.ExecRequest, stream driver.ExecStream) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	cmd, err := t.command(req.Command)
	if err != nil {
		return err
	}
	s := &session{cmd: cmd, stream: stream}
	if req.TTY {
		return s.terminal(ctx, t)
	}
	return s.pipes(ctx, t)
}

// session connects one command to a caller.
type session struct {
	cmd *exec.Cmd

	mu     sync.Mutex // serialises sends
	stream driver.ExecStream
}

func (s *session) send(out *driver.ExecOutput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(out)
}

// copyOut sends what r yields until its end, then says that it is closed.
func (s *session) copyOut(r io.Reader, data func([]byte) *driver.ExecOutput, closed *driver.ExecOutput) {
	buf := make([]byte, execChunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if s.send(data(append([]byte(nil), buf[:n]...))) != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = s.send(closed)
}

func stdoutData(p []byte) *driver.ExecOutput { return &driver.ExecOutput{Stdout: p} }
func stderrData(p []byte) *driver.ExecOutput { return &driver.ExecOutput{Stderr: p} }

// finish tells the end once both outputs are closed.
func (s *session) finish(outputs *sync.WaitGroup, waitErr error) error {
	outputs.Wait()
	exit, err := exitOf(waitErr)
	if err != nil {
		return err
	}
	return s.send(&driver.ExecOutput{Exited: true, Result: exit})
}

// killWith ends the command's session when the caller goes away.
func (s *session) killWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
}

func (s *session) pipes(ctx context.Context, t *task) error {
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	outR, outW := io.Pipe()
	errR, errW := io.Pipe()
	s.cmd.Stdout, s.cmd.Stderr = outW, errW
	if err := t.startBeside(s.cmd); err != nil {
		return err
	}
	defer s.killWith(ctx)()
	go s.input(ctx, stdin, nil)
	var outputs sync.WaitGroup
	outputs.Go(func() { s.copyOut(outR, stdoutData, &driver.ExecOutput{CloseStdout: true}) })
	outputs.Go(func() { s.copyOut(errR, stderrData, &driver.ExecOutput{CloseStderr: true}) })
	waitErr := s.cmd.Wait()
	outW.Close()
	errW.Close()
	return s.finish(&outputs, waitErr)
}

func (s *session) terminal(ctx context.Context, t *task) error {
	master, tty, err := pty.Open()
	if err != nil {
		return err
	}
	defer master.Close()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr.Setctty = true
	err = t.startBeside(s.cmd)
	tty.Close()
	if err != nil {
		return err
	}
	defer s.killWith(ctx)()
	go s.input(ctx, keepOpen{master}, master)
	_ = s.send(&driver.ExecOutput{CloseStderr: true})
	var outputs sync.WaitGroup
	// The master reports an error, not an end, when the last user is gone.
	outputs.Go(func() { s.copyOut(master, stdoutData, &driver.ExecOutput{CloseStdout: true}) })
	return s.finish(&outputs, s.cmd.Wait())
}

// keepOpen is a terminal as input: its end is control-D, never a close.
type keepOpen struct{ *os.File }

func (k keepOpen) Close() error {
	_, err := k.Write([]byte{4})
	return err
}

// input passes the caller's messages on until it sends no more.
func (s *session) input(ctx context.Context, stdin io.WriteCloser, tty *os.File) {
	open := true
	for {
		in, err := s.stream.Recv(ctx)
		if err != nil {
			if open {
				stdin.Close()
			}
			return
		}
		if len(in.Stdin) > 0 && open {
			if _, err := stdin.Write(in.Stdin); err != nil {
				open = false
			}
		}
		if in.CloseStdin && open {
			stdin.Close()
			open = false
		}
		if in.Resize != nil && tty != nil {
			_ = pty.Setsize(tty, &pty.Winsize{Rows: uint16(in.Resize.Height), Cols: uint16(in.Resize.Width)})
		}
	}
}
