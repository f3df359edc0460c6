// Package servers is a node's way to the servers of its region: one of them at
// a time, another one when that does not answer. It keeps two connections to
// it: one for the node's own requests, and one over which the servers call the
// node.
package servers

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// Config configures a Pool.
type Config struct {
	Dialer *wire.Dialer
	// Static are servers of the configuration, "host" or "host:port".
	Static []string
	// Found finds more, by gossip; nil finds none.
	Found  func() (addrs []string, changed <-chan struct{})
	Logger hclog.Logger
}

// DefaultPort is the server port.
const DefaultPort = "4647"

// callTimeout bounds a call that does not wait for changes.
const callTimeout = 20 * time.Second

// maxServers bounds the list.
const maxServers = 64

// Pool knows servers and talks to one of them. It implements api.Servers.
type Pool struct {
	cfg Config
	log hclog.Logger
	via *http.Transport

	mu      sync.Mutex // guards what follows
	list    []string   // configured, or told by the servers; never gossip's
	current string     // "" when the last one did not answer
	moved   chan struct{}
}

var (
	_ api.Servers   = (*Pool)(nil)
	_ api.Workloads = (*Pool)(nil)
)

// New returns a pool; it does not connect.
func New(cfg Config) (*Pool, error) {
	p := &Pool{cfg: cfg, log: cfg.Logger, via: cfg.Dialer.Transport(), moved: make(chan struct{})}
	if p.log == nil {
		p.log = hclog.NewNullLogger()
	}
	return p, p.Set(cfg.Static)
}

