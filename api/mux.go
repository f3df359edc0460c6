package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of a request's parts; bodies are limited by row.
const (
	maxURL    = 8 << 10
	maxParams = 1000
)

// MuxConfig wires a Mux.
type MuxConfig struct {
	Logger hclog.Logger // nil is none
	// Resolve finds what a token may do; "" is no token. Nil denies every
	// request that needs a right. Without ACLs pass NoACLs.
	Resolve func(ctx context.Context, token string) (*ACL, error)
	// Leader says whether a leader is known and how long it has been silent.
	// Nil is unknown.
	Leader func() (known bool, lastContact time.Duration)
	// Headers are added to every response (http_api_response_headers).
	Headers map[string]string
	// AllowedHosts are names that the Host header of a request to a loopback
	// address may hold besides loopback names and IP addresses; "*" is any.
	AllowedHosts []string
	// Elsewhere finds the agent that has to answer a request, nil for this one;
	// it may wait for one. Rows that are answered locally are not asked about.
	// Nil answers everything here.
	Elsewhere func(ctx context.Context, r *Request) (*Upstream, error)
	// UI serves /ui/; nil answers 404.
	UI http.Handler
}

// NoACLs is the MuxConfig.Resolve of an agent without ACLs.
func NoACLs(context.Context, string) (*ACL, error) { return ACLsOff, nil }

// Mux serves the route table. Bind all rows, Check, then serve: Bind and
// ServeHTTP must not run at once.
type Mux struct {
	cfg      MuxConfig
	log      hclog.Logger
	rows     []Route
	byName   map[string]*Route
	tree     *tree
	handlers map[string]Handler
	keys     map[string][]string // of the rows' measures
}

// NewMux returns a mux over Routes with no handler bound.
func NewMux(cfg MuxConfig) *Mux {
	m := &Mux{cfg: cfg, log: cfg.Logger, rows: Routes(), byName: map[string]*Route{}, handlers: map[string]Handler{}, keys: map[string][]string{}}
	if m.log == nil {
		m.log = hclog.NewNullLogger()
	}
	for i := range m.rows {
		m.byName[m.rows[i].Name] = &m.rows[i]
		m.keys[m.rows[i].Name] = measureKey(m.rows[i].Name)
	}
	m.tree = newTree(m.rows)
	return m
}

// Bind sets the handler of the row with that name. It panics when there is no
// such row, when the row is fixed, or when it is bound already: all three are
// mistakes of the program.
func (m *Mux) Bind(name string, h Handler) {
	row := m.byName[name]
	switch {
	case row == nil:
		panic(fmt.Sprintf("cannot bind route %q: no such row in the route table", name))
	case row.Fixed != nil:
		panic(fmt.Sprintf("cannot bind route %q: its row has a fixed answer", name))
	case m.handlers[name] != nil:
		panic(fmt.Sprintf("cannot bind route %q: it is bound already", name))
	}
	m.handlers[name] = h
}

// Check returns the names of the rows that have no handler, leaving out those
// that begin with one of the given prefixes ("client.", "agent.self", …). An
// unbound row answers 501.
func (m *Mux) Check(except ...string) []string {
	var missing []string
	for _, r := range m.rows {
		skip := slices.ContainsFunc(except, func(p string) bool { return strings.HasPrefix(r.Name, p) })
		if r.Fixed == nil && m.handlers[r.Name] == nil && !skip {
			missing = append(missing, r.Name)
		}
	}
	return missing
}

// ServeHTTP implements http.Handler for the public port.
func (m *Mux) ServeHTTP(w http.ResponseWriter, req *http.Request) { m.handle(w, req, nil) }

// Internal is the handler of the server port: all rows, for agents of the
// region alone. Rights of users are checked by the same tokens.
func (m *Mux) Internal() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		peer, ok := wire.PeerOf(req.Context())
		if !ok {
			http.NotFound(w, req)
			return
		}
		m.handle(w, req, &peer)
	})
}

