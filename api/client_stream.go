package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// FS calls the routes that read an allocation's directory. They are answered
// by its node, wherever it is.
type FS struct{ c *Client }

// FS returns the routes of allocation directories.
func (c *Client) FS() FS { return FS{c} }

// List lists a directory.
func (f FS) List(ctx context.Context, allocID, path string, q *QueryOptions) ([]*AllocFileInfo, error) {
	out, _, err := get[[]*AllocFileInfo](ctx, f.c, "/v1/client/fs/ls/"+Escape(allocID), q.with("path", path))
	return out, err
}

// Stat describes a file.
func (f FS) Stat(ctx context.Context, allocID, path string, q *QueryOptions) (*AllocFileInfo, error) {
	out, _, err := get[*AllocFileInfo](ctx, f.c, "/v1/client/fs/stat/"+Escape(allocID), q.with("path", path))
	return out, err
}

// Cat reads a whole file; the caller closes the reader.
func (f FS) Cat(ctx context.Context, allocID, path string, q *QueryOptions) (io.ReadCloser, error) {
	return f.c.open(ctx, "/v1/client/fs/cat/"+Escape(allocID), q.with("path", path))
}

// ReadAt reads limit bytes (0 for all) from an offset; the caller closes the
// reader.
func (f FS) ReadAt(ctx context.Context, allocID, path string, offset, limit int64, q *QueryOptions) (io.ReadCloser, error) {
	q = q.with("path", path).with("offset", strconv.FormatInt(offset, 10)).with("limit", strconv.FormatInt(limit, 10))
	return f.c.open(ctx, "/v1/client/fs/readat/"+Escape(allocID), q)
}

// Origins of an offset.
const (
	OriginStart = "start"
	OriginEnd   = "end"
)

// Stream follows a file from an offset counted from the origin.
func (f FS) Stream(ctx context.Context, allocID, path, origin string, offset int64, follow bool, q *QueryOptions) (*FrameReader, error) {
	q = q.with("path", path).with("origin", origin).with("offset", strconv.FormatInt(offset, 10)).with("follow", strconv.FormatBool(follow))
	return f.c.frames(ctx, "/v1/client/fs/stream/"+Escape(allocID), q)
}

// LogsRequest asks for a task's log.
type LogsRequest struct {
	AllocID string
	Task    string
	Type    string // stdout or stderr
	Origin  string // OriginStart or OriginEnd
	Offset  int64  // bytes from the origin, over all rotated files
	Follow  bool
}

// Logs reads a task's log.
func (f FS) Logs(ctx context.Context, req LogsRequest, q *QueryOptions) (*FrameReader, error) {
	q = q.with("task", req.Task).with("type", req.Type).with("origin", first(req.Origin, OriginStart)).
		with("offset", strconv.FormatInt(req.Offset, 10)).with("follow", strconv.FormatBool(req.Follow))
	return f.c.frames(ctx, "/v1/client/fs/logs/"+Escape(req.AllocID), q)
}

// MonitorRequest asks for an agent's log as it is written.
type MonitorRequest struct {
	LogLevel string
	LogJSON  bool
	NodeID   string
	ServerID string
}

// Monitor follows an agent's log.
func (a Agent) Monitor(ctx context.Context, req MonitorRequest, q *QueryOptions) (*FrameReader, error) {
	q = q.with("log_json", strconv.FormatBool(req.LogJSON))
	for k, v := range map[string]string{"log_level": req.LogLevel, "node_id": req.NodeID, "server_id": req.ServerID} {
		if v != "" {
			q = q.with(k, v)
		}
	}
	return a.c.frames(ctx, "/v1/agent/monitor", q)
}

// open sends a read and returns its body.
func (c *Client) open(ctx context.Context, path string, q *QueryOptions) (io.ReadCloser, error) {
	token := ""
	if q != nil {
		token = q.Token
	}
	resp, err := c.do(ctx, http.MethodGet, path, q.values(c), nil, token)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *Client) frames(ctx context.Context, path string, q *QueryOptions) (*FrameReader, error) {
	body, err := c.open(ctx, path, q)
	if err != nil {
		return nil, err
	}
	return &FrameReader{body: body, dec: json.NewDecoder(body)}, nil
}

// FrameReader reads the frames of a stream. It is also an io.Reader of their
// data alone.
type FrameReader struct {
	body io.ReadCloser
	dec  *json.Decoder
	rest []byte
}

// Next returns the next frame, heartbeats included, or io.EOF.
func (r *FrameReader) Next() (*StreamFrame, error) {
	f := &StreamFrame{}
	if err := r.dec.Decode(f); err != nil {
		if err == io.EOF {
			return nil, err
		}
		return nil, fmt.Errorf("cannot read the stream: %w", err)
	}
	return f, nil
}

// Read reads the data of the frames.
func (r *FrameReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		f, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.rest = f.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the stream.
func (r *FrameReader) Close() error { return r.body.Close() }

// repeat encodes one parameter with several values.
func repeat(key string, values []string) string { return url.Values{key: values}.Encode() }
