// Package taskapi lets tasks speak to their agent: a socket in each task's
// secrets, behind which is the agent's HTTP API. Every request must bring a
// token; without one the socket says nothing.
package taskapi

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// Check says whose a token is; an error of the kind Denied is final.
type Check func(ctx context.Context, token string) (*api.IdentityClaims, error)

const (
	socketName = "api.sock"
	// maxConns bounds the connections of one task.
	maxConns = 64
	// checkFor is how long the servers' word about a token is believed.
	checkFor     = 10 * time.Second
	checkTimeout = 10 * time.Second
	maxChecked   = 4096
)

// Hook keeps the sockets of a node's tasks.
type Hook struct {
	check  Check
	server *http.Server
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	api     http.Handler
	sockets map[string]*socket
	checked map[[sha256.Size]byte]time.Time
}

// socket is that of one start of a task.
type socket struct {
	net.Listener
	task *alloc.Task
}

// New makes the hook.
func New(check Check, log hclog.Logger) *Hook {
	h := &Hook{check: check, sockets: map[string]*socket{}, checked: map[[sha256.Size]byte]time.Time{}}
	h.server = api.NewServer(h)
	h.server.ErrorLog = log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	return h
}

// Serve sets what stands behind the sockets: the agent's own API.
func (h *Hook) Serve(handler http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.api = handler
}

// Close closes all sockets and waits for their requests to end.
func (h *Hook) Close() {
	h.server.Close()
	h.wg.Wait()
}

// Name implements alloc.Hook.
func (h *Hook) Name() string { return "api" }

// Prestart implements alloc.Prestarter.
func (h *Hook) Prestart(_ context.Context, t *alloc.Task) error { return h.open(t) }

// Poststart implements alloc.Poststarter: a task that was found again gets its
// socket back.
func (h *Hook) Poststart(_ context.Context, t *alloc.Task) {
	if t.Found {
		if err := h.open(t); err != nil {
			t.Note(&structs.TaskEvent{Type: structs.TaskHookFailed, Details: map[string]string{"message": "the task API is not there: " + err.Error()}})
		}
	}
}

// open listens on a task's socket.
func (h *Hook) open(t *alloc.Task) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.sockets[t.ID()]; old != nil {
		old.Close()
	}
	dir, err := t.Dir.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	l, err := dir.Listen(t.Spec.Name+"/secrets", socketName)
	if err != nil {
		return err
	}
	s := &socket{&limited{l, make(chan struct{}, maxConns)}, t}
	h.sockets[t.ID()] = s
	h.wg.Go(func() { _ = h.server.Serve(s) })
	return nil
}

// Postrun implements alloc.Postrunner.
func (h *Hook) Postrun(_ context.Context, a *alloc.Alloc) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, spec := range a.Group.Tasks {
		id := a.Alloc.ID + "/" + spec.Name
		if s := h.sockets[id]; s != nil {
			s.Close()
			delete(h.sockets, id)
		}
	}
	return nil
}

// ServeHTTP implements http.Handler: it asks who is there, and hands over to
// the agent's API.
func (h *Hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := tokenOf(r.Header)
	if token == "" {
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		return
	}
	if err := h.known(r.Context(), token); err != nil {
		code := http.StatusForbidden
		if structs.KindOf(err) != structs.Denied {
			code = http.StatusInternalServerError
		}
		http.Error(w, http.StatusText(code), code)
		return
	}
	h.mu.Lock()
	handler := h.api
	h.mu.Unlock()
	if handler == nil {
		http.Error(w, "the agent is starting: try again", http.StatusServiceUnavailable)
		return
	}
	r.Header.Del("Accept-Encoding") // both ends are on one machine
	handler.ServeHTTP(w, r)
}

// tokenOf is the secret of a request.
func tokenOf(h http.Header) string {
	if t := strings.TrimSpace(h.Get("X-Nomad-Token")); t != "" {
		return t
	}
	if scheme, t, ok := strings.Cut(h.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(t)
	}
	return ""
}

// known asks the servers for a token, unless they answered lately.
func (h *Hook) known(ctx context.Context, token string) error {
	sum, now := sha256.Sum256([]byte(token)), time.Now()
	h.mu.Lock()
	until, seen := h.checked[sum]
	h.mu.Unlock()
	if seen && now.Before(until) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if _, err := h.check(ctx, token); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.checked) >= maxChecked {
		clear(h.checked)
	}
	h.checked[sum] = now.Add(checkFor)
	return nil
}

// limited bounds the connections of a listener: further ones are closed, so
// that one task does not hold what others need.
type limited struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &conn{c, sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			c.Close()
		}
	}
}

type conn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}
