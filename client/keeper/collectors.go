package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/client/logs"
	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// bufSize is what one read takes from a FIFO. Buffers are shared: an idle task
// has none.
const bufSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// collectors copies the output of tasks into their log files.
type collectors struct {
	dir string // of the records
	log hclog.Logger

	mu     sync.Mutex // guards active
	active map[string]*collector
}

// collector is one task's pair of streams.
type collector struct {
	spec    protocol.LogSpec
	streams []*stream
}

func newCollectors(dir string, log hclog.Logger) *collectors {
	return &collectors{dir: filepath.Join(dir, logsName), log: log, active: map[string]*collector{}}
}

// recover goes on with what an earlier keeper collected.
func (c *collectors) recover() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.log.Error("cannot read the records of logs", "error", err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(c.dir, e.Name())
		raw, err := os.ReadFile(path)
		var spec protocol.LogSpec
		if err == nil {
			err = json.Unmarshal(raw, &spec)
		}
		if err == nil {
			err = c.start(spec)
		}
		if err != nil {
			c.log.Warn("cannot go on with a log; its record is dropped", "record", e.Name(), "error", err)
			os.Remove(path)
		}
	}
}

// record is the path of a collector's record. Ids are hex and dashes with a
// task's name; names that are no plain file name are refused.
func (c *collectors) record(id string) (string, error) {
	if id == "" || len(id) > 255 || filepath.Base(id) != id || id == "." || id == ".." {
		return "", fmt.Errorf("cannot collect logs of %q: not a plain name", id)
	}
	return filepath.Join(c.dir, id), nil
}

// start begins to collect, once an id.
func (c *collectors) start(spec protocol.LogSpec) error {
	path, err := c.record(spec.ID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active[spec.ID] != nil {
		return nil
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return err
	}
	col := &collector{spec: spec}
	for _, s := range []struct{ kind, fifo string }{{"stdout", spec.Stdout}, {"stderr", spec.Stderr}} {
		st, err := c.open(spec, s.kind, s.fifo)
		if err != nil {
			col.close()
			os.Remove(path)
			return err
		}
		col.streams = append(col.streams, st)
	}
	for _, st := range col.streams {
		go st.run()
	}
	c.active[spec.ID] = col
	return nil
}

func (c *collectors) open(spec protocol.LogSpec, kind, fifo string) (*stream, error) {
	f, err := protocol.OpenFIFO(fifo)
	if err != nil {
		return nil, err
	}
	out, err := logs.NewRotator(logs.RotatorConfig{
		Dir: spec.Dir, Base: spec.Task + "." + kind, MaxFiles: spec.MaxFiles, MaxBytes: spec.MaxBytes,
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return &stream{fifo: f, out: out, log: c.log.With("id", spec.ID, "stream", kind), ended: make(chan struct{})}, nil
}

// stop drains and ends a collector.
func (c *collectors) stop(id string) error {
	path, err := c.record(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	col := c.active[id]
	delete(c.active, id)
	c.mu.Unlock()
	if col != nil {
		col.close()
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// close drains all without removing the records: the next keeper goes on.
func (c *collectors) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, col := range c.active {
		col.close()
	}
}

func (col *collector) close() {
	for _, s := range col.streams {
		s.close()
	}
}

// stream copies one FIFO into one rotated log. The FIFO is open for reading
// and writing, so that it never ends and its writers never fail.
type stream struct {
	fifo  *os.File
	out   *logs.Rotator
	log   hclog.Logger
	ended chan struct{}
	bad   bool // writing fails; said once
}

// run copies until the FIFO is closed. It waits without a buffer.
func (s *stream) run() {
	defer close(s.ended)
	raw, err := s.fifo.SyscallConn()
	if err != nil {
		return
	}
	for {
		// A failed read means that close has set the deadline.
		if err := raw.Read(s.copyReady); err != nil {
			return
		}
	}
}

// copyReady takes what the FIFO holds; false waits for more.
func (s *stream) copyReady(fd uintptr) bool {
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	n, err := syscall.Read(int(fd), buf[:])
	if err != nil || n <= 0 {
		return false
	}
	if _, err := s.out.Write(buf[:n]); err != nil && !s.bad {
		s.bad = true
		s.log.Error("cannot write the log; output is dropped until it works again", "error", err)
	} else if err == nil {
		s.bad = false
	}
	return true
}

// close ends the copy after what the FIFO holds now.
func (s *stream) close() {
	_ = s.fifo.SetReadDeadline(time.Now())
	<-s.ended
	if raw, err := s.fifo.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			for s.copyReady(fd) {
			}
		})
	}
	s.fifo.Close()
	if err := s.out.Close(); err != nil {
		s.log.Warn("cannot close the log", "error", err)
	}
}
