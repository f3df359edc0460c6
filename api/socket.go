package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/nomadlite/nomadlite/structs"
)

// Limits of a websocket session.
const (
	maxSocketMessage = 1 << 20
	handshakeTimeout = 10 * time.Second
	// maxCloseReason is what a close frame holds (RFC 6455, 5.5) less its code.
	maxCloseReason = 123
)

// serveSocket upgrades a request and runs its handler. By the contract the
// upgrade comes before the check of rights, so every error from then on is the
// text of a close frame (http-api.md 6.3).
func (m *Mux) serveSocket(out *responder, r *Request) {
	if !strings.EqualFold(r.HTTP.Header.Get("Upgrade"), "websocket") {
		out.fail(structs.Errorf(structs.Internal, "websocket connection not found in context"))
		return
	}
	// The origin is checked already, for every row alike.
	conn, err := websocket.Accept(out.w, r.HTTP, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		out.status = http.StatusBadRequest // Accept has answered
		return
	}
	out.status = http.StatusSwitchingProtocols
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxSocketMessage)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.HTTP.Context()))
	defer cancel() // after the close frame
	r.exec = newSocketConn(ctx, conn)
	closeCode, text := websocket.StatusNormalClosure, ""
	if err := m.runSocket(r); err != nil {
		var code int
		closeCode = websocket.StatusPolicyViolation
		if code, text = Status(err); code == http.StatusInternalServerError {
			closeCode = websocket.StatusInternalError
		}
	}
	_ = conn.Close(closeCode, shorten(text, maxCloseReason))
}

func (m *Mux) runSocket(r *Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			m.log.Error("websocket handler panicked", "path", r.HTTP.URL.Path, "panic", p)
			err = structs.Errorf(structs.Internal, "internal error: see the agent's log")
		}
	}()
	ctx := r.HTTP.Context()
	if r.Token, err = handshake(ctx, r); err != nil {
		return err
	}
	if r.ACL, err = m.authorize(ctx, r, r.Token); err != nil {
		return err
	}
	if up, err := m.elsewhere(r); err != nil || up != nil {
		if err != nil {
			return err
		}
		return m.relaySocket(ctx, r, up)
	}
	h := m.handlers[r.Route.Name]
	if h == nil {
		return structs.Errorf(structs.Unsupported, "the route %s is not served by this agent", r.Route.Path)
	}
	_, err = h(ctx, r)
	if err == nil && !r.authorized && !r.ACL.Off() {
		err = structs.Errorf(structs.Internal, "route %s answered without an authorization check", r.Route.Name)
	}
	return err
}

// handshake reads the caller's token from the first message when the request
// says ws_handshake=true: browsers cannot set headers on a websocket.
func handshake(ctx context.Context, r *Request) (string, error) {
	wanted, err := r.Bool("ws_handshake", false)
	if err != nil || !wanted || r.internal { // the first agent has read it
		return r.Token, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	msg, err := r.exec.read(ctx)
	if err != nil {
		return "", structs.Errorf(structs.Invalid, "cannot read the handshake: %w", err)
	}
	var hello struct {
		Version int    `json:"version"`
		Token   string `json:"auth_token"`
	}
	if err := json.Unmarshal(msg, &hello); err != nil {
		return "", structs.Errorf(structs.Invalid, "cannot read the handshake: %w", err)
	}
	switch {
	case hello.Version != 1:
		return "", structs.Errorf(structs.Invalid, "unexpected handshake value: %d", hello.Version)
	case r.Token != "" && r.Token != hello.Token:
		return "", structs.Errorf(structs.Invalid, "the handshake and the header carry different tokens")
	}
	return hello.Token, nil
}

// shorten cuts a text to at most n bytes at the end of a rune.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// ReadExec reads the next message of an exec session's caller.
func (r *Request) ReadExec(ctx context.Context) (*ExecInput, error) {
	msg, err := r.exec.read(ctx)
	if err != nil {
		return nil, err
	}
	in := &ExecInput{}
	if err := json.Unmarshal(msg, in); err != nil {
		return nil, structs.Errorf(structs.Invalid, "cannot read message: %w", err)
	}
	return in, nil
}

// WriteExec sends a message to an exec session's caller. Messages carry one
// key each. It may be called from several goroutines.
func (r *Request) WriteExec(ctx context.Context, out *ExecOutput) error {
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("cannot encode message: %w", err)
	}
	return r.exec.write(ctx, b)
}
