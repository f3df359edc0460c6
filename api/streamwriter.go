package api

import (
	"compress/gzip"
	"encoding/json"
	"net/http"
)

// MaxFrameData is how many bytes of data a StreamFrame holds at most.
const MaxFrameData = 64 << 10

// StreamWriter writes the body of a stream row: raw bytes or frames, flushed
// at every call, compressed when the caller accepts it.
type StreamWriter struct {
	w       http.ResponseWriter
	ctl     *http.ResponseController
	gz      *gzip.Writer
	started bool
}

// Header is the response's header; it counts until the first write.
func (w *StreamWriter) Header() http.Header { return w.w.Header() }

// Write writes and flushes p.
func (w *StreamWriter) Write(p []byte) (int, error) {
	w.started = true
	if w.gz == nil {
		n, err := w.w.Write(p)
		if err != nil {
			return n, err
		}
		return n, w.ctl.Flush()
	}
	n, err := w.gz.Write(p)
	if err != nil {
		return n, err
	}
	if err := w.gz.Flush(); err != nil {
		return n, err
	}
	return n, w.ctl.Flush()
}

// Frame writes and flushes one frame; an empty frame is a heartbeat. Data
// beyond MaxFrameData is the caller's mistake and is sent as it is.
func (w *StreamWriter) Frame(f StreamFrame) error {
	b, err := json.Marshal(&f)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Start sends the headers before there is any data.
func (w *StreamWriter) Start() error {
	if w.started {
		return nil
	}
	w.started = true
	w.w.WriteHeader(http.StatusOK)
	return w.ctl.Flush()
}

func (w *StreamWriter) close() error {
	if w.gz == nil {
		return nil
	}
	return w.gz.Close()
}
