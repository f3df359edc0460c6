package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// maxExecOutput is how much is kept of each stream of ExecTask.
const maxExecOutput = 10 << 20

// execEndGrace is how long the end of a killed command is waited for.
const execEndGrace = 5 * time.Second

// command is one command beside a task.
type command struct {
	s    *session
	t    *task
	id   string
	conn types.HijackedResponse
}

// beside starts a command in a task's container.
func (d *Driver) beside(ctx context.Context, taskID string, argv []string, tty, stdin bool) (*command, error) {
	t, err := d.find(taskID)
	if err != nil {
		return nil, err
	}
	s := t.s
	if len(argv) == 0 {
		return nil, errors.New("exec command is required")
	}
	if !t.running() {
		return nil, fmt.Errorf("task %q is not running", t.cfg.Name)
	}
	made, err := s.engine.ContainerExecCreate(ctx, t.state.ContainerID, container.ExecOptions{
		Cmd: argv, Tty: tty, AttachStdin: stdin, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return nil, engineError("run a command in task "+t.cfg.Name, err)
	}
	conn, err := s.engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: tty})
	if err != nil {
		return nil, engineError("run a command in task "+t.cfg.Name, err)
	}
	return &command{s, t, made.ID, conn}, nil
}

// Retries of ending a command: a busy engine may not tell its process at once.
const (
	killTries = 60
	killPause = time.Second
)

// kill ends the command if it still runs, later if the engine does not answer
// now.
func (c *command) kill() {
	if c.killed() {
		return
	}
	go func() {
		for range killTries {
			select {
			case <-time.After(killPause):
			case <-c.s.ctx.Done():
				return
			}
			if c.killed() {
				return
			}
		}
		c.t.log.Warn("cannot end a command whose caller is gone: the engine does not tell its process", "exec_id", c.id)
	}()
}

// killed tries to end the command; false means that it may still run. The
// engine has no call for it, but tells the process, which is checked to be of
// the container.
func (c *command) killed() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.s.ctx), execEndGrace)
	defer cancel()
	info, err := c.s.engine.ContainerExecInspect(ctx, c.id)
	switch {
	case cerrdefs.IsNotFound(err):
		return true
	case err != nil:
		return false
	case !info.Running:
		return true
	case info.Pid <= 1:
		return false
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", info.Pid))
	if err != nil {
		return false // it ended meanwhile, and the engine will say so
	}
	if strings.Contains(string(groups), c.t.state.ContainerID) { // else it is on another host
		_ = syscall.Kill(info.Pid, syscall.SIGKILL)
	}
	return true
}

// result is how the command ended.
func (c *command) result(ctx context.Context) (*driver.ExitResult, error) {
	for {
		info, err := c.s.engine.ContainerExecInspect(ctx, c.id)
		if err != nil {
			return nil, engineError("learn how a command ended", err)
		}
		if !info.Running {
			return &driver.ExitResult{ExitCode: int32(info.ExitCode)}, nil
		}
		select { // its streams closed before it ended
		case <-time.After(minRetry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ExecTask implements driver.Executor.
func (d *Driver) ExecTask(ctx context.Context, id string, argv []string, timeout time.Duration) (*driver.ExecResult, error) {
	c, err := d.beside(ctx, id, argv, false, false)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() {
		c.kill()
		c.conn.Close()
	})
	defer stop()
	var stdout, stderr limitedBuffer
	_, copyErr := stdcopy.StdCopy(&stdout, &stderr, c.conn.Reader)
	if ctx.Err() != nil {
		return &driver.ExecResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: &driver.ExitResult{ExitCode: 137, Signal: 9}}, nil
	}
	if copyErr != nil {
		return nil, engineError("read the output of a command", copyErr)
	}
	exit, err := c.result(ctx)
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

// ExecTaskStreaming implements driver.Executor.
func (d *Driver) ExecTaskStreaming(ctx context.Context, id string, req *driver.ExecRequest, stream driver.ExecStream) error {
	c, err := d.beside(ctx, id, req.Command, req.TTY, true)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	return driver.ServeExec(ctx, req, stream, func(ctx context.Context, pipes *driver.ExecIO) (result *driver.ExitResult, err error) {
		stop := context.AfterFunc(ctx, c.conn.Close) // ends the copying below
		defer func() {
			stop()
			if err != nil { // the caller is gone, or nobody can tell it anything
				c.kill()
			}
		}()
		go func() {
			// The input ends with the session at the latest.
			_, _ = io.Copy(c.conn.Conn, pipes.Stdin)
			_ = c.conn.CloseWrite()
		}()
		done := make(chan struct{})
		defer close(done)
		go c.resize(ctx, pipes.Resize, done)
		if req.TTY {
			_, err = io.Copy(pipes.Stdout, c.conn.Reader)
		} else {
			_, err = stdcopy.StdCopy(pipes.Stdout, pipes.Stderr, c.conn.Reader)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, engineError("read the output of a command", err)
		}
		return c.result(ctx)
	})
}

// resize passes the caller's terminal size on until the session is done.
func (c *command) resize(ctx context.Context, sizes <-chan driver.TerminalSize, done <-chan struct{}) {
	for {
		select {
		case size := <-sizes:
			err := c.s.engine.ContainerExecResize(ctx, c.id, container.ResizeOptions{Height: uint(max(size.Height, 0)), Width: uint(max(size.Width, 0))})
			if err != nil {
				c.t.log.Debug("cannot resize a terminal", "error", err)
			}
		case <-done:
			return
		case <-ctx.Done():
			return
		}
	}
}