// handle serves a request of a user, or of another agent when peer is given. A
// panic of a handler is logged and answered with 500; it never ends the
// process.
func (m *Mux) handle(w http.ResponseWriter, req *http.Request, peer *wire.Peer) {
	start := time.Now()
	out := &responder{w: w, req: req, mux: m, peer: peer}
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			m.log.Error("request handler panicked", "method", req.Method, "path", req.URL.Path, "panic", p, "stack", string(debug.Stack()))
			out.fail(structs.Errorf(structs.Internal, "internal error: see the agent's log"))
		}
		m.measure(out.row, out.status, start)
		m.log.Debug("request complete", "method", req.Method, "path", req.URL.Path, "status", out.status, "duration", time.Since(start))
	}()
	for k, v := range m.cfg.Headers {
		w.Header().Set(k, v)
	}
	switch {
	case req.URL.Path == "/":
		target := "/ui/"
		if req.URL.RawQuery != "" {
			target += "?" + req.URL.RawQuery
		}
		http.Redirect(w, req, target, http.StatusTemporaryRedirect)
	case strings.HasPrefix(req.URL.Path, "/ui/") && m.cfg.UI != nil:
		m.cfg.UI.ServeHTTP(w, req)
	default:
		m.serve(out, req)
	}
}

// serve routes, checks and answers one API request.
func (m *Mux) serve(out *responder, req *http.Request) {
	e, params := m.tree.find(req.URL.Path)
	if e == nil || e.rows[0].Internal() && out.peer == nil {
		out.unknown(req.URL.Path)
		return
	}
	if e.rows[0].CORS {
		m.corsHeaders(out.w.Header(), e)
		if req.Method == http.MethodOptions {
			out.send(http.StatusNoContent)
			return
		}
	}
	row := e.row(req.Method)
	if row == nil {
		out.wrongVerb(req.URL.Path)
		return
	}
	out.row = row
	r, err := m.admit(req, row, params, out.peer)
	if err != nil {
		out.fail(err)
		return
	}
	r.control = http.NewResponseController(out.w)
	switch {
	case row.Answer == AnswerWebsocket && row.Fixed == nil && r.internal:
		m.serveLines(out, r)
		return
	case row.Answer == AnswerWebsocket && row.Fixed == nil:
		m.serveSocket(out, r)
		return
	}
	if r.ACL, err = m.authorize(req.Context(), r, r.Token); err != nil {
		out.fail(err)
		return
	}
	m.answer(out, r)
}

// admit checks everything about a request but its rights.
func (m *Mux) admit(req *http.Request, row *Route, params map[string]string, peer *wire.Peer) (*Request, error) {
	if peer != nil && !mayCall(row, *peer) {
		return nil, structs.Errorf(structs.Denied, "permission denied: the certificate of %v has the role %q, which may not call %s", peer.Addr, peer.Role, row.Name)
	}
	if len(req.RequestURI) > maxURL {
		return nil, &StatusError{http.StatusRequestURITooLong, fmt.Sprintf("request URL is longer than %d bytes", maxURL)}
	}
	values := req.URL.Query()
	if n := countValues(values); n > maxParams {
		return nil, structs.Errorf(structs.Invalid, "request has %d parameters: at most %d are allowed", n, maxParams)
	}
	token, err := callerToken(req.Header)
	if err != nil {
		return nil, err
	}
	if peer == nil && changes(row, req.Method) && foreignOrigin(req) && (token == "" || row.Answer == AnswerWebsocket) {
		return nil, structs.Errorf(structs.Denied, "request refused: it comes from a page of another origin (%q)", first(req.Header.Get("Origin"), req.Header.Get("Sec-Fetch-Site")))
	}
	query, err := parseQuery(values)
	if err != nil {
		return nil, err
	}
	keep, err := newFilter(query.Filter)
	if err != nil {
		return nil, err
	}
	return &Request{Route: row, HTTP: req, Query: query, Values: values, Token: token, params: params, filter: keep, internal: peer != nil}, nil
}

// mayCall reports whether another agent may call a row. Rows of users are
// passed on by servers and nodes alike, with the user's token.
func mayCall(row *Route, peer wire.Peer) bool {
	switch row.Auth {
	case AuthServer:
		return peer.Is(wire.RoleServer)
	case AuthAgent:
		return peer.Is(wire.RoleServer, wire.RoleClient)
	case AuthRegion:
		return peer.Is(wire.RoleServer, wire.RoleForeign)
	}
	return peer.Is(wire.RoleServer, wire.RoleClient, wire.RoleForeign)
}

