package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// DefaultAddress is where an agent listens when nothing else is said.
const DefaultAddress = "http://127.0.0.1:4646"

// ClientConfig says how to reach an agent.
type ClientConfig struct {
	// Address is an http or https URL, or unix:///path/of/a/socket.
	Address   string
	Region    string
	Namespace string
	// Token is the secret of an ACL token.
	Token string
	// BasicAuth is "user:password" for a proxy in front of the agent.
	BasicAuth string
	TLS       TLSConfig
	// Headers are added to every request.
	Headers http.Header
	// HTTPClient replaces the client made from TLS and Address.
	HTTPClient *http.Client
}

// ClientConfigFromEnv returns the configuration that the NOMAD_* variables
// describe (cli.md 1.2).
func ClientConfigFromEnv() ClientConfig {
	cfg := ClientConfig{
		Address:   os.Getenv("NOMAD_ADDR"),
		Region:    os.Getenv("NOMAD_REGION"),
		Namespace: os.Getenv("NOMAD_NAMESPACE"),
		Token:     os.Getenv("NOMAD_TOKEN"),
		BasicAuth: os.Getenv("NOMAD_HTTP_AUTH"),
		TLS: TLSConfig{
			CACert:     os.Getenv("NOMAD_CACERT"),
			CAPath:     os.Getenv("NOMAD_CAPATH"),
			ClientCert: os.Getenv("NOMAD_CLIENT_CERT"),
			ClientKey:  os.Getenv("NOMAD_CLIENT_KEY"),
			ServerName: os.Getenv("NOMAD_TLS_SERVER_NAME"),
		},
	}
	cfg.TLS.Insecure, _ = strconv.ParseBool(os.Getenv("NOMAD_SKIP_VERIFY"))
	if cfg.Address == "" {
		cfg.Address = DefaultAddress
	}
	return cfg
}

// Client calls an agent's HTTP API. It is safe for concurrent use.
type Client struct {
	cfg  ClientConfig
	base *url.URL
	http *http.Client
	tls  *tls.Config
}

// NewClient checks the configuration and returns a client; it does not connect.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Address == "" {
		cfg.Address = DefaultAddress
	}
	base, err := url.Parse(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot use address %q: %w", cfg.Address, err)
	}
	c := &Client{cfg: cfg, base: base, http: cfg.HTTPClient}
	dial := (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	switch base.Scheme {
	case "unix":
		path := base.Path
		c.base = &url.URL{Scheme: "http", Host: "127.0.0.1"}
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	case "http":
	case "https":
		if c.tls, err = cfg.TLS.build(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("cannot use address %q: the scheme must be http, https or unix", cfg.Address)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dial,
			TLSClientConfig:       c.tls,
			TLSHandshakeTimeout:   10 * time.Second,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: MaxWait + MaxWait/JitterFraction + 30*time.Second,
		}}
	}
	return c, nil
}

// Address is the configured address.
func (c *Client) Address() string { return c.cfg.Address }

// Region is the configured region, "" for the agent's own.
func (c *Client) Region() string { return c.cfg.Region }

// Namespace is the configured namespace, "" for "default".
func (c *Client) Namespace() string { return c.cfg.Namespace }

// QueryOptions refine a read; nil is none. Empty fields fall back to the
// client's configuration.
type QueryOptions struct {
	Region     string
	Namespace  string
	Token      string
	AllowStale bool
	// WaitIndex blocks until the result's index is greater, at most for
	// WaitTime.
	WaitIndex uint64
	WaitTime  time.Duration
	Prefix    string
	Filter    string
	PerPage   int
	NextToken string
	Reverse   bool
	Params    map[string]string
}

func (q *QueryOptions) values(c *Client) url.Values {
	v := url.Values{}
	if q == nil {
		q = &QueryOptions{}
	}
	set(v, "region", first(q.Region, c.cfg.Region))
	set(v, "namespace", first(q.Namespace, c.cfg.Namespace))
	set(v, "prefix", q.Prefix)
	set(v, "filter", q.Filter)
	set(v, "next_token", q.NextToken)
	if q.AllowStale {
		v.Set("stale", "")
	}
	if q.WaitIndex > 0 {
		v.Set("index", strconv.FormatUint(q.WaitIndex, 10))
	}
	if q.WaitTime > 0 {
		v.Set("wait", strconv.FormatInt(q.WaitTime.Milliseconds(), 10)+"ms")
	}
	if q.PerPage > 0 {
		v.Set("per_page", strconv.Itoa(q.PerPage))
	}
	if q.Reverse {
		v.Set("reverse", "true")
	}
	for k, s := range q.Params {
		v.Set(k, s)
	}
	return v
}

// WriteOptions refine a write; nil is none.
type WriteOptions struct {
	Region           string
	Namespace        string
	Token            string
	IdempotencyToken string
	Params           map[string]string
}

func (w *WriteOptions) values(c *Client) url.Values {
	v := url.Values{}
	if w == nil {
		w = &WriteOptions{}
	}
	set(v, "region", first(w.Region, c.cfg.Region))
	set(v, "namespace", first(w.Namespace, c.cfg.Namespace))
	set(v, "idempotency_token", w.IdempotencyToken)
	for k, s := range w.Params {
		v.Set(k, s)
	}
	return v
}

