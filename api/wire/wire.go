// Package wire is how agents talk to each other: connections to the server
// port, 4647, each of which says in its first byte or by ALPN what it carries:
// Raft, HTTP/2 for the route table, or a node that lets itself be called.
//
// With TLS both ends show certificates whose names say role and region
// ("server.<region>.nomad", "client.<region>.nomad"); a connection of another
// region, or without a role that may have it, ends before a byte of it is
// decoded. Without TLS anybody who reaches the port is believed, which the
// agent says loudly at its start.
//
// The package knows neither routes nor nouns.
package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Kind is what a connection carries.
type Kind byte

// Kinds of connections; the values are the first byte without TLS.
const (
	Raft Kind = 'R' // between servers
	HTTP Kind = 'H' // HTTP/2 requests to a server
	Node Kind = 'N' // HTTP/2 requests to the node that dialed
)

// kinds are the ALPN protocols of the kinds.
var kinds = map[Kind]string{Raft: "nomadlite/raft", HTTP: "nomadlite/http", Node: "nomadlite/node"}

func (k Kind) String() string { return kinds[k] }

// kindOf finds the kind of an ALPN protocol; 0 is none.
func kindOf(proto string) Kind {
	for k, p := range kinds {
		if p == proto {
			return k
		}
	}
	return 0
}

// Roles in certificates.
const (
	RoleServer = "server"
	RoleClient = "client"
	// RoleForeign is a server of another region: it passes on requests of users.
	RoleForeign = "foreign"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	// Verified says that TLS proved Role and Region; without it they are empty.
	Verified bool
	Role     string
	Region   string
	Addr     net.Addr
	// Reverse says that the connection was dialed by this agent, a node, and
	// that the other end is a server of its choice.
	Reverse bool
}

// Is reports whether the peer may act in one of the roles. Whoever speaks
// without TLS may act in any.
func (p Peer) Is(roles ...string) bool {
	if !p.Verified {
		return true
	}
	for _, r := range roles {
		if p.Role == r {
			return true
		}
	}
	return false
}

// Conn is a connection with what is known of its other end. It hides what
// stands below from net/http, which would negotiate a second time.
type Conn struct {
	net.Conn
	Peer Peer
}

type peerKey struct{}

// WithPeer is for http.Server.ConnContext.
func WithPeer(ctx context.Context, c net.Conn) context.Context {
	if own, ok := c.(*Conn); ok {
		return context.WithValue(ctx, peerKey{}, own.Peer)
	}
	return ctx
}

// PeerOf is the peer of a request's connection; ok is false for a request that
// did not come over the server port.
func PeerOf(ctx context.Context) (p Peer, ok bool) {
	p, ok = ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// dialTimeout bounds a connection's establishment, TLS included.
const dialTimeout = 5 * time.Second

// keepAlive finds dead peers of idle connections.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// Dialer connects to server ports. Its zero value speaks without TLS.
type Dialer struct {
	// TLS is what certificates to show and to believe; nil is none.
	TLS *TLS
	// Region is whose servers are dialed, "" for those of our own, AnyRegion for
	// those of any.
	Region string
}

// AnyRegion is a Dialer.Region.
const AnyRegion = "*"

// Dial connects to a server's port. The error names the address.
func (d *Dialer) Dial(ctx context.Context, addr string, kind Kind) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &DialError{Addr: addr, Err: err}
	}
	if d.TLS == nil {
		_ = raw.SetWriteDeadline(time.Now().Add(dialTimeout))
		if _, err := raw.Write([]byte{byte(kind)}); err != nil {
			raw.Close()
			return nil, &DialError{Addr: addr, Err: err}
		}
		_ = raw.SetWriteDeadline(time.Time{})
		return &Conn{Conn: raw, Peer: Peer{Addr: raw.RemoteAddr(), Reverse: kind == Node}}, nil
	}
	conn := tls.Client(raw, d.TLS.client(kind, d.Region))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &DialError{Addr: addr, Err: fmt.Errorf("TLS: %w", err)}
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != kinds[kind] {
		conn.Close()
		return nil, &DialError{Addr: addr, Err: fmt.Errorf("the other end speaks %q, want %q: it is not a server port", got, kinds[kind])}
	}
	return &Conn{Conn: conn, Peer: Peer{Verified: true, Role: RoleServer, Region: d.TLS.region, Addr: raw.RemoteAddr(), Reverse: kind == Node}}, nil
}

// DialError is a connection that did not come about: nothing was sent.
type DialError struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *DialError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// errWrongKind is what a port says to a first byte that it does not know.
var errWrongKind = errors.New("the first byte is of no known protocol")

// readKind reads the first byte of a connection without TLS.
func readKind(c net.Conn) (Kind, error) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0, err
	}
	if _, known := kinds[Kind(b[0])]; !known {
		return 0, fmt.Errorf("%w (0x%02x)", errWrongKind, b[0])
	}
	return Kind(b[0]), nil
}
