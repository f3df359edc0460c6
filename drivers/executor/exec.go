package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// maxExecOutput is how much is kept of each stream of ExecTask.
const maxExecOutput = 10 << 20

// leftOverGrace is how long output that a left-over background process holds
// open is waited for.
const leftOverGrace = time.Second

// beside starts a command with the task's environment, user and isolation, in
// its cgroup: it ends with the task.
func (t *task) beside(argv []string, files []*os.File, terminal bool) (*process, error) {
	if len(argv) == 0 {
		return nil, errors.New("exec command is required")
	}
	if !t.running() {
		return nil, fmt.Errorf("task %q is not running", t.config.Name)
	}
	cred, err := Credential(t.state.User, DeniedIDs{}) // it was checked at the start
	if err != nil {
		return nil, err
	}
	return t.spawn(&program{argv: argv, cred: cred, files: files, terminal: terminal, join: true})
}

// result turns the end of a child into a result.
func (p *process) result() *driver.ExitResult {
	e := p.await()
	return &driver.ExitResult{ExitCode: int32(e.Code), Signal: int32(e.Signal)}
}

// kill ends a child and its session's group.
func (p *process) kill() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// output is a pipe whose end is copied to a writer.
type output struct {
	r, w *os.File
	done chan struct{}
}

// pipe begins to copy what is written to w into dst.
func pipe(dst io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{r, w, make(chan struct{})}
	go func() {
		defer close(o.done)
		_, _ = io.Copy(dst, r) // a reader that is gone ends the session otherwise
	}()
	return o, nil
}

// finish waits for the last output, but not for ever for what a process in
// the background holds open.
func (o *output) finish() {
	select {
	case <-o.done:
	case <-time.After(leftOverGrace):
		_ = o.r.SetReadDeadline(time.Now())
		<-o.done
	}
	o.r.Close()
}

// ExecTask implements driver.Executor.
func (r *Runtime) ExecTask(ctx context.Context, id string, command []string, timeout time.Duration) (*driver.ExecResult, error) {
	t, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var stdout, stderr limitedBuffer
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	exit, err := t.piped(ctx, command, null, &stdout, &stderr)
	if err != nil {
		return nil, err
	}
	return &driver.ExecResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: exit}, nil
}

// piped runs a command whose output is copied; it is killed when ctx ends.
func (t *task) piped(ctx context.Context, command []string, stdin *os.File, stdout, stderr io.Writer) (*driver.ExitResult, error) {
	out, err := pipe(stdout)
	if err != nil {
		return nil, err
	}
	defer out.finish()
	defer out.w.Close()
	errs, err := pipe(stderr)
	if err != nil {
		return nil, err
	}
	defer errs.finish()
	defer errs.w.Close()
	p, err := t.beside(command, []*os.File{stdin, out.w, errs.w}, false)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, p.kill)()
	return p.result(), nil
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
func (r *Runtime) ExecTaskStreaming(ctx context.Context, id string, req *driver.ExecRequest, stream driver.ExecStream) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	return driver.ServeExec(ctx, req, stream, func(ctx context.Context, session *driver.ExecIO) (*driver.ExitResult, error) {
		if req.TTY {
			return t.terminal(ctx, req.Command, session)
		}
		stdin, feed, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer stdin.Close()
		go func() { // ends with the session's input
			defer feed.Close()
			_, _ = io.Copy(feed, session.Stdin)
		}()
		exit, err := t.piped(ctx, req.Command, stdin, session.Stdout, session.Stderr)
		if err == nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		return exit, err
	})
}

// terminal runs a command on a terminal.
func (t *task) terminal(ctx context.Context, command []string, session *driver.ExecIO) (*driver.ExitResult, error) {
	master, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer master.Close()
	p, err := t.beside(command, []*os.File{tty, tty, tty}, true)
	tty.Close()
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, p.kill)()
	ended := make(chan struct{})
	var resizing sync.WaitGroup
	defer resizing.Wait() // before the terminal is closed
	defer close(ended)
	go func() { // the caller's end of input is control-D, never a close
		_, _ = io.Copy(master, session.Stdin)
		_, _ = master.Write([]byte{4})
	}()
	resizing.Go(func() {
		for {
			select {
			case size := <-session.Resize:
				_ = pty.Setsize(master, &pty.Winsize{Rows: uint16(size.Height), Cols: uint16(size.Width)})
			case <-ended:
				return
			}
		}
	})
	var copied sync.WaitGroup
	// The master reports an error, not an end, when the last user is gone.
	copied.Go(func() { _, _ = io.Copy(session.Stdout, master) })
	exit := p.result()
	copied.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return exit, nil
}
