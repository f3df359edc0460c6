package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/api/wire/certtest"
)

// caller is somebody who calls a route: by which port, with what.
type caller struct {
	name   string
	doc    string
	base   string // scheme and address
	via    *http.Transport
	token  string
	origin string
	inside bool // by the server port
}

// TestRouteMatrix_N15: every route by every kind of caller over real
// connections, against a golden file. Handlers are marks: what is shown is who
// gets to them.
func TestRouteMatrix_N15(t *testing.T) {
	ca, alien := certtest.New(t), certtest.New(t)
	load := func(a *certtest.Authority, name string, change func(*x509.Certificate)) *wire.TLS {
		material, err := wire.LoadTLS("global", wire.Files(a.Files(name, change)))
		if err != nil {
			t.Fatal(err)
		}
		return material
	}
	rights := map[string]*ACL{"": {}, "off": ACLsOff}
	var reached atomic.Int64
	mark := func(_ context.Context, r *Request) (*Response, error) {
		if n := r.Route.Namespace; n == NamespaceBody || n == NamespaceObject {
			if err := r.Authorize("default"); err != nil {
				return nil, err
			}
		}
		reached.Add(1)
		return &Response{Index: 1}, nil
	}
	mux := testMux(MuxConfig{Resolve: func(_ context.Context, token string) (*ACL, error) { return rights[token], nil }}, mark)
	clear, open := serveHTTP(t, mux, nil), serveHTTP(t, testMux(MuxConfig{}, mark), nil)
	secure := serveHTTP(t, mux, load(ca, "server.global.nomad", nil).HTTPS(true))
	port := servePort(t, mux, load(ca, "server.global.nomad", nil))

	past := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	config := func(a *certtest.Authority, name string, change func(*x509.Certificate)) *tls.Config {
		conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "server.global.nomad"}
		if a != nil {
			cert, err := tls.LoadX509KeyPair(pair(a.Files(name, change)))
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		return conf
	}
	with := func(a *certtest.Authority, name string, change func(*x509.Certificate)) *http.Transport {
		tr := &http.Transport{TLSClientConfig: config(a, name, change)}
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	inside := func(a *certtest.Authority, name string, change func(*x509.Certificate)) *http.Transport {
		conf := config(a, name, change)
		conf.NextProtos = []string{wire.HTTP.String()}
		tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: conf}).DialContext(ctx, network, addr)
		}}
		tr.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	callers := []caller{
		{name: "a", doc: "public port in clear, ACLs off", base: clear, token: "off"},
		{name: "b", doc: "public port, a token without a right", base: clear},
		{name: "c", doc: "public port, ACLs off, from a page of another origin and without a token", base: open, origin: "https://elsewhere.example"},
		{name: "d", doc: "public port with TLS that asks for certificates: in clear", base: strings.Replace(secure, "https", "http", 1), token: "off"},
		{name: "e", doc: "... without a certificate", base: secure, via: with(nil, "", nil), token: "off"},
		{name: "f", doc: "... of another authority", base: secure, via: with(alien, "cli.global.nomad", nil), token: "off"},
		{name: "g", doc: "... expired", base: secure, via: with(ca, "cli.global.nomad", past), token: "off"},
		{name: "h", doc: "... of the command line", base: secure, via: with(ca, "cli.global.nomad", nil), token: "off"},
		{name: "i", doc: "... of a node", base: secure, via: with(ca, "client.global.nomad", nil), token: "off"},
		{name: "j", doc: "... of a server", base: secure, via: with(ca, "server.global.nomad", nil), token: "off"},
		{name: "k", doc: "server port with TLS: in clear", base: port, via: (&wire.Dialer{}).Transport(), token: "off", inside: true},
		{name: "l", doc: "... without a certificate", base: port, via: inside(nil, "", nil), token: "off", inside: true},
		{name: "m", doc: "... of another authority", base: port, via: inside(alien, "server.global.nomad", nil), token: "off", inside: true},
		{name: "n", doc: "... expired", base: port, via: inside(ca, "server.global.nomad", past), token: "off", inside: true},
		{name: "o", doc: "... of the command line", base: port, via: inside(ca, "cli.global.nomad", nil), token: "off", inside: true},
		{name: "p", doc: "... of a node of another region", base: port, via: inside(ca, "client.eu.nomad", nil), token: "off", inside: true},
		{name: "q", doc: "... of a server of another region", base: port, via: inside(ca, "server.eu.nomad", nil), token: "off", inside: true},
		{name: "r", doc: "... of a node, ACLs off", base: port, via: inside(ca, "client.global.nomad", nil), token: "off", inside: true},
		{name: "s", doc: "... of a node, a token without a right", base: port, via: inside(ca, "client.global.nomad", nil), inside: true},
		{name: "t", doc: "... of a server, ACLs off", base: port, via: inside(ca, "server.global.nomad", nil), token: "off", inside: true},
	}
	var out strings.Builder
	out.WriteString("Who gets to which route: api/matrix_test.go writes this file.\n\n")
	names := ""
	for _, c := range callers {
		fmt.Fprintf(&out, "%s  %s\n", c.name, c.doc)
		names += c.name
	}
	out.WriteString("\n+ the handler is reached   = the row's fixed answer   x 403, no right   - 404, no such route here   . no connection\n\n")
	fmt.Fprintf(&out, "%s  route\n", names)
	fill := strings.NewReplacer(":id...", "a/b", ":path...", "a/b", ":rest...", "a", ":name...", "a", ":id", "a", ":name", "a", ":check", "a", ":type", "a")
	for _, row := range Routes() {
		for _, method := range row.Methods {
			if method == anyMethod {
				method = "GET"
			}
			cells := ""
			for _, c := range callers {
				before := reached.Load()
				cells += cell(t, c, &row, method, fill.Replace(row.Path), func() bool { return reached.Load() > before })
			}
			fmt.Fprintf(&out, "%s  %s %s (%s)\n", cells, method, row.Path, row.Auth)
		}
	}
	golden(t, filepath.Join("testdata", "matrix.txt"), out.String())
}

