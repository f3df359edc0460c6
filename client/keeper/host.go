package keeper

import (
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

	"github.com/hashicorp/go-hclog"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// Limits of a keeper's start.
const (
	startTimeout = 10 * time.Second
	restartDelay = 100 * time.Millisecond
)

// Host is the agent's side: it sees to it that a keeper runs.
type Host struct {
	dir    string
	binary string
	log    hclog.Logger
	client *protocol.Client

	mu   sync.Mutex // guards what follows
	proc protocol.Process
	subs []func()
}

// Start finds the live keeper of dir or starts one from the binary. A keeper
// that speaks another version is replaced; plugins and tasks live on.
func Start(ctx context.Context, dir, binary string, log hclog.Logger) (*Host, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &Host{dir: dir, binary: binary, log: log, client: protocol.NewClient(filepath.Join(dir, socketName))}
	return h, h.ensure(ctx)
}

// Client calls whatever keeper runs.
func (h *Host) Client() *protocol.Client { return h.client }

// Dir is the keeper's directory.
func (h *Host) Dir() string { return h.dir }

// OnRestart calls f after each start of a new keeper that Run made.
func (h *Host) OnRestart(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = append(h.subs, f)
}

// ensure connects to the keeper, or starts one.
func (h *Host) ensure(ctx context.Context) error {
	info, err := h.client.Info(ctx)
	if err == nil && info.Version != protocol.Version {
		h.log.Info("replacing a keeper of another version", "version", info.Version)
		if err := h.retire(ctx, info.Process); err != nil {
			return err
		}
		err = protocol.ErrGone
	}
	if errors.Is(err, protocol.ErrGone) {
		info, err = h.spawn(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot reach the node's keeper: %w", err)
	}
	h.mu.Lock()
	h.proc = info.Process
	h.mu.Unlock()
	return nil
}

// retire ends a keeper alone: its plugins stay, to be adopted by the next one.
func (h *Host) retire(ctx context.Context, p protocol.Process) error {
	pidfd, err := protocol.OpenPidfd(p)
	if err != nil {
		return nil
	}
	defer pidfd.Close()
	if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	protocol.AwaitPidfd(pidfd)
	return ctx.Err()
}

// spawn starts a keeper in a session of its own, with files for its streams,
// and waits until it answers: it closes a pipe when it listens.
func (h *Host) spawn(ctx context.Context) (*protocol.Info, error) {
	log, err := os.OpenFile(filepath.Join(h.dir, logFileName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	cmd := exec.Command(h.binary, "keeper", "-dir", h.dir, "-ready-fd", "3") // the first of ExtraFiles
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // reaped whenever it ends
	if err := ready.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	_, err = ready.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil:
		_ = cmd.Process.Kill() // nobody would know of it
		return nil, ctx.Err()
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the keeper did not answer within %v; see %s", startTimeout, log.Name())
	}
	info, err := h.client.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("the keeper ended at once (%w); see %s", err, log.Name())
	}
	h.log.Info("keeper started", "pid", info.Process.Pid)
	return info, nil
}

// Run watches the keeper and starts another when it dies, until ctx ends. The
// keeper is left running then.
func (h *Host) Run(ctx context.Context) error {
	for {
		if err := h.await(ctx); err != nil {
			return nil
		}
		h.log.Warn("the keeper died; starting another")
		for h.ensure(ctx) != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(restartDelay):
			}
		}
		h.mu.Lock()
		subs := append([]func(){}, h.subs...)
		h.mu.Unlock()
		for _, f := range subs {
			f()
		}
	}
}

// await returns nil when the keeper has ended, an error when ctx has.
func (h *Host) await(ctx context.Context) error {
	h.mu.Lock()
	proc := h.proc
	h.mu.Unlock()
	pidfd, err := protocol.OpenPidfd(proc)
	if err != nil {
		return ctx.Err()
	}
	defer pidfd.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		protocol.AwaitPidfd(pidfd)
	}()
	select {
	case <-gone:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the keeper and the plugins, for good: a dev agent's last act.
func (h *Host) Stop(ctx context.Context) error {
	err := h.client.Shutdown(ctx)
	if errors.Is(err, protocol.ErrGone) {
		return nil
	}
	return err
}