// Set replaces the list of servers.
func (p *Pool) Set(addrs []string) error {
	list := make([]string, 0, len(addrs))
	for _, a := range addrs {
		full, err := withPort(a)
		if err != nil {
			return err
		}
		if !slices.Contains(list, full) && len(list) < maxServers {
			list = append(list, full)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = list
	if p.current != "" && !slices.Contains(list, p.current) {
		p.leave()
	}
	return nil
}

func withPort(addr string) (string, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && host != "" && port != "" {
		return addr, nil
	}
	if addr == "" {
		return "", structs.Errorf(structs.Invalid, "cannot use an empty server address")
	}
	full := net.JoinHostPort(addr, DefaultPort)
	if _, _, err := net.SplitHostPort(full); err != nil {
		return "", structs.Errorf(structs.Invalid, "cannot use server address %q: want host or host:port", addr)
	}
	return full, nil
}

// List is all known servers.
func (p *Pool) List() []string {
	found := p.found()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.list)
	for _, a := range found {
		if !slices.Contains(out, a) && len(out) < maxServers {
			out = append(out, a)
		}
	}
	return out
}

func (p *Pool) found() []string {
	if p.cfg.Found == nil {
		return nil
	}
	addrs, _ := p.cfg.Found()
	return addrs
}

// leave forgets the current server. The caller holds mu.
func (p *Pool) leave() {
	p.current = ""
	close(p.moved)
	p.moved = make(chan struct{})
}

var errNoServers = structs.Errorf(structs.Unavailable, "no servers are known: set client.servers or client.server_join, or wait for gossip to find one")

// pick is the server to talk to; moved is closed when that is no longer so.
func (p *Pool) pick() (addr string, moved <-chan struct{}, err error) {
	p.mu.Lock()
	if p.current != "" {
		defer p.mu.Unlock()
		return p.current, p.moved, nil
	}
	p.mu.Unlock()
	all := p.List()
	if len(all) == 0 {
		return "", nil, errNoServers
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == "" {
		p.current = all[rand.IntN(len(all))]
	}
	return p.current, p.moved, nil
}

// failed leaves a server that did not answer.
func (p *Pool) failed(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != addr {
		return
	}
	p.leave()
	// The next one in the list, so that all get their turn.
	if i := slices.Index(p.list, addr); i >= 0 && len(p.list) > 1 {
		p.current = p.list[(i+1)%len(p.list)]
	}
}

// Upstream is the server that answers what this agent does not.
func (p *Pool) Upstream() (*api.Upstream, error) {
	addr, _, err := p.pick()
	if err != nil {
		return nil, err
	}
	return &api.Upstream{Addr: addr, Via: upstream{p, addr}}, nil
}

// upstream leaves a server that cannot be reached.
type upstream struct {
	p    *Pool
	addr string
}

// RoundTrip implements http.RoundTripper.
func (u upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.p.via.RoundTrip(r)
	if err != nil && r.Context().Err() == nil {
		u.p.failed(u.addr)
	}
	return resp, err
}

// call calls a row of the current server. A server that does not answer, or
// knows no leader, is left for the next call.
func call[Out any](ctx context.Context, p *Pool, timeout time.Duration, path string, in any) (*Out, error) {
	addr, _, err := p.pick()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := api.CallInternal[Out](ctx, p.via, addr, path, in)
	if err == nil {
		return out, nil
	}
	var known *structs.Error
	if !errors.As(err, &known) {
		p.failed(addr)
		return nil, structs.Errorf(structs.Unavailable, "cannot ask server %s: %w", addr, err)
	}
	if known.Kind == structs.Unavailable {
		p.failed(addr)
	}
	return nil, err
}

// Register implements api.Servers.
func (p *Pool) Register(ctx context.Context, node *structs.Node) (*api.NodeRegisterResponse, error) {
	return p.learn(call[api.NodeRegisterResponse](ctx, p, callTimeout, api.PathNodeRegister, node))
}

// Introduce registers a node that is new with its introduction token.
func (p *Pool) Introduce(ctx context.Context, req api.NodeIntroduction) (*api.NodeRegisterResponse, error) {
	return p.learn(call[api.NodeRegisterResponse](ctx, p, callTimeout, api.PathNodeIntroduce, &req))
}

// Heartbeat implements api.Servers.
func (p *Pool) Heartbeat(ctx context.Context, beat api.NodeHeartbeat) (*api.NodeRegisterResponse, error) {
	return p.learn(call[api.NodeRegisterResponse](ctx, p, callTimeout, api.PathNodeHeartbeat, &beat))
}

// learn takes the servers' own list of themselves.
func (p *Pool) learn(resp *api.NodeRegisterResponse, err error) (*api.NodeRegisterResponse, error) {
	if err == nil && len(resp.Servers) > 0 {
		p.mu.Lock()
		if p.current == "" || slices.Contains(resp.Servers, p.current) {
			p.list = slices.Clone(resp.Servers[:min(len(resp.Servers), maxServers)])
		}
		p.mu.Unlock()
	}
	return resp, err
}

// Allocs implements api.Servers.
func (p *Pool) Allocs(ctx context.Context, req api.NodeAllocsRequest) (*api.NodeAllocsResponse, error) {
	packed, err := call[api.PackedAllocs](ctx, p, req.Wait+callTimeout, api.PathNodeAllocs, &req)
	if err != nil {
		return nil, err
	}
	return packed.Unpack()
}

// UpdateAllocs implements api.Servers.
func (p *Pool) UpdateAllocs(ctx context.Context, req api.NodeAllocUpdateRequest) error {
	_, err := call[api.Empty](ctx, p, callTimeout, api.PathNodeUpdateAllocs, &req)
	return err
}

// UpdateServices implements api.Workloads.
func (p *Pool) UpdateServices(ctx context.Context, req api.NodeServicesRequest) error {
	_, err := call[api.Empty](ctx, p, callTimeout, api.PathNodeServices, &req)
	return err
}

// Lookup implements api.Workloads.
func (p *Pool) Lookup(ctx context.Context, req api.WorkloadLookup) (*api.WorkloadData, error) {
	return call[api.WorkloadData](ctx, p, req.Wait+callTimeout, api.PathNodeLookup, &req)
}

// DrainSelf drains this node and waits until that is over, at most req.Wait.
func (p *Pool) DrainSelf(ctx context.Context, req api.NodeSelfDrain) (*api.NodeSelfDrained, error) {
	return call[api.NodeSelfDrained](ctx, p, callTimeout+req.Wait, api.PathNodeDrain, &req)
}

// SignIdentities implements api.Workloads.
func (p *Pool) SignIdentities(ctx context.Context, req api.IdentityRequest) (*api.IdentityResponse, error) {
	return call[api.IdentityResponse](ctx, p, callTimeout, api.PathNodeSign, &req)
}

// PreviousDisk implements api.Workloads.
func (p *Pool) PreviousDisk(ctx context.Context, req api.MigrateRequest) (io.ReadCloser, error) {
	grant, err := call[api.MigrateGrant](ctx, p, callTimeout, api.PathNodeMigrate, &req)
	if err != nil {
		return nil, err
	}
	addr, _, err := p.pick()
	if err != nil {
		return nil, err
	}
	return api.OpenInternal(ctx, p.via, addr, "/v1/client/allocation/"+grant.AllocID+"/snapshot", grant.Token)
}

// CheckIdentity implements api.Workloads.
func (p *Pool) CheckIdentity(ctx context.Context, req api.IdentityCheck) (*api.IdentityClaims, error) {
	return call[api.IdentityClaims](ctx, p, callTimeout, api.PathNodeCheck, &req)
}

// Pauses between attempts to connect.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// Serve lets the servers call this node over a connection to the current one,
// until ctx ends. lost is called whenever a connection has ended.
func (p *Pool) Serve(ctx context.Context, h http.Handler, lost func()) error {
	wait := minPause
	for ctx.Err() == nil {
		began := time.Now()
		p.serveOnce(ctx, h)
		if ctx.Err() != nil {
			return nil
		}
		lost()
		if time.Since(began) > maxPause {
			wait = minPause
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, maxPause)
	}
	return nil
}

func (p *Pool) serveOnce(ctx context.Context, h http.Handler) {
	addr, moved, err := p.pick()
	if err != nil {
		return
	}
	conn, err := p.cfg.Dialer.Dial(ctx, addr, wire.Node)
	if err != nil {
		p.log.Debug("cannot connect to a server", "error", err)
		p.failed(addr)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer func() { <-stop }()
	go func() {
		defer close(stop)
		select {
		case <-moved: // the node talks to another server now
			cancel()
		case <-ctx.Done():
		}
	}()
	wire.ServeConn(ctx, conn, h)
	cancel()
}