// cell is what one caller gets from one route.
func cell(t *testing.T, c caller, row *Route, method, path string, reached func() bool) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("X-Nomad-Token", c.token)
	}
	if c.origin != "" {
		req.Header.Set("Origin", c.origin)
	}
	if row.Answer == AnswerWebsocket && !c.inside {
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "bm9tYWRsaXRlbm9tYWRsaQ=="} {
			req.Header.Set(name, value)
		}
	}
	via := c.via
	if via == nil {
		via = http.DefaultTransport.(*http.Transport)
	}
	resp, err := via.RoundTrip(req)
	if err != nil {
		return "."
	}
	defer resp.Body.Close()
	size := int64(4096)
	if resp.StatusCode == http.StatusSwitchingProtocols { // the frame that closes it: two bytes, then its text
		head := make([]byte, 2)
		if _, err := io.ReadFull(resp.Body, head); err != nil {
			t.Fatal(err)
		}
		size = int64(head[1])
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, size))
	switch {
	case reached():
		return "+"
	case resp.StatusCode == http.StatusForbidden || strings.Contains(string(body), `"Code":403`) || strings.Contains(string(body), "Permission denied"):
		return "x"
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return "."
	case row.Fixed != nil && resp.StatusCode == row.Fixed.Status:
		return "="
	case resp.StatusCode == http.StatusNotFound:
		return "-"
	}
	t.Errorf("%s %s by %s: %d %q", method, path, c.doc, resp.StatusCode, body)
	return "?"
}

func pair(f certtest.Files) (cert, key string) { return f.Cert, f.Key }

// serveHTTP runs a public port, with TLS if conf is given.
func serveHTTP(t *testing.T, h http.Handler, conf *tls.Config) (base string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(h)
	srv.ErrorLog = log.New(io.Discard, "", 0)
	base = "http://" + l.Addr().String()
	if conf != nil {
		l, base = tls.NewListener(l, conf), "https://"+l.Addr().String()
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return base
}

// servePort runs a server port.
func servePort(t *testing.T, mux *Mux, material *wire.TLS) (base string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := wire.NewPort(wire.PortConfig{Listener: l, TLS: material})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, mux.Internal(), func(_ context.Context, c *wire.Conn) { c.Close() }) }()
	t.Cleanup(func() { cancel(); <-done })
	return "http://" + l.Addr().String()
}

// golden holds a text against a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; read the difference, then: UPDATE_GOLDEN=1 go test ./api\n%s", file, got)
	}
}