func countValues(v map[string][]string) int {
	n := 0
	for _, list := range v {
		n += len(list)
	}
	return n
}

// authorize resolves a token and checks the row's capability. Rows whose
// namespace is known only to the handler pass with the right in any namespace;
// the handler must call Request.Authorize, which answer insists on.
func (m *Mux) authorize(ctx context.Context, r *Request, token string) (*ACL, error) {
	if r.Route.Internal() { // its certificate was checked
		r.authorized = true
		return &ACL{}, nil
	}
	var acl *ACL
	if m.cfg.Resolve != nil {
		var err error
		if acl, err = m.cfg.Resolve(ctx, token); err != nil && r.Route.Auth != AuthNone { // an open row's token may be of another kind
			return nil, err
		}
	}
	if acl.Off() && !r.internal && !m.knownHost(r.HTTP) {
		return nil, structs.Errorf(structs.Denied, "request refused: the host %q is not a name of this agent", r.HTTP.Host)
	}
	row, allowed := r.Route, false
	switch row.Auth {
	case AuthNone:
		allowed, r.authorized = true, true
	case AuthManagement:
		allowed, r.authorized = acl.Management(), true
	case AuthFiltered:
		allowed, r.authorized = acl != nil, true
	case AuthToken:
		namespace := ""
		switch row.Namespace {
		case NamespaceQuery, NamespaceAny:
			namespace, r.authorized = r.Query.Namespace, true
		case NamespaceBody, NamespaceObject:
			namespace = structs.AllNamespaces
		case NamespaceNone:
			r.authorized = true
		}
		allowed = acl.Allows(row.Capability, namespace)
	}
	if !allowed {
		return nil, errDenied
	}
	return acl, nil
}

// answerHere calls the handler of an admitted request and writes what it
// answers. An error means that the request belongs elsewhere by now.
func (m *Mux) answerHere(out *responder, r *Request) error {
	h := m.handlers[r.Route.Name]
	if h == nil {
		out.fail(structs.Errorf(structs.Unsupported, "the route %s %s is not served by this agent", r.HTTP.Method, r.Route.Path))
		return nil
	}
	resp, err := h(r.HTTP.Context(), r)
	if errors.Is(err, ErrNotHere) && m.cfg.Elsewhere != nil {
		return err
	}
	if errors.Is(err, context.Canceled) && r.internal && r.repeatable() {
		return ErrNotHere // this agent ends: another can still answer
	}
	var region *RegionError
	if errors.As(err, &region) && m.cfg.Elsewhere != nil && r.moveTo(region.Region) {
		return err
	}
	if err == nil && !r.authorized && !r.ACL.Off() {
		err = structs.Errorf(structs.Internal, "route %s answered without an authorization check", r.Route.Name)
		m.log.Error("refusing to answer", "error", err)
	}
	if resp != nil {
		out.meta(resp)
	}
	switch {
	case err != nil:
		out.fail(err)
	case resp != nil && resp.Stream != nil:
		out.stream(r.HTTP.Context(), resp)
	default:
		out.respond(resp, r.Values)
	}
	return nil
}

// meta sets the X-Nomad-* headers of a response and its own.
func (o *responder) meta(resp *Response) {
	h := o.w.Header()
	for k, v := range resp.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	if o.row.Meta == MetaNone {
		return
	}
	h.Set("X-Nomad-Index", strconv.FormatUint(resp.Index, 10))
	if o.row.Meta == MetaWrite {
		return
	}
	known, contact := false, time.Duration(0)
	if o.mux.cfg.Leader != nil {
		known, contact = o.mux.cfg.Leader()
	}
	h.Set("X-Nomad-Knownleader", strconv.FormatBool(known))
	h.Set("X-Nomad-Lastcontact", strconv.FormatInt(contact.Milliseconds(), 10))
	if resp.NextToken != "" {
		h.Set("X-Nomad-Nexttoken", resp.NextToken)
	}
}
