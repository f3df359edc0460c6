package nomadlite

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/api/wire/certtest"
)

// dialled is a stream layer that only dials.
type dialled struct {
	net.Listener
	dial func() (net.Conn, error)
}

// Dial implements raft.StreamLayer.
func (d dialled) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return d.dial() }

// shared is a log that is written and read at once.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestForgedEntries_N14: who is no server of the region never speaks Raft: a
// forged AppendEntries of the last term there can be leaves the term as it is, and
// the log names the peer.
func TestForgedEntries_N14(t *testing.T) {
	ca, alien := certtest.New(t), certtest.New(t)
	material, err := wire.LoadTLS("global", wire.Files(ca.Files("server.global.nomad", nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log shared
	logger := hclog.New(&hclog.LoggerOptions{Output: &log})
	addr := l.Addr().String()
	s := startMember(t, Config{Name: "a", Region: "global", Dev: true, RPCAddr: addr, BootstrapExpect: 1, NumSchedulers: 1, Logger: logger,
		Dialer: &wire.Dialer{TLS: material, Region: "global"}, Port: wire.NewPort(wire.PortConfig{Listener: l, TLS: material, Logger: logger})})
	leaderOf(t, []*testServer{s})
	term := s.raft.CurrentTerm()

	by := func(a *certtest.Authority, name string, change func(*x509.Certificate)) func() (net.Conn, error) {
		conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "server.global.nomad", NextProtos: []string{wire.Raft.String()}}
		if a != nil {
			f := a.Files(name, change)
			cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		return func() (net.Conn, error) { return tls.Dial("tcp", addr, conf) }
	}
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	for name, dial := range map[string]func() (net.Conn, error){
		"a node":                     by(ca, "client.global.nomad", nil),
		"a server of another region": by(ca, "server.eu.nomad", nil),
		"another authority":          by(alien, "server.global.nomad", nil),
		"an expired server":          by(ca, "server.global.nomad", expired),
		"nobody":                     by(nil, "", nil),
		"in clear": func() (net.Conn, error) {
			return (&wire.Dialer{}).Dial(context.Background(), addr, wire.Raft)
		},
	} {
		before := len(log.String())
		if err := appendForged(t, dial, addr, math.MaxUint64); err == nil {
			t.Errorf("%s: Raft answered", name)
		}
		eventually(t, name+" is named in the log", func() bool {
			return strings.Contains(log.String()[before:], "refused a connection to the server port: peer=127.0.0.1:")
		})
		if got := s.raft.CurrentTerm(); got != term {
			t.Fatalf("%s: the term went from %d to %d", name, term, got)
		}
	}
	// The same from a server is understood: what refuses the others is who they are.
	if err := appendForged(t, by(ca, "server.global.nomad", nil), addr, 1); err != nil {
		t.Errorf("a server was not understood: %v", err)
	}
}

// appendForged sends entries as a leader of a term would.
func appendForged(t *testing.T, dial func() (net.Conn, error), addr string, term uint64) error {
	t.Helper()
	none, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := raft.NewNetworkTransport(dialled{none, dial}, 1, 5*time.Second, io.Discard)
	defer transport.Close()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("x"), Addr: []byte(addr)}
	var resp raft.AppendEntriesResponse
	return transport.AppendEntries("", raft.ServerAddress(addr), &raft.AppendEntriesRequest{RPCHeader: header, Term: term}, &resp)
}
