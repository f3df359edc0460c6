package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// Timeouts and sizes of writing a response.
const (
	// writeTimeout bounds each write to a caller that does not read.
	writeTimeout = 60 * time.Second
	// compressFrom is the size of a body from which compression is worth it.
	compressFrom = 1400
	// chunk is how much of a list is encoded before it is written.
	chunk = 64 << 10
)

// responder writes the response of one request.
type responder struct {
	w      http.ResponseWriter
	req    *http.Request
	mux    *Mux
	row    *Route
	peer   *wire.Peer // the agent that asks, nil for users
	status int        // 0 until the header is written
}

// send writes the header.
func (o *responder) send(status int) {
	if o.status != 0 {
		return
	}
	o.status = status
	o.w.WriteHeader(status)
}

// text writes a bare text with a status.
func (o *responder) text(status int, body string) {
	if o.status != 0 {
		return
	}
	h := o.w.Header()
	if body != "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	o.send(status)
	_, _ = io.WriteString(o.w, body)
}

// fail answers an error. After the header it can only cut the connection, so
// that the caller does not take a part for the whole.
func (o *responder) fail(err error) {
	if o.status != 0 {
		o.mux.log.Debug("response cut short", "path", o.req.URL.Path, "error", err)
		return
	}
	o.w.Header().Del("Content-Encoding")
	status, body := Status(err)
	if o.peer != nil {
		o.w.Header().Set(headerKind, strconv.Itoa(int(structs.KindOf(err))))
	}
	o.text(status, body)
}

func (o *responder) unknown(path string) {
	for _, u := range unknownPaths {
		if strings.HasPrefix(path, u.prefix) {
			o.text(http.StatusNotFound, u.text)
			return
		}
	}
	o.text(http.StatusNotFound, "")
}

func (o *responder) wrongVerb(path string) {
	for _, v := range wrongVerbs {
		if strings.HasPrefix(path, v.prefix) {
			o.text(v.status, v.text)
			return
		}
	}
	o.text(http.StatusMethodNotAllowed, "Invalid method")
}

// fixed answers a row that is not built. The index is 1, the floor of tables
// that were never written.
func (o *responder) fixed(f *Fixed) {
	o.meta(&Response{Index: 1})
	if f.Status == http.StatusOK {
		o.respond(&Response{Body: f.Body}, o.req.URL.Query())
		return
	}
	if f.Status == http.StatusNoContent {
		o.send(f.Status)
		return
	}
	o.text(f.Status, f.Body.(string))
}

// respond writes a JSON body, or none on empty rows.
func (o *responder) respond(resp *Response, values url.Values) {
	if resp == nil {
		resp = &Response{}
		o.meta(resp)
	}
	status := resp.Status
	if status == 0 {
		status = http.StatusOK
	}
	if o.row.Answer == AnswerBinary {
		o.binary(resp.Body)
		return
	}
	if o.row.Answer == AnswerEmpty && resp.Body == nil || status == http.StatusNoContent {
		o.w.Header().Set("Content-Length", "0")
		o.send(status)
		return
	}
	h := o.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Add("Vary", "Accept-Encoding")
	_ = http.NewResponseController(o.w).SetWriteDeadline(time.Now().Add(writeTimeout))
	out := &bodyWriter{o: o, status: status, gzip: acceptsGzip(o.req)}
	err := encodeBody(out, resp.Body, pretty(values))
	if err == nil {
		err = out.close()
	}
	if err == nil {
		return
	}
	if o.status == 0 {
		o.fail(err)
		return
	}
	o.mux.log.Debug("response cut short", "path", o.req.URL.Path, "error", err)
	panic(http.ErrAbortHandler)
}

// binary writes a body between agents.
func (o *responder) binary(body any) {
	b, err := encodeBinary(body)
	if err != nil {
		o.fail(err)
		return
	}
	_ = http.NewResponseController(o.w).SetWriteDeadline(time.Now().Add(writeTimeout))
	o.w.Header().Set("Content-Type", "application/msgpack")
	o.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	o.send(http.StatusOK)
	_, _ = o.w.Write(b)
}

