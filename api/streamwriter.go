package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// MaxFrameData is how many bytes of data a StreamFrame holds at most.
const MaxFrameData = 64 << 10

// HeartbeatInterval is the pause after which an idle stream sends "{}".
const HeartbeatInterval = time.Second

// StreamWriter writes the body of a stream row: raw bytes or frames, flushed
// at every call, compressed when the caller accepts it. It may be used from
// several goroutines.
type StreamWriter struct {
	o   *responder
	ctl *http.ResponseController

	mu      sync.Mutex // guards what follows
	zip     *gzip.Writer
	started bool
	raw     bool // never compressed
}

func newStreamWriter(o *responder) *StreamWriter {
	return &StreamWriter{o: o, ctl: http.NewResponseController(o.w)}
}

// Header is the response's header; it counts until the first write.
func (w *StreamWriter) Header() http.Header { return w.o.w.Header() }

// Uncompressed keeps the stream as it is, whatever the caller accepts: a
// compressor for each of many long streams costs more than it saves. Call it
// before the first write.
func (w *StreamWriter) Uncompressed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raw = true
}

// Start sends the header before there is any data.
func (w *StreamWriter) Start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
	return w.ctl.Flush()
}

func (w *StreamWriter) start() {
	if w.started {
		return
	}
	w.started = true
	h := w.o.w.Header()
	h.Add("Vary", "Accept-Encoding")
	if !w.raw && acceptsGzip(w.o.req) {
		h.Set("Content-Encoding", "gzip")
		w.zip = gzipWriters.Get().(*gzip.Writer)
		w.zip.Reset(w.o.w)
	}
	w.o.send(http.StatusOK)
}

// Write writes and flushes p. It fails when the caller does not read for
// writeTimeout.
func (w *StreamWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
	_ = w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	if w.zip == nil {
		n, err := w.o.w.Write(p)
		if err != nil {
			return n, err
		}
		return n, w.ctl.Flush()
	}
	n, err := w.zip.Write(p)
	if err != nil {
		return n, err
	}
	if err := w.zip.Flush(); err != nil {
		return n, err
	}
	return n, w.ctl.Flush()
}

// Frame writes and flushes one frame; an empty frame is a heartbeat.
func (w *StreamWriter) Frame(f StreamFrame) error {
	b, err := json.Marshal(&f)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Frames writes the frames of a channel until it is closed or ctx ends, and a
// heartbeat whenever nothing came for HeartbeatInterval.
func (w *StreamWriter) Frames(ctx context.Context, frames <-chan StreamFrame) error {
	idle := time.NewTimer(HeartbeatInterval)
	defer idle.Stop()
	for {
		var f StreamFrame
		select {
		case <-ctx.Done():
			return nil
		case <-idle.C:
		case next, open := <-frames:
			if !open {
				return nil
			}
			f = next
		}
		if err := w.Frame(f); err != nil {
			return err
		}
		idle.Reset(HeartbeatInterval)
	}
}

func (w *StreamWriter) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.zip == nil {
		return nil
	}
	err := w.zip.Close()
	gzipWriters.Put(w.zip)
	w.zip = nil
	return err
}
