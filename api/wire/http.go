package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Health of HTTP/2 connections: a peer that is silent for pingAfter is asked,
// and given up when it does not answer in pingTimeout. Nothing waits longer
// for a stopped peer (B-62).
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 10 * time.Second
	// maxStreams bounds the requests in flight on one connection.
	maxStreams = 1000
	maxHeader  = 64 << 10
)

func unencrypted() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

func health() *http.HTTP2Config {
	return &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxConcurrentStreams: maxStreams, WriteByteTimeout: pingTimeout}
}

// NewServer is an HTTP/2 server over connections of this package.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, Protocols: unencrypted(), HTTP2: health(), ConnContext: WithPeer, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: 10 * time.Second}
}

// Transport makes HTTP/2 requests to server ports: the host of a request's URL
// is the port's address, the scheme is "http" whatever the connection is.
func (d *Dialer) Transport() *http.Transport {
	return newTransport(func(ctx context.Context, _, addr string) (net.Conn, error) { return d.Dial(ctx, addr, HTTP) })
}

func newTransport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext: dial, Protocols: unencrypted(), HTTP2: health(), DisableCompression: true,
		IdleConnTimeout: 5 * time.Minute,
	}
}

// errSpent is the answer to a second dial over a connection that was given.
var errSpent = errors.New("the connection has ended")

// Caller makes requests over one connection, in either direction.
type Caller struct {
	*http.Transport
	conn *watched
}

// NewCaller makes requests over c, which it owns.
func NewCaller(c *Conn) *Caller {
	w := &watched{Conn: c, gone: make(chan struct{})}
	w.end = sync.OnceFunc(func() { close(w.gone) })
	var once sync.Once
	t := newTransport(func(context.Context, string, string) (net.Conn, error) {
		var given net.Conn
		once.Do(func() { given = w })
		if given == nil {
			return nil, &DialError{Addr: c.Peer.Addr.String(), Err: errSpent}
		}
		return given, nil
	})
	t.IdleConnTimeout = 0
	return &Caller{Transport: t, conn: w}
}

// Gone is closed when the connection has ended.
func (c *Caller) Gone() <-chan struct{} { return c.conn.gone }

// Close ends the connection.
func (c *Caller) Close() {
	_ = c.conn.Close()
	c.CloseIdleConnections()
}

// watched tells when it ends.
type watched struct {
	net.Conn
	gone chan struct{}
	end  func()
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.end()
	}
	return n, err
}

// Close implements net.Conn.
func (w *watched) Close() error {
	w.end()
	return w.Conn.Close()
}

// ServeConn answers requests over one connection until it or ctx ends.
func ServeConn(ctx context.Context, c *Conn, h http.Handler) {
	q := newQueue(c.LocalAddr())
	w := &watched{Conn: c, gone: make(chan struct{})}
	w.end = sync.OnceFunc(func() { close(w.gone) })
	srv := NewServer(h)
	srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return WithPeer(ctx, c) }
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	srv.BaseContext = func(net.Listener) context.Context { return base }
	var all sync.WaitGroup
	all.Go(func() { _ = srv.Serve(q) })
	q.put(&Conn{Conn: w, Peer: c.Peer})
	select {
	case <-w.gone:
	case <-ctx.Done():
	}
	cancel()
	_ = srv.Close()
	q.Close()
	_ = c.Close()
	all.Wait()
}
