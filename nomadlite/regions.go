package nomadlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// This file joins regions. Servers, and servers alone, tell each other which
// regions there are and where their servers are: each asks one server of every
// other region, and one of its own, now and then. What a region says of itself
// wins by its own clock. With TLS the certificate says of which region a server
// is, so nobody speaks for another; Raft, nodes and keys never cross.

// Pace and limits of the talk between regions.
const (
	regionPause = 10 * time.Second // between two rounds
	// regionHurry is between rounds while addresses of the configuration have
	// not answered.
	regionHurry  = 2 * time.Second
	maxRegions   = 64
	maxPerRegion = 16
	// regionForgotten is how long a region may be silent.
	regionForgotten = 72 * time.Hour
	// defaultRPC and defaultSerf are the contract's ports: who names gossip's
	// means the server port beside it.
	defaultRPC, defaultSerf = "4647", "4648"
)

// regions is what a server knows of others' regions.
type regions struct {
	dialer *wire.Dialer
	any    *http.Transport // reaches servers of any region

	mu    sync.Mutex // guards what follows
	known map[string]*region
}

// region is one of them.
type region struct {
	servers []string
	said    int64 // by the region's own clock
	heard   time.Time
	via     *http.Transport
}

func newRegions(d *wire.Dialer) *regions {
	anywhere := &wire.Dialer{TLS: d.TLS, Region: wire.AnyRegion}
	return &regions{dialer: d, any: anywhere.Transport(), known: map[string]*region{}}
}

// learn takes what another server knows; own is the region that is not its to
// tell us.
func (g *regions) learn(own string, all []api.RegionServers, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range all {
		if one.Region == own || one.Region == "" || len(one.Servers) == 0 {
			continue
		}
		r := g.known[one.Region]
		if r == nil {
			if len(g.known) >= maxRegions {
				continue
			}
			to := &wire.Dialer{TLS: g.dialer.TLS, Region: one.Region}
			r = &region{via: to.Transport()}
			g.known[one.Region] = r
		}
		if one.Said > r.said {
			r.servers, r.said, r.heard = slices.Clone(one.Servers[:min(len(one.Servers), maxPerRegion)]), one.Said, now
		}
	}
	for name, r := range g.known {
		if now.Sub(r.heard) > regionForgotten {
			r.via.CloseIdleConnections()
			delete(g.known, name)
		}
	}
}

// list is what is known, with what own says of itself.
func (g *regions) list(own api.RegionServers) []api.RegionServers {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := []api.RegionServers{own}
	for name, r := range g.known {
		out = append(out, api.RegionServers{Region: name, Servers: slices.Clone(r.servers), Said: r.said})
	}
	return out
}

// pick finds a server of a region.
func (g *regions) pick(name string) (addr string, via *http.Transport, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.known[name]
	if r == nil || len(r.servers) == 0 {
		return "", nil, false
	}
	return r.servers[rand.IntN(len(r.servers))], r.via, true
}

func (g *regions) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for name := range g.known {
		out = append(out, name)
	}
	return out
}

// Regions are the known regions, sorted.
func (s *Server) Regions() []string {
	out := append(s.regions.names(), s.cfg.Region)
	slices.Sort(out)
	return out
}

// ownRegion is what this server says of its region.
func (s *Server) ownRegion() api.RegionServers {
	return api.RegionServers{Region: s.cfg.Region, Servers: s.serverAddrs(), Said: time.Now().UnixNano()}
}

// toRegion finds the way to another region.
func (s *Server) toRegion(r *api.Request, name string) (*api.Upstream, error) {
	addr, via, ok := s.regions.pick(name)
	if !ok || r.Crossed() {
		return nil, structs.Errorf(structs.Internal, "No path to region")
	}
	return &api.Upstream{Addr: addr, Via: via, Crossing: true}, nil
}

// ownNode reports whether a request is about an allocation of this region: the
// contract's client says "global" of those, whatever the region is called.
func (s *Server) ownNode(r *api.Request) bool {
	return r.Route.Forward == api.ForwardNode && r.Query.Region == structs.DefaultRegion && s.store.Snapshot().Alloc(r.Param("id")) != nil
}

// exchangeRegions answers another server with what this one knows.
func (s *Server) exchangeRegions(ctx context.Context, in *api.Regions) (*api.Regions, error) {
	if peer, _ := wire.PeerOf(ctx); peer.Verified && peer.Region != in.From {
		return nil, structs.Errorf(structs.Denied, "a server of region %q cannot speak for %q", peer.Region, in.From)
	}
	s.regions.learn(s.cfg.Region, in.Known, time.Now())
	return &api.Regions{From: s.cfg.Region, Known: s.regions.list(s.ownRegion())}, nil
}

// JoinRegion asks a server of any region which regions there are.
func (s *Server) JoinRegion(ctx context.Context, addr string) (found string, err error) {
	return s.askRegions(ctx, s.regions.any, serverPort(addr))
}

// serverPort is the server port that an address means.
func serverPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return net.JoinHostPort(addr, defaultRPC)
	case port == defaultSerf:
		return net.JoinHostPort(host, defaultRPC)
	}
	return addr
}

func (s *Server) askRegions(ctx context.Context, via *http.Transport, addr string) (from string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	out, err := api.CallInternal[api.Regions](ctx, via, addr, api.PathServerRegions, &api.Regions{From: s.cfg.Region, Known: s.regions.list(s.ownRegion())})
	if err != nil {
		return "", err
	}
	s.regions.learn(s.cfg.Region, out.Known, time.Now())
	return out.From, nil
}

// keepRegions keeps what is known of regions up to date, until ctx ends.
func (s *Server) keepRegions(ctx context.Context) error {
	wanted := slices.Clone(s.cfg.Join)
	for {
		wanted = slices.DeleteFunc(wanted, func(addr string) bool {
			if s.cfg.Members != nil && s.cfg.Members.Gossips(addr) {
				return true
			}
			_, err := s.JoinRegion(ctx, addr)
			var refused *structs.Error
			if err != nil && !errors.As(err, &refused) {
				s.log.Trace("no server answers at an address of server_join about regions", "peer", addr, "error", err)
			}
			return err == nil
		})
		s.askAround(ctx)
		wait := regionPause
		if len(wanted) > 0 {
			wait = regionHurry
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// askAround asks a server of each other region, and one of our own.
func (s *Server) askAround(ctx context.Context) {
	names := s.regions.names()
	for _, name := range names {
		addr, via, ok := s.regions.pick(name)
		if !ok {
			continue
		}
		if _, err := s.askRegions(ctx, via, addr); err != nil {
			s.log.Debug("cannot ask a server of another region", "region", name, "peer", addr, "error", err)
		}
	}
	own := s.serverAddrs()[1:]
	if len(own) > 0 && (len(names) > 0 || len(s.cfg.Join) > 0) {
		if _, err := s.askRegions(ctx, s.peers.via, own[rand.IntN(len(own))]); err != nil {
			s.log.Debug("cannot ask a server about regions", "error", err)
		}
	}
}
