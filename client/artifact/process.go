package artifact

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/nomadlite/nomadlite/client/artifact/fetch"
)

const (
	maxReport = 64 << 10 // of one line
	maxStderr = 4 << 10
)

// tail keeps the end of what a process says.
type tail struct{ bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	if t.Len() < maxStderr {
		t.Buffer.Write(b[:min(len(b), maxStderr-t.Len())])
	}
	return len(b), nil
}

// runProcess fetches in a process of its own, which ends with ctx, with the
// agent, and with its work. Every process that it started ends with it.
func (h *Hook) runProcess(ctx context.Context, req *fetch.Request, cached *os.File, progress func(*fetch.Report)) (*fetch.Report, error) {
	report, err := h.spawn(ctx, req, cached, progress)
	if req.Isolate && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)) {
		h.warnOnce.Do(func() {
			h.cfg.Logger.Warn("cannot make namespaces for artifacts; they are fetched without, by a user without rights", "error", err)
		})
		req.Isolate = false
		report, err = h.spawn(ctx, req, cached, progress)
	}
	return report, err
}

func (h *Hook) spawn(ctx context.Context, req *fetch.Request, cached *os.File, progress func(*fetch.Report)) (*fetch.Report, error) {
	input, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, h.cfg.Binary, fetch.Command)
	cmd.Env, cmd.Dir = h.environ(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if req.Isolate {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if cached != nil {
		cmd.ExtraFiles = []*os.File{cached}
	}
	var said tail
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the process that fetches: %w", err)
	}
	_, werr := stdin.Write(input) // fits a pipe or is read; the end stays open
	report := readReports(stdout, progress)
	stdin.Close()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case report != nil:
		return report, nil
	case err == nil: // how it ended says more than that it did not read to the end
		err = cmp.Or(werr, errors.New("it ended without a report"))
	}
	h.cfg.Logger.Error("the process that fetches an artifact broke down", "error", err, "output", strings.TrimSpace(said.String()))
	return nil, fmt.Errorf("the process that fetches broke down (%v): %s", err, firstLine(said.String()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// readReports returns the outcome, nil when there was none.
func readReports(r io.Reader, progress func(*fetch.Report)) *fetch.Report {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		rep := &fetch.Report{}
		if json.Unmarshal(lines.Bytes(), rep) != nil {
			return nil
		}
		if rep.Done {
			return rep
		}
		progress(rep)
	}
	return nil
}

// environ is the environment of the process: nothing of the agent's but what
// the operator names (artifact.set_environment_variables).
func (h *Hook) environ() []string {
	out := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp"}
	for _, name := range h.cfg.Environment {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}