func set(v url.Values, key, value string) {
	if value != "" {
		v.Set(key, value)
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ResponseError is an answer other than 2xx.
type ResponseError struct {
	Code int
	Body string
}

// Error is the text that the contract's clients print.
func (e *ResponseError) Error() string {
	return fmt.Sprintf("Unexpected response code: %d (%s)", e.Code, e.Body)
}

// maxErrorBody bounds how much of an error's body is kept.
const maxErrorBody = 64 << 10

// Get reads path into out, which may be nil. A path is "/v1/…", escaped; see
// Escape.
func (c *Client) Get(ctx context.Context, path string, out any, q *QueryOptions) (*QueryMeta, error) {
	token := ""
	if q != nil {
		token = q.Token
	}
	start := time.Now()
	resp, err := c.do(ctx, http.MethodGet, path, q.values(c), nil, token)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	meta := queryMeta(resp.Header, time.Since(start))
	return meta, decode(resp.Body, out)
}

// Put sends in (nil for no body) and reads the answer into out (nil for none).
func (c *Client) Put(ctx context.Context, path string, in, out any, w *WriteOptions) (*WriteMeta, error) {
	return c.write(ctx, http.MethodPut, path, in, out, w)
}

// Post is Put with the verb POST.
func (c *Client) Post(ctx context.Context, path string, in, out any, w *WriteOptions) (*WriteMeta, error) {
	return c.write(ctx, http.MethodPost, path, in, out, w)
}

// Delete deletes path and reads the answer into out (nil for none).
func (c *Client) Delete(ctx context.Context, path string, out any, w *WriteOptions) (*WriteMeta, error) {
	return c.write(ctx, http.MethodDelete, path, nil, out, w)
}

func (c *Client) write(ctx context.Context, method, path string, in, out any, w *WriteOptions) (*WriteMeta, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the request for %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	token := ""
	if w != nil {
		token = w.Token
	}
	start := time.Now()
	resp, err := c.do(ctx, method, path, w.values(c), body, token)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	meta := &WriteMeta{LastIndex: headerIndex(resp.Header), RequestTime: time.Since(start)}
	return meta, decode(resp.Body, out)
}

// Raw sends one request as it is given and returns the answer whatever its
// status is; the caller closes the body. Path may carry its own query.
func (c *Client) Raw(ctx context.Context, method, path string, body io.Reader, params url.Values) (*http.Response, error) {
	req, err := c.request(ctx, method, path, params, body, "")
	if err != nil {
		return nil, err
	}
	return c.http.Do(req)
}

// Request makes one request as Raw sends it, for Do. Filter may be empty.
func (c *Client) Request(ctx context.Context, method, path string, body io.Reader, filter string) (*http.Request, error) {
	params := (&QueryOptions{Filter: filter}).values(c)
	return c.request(ctx, method, path, params, body, "")
}

// Do sends a request and returns the answer whatever its status is; the caller
// closes the body.
func (c *Client) Do(req *http.Request) (*http.Response, error) { return c.http.Do(req) }

// do sends a request and turns every answer but 2xx into a *ResponseError.
func (c *Client) do(ctx context.Context, method, path string, params url.Values, body io.Reader, token string) (*http.Response, error) {
	req, err := c.request(ctx, method, path, params, body, token)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer drain(resp.Body)
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return nil, &ResponseError{Code: resp.StatusCode, Body: string(text)}
	}
	return resp, nil
}

func (c *Client) request(ctx context.Context, method, path string, params url.Values, body io.Reader, token string) (*http.Request, error) {
	target, err := c.url(path, params)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", path, err)
	}
	req.Header = c.headers(token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (c *Client) headers(token string) http.Header {
	h := c.cfg.Headers.Clone()
	if h == nil {
		h = http.Header{}
	}
	if t := first(token, c.cfg.Token); t != "" {
		h.Set("X-Nomad-Token", t)
	}
	if user, pass, ok := strings.Cut(c.cfg.BasicAuth, ":"); ok {
		r := &http.Request{Header: h}
		r.SetBasicAuth(user, pass)
	}
	return h
}

// url joins the base address, an escaped path with an optional query of its
// own, and parameters.
func (c *Client) url(path string, params url.Values) (string, error) {
	u, err := url.Parse(path)
	if err != nil {
		return "", fmt.Errorf("cannot ask for %q: %w", path, err)
	}
	q := u.Query()
	for k, v := range params {
		q[k] = v
	}
	full := *c.base
	full.Path = strings.TrimSuffix(full.Path, "/") + u.Path
	full.RawPath = strings.TrimSuffix(c.base.EscapedPath(), "/") + u.EscapedPath()
	full.RawQuery = q.Encode()
	return full.String(), nil
}

// Escape makes an id safe to stand in a path: job ids may contain slashes.
func Escape(id string) string { return url.PathEscape(id) }

func queryMeta(h http.Header, took time.Duration) *QueryMeta {
	ms, _ := strconv.ParseInt(h.Get("X-Nomad-LastContact"), 10, 64)
	return &QueryMeta{
		LastIndex:   headerIndex(h),
		LastContact: time.Duration(ms) * time.Millisecond,
		KnownLeader: h.Get("X-Nomad-KnownLeader") == "true",
		NextToken:   h.Get("X-Nomad-NextToken"),
		RequestTime: took,
	}
}

func headerIndex(h http.Header) uint64 {
	n, _ := strconv.ParseUint(h.Get("X-Nomad-Index"), 10, 64)
	return n
}

func decode(body io.Reader, out any) error {
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	return nil
}

// drain reads what is left of a body, so that the connection can be used
// again, and closes it.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 256<<10)
	_ = body.Close()
}
