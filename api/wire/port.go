package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// PortConfig configures a server port.
type PortConfig struct {
	Listener net.Listener
	// TLS is required of everybody when it is set.
	TLS *TLS
	// HandshakeTimeout bounds the time until a connection has said what it is;
	// 0 is 5 s.
	HandshakeTimeout time.Duration
	Logger           hclog.Logger
}

// Port is a listening server port. It sorts connections by kind; Raft's are
// fetched by its transport, the others are given to the handlers of Run.
type Port struct {
	cfg   PortConfig
	raft  *queue
	http  *queue
	limit chan struct{} // handshakes at once
}

// maxHandshakes bounds the connections that have not said yet what they are.
const maxHandshakes = 512

// NewPort returns the port of a listener; nothing is accepted before Run.
func NewPort(cfg PortConfig) *Port {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = dialTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	addr := cfg.Listener.Addr()
	return &Port{cfg: cfg, raft: newQueue(addr), http: newQueue(addr), limit: make(chan struct{}, maxHandshakes)}
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.cfg.Listener.Addr() }

// RaftConns are the connections of other servers' Raft.
func (p *Port) RaftConns() net.Listener { return p.raft }

// Run accepts until ctx ends. Requests go to h; node is called with each
// connection of a node, which it owns, on a goroutine of its own.
func (p *Port) Run(ctx context.Context, h http.Handler, node func(ctx context.Context, c *Conn)) error {
	srv := NewServer(h)
	srv.ErrorLog = p.cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	// Requests end with ctx: streams and blocking queries would hold the port.
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	var all sync.WaitGroup
	all.Go(func() { _ = srv.Serve(p.http) })
	all.Go(func() {
		<-ctx.Done()
		p.cfg.Listener.Close()
		p.raft.Close()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
		p.http.Close()
	})
	for {
		raw, err := p.cfg.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			if errors.Is(err, net.ErrClosed) {
				all.Wait()
				return fmt.Errorf("cannot accept on the server port: %w", err)
			}
			p.cfg.Logger.Warn("cannot accept a connection", "error", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		select {
		case p.limit <- struct{}{}:
		default:
			raw.Close() // more strangers than a port can look at
			continue
		}
		all.Go(func() { p.sort(ctx, raw, node) })
	}
	all.Wait()
	return nil
}

// drainTime is how long running requests may finish when the port closes.
const drainTime = 2 * time.Second

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// sort finds out what a connection is and hands it on. It returns when the
// connection has an owner, for nodes when they are gone.
func (p *Port) sort(ctx context.Context, raw net.Conn, node func(context.Context, *Conn)) {
	done := sync.OnceFunc(func() { <-p.limit })
	defer done()
	conn, kind, err := p.handshake(ctx, raw)
	done()
	if err != nil {
		raw.Close()
		p.cfg.Logger.Warn("refused a connection to the server port", "peer", raw.RemoteAddr(), "error", err)
		return
	}
	switch kind {
	case Raft:
		p.raft.put(conn)
	case HTTP:
		p.http.put(conn)
	case Node:
		node(ctx, conn)
	}
}

// handshake identifies a connection. Raft is for servers alone: a client's
// certificate, or one of another region, never reaches its decoder (N-14).
func (p *Port) handshake(ctx context.Context, raw net.Conn) (*Conn, Kind, error) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive)
	}
	deadline := time.Now().Add(p.cfg.HandshakeTimeout)
	_ = raw.SetDeadline(deadline)
	peer := Peer{Addr: raw.RemoteAddr()}
	if p.cfg.TLS == nil {
		kind, err := readKind(raw)
		if err != nil {
			return nil, 0, err
		}
		_ = raw.SetDeadline(time.Time{})
		return &Conn{Conn: raw, Peer: peer}, kind, nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn := tls.Server(raw, p.cfg.TLS.server())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, 0, err
	}
	state := conn.ConnectionState()
	kind := kindOf(state.NegotiatedProtocol)
	if kind == 0 {
		return nil, 0, errors.New("TLS without a protocol (ALPN) of this port")
	}
	leaf, err := chain(state, p.cfg.TLS.now.Load().pool, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, 0, err
	}
	region := p.cfg.TLS.region
	role, err := roleOf(leaf, region)
	if other := serverRegion(leaf); err != nil && other != "" && kind == HTTP {
		role, region, err = RoleForeign, other, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if kind == Raft && role != RoleServer {
		return nil, 0, fmt.Errorf("invalid certificate: %q not in expected server.%s.nomad", leaf.DNSNames, region)
	}
	_ = raw.SetDeadline(time.Time{})
	peer.Verified, peer.Role, peer.Region = true, role, region
	return &Conn{Conn: conn, Peer: peer}, kind, nil
}

// queue is a listener that is fed by the port.
type queue struct {
	addr  net.Addr
	conns chan *Conn
	done  chan struct{}
	close func()
}

func newQueue(addr net.Addr) *queue {
	q := &queue{addr: addr, conns: make(chan *Conn), done: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.done) })
	return q
}

// put waits until somebody accepts the connection, at most for handoff.
func (q *queue) put(c *Conn) {
	limit := time.NewTimer(handoff)
	defer limit.Stop()
	select {
	case q.conns <- c:
		return
	case <-q.done:
	case <-limit.C:
	}
	c.Close()
}

// handoff bounds the wait for the owner of a connection.
const handoff = 5 * time.Second

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error { q.close(); return nil }

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
