package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of connections.
const (
	maxRedirects  = 10
	dialTimeout   = 30 * time.Second
	headerTimeout = time.Minute
)

// web is how we reach the network: addresses are judged when they are dialled,
// after names were resolved, so that no name and no redirect leads to a denied
// one.
type web struct {
	deny       []netip.Prefix
	redirected atomic.Bool
	// first is whether the first connection went to this machine itself: only
	// then may a redirect do so.
	first atomic.Pointer[bool]
}

// errDenied is an address that artifacts may not come from.
type errDenied struct{ ip netip.Addr }

// Error implements error.
func (e errDenied) Error() string {
	return fmt.Sprintf("address %s is not allowed for artifacts (client setting artifact.deny_addresses)", e.ip)
}

// allow judges an address.
func (w *web) allow(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, p := range w.deny {
		if p.Contains(ip) {
			return errDenied{ip}
		}
	}
	if ip.IsMulticast() {
		return errDenied{ip}
	}
	own := ip.IsLoopback() || ip.IsUnspecified()
	w.first.CompareAndSwap(nil, &own)
	if own && w.redirected.Load() && !*w.first.Load() {
		return fmt.Errorf("a redirect leads to this machine itself (%s)", ip)
	}
	return nil
}

func (w *web) dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return w.allow(at.Addr())
	}}
}

func (w *web) transport(insecure bool) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: w.dialer().DialContext, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout,
		DisableCompression: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, // the job asked for it
	}
}

// redirect judges where a server sends us. What the job gave for one host goes
// to no other.
func (w *web) redirect(given map[string]string) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		w.redirected.Store(true)
		switch last := via[len(via)-1]; {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case req.URL.Scheme != "http" && req.URL.Scheme != "https":
			return fmt.Errorf("a redirect leads to the scheme %q", req.URL.Scheme)
		case last.URL.Scheme == "https" && req.URL.Scheme == "http":
			return errors.New("a redirect leads from https to http")
		}
		if req.URL.Host != via[0].URL.Host {
			for name := range given {
				req.Header.Del(name)
			}
		}
		return nil
	}
}

// getHTTP fetches one file by HTTP.
func (j *job) getHTTP(ctx context.Context) error {
	w := &web{deny: j.Deny}
	client := &http.Client{Transport: w.transport(j.Insecure), CheckRedirect: w.redirect(j.Headers)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.Source.URL, nil)
	if err != nil {
		return err
	}
	for name, value := range j.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	_, err = j.download(client, req, RawName)
	return err
}

// download stores the body of an answer; the status comes back where it is no
// success.
func (j *job) download(client *http.Client, req *http.Request, name string) (status int, err error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, webError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, statusError(resp.StatusCode)
	}
	if resp.ContentLength > j.Limits.Download {
		return 0, tooLarge(j.Limits.Download)
	}
	j.total.Add(max(resp.ContentLength, 0))
	f, err := j.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	idle := time.AfterFunc(j.Limits.Idle, func() { cancel(fmt.Errorf("the server sent nothing for %v", j.Limits.Idle)) })
	defer idle.Stop()
	err = j.store(f, resp.Body, func() { idle.Reset(j.Limits.Idle) })
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = passing{cause}
	}
	return 0, err
}

// store copies what comes in, within the limit, and counts it.
func (j *job) store(to io.Writer, from io.Reader, alive func()) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		alive()
		if j.bytes.Add(int64(n)) > j.Limits.Download {
			return tooLarge(j.Limits.Download)
		}
		if _, werr := to.Write(buf[:n]); werr != nil {
			return fmt.Errorf("cannot write the file: %w", werr)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return passing{fmt.Errorf("the download broke off: %w", err)}
		}
	}
}

func tooLarge(limit int64) error {
	return fmt.Errorf("the download is larger than %d bytes, the least of artifact.http_max_size, artifact.decompression_size_limit and the group's ephemeral_disk.size: raise the one that is too small", limit)
}

// statusError words an answer that is no success.
func statusError(code int) error {
	err := fmt.Errorf("the server answered %d %s", code, http.StatusText(code))
	if code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code == http.StatusNotFound {
		return passing{err}
	}
	return err
}

// webError takes addresses, which may hold secrets, out of an error.
func webError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var denied errDenied
	if errors.As(err, &denied) {
		return denied
	}
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &op) || errors.As(err, &dns) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return passing{err}
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return passing{err}
	}
	return err
}