func pretty(v url.Values) bool {
	s, given := v["pretty"]
	return given && s[0] != "0"
}

func acceptsGzip(req *http.Request) bool {
	for _, part := range strings.Split(req.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" || name == "*" {
			return strings.ReplaceAll(q, " ", "") != "q=0"
		}
	}
	return false
}

// encodeBody writes v as JSON. A list is encoded element by element, so that
// only a chunk of it is in memory besides the values themselves.
func encodeBody(w io.Writer, v any, pretty bool) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Slice || rv.Type() == reflect.TypeFor[json.RawMessage]() || rv.Type().Elem().Kind() == reflect.Uint8 {
		return encodeValue(w, v, pretty)
	}
	if rv.Len() == 0 {
		if pretty {
			_, err := io.WriteString(w, "[]\n")
			return err
		}
		_, err := io.WriteString(w, "[]")
		return err
	}
	if pretty {
		return encodeValue(w, v, true)
	}
	buf := &bytes.Buffer{}
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for i := range rv.Len() {
		if i == 0 {
			buf.WriteByte('[')
		} else {
			buf.WriteByte(',')
		}
		if err := enc.Encode(rv.Index(i).Interface()); err != nil {
			return err
		}
		buf.Truncate(buf.Len() - 1) // the encoder's newline
		if buf.Len() < chunk {
			continue
		}
		if _, err := buf.WriteTo(w); err != nil {
			return err
		}
	}
	buf.WriteByte(']')
	_, err := buf.WriteTo(w)
	return err
}

func encodeValue(w io.Writer, v any, pretty bool) error {
	buf := &bytes.Buffer{}
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if pretty {
		enc.SetIndent("", "    ")
	}
	if err := enc.Encode(v); err != nil {
		return err
	}
	b := buf.Bytes()
	if !pretty {
		b = b[:len(b)-1]
	}
	_, err := w.Write(b)
	return err
}

// bodyWriter holds back the beginning of a body until it knows whether to
// compress it; short ones get a Content-Length instead.
type bodyWriter struct {
	o      *responder
	status int
	gzip   bool
	head   []byte
	zip    *gzip.Writer
	begun  bool
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return w
}}

func (b *bodyWriter) Write(p []byte) (int, error) {
	if !b.begun && len(b.head)+len(p) < compressFrom {
		b.head = append(b.head, p...)
		return len(p), nil
	}
	if !b.begun {
		b.begun = true
		if b.gzip {
			b.o.w.Header().Set("Content-Encoding", "gzip")
			b.zip = gzipWriters.Get().(*gzip.Writer)
			b.zip.Reset(b.o.w)
		}
		b.o.send(b.status)
		if len(b.head) > 0 {
			if _, err := b.write(b.head); err != nil {
				return 0, err
			}
		}
	}
	return b.write(p)
}

func (b *bodyWriter) write(p []byte) (int, error) {
	if b.zip != nil {
		return b.zip.Write(p)
	}
	return b.o.w.Write(p)
}

func (b *bodyWriter) close() error {
	if !b.begun {
		b.o.w.Header().Set("Content-Length", strconv.Itoa(len(b.head)))
		b.o.send(b.status)
		_, err := b.o.w.Write(b.head)
		return err
	}
	if b.zip == nil {
		return nil
	}
	err := b.zip.Close()
	gzipWriters.Put(b.zip)
	return err
}

// stream runs the writer of a stream row.
func (o *responder) stream(ctx context.Context, resp *Response) {
	if o.w.Header().Get("Content-Type") == "" {
		o.w.Header().Set("Content-Type", "application/json")
	}
	w := newStreamWriter(o)
	err := resp.Stream(ctx, w)
	if closeErr := w.close(); err == nil {
		err = closeErr
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	o.fail(err)
}
