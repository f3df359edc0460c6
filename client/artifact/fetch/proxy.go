package fetch

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"
)

// serveProxy serves an HTTP proxy for git, so that its connections, those of
// submodules and redirects included, are judged as our own are, and counted.
// A password keeps other processes of the machine out.
func (w *web) serveProxy(j *job) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	password := rand.Text()
	p := &proxy{web: w, job: j, auth: "Basic " + base64.StdEncoding.EncodeToString([]byte("git:"+password)), transport: w.transport(j.Insecure)}
	p.transport.Proxy = nil
	s := &http.Server{Handler: p, ReadHeaderTimeout: headerTimeout}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	return "http://git:" + password + "@" + l.Addr().String(), func() { s.Close(); wg.Wait() }, nil
}

type proxy struct {
	web       *web
	job       *job
	auth      string
	transport *http.Transport
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Proxy-Authorization") != p.auth {
		w.Header().Set("Proxy-Authenticate", `Basic realm="fetch"`)
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	r.Header.Del("Proxy-Authorization")
	if r.Method == http.MethodConnect {
		p.connect(w, r)
		return
	}
	if r.URL.Scheme != "http" {
		http.Error(w, "only http is relayed", http.StatusBadRequest)
		return
	}
	rp := &httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: p.transport, FlushInterval: 100 * time.Millisecond,
		ModifyResponse: func(resp *http.Response) error {
			resp.Body = &counted{resp.Body, p.job}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, webError(err).Error(), http.StatusBadGateway)
		},
	}
	rp.ServeHTTP(w, r)
}

// connect relays the bytes of an encrypted connection.
func (p *proxy) connect(w http.ResponseWriter, r *http.Request) {
	up, err := p.web.dialer().DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, webError(err).Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	if _, err := io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(up, buffered)
		up.Close()
	})
	_, _ = io.Copy(down, &counted{up, p.job})
	down.Close()
	wg.Wait()
}

// counted ends a stream that is longer than the job may download.
type counted struct {
	io.ReadCloser
	job *job
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if c.job.bytes.Add(int64(n)) > c.job.Limits.Download {
		return n, tooLarge(c.job.Limits.Download)
	}
	return n, err
}
