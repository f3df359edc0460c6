package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nomadlite/nomadlite/structs"
)

// Websockets end at the public port. Between agents an exec session is one
// request whose body is the caller's messages and whose response is the
// task's, a line of JSON each; the last line of the response says how it
// ended.

// execConn carries the messages of an exec session.
type execConn interface {
	read(ctx context.Context) ([]byte, error)
	write(ctx context.Context, msg []byte) error
}

// execEnd is the last line of a session between agents; Code 0 is a good end.
type execEnd struct {
	End *struct {
		Code int
		Text string
	} `json:"nomadlite_end,omitempty"`
}

// socketConn is a session with its caller. One goroutine reads the socket for
// the whole session: a socket whose Read is cancelled is closed, and then
// nobody could tell the caller why its session ended.
type socketConn struct {
	conn *websocket.Conn
	msgs chan socketMessage // closed after the first error
}

type socketMessage struct {
	data []byte
	err  error
}

// newSocketConn reads from conn until it fails or ctx ends.
func newSocketConn(ctx context.Context, conn *websocket.Conn) *socketConn {
	s := &socketConn{conn: conn, msgs: make(chan socketMessage)}
	go s.pump(ctx)
	return s
}

func (s *socketConn) pump(ctx context.Context) {
	defer close(s.msgs)
	for {
		_, data, err := s.conn.Read(ctx)
		select {
		case s.msgs <- socketMessage{data, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *socketConn) read(ctx context.Context) ([]byte, error) {
	select {
	case m, open := <-s.msgs:
		if !open {
			return nil, io.EOF
		}
		return m.data, m.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *socketConn) write(ctx context.Context, msg []byte) error {
	return s.conn.Write(ctx, websocket.MessageText, msg)
}

// lineConn is a session with another agent.
type lineConn struct {
	in *bufio.Scanner

	mu  sync.Mutex // guards what follows
	out io.Writer
	ctl *http.ResponseController
}

func newLines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxSocketMessage+1)
	return s
}

func (l *lineConn) read(context.Context) ([]byte, error) {
	if l.in.Scan() {
		return l.in.Bytes(), nil
	}
	if err := l.in.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

func (l *lineConn) write(_ context.Context, msg []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := l.out.Write(append(msg[:len(msg):len(msg)], '\n')); err != nil {
		return err
	}
	return l.ctl.Flush()
}

// serveLines runs a websocket row for another agent.
func (m *Mux) serveLines(out *responder, r *Request) {
	up, err := m.elsewhere(r)
	if err == nil && up != nil {
		err = m.relay(out, r, up)
		if err == nil {
			return
		}
	}
	if err != nil {
		out.fail(err)
		return
	}
	ctl := http.NewResponseController(out.w)
	_ = ctl.EnableFullDuplex()
	out.w.Header().Set("Content-Type", "application/x-ndjson")
	out.send(http.StatusOK)
	_ = ctl.Flush()
	lines := &lineConn{in: newLines(r.HTTP.Body), out: out.w, ctl: ctl}
	r.exec = lines
	var end execEnd
	end.End = new(struct {
		Code int
		Text string
	})
	if err := m.runSocket(r); err != nil {
		end.End.Code, end.End.Text = Status(err)
	}
	last, err := json.Marshal(end)
	if err == nil {
		err = lines.write(r.HTTP.Context(), last)
	}
	if err != nil {
		m.log.Debug("exec session cut short", "path", r.HTTP.URL.Path, "error", err)
	}
}

// relaySocket passes the messages of a session on to the agent that runs it.
func (m *Mux) relaySocket(ctx context.Context, r *Request, up *Upstream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, feed := io.Pipe()
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer body.Close()
	feeding.Go(func() {
		defer cancel()
		for {
			msg, err := r.exec.read(ctx)
			if err == nil {
				_, err = feed.Write(append(msg, '\n'))
			}
			if err != nil {
				feed.CloseWithError(err)
				return
			}
		}
	})
	resp, err := send(ctx, r, up, http.MethodPost, body)
	if err != nil {
		return structs.Errorf(structs.Internal, "cannot reach the node: %w", err)
	}
	defer resp.Body.Close()
	defer cancel() // before the wait for the feeder
	if resp.StatusCode != http.StatusOK {
		return remoteError(resp)
	}
	for lines := newLines(resp.Body); lines.Scan(); {
		var end execEnd
		if err := json.Unmarshal(lines.Bytes(), &end); err == nil && end.End != nil {
			if end.End.Code == 0 {
				return nil
			}
			return &StatusError{Code: end.End.Code, Text: end.End.Text}
		}
		if err := r.exec.write(context.WithoutCancel(ctx), lines.Bytes()); err != nil {
			return err
		}
	}
	return structs.Errorf(structs.Internal, "the connection to the node ended")
}
