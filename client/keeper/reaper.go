package keeper

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// reaper waits for every child: plugins that it started and orphans that the
// kernel gave it. Each exit is in the journal before anybody is told.
type reaper struct {
	log     hclog.Logger
	journal *journal

	mu      sync.Mutex                           // guards what follows, and starts of children
	waiting map[protocol.Process][]chan struct{} // closed when the process was reaped
	reaped  map[int]func(protocol.Exit)          // by pid, for our own plugins
}

func newReaper(j *journal, log hclog.Logger) *reaper {
	return &reaper{log: log, journal: j, waiting: map[protocol.Process][]chan struct{}{}, reaped: map[int]func(protocol.Exit){}}
}

// run reaps at every SIGCHLD until ctx ends.
func (r *reaper) run(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		r.reapAll()
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
	}
}

// reapAll collects every child that has ended.
func (r *reaper) reapAll() {
	for {
		// Look first: the start time can be read as long as it is not reaped.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		pid := childPid(&info)
		if err != nil || pid == 0 {
			return
		}
		r.reap(pid)
	}
}

// childPid is si_pid of a child's siginfo; x/sys has no accessor for it. The
// field follows three ints, aligned to eight bytes.
func childPid(info *unix.Siginfo) int {
	if info.Signo == 0 {
		return 0
	}
	return siginfoPid(info)
}

func (r *reaper) reap(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	proc, err := protocol.Identify(pid)
	var ws syscall.WaitStatus
	if _, werr := syscall.Wait4(pid, &ws, 0, nil); werr != nil {
		return
	}
	exit := protocol.ExitOf(ws)
	if done := r.reaped[pid]; done != nil {
		delete(r.reaped, pid)
		done(exit)
		return
	}
	if err != nil {
		r.log.Warn("reaped a process without a start time", "pid", pid, "error", err)
		return
	}
	if err := r.journal.record(proc, exit); err != nil {
		r.log.Error("cannot write the exit of an orphan to the journal", "pid", pid, "error", err)
	}
	for _, ch := range r.waiting[proc] {
		close(ch)
	}
	delete(r.waiting, proc)
}

// wait returns the exit of an orphan. Known is false when it ended without us
// seeing it: its parent was another process.
func (r *reaper) wait(ctx context.Context, p protocol.Process) (protocol.Exit, error) {
	r.mu.Lock()
	if exit, ok := r.journal.find(p); ok || !p.Alive() && !zombie(p) {
		r.mu.Unlock()
		return exit, nil
	}
	ch := make(chan struct{})
	r.waiting[p] = append(r.waiting[p], ch)
	r.mu.Unlock()
	if err := r.await(ctx, p, ch); err != nil {
		return protocol.Exit{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	exit, _ := r.journal.find(p)
	return exit, nil
}

// await returns when the process has ended: reaped by us, or by another
// parent, which its pidfd tells.
func (r *reaper) await(ctx context.Context, p protocol.Process, reaped <-chan struct{}) error {
	gone := make(chan struct{})
	pidfd, err := protocol.OpenPidfd(p)
	if err == nil {
		defer pidfd.Close()
		go func() {
			defer close(gone)
			protocol.AwaitPidfd(pidfd)
		}()
	} else {
		close(gone)
	}
	select {
	case <-reaped:
		return nil
	case <-gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.inherit(ctx, p, reaped)
}

// Limits of the wait for a dead process to become our child.
const (
	inheritGrace = 5 * time.Second
	inheritTick  = 5 * time.Millisecond
)

// inherit returns when a process that has ended was reaped, by us or by
// another. A killed driver of many threads hands its children on when the last
// thread is gone: until then its dead children are nobody's to reap.
func (r *reaper) inherit(ctx context.Context, p protocol.Process, reaped <-chan struct{}) error {
	tick := time.NewTicker(inheritTick)
	defer tick.Stop()
	grace := time.NewTimer(inheritGrace)
	defer grace.Stop()
	for {
		r.reapAll() // if it is our child, its exit is kept before we look
		if !zombie(p) {
			return nil
		}
		select {
		case <-reaped:
			return nil
		case <-tick.C:
		case <-grace.C: // its parent lives and does not care
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// zombie reports whether the process ended and waits to be reaped.
func zombie(p protocol.Process) bool {
	now, err := protocol.Identify(p.Pid)
	return err == nil && now == p
}
