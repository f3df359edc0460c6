package docker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// Limits of copying output.
const (
	maxFrame      = 1 << 20               // of one message of the engine
	positionDelay = 50 * time.Millisecond // between two notes of how far we are
	maxPosition   = 1 << 10
)

// position is how far the output of a container has been told. It is kept
// beside the task, so that the next process goes on there.
type position struct {
	Container string
	Since     int64 // unix nanoseconds: what is older has been told
}

// positionFile lies where tasks do not see it.
func (t *task) positionFile() string { return t.cfg.Name + "/private/docker-log.json" }

func (t *task) loadPosition() position {
	p := position{Container: t.state.ContainerID}
	dir, err := rootfs.OpenDir(t.cfg.AllocDir)
	if err != nil {
		return p
	}
	defer dir.Close()
	var kept position
	raw, err := dir.ReadFile(t.positionFile(), maxPosition)
	if err == nil && json.Unmarshal(raw, &kept) == nil && kept.Container == p.Container {
		return kept
	}
	return p
}

func (t *task) savePosition(p position) {
	raw, err := json.Marshal(p)
	if err != nil {
		return
	}
	dir, err := rootfs.OpenDir(t.cfg.AllocDir)
	if err == nil {
		defer dir.Close()
		err = dir.WriteFile(t.positionFile(), raw, 0o600)
	}
	if err != nil {
		t.log.Debug("cannot keep how far the output was told", "error", err)
	}
}

// follow copies the container's output to the agent's pipes until the
// container has ended and all is told.
func (t *task) follow() {
	if t.state.NoLogs || t.cfg.StdoutPath == os.DevNull && t.cfg.StderrPath == os.DevNull {
		close(t.output)
		return
	}
	go func() {
		defer close(t.output)
		defer t.stopOutput()
		c := &copier{t: t, at: t.loadPosition()}
		defer c.close()
		c.run(t.outputCtx, t.s)
	}()
}

// copier copies the output of one container.
type copier struct {
	t     *task
	at    position
	saved time.Time
	out   [2]*os.File // stdout, stderr
}

func (c *copier) close() {
	c.t.savePosition(c.at)
	for _, f := range c.out {
		if f != nil {
			f.Close()
		}
	}
}

// run goes on through restarts of the engine.
func (c *copier) run(ctx context.Context, s *session) {
	for retry := minRetry; ctx.Err() == nil; retry = min(2*retry, maxRetry) {
		ended := !c.t.running() // before we look: all of it is there then
		err := c.stream(ctx, s)
		if err == nil && ended || ctx.Err() != nil {
			return
		}
		if err != nil {
			c.t.log.Debug("the container's output broke off", "error", err)
			if ended {
				return // nothing more can be had
			}
		}
		select {
		case <-c.t.gone:
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// stream copies what one connection gives.
func (c *copier) stream(ctx context.Context, s *session) error {
	options := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: !c.t.state.TTY}
	if c.at.Since > 0 {
		next := time.Unix(0, c.at.Since+1)
		options.Since = strconv.FormatInt(next.Unix(), 10) + fmt.Sprintf(".%09d", next.Nanosecond())
	}
	body, err := s.engine.ContainerLogs(ctx, c.t.state.ContainerID, options)
	if err != nil {
		return err
	}
	defer body.Close()
	if c.t.state.TTY {
		return c.terminal(ctx, body)
	}
	return c.frames(ctx, body)
}

// terminal copies output that has no frames.
func (c *copier) terminal(ctx context.Context, body io.Reader) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if werr := c.write(ctx, 0, buf[:n]); werr != nil {
				return werr
			}
			c.told(time.Now().UnixNano())
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// frames copies messages: eight bytes of stream and length, then a time, a
// blank and the output.
func (c *copier) frames(ctx context.Context, body io.Reader) error {
	var head [8]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(body, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[4:])
		if size > maxFrame {
			return fmt.Errorf("the engine sent a message of %d bytes", size)
		}
		if cap(buf) < int(size) {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(body, buf); err != nil {
			return err
		}
		at, data := splitTime(buf)
		stream := 0
		if head[0] == 2 {
			stream = 1
		}
		if err := c.write(ctx, stream, data); err != nil {
			return err
		}
		c.told(at)
	}
}

// splitTime cuts the time off a message; 0 when it has none.
func splitTime(message []byte) (int64, []byte) {
	for i, b := range message {
		if b != ' ' {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, string(message[:i]))
		if err != nil {
			break
		}
		return at.UnixNano(), message[i+1:]
	}
	return 0, message
}

// told notes how far we are, on disk from time to time.
func (c *copier) told(at int64) {
	if at > c.at.Since {
		c.at.Since = at
	}
	if now := time.Now(); now.Sub(c.saved) >= positionDelay {
		c.saved = now
		c.t.savePosition(c.at)
	}
}

// write gives output to the agent's pipe. It waits for a reader for as long as
// the task is cared for: the engine keeps the rest meanwhile, and the
// container never waits.
func (c *copier) write(ctx context.Context, stream int, data []byte) error {
	path := [2]string{c.t.cfg.StdoutPath, c.t.cfg.StderrPath}[stream]
	for retry := minRetry; len(data) > 0; retry = min(2*retry, maxRetry) {
		var err error
		if c.out[stream] == nil {
			c.out[stream], err = driver.OpenOutput(path)
		}
		if err == nil {
			var n int
			stop := context.AfterFunc(ctx, func() { _ = c.out[stream].SetWriteDeadline(time.Now()) })
			n, err = c.out[stream].Write(data)
			stop()
			data = data[n:]
		}
		if err == nil {
			continue
		}
		if f := c.out[stream]; f != nil {
			f.Close()
			c.out[stream] = nil
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
