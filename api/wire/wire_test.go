package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api/wire/certtest"
)

// authority makes certificates for tests.
type authority struct{ *certtest.Authority }

func newAuthority(t *testing.T) *authority { return &authority{certtest.New(t)} }

// tls is what a certificate makes of its holder; change alters it before it is
// signed.
func (a *authority) tls(region, name string, change func(*x509.Certificate)) *TLS {
	t, err := LoadTLS(region, Files(a.Files(name, change)))
	if err != nil {
		panic(err)
	}
	return t
}

// listen runs a port that answers requests with the caller's role, echoes on
// Raft connections, and keeps nodes until they end.
func listen(t *testing.T, cfg PortConfig) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener = l
	p := NewPort(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, _ := PeerOf(r.Context())
			_, _ = io.WriteString(w, "role "+peer.Role)
		}), func(ctx context.Context, c *Conn) { _ = c.Close() })
	}()
	go func() {
		for {
			c, err := p.RaftConns().Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// ask makes a request, echo sends a byte over a Raft connection.
func ask(d *Dialer, addr string) (string, error) {
	resp, err := d.Transport().RoundTrip(mustRequest("http://" + addr + "/"))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func mustRequest(url string) *http.Request {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		panic(err)
	}
	return r
}

func echo(d *Dialer, addr string) error {
	c, err := d.Dial(context.Background(), addr, Raft)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

func TestClear(t *testing.T) {
	addr := listen(t, PortConfig{})
	d := &Dialer{}
	if got, err := ask(d, addr); err != nil || got != "role " {
		t.Errorf("%q, %v", got, err)
	}
	if err := echo(d, addr); err != nil {
		t.Error(err)
	}
}

// TestPeers_N08_N14: who may speak what over a port with TLS. A refused peer
// never reaches Raft's decoder.
func TestPeers_N08_N14(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	addr := listen(t, PortConfig{TLS: ca.tls("global", "server.global.nomad", nil)})
	for _, tt := range []struct {
		name       string
		tls        *TLS
		http, raft bool
		role       string
	}{
		{"server", ca.tls("global", "server.global.nomad", nil), true, true, "server"},
		{"client", ca.tls("global", "client.global.nomad", nil), true, false, "client"},
		{"command line", ca.tls("global", "cli.global.nomad", nil), false, false, ""},
		{"server of another region", ca.tls("global", "server.eu.nomad", nil), true, false, "foreign"},
		{"client of another region", ca.tls("global", "client.eu.nomad", nil), false, false, ""},
		{"common name alone", ca.tls("global", "server.global.nomad", func(c *x509.Certificate) { c.DNSNames = nil }), false, false, ""},
		{"expired", ca.tls("global", "server.global.nomad", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), false, false, ""},
		{"not for clients", ca.tls("global", "server.global.nomad", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), false, false, ""},
		{"another authority", other.tls("global", "server.global.nomad", nil), false, false, ""},
		{"no TLS", nil, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tls != nil { // the caller believes the port, whatever its own authority is
				tt.tls.now.Load().pool = ca.tls("global", "server.global.nomad", nil).now.Load().pool
			}
			d := &Dialer{TLS: tt.tls}
			got, err := ask(d, addr)
			if (err == nil) != tt.http || tt.http && got != "role "+tt.role {
				t.Errorf("a request: %q, %v", got, err)
			}
			if err := echo(d, addr); (err == nil) != tt.raft {
				t.Errorf("Raft: %v", err)
			}
		})
	}
}

// TestServersAreChecked: an agent does not talk to a port that is not a
// server's of its region.
func TestServersAreChecked(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct{ name, want string }{
		{"client.global.nomad", "not in expected server.global.nomad"}, {"server.eu.nomad", "not in expected server.global.nomad"}, {"server.global.nomad", ""},
	} {
		addr := listen(t, PortConfig{TLS: ca.tls("global", tt.name, nil)})
		_, err := (&Dialer{TLS: ca.tls("global", "server.global.nomad", nil)}).Dial(context.Background(), addr, Raft)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("a port of %s: %v", tt.name, err)
		}
	}
}

// TestRegions: a server of another region is reached when it is asked for by
// its region, or by any, and is told apart from our own.
func TestRegions(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct {
		port, region string
		ok           bool
	}{
		{"server.eu.nomad", "eu", true}, {"server.eu.nomad", AnyRegion, true}, {"server.global.nomad", AnyRegion, true}, {"server.eu.nomad", "", false},
		{"server.us.nomad", "eu", false}, {"client.eu.nomad", "eu", false}, {"client.eu.nomad", AnyRegion, false},
	} {
		region := strings.Split(tt.port, ".")[1]
		addr := listen(t, PortConfig{TLS: ca.tls(region, tt.port, nil)})
		got, err := ask(&Dialer{TLS: ca.tls("global", "server.global.nomad", nil), Region: tt.region}, addr)
		if (err == nil) != tt.ok || tt.ok && region != "global" && got != "role "+RoleForeign {
			t.Errorf("%s, asked for as %q: %q, %v", tt.port, tt.region, got, err)
		}
	}
}

// TestReload: new certificates are used by new connections.
func TestReload(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	port, caller := old.tls("global", "server.global.nomad", nil), old.tls("global", "client.global.nomad", nil)
	addr := listen(t, PortConfig{TLS: port})
	if _, err := ask(&Dialer{TLS: caller}, addr); err != nil {
		t.Fatal(err)
	}
	if err := port.Load(Files(fresh.Files("server.global.nomad", nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(&Dialer{TLS: caller}, addr); err == nil {
		t.Error("the old authority is believed")
	}
	if err := caller.Load(Files(fresh.Files("client.global.nomad", nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(&Dialer{TLS: caller}, addr); err != nil {
		t.Error(err)
	}
	if err := caller.Load(Files{CA: "x", Cert: "y", Key: "z"}); err == nil {
		t.Error("files that are not there were loaded")
	}
	if _, err := ask(&Dialer{TLS: caller}, addr); err != nil {
		t.Errorf("after a failed load: %v", err)
	}
}

// TestSilentConnections_H01: connections that say nothing end soon and block
// nobody.
func TestSilentConnections_H01(t *testing.T) {
	ca := newAuthority(t)
	for name, cfg := range map[string]PortConfig{"clear": {}, "TLS": {TLS: ca.tls("global", "server.global.nomad", nil)}} {
		t.Run(name, func(t *testing.T) {
			cfg.HandshakeTimeout = 300 * time.Millisecond
			addr := listen(t, cfg)
			var silent []net.Conn
			for range 100 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				silent = append(silent, c)
			}
			d := &Dialer{}
			if cfg.TLS != nil {
				d.TLS = ca.tls("global", "client.global.nomad", nil)
			}
			if _, err := ask(d, addr); err != nil {
				t.Errorf("beside silent connections: %v", err)
			}
			for _, c := range silent {
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
					t.Fatalf("a silent connection lives: %v", err)
				}
			}
		})
	}
}

// TestReverse: a node that dialed is called, and both ends notice the end.
func TestReverse(t *testing.T) {
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ServeConn(context.Background(), &Conn{Conn: far, Peer: Peer{Reverse: true}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, ok := PeerOf(r.Context())
			if !ok || !peer.Reverse {
				t.Errorf("peer %+v", peer)
			}
			_, _ = io.WriteString(w, "here")
		}))
	}()
	caller := NewCaller(&Conn{Conn: near, Peer: Peer{Addr: near.RemoteAddr()}})
	for range 2 {
		resp, err := caller.RoundTrip(mustRequest("http://node/"))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != "here" {
			t.Errorf("%q", b)
		}
		resp.Body.Close()
	}
	far.Close()
	<-caller.Gone()
	<-ended
	if _, err := caller.RoundTrip(mustRequest("http://node/")); err == nil {
		t.Error("an ended connection answers")
	}
	caller.Close()
}

func TestRoles(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{"server.global.nomad"}, "server"}, {[]string{"client.global.nomad", "localhost"}, "client"}, {[]string{"client.global.nomad", "server.global.nomad"}, "server"},
		{[]string{"server.eu.nomad", "client.global.nomad"}, "client"}, {[]string{"server.global"}, ""}, {[]string{"server"}, ""}, {nil, ""}, {[]string{"xserver.global.nomad"}, ""}, {[]string{"server.global.evil.nomad"}, ""},
	} {
		if got, _ := roleOf(&x509.Certificate{DNSNames: tt.names}, "global"); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.names, got, tt.want)
		}
	}
	_ = tls.VersionTLS12
}
