package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Timeouts and limits of the listener (reliability.md H-01, 1d).
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 64 << 10
	// DefaultMaxConns is the default of limits.http_max_conns_per_client.
	DefaultMaxConns = 100
)

// NewServer returns an http.Server with the limits that every listener of the
// agent has. Bodies and writes have limits of their own, set by the Mux.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
}

const tooManyConns = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"

// LimitListener refuses connections of an address that has perAddress open
// already: with a raw 429 response, at most 10 of them a second after a burst
// of 100, then without a word. perAddress 0 is no limit; unix sockets have
// none.
func LimitListener(l net.Listener, perAddress int) net.Listener {
	if perAddress <= 0 {
		return l
	}
	return &limitListener{Listener: l, max: perAddress, open: map[netip.Addr]int{}, replies: rate{perSecond: 10, burst: 100, tokens: 100}}
}

type limitListener struct {
	net.Listener
	max int

	mu      sync.Mutex // guards what follows
	open    map[netip.Addr]int
	replies rate
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return conn, nil
		}
		addr := tcp.AddrPort().Addr().Unmap()
		admitted, reply := l.admit(addr, time.Now())
		if admitted {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.release(addr) })}, nil
		}
		if reply {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write([]byte("HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + tooManyConns))
		}
		_ = conn.Close()
	}
}

func (l *limitListener) admit(addr netip.Addr, now time.Time) (admitted, reply bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr] < l.max {
		l.open[addr]++
		return true, false
	}
	return false, l.replies.take(now)
}

func (l *limitListener) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr]--; l.open[addr] <= 0 {
		delete(l.open, addr)
	}
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// rate is a token bucket.
type rate struct {
	perSecond, burst, tokens float64
	last                     time.Time
}

func (r *rate) take(now time.Time) bool {
	if !r.last.IsZero() {
		r.tokens = min(r.burst, r.tokens+now.Sub(r.last).Seconds()*r.perSecond)
	}
	r.last = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// Serve serves a listener until ctx ends, then lets requests finish for grace
// and closes what is left. Blocking queries and streams end with ctx.
func Serve(ctx context.Context, s *http.Server, l net.Listener, grace time.Duration) error {
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.Shutdown(stop); err != nil {
		_ = s.Close()
	}
	<-done
	return nil
}
