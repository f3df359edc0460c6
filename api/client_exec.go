package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// ExecRequest runs a command in a task.
type ExecRequest struct {
	AllocID string
	Task    string
	Command []string
	TTY     bool
	Stdin   io.Reader // nil is empty
	Stdout  io.Writer
	Stderr  io.Writer
	// Sizes are the terminal's sizes as they change; nil for none.
	Sizes <-chan TerminalSize
}

// execHeartbeat keeps an idle exec session alive.
const execHeartbeat = 10 * time.Second

// Exec runs a command in a task and returns its exit code. It ends when the
// command does, or with ctx. Reading of Stdin may go on until it next returns.
func (a Allocations) Exec(ctx context.Context, req *ExecRequest, q *QueryOptions) (int, error) {
	command, err := json.Marshal(req.Command)
	if err != nil {
		return 0, fmt.Errorf("cannot encode the command: %w", err)
	}
	q = q.with("task", req.Task).with("command", string(command)).with("tty", strconv.FormatBool(req.TTY))
	return a.c.execSession(ctx, "/v1/client/allocation/"+Escape(req.AllocID)+"/exec", req, q)
}

// Action runs an action of a job, as Exec runs a command: Command of req is
// not used, AllocID and Task may be empty.
func (j Jobs) Action(ctx context.Context, job, action string, req *ExecRequest, q *QueryOptions) (int, error) {
	q = q.with("action", action).with("allocID", req.AllocID).with("task", req.Task).with("tty", strconv.FormatBool(req.TTY))
	return j.c.execSession(ctx, jobPath(job, "/action"), req, q)
}

func (c *Client) execSession(ctx context.Context, path string, req *ExecRequest, q *QueryOptions) (int, error) {
	conn, err := c.dialSocket(ctx, path, q)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithCancel(ctx)
	sending := &execSender{conn: conn, req: req}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { sending.control(ctx) })
	if req.Stdin == nil {
		sending.send(ctx, &ExecInput{Stdin: &ExecData{Close: true}})
	} else {
		go sending.stdin(ctx) // ends when Stdin does: a terminal cannot be interrupted
	}
	return receiveExec(ctx, conn, req)
}

func receiveExec(ctx context.Context, conn *websocket.Conn, req *ExecRequest) (int, error) {
	for {
		_, msg, err := conn.Read(ctx)
		var closed websocket.CloseError
		if errors.As(err, &closed) && closed.Reason != "" {
			return 0, errors.New(closed.Reason)
		}
		if err != nil {
			return 0, fmt.Errorf("exec session ended early: %w", err)
		}
		out := &ExecOutput{}
		if err := json.Unmarshal(msg, out); err != nil {
			return 0, fmt.Errorf("cannot read the exec session: %w", err)
		}
		switch {
		case out.Stdout != nil && len(out.Stdout.Data) > 0 && req.Stdout != nil:
			_, err = req.Stdout.Write(out.Stdout.Data)
		case out.Stderr != nil && len(out.Stderr.Data) > 0 && req.Stderr != nil:
			_, err = req.Stderr.Write(out.Stderr.Data)
		case out.Exited && out.Result != nil:
			return out.Result.ExitCode, nil
		}
		if err != nil {
			return 0, fmt.Errorf("cannot write the command's output: %w", err)
		}
	}
}

// execSender writes the messages of the caller of an exec session.
type execSender struct {
	conn *websocket.Conn
	req  *ExecRequest
}

func (s *execSender) send(ctx context.Context, in *ExecInput) bool {
	b, err := json.Marshal(in)
	return err == nil && s.conn.Write(ctx, websocket.MessageText, b) == nil
}

// control sends sizes and heartbeats.
func (s *execSender) control(ctx context.Context) {
	ticker := time.NewTicker(execHeartbeat)
	defer ticker.Stop()
	sizes := s.req.Sizes
	for {
		in := &ExecInput{}
		select {
		case <-ctx.Done():
			return
		case size, open := <-sizes:
			if !open {
				sizes = nil
				continue
			}
			in.TTYSize = &size
		case <-ticker.C:
		}
		if !s.send(ctx, in) {
			return
		}
	}
}

func (s *execSender) stdin(ctx context.Context) {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.req.Stdin.Read(buf)
		if n > 0 && !s.send(ctx, &ExecInput{Stdin: &ExecData{Data: buf[:n]}}) {
			return
		}
		if err != nil {
			s.send(ctx, &ExecInput{Stdin: &ExecData{Close: true}})
			return
		}
	}
}

// dialSocket opens a websocket.
func (c *Client) dialSocket(ctx context.Context, path string, q *QueryOptions) (*websocket.Conn, error) {
	target, err := c.url(path, q.values(c))
	if err != nil {
		return nil, err
	}
	conn, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.headers(q.Token)})
	if err == nil {
		conn.SetReadLimit(maxSocketMessage)
		return conn, nil
	}
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode/100 != 2 && resp.Body != nil {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return nil, &ResponseError{Code: resp.StatusCode, Body: string(text)}
	}
	return nil, err
}
