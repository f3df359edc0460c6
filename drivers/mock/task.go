package mock

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// task is one pretended process.
type task struct {
	config    *driver.TaskConfig
	script    *script
	startedAt time.Time

	kill   context.CancelCauseFunc // ends the run; the cause is a killed
	exited chan struct{}           // closed after result is set

	mu          sync.Mutex // guards what follows
	result      driver.ExitResult
	completedAt time.Time
}

// killed is why a run ended early.
type killed struct{ signal unix.Signal }

func (k killed) Error() string { return "killed by " + unix.SignalName(k.signal) }

// exitResult is how a process ended by the signal looks.
func (k killed) exitResult() driver.ExitResult {
	return driver.ExitResult{ExitCode: 128 + int32(k.signal), Signal: int32(k.signal)}
}

// newTask makes a task that has not begun to run.
func newTask(config *driver.TaskConfig, s *script, startedAt time.Time) *task {
	return &task{config: config, script: s, startedAt: startedAt, exited: make(chan struct{})}
}

// run plays the script until its end or until ctx is cancelled with a killed.
// stdout and stderr are closed.
func (t *task) run(ctx context.Context, stdout, stderr *os.File) {
	result := play(ctx, &t.script.command, t.startedAt, stdout, stderr)
	_ = stdout.Close() // a FIFO; nothing is left to flush
	_ = stderr.Close()
	t.mu.Lock()
	t.result, t.completedAt = result, time.Now()
	t.mu.Unlock()
	close(t.exited)
}

// play performs a command that began at the given time, which may be long ago
// in another process: what was printed before is not printed again.
func play(ctx context.Context, c *command, since time.Time, stdout, stderr io.Writer) driver.ExitResult {
	printing, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	writers.Go(func() { c.stdout.print(printing, since, stdout) })
	writers.Go(func() { c.stderr.print(printing, since, stderr) })
	timer := time.NewTimer(time.Until(since.Add(c.runFor)))
	defer timer.Stop()
	result := c.result
	select {
	case <-timer.C:
		if c.runFor == 0 {
			writers.Wait() // a command without a duration ends when it has said all
		}
	case <-ctx.Done():
	}
	stop()
	unblock(stdout, stderr)
	writers.Wait()
	if k, ok := context.Cause(ctx).(killed); ok {
		result = k.exitResult()
	}
	return result
}

// unblock fails writes that hang in files whose readers are slow.
func unblock(writers ...io.Writer) {
	for _, w := range writers {
		if f, ok := w.(*os.File); ok {
			_ = f.SetWriteDeadline(time.Now()) // regular files have none and do not hang
		}
	}
}

// print writes the text until it was printed often enough.
func (o *output) print(ctx context.Context, since time.Time, w io.Writer) {
	if o.text == "" {
		return
	}
	printed := int64(0)
	if elapsed := time.Since(since); o.every > 0 && elapsed > o.every {
		printed = 1 + int64(elapsed/o.every)
	}
	for ; printed < o.count; printed++ {
		timer := time.NewTimer(time.Until(since.Add(time.Duration(printed) * o.every)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if _, err := io.WriteString(w, o.text); err != nil {
			return // nobody reads any more
		}
	}
}

// status is the task as InspectTask tells it.
func (t *task) status() *driver.TaskStatus {
	s := &driver.TaskStatus{
		ID:        t.config.ID,
		Name:      t.config.Name,
		State:     driver.TaskRunning,
		StartedAt: t.startedAt,
		Network:   t.script.network,
	}
	select {
	case <-t.exited:
		t.mu.Lock()
		defer t.mu.Unlock()
		result := t.result
		s.State, s.CompletedAt, s.Result = driver.TaskExited, t.completedAt, &result
	default:
	}
	return s
}

// stop pretends to signal and wait: the task obeys after kill_after, and is
// killed at the timeout.
func (t *task) stop(ctx context.Context, timeout time.Duration, signal unix.Signal) error {
	wait := t.script.killAfter
	if wait > timeout {
		wait, signal = timeout, unix.SIGKILL
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-t.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	t.kill(killed{signal})
	select {
	case <-t.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
