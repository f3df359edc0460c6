// Package keeper is the keeper process of a node, and the agent's side of it:
// starting one, finding it again, replacing it.
//
// The keeper is parent and subreaper of the driver plugins, so that tasks
// whose driver died are reaped here and their exit codes are kept; and it
// copies the output of tasks from FIFOs into log files. It knows nothing of
// jobs or allocations. Any one of agent, keeper and driver may be killed
// without harm to tasks; docs/design/keeper.md says who holds what.
package keeper

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// Names below the keeper's directory.
const (
	socketName  = "keeper.sock"
	journalName = "exits.jsonl"
	logsName    = "logs"    // records of the logs being collected
	pluginsName = "plugins" // records of the plugins that run
	logFileName = "keeper.log"
	lockName    = "lock"
)

// Main runs the keeper process until it is told to stop. It returns the exit
// code.
func Main(args []string) int {
	fs := flag.NewFlagSet("keeper", flag.ContinueOnError)
	dir := fs.String("dir", "", "The `path` of the keeper's directory.")
	readyFD := fs.Int("ready-fd", -1, "A `descriptor` that is closed once the keeper listens.")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "keeper", Level: hclog.Info})
	if *dir == "" {
		log.Error("cannot start: -dir is required")
		return 2
	}
	// Caught, not ignored: children would inherit that, down to the tasks.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	ready := func() error { return nil }
	if *readyFD >= 0 {
		unix.CloseOnExec(*readyFD)
		ready = func() error { return unix.Close(*readyFD) }
	}
	debug.SetGCPercent(50) // small and steady: memory matters more than speed here
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *dir, ready, log); err != nil {
		log.Error("ended", "error", err)
		return 1
	}
	return 0
}

// run holds the directory's lock, so that there is one keeper, and serves;
// ready is called once it listens.
func run(ctx context.Context, dir string, ready func() error, log hclog.Logger) error {
	for _, name := range []string{logsName, pluginsName} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("cannot lock %s, another keeper runs: %w", lock.Name(), err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a subreaper: %w", err)
	}
	journal, err := openJournal(filepath.Join(dir, journalName))
	if err != nil {
		return err
	}
	defer journal.close()
	s := newServer(dir, journal, log)
	s.collectors.recover()
	s.plugins.recover()
	listener, err := listen(filepath.Join(dir, socketName))
	if err != nil {
		return err
	}
	if err := ready(); err != nil {
		return fmt.Errorf("cannot say that the keeper listens: %w", err)
	}
	tending, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { tendLogs(tending, dir, log) })
	defer running.Wait()
	defer stop()
	return s.serve(ctx, listener)
}

// listen replaces a socket that a dead keeper left behind.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// build tells builds of the same protocol version apart.
func build() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// self is the keeper's own process.
func self() protocol.Process {
	p, err := protocol.Identify(os.Getpid())
	if err != nil {
		return protocol.Process{Pid: os.Getpid()}
	}
	return p
}
