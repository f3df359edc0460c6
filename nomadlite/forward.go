package nomadlite

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// This file finds the agent that answers a request: the leader, or the server
// that a node is connected to, and through it the node.

// Elsewhere is api.MuxConfig.Elsewhere of a server. Requests that the node of
// this process answers are not its to decide.
func (s *Server) Elsewhere(ctx context.Context, r *api.Request) (*api.Upstream, error) {
	switch region := r.Query.Region; {
	case region != "" && region != s.cfg.Region && !r.Route.Internal() && !s.ownNode(r):
		return s.toRegion(r, region)
	case r.Route.Forward == api.ForwardNode:
		return s.toNode(ctx, r)
	case r.Route.Forward == api.ForwardServer, r.Route.Forward == api.ForwardAny && r.Query.Stale, r.Hop() != "":
		return nil, nil
	}
	return s.toLeader(ctx)
}

// toLeader finds the leader, nil for this server; it waits for one.
func (s *Server) toLeader(ctx context.Context) (*api.Upstream, error) {
	if s.cfg.Port == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaderHold)
	defer cancel()
	for {
		changed := s.leaderSeen.wait()
		if s.raft.State() == raft.Leader {
			return nil, nil
		}
		if addr, id := s.raft.LeaderWithID(); addr != "" && string(id) != s.id {
			return &api.Upstream{Addr: string(addr), Via: s.peers.via, Chosen: true}, nil
		}
		select {
		case <-changed:
		case <-s.stopped:
			return nil, errNoLeader
		case <-ctx.Done():
			return nil, errNoLeader
		}
	}
}

// sessions are the nodes that are connected to this server.
type sessions struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]*session
}

// session is one node's connection, over which it is called.
type session struct {
	caller *wire.Caller
	addr   string
}

func newSessions() *sessions { return &sessions{nodes: map[string]*session{}} }

func (t *sessions) get(id string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[id]
}

// put adds a session; an older one of the node ends.
func (t *sessions) put(id string, s *session) {
	t.mu.Lock()
	old := t.nodes[id]
	t.nodes[id] = s
	t.mu.Unlock()
	if old != nil {
		old.caller.Close()
	}
}

// drop removes a session; false when the node has a newer one.
func (t *sessions) drop(id string, s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes[id] != s {
		return false
	}
	delete(t.nodes, id)
	return true
}

// all are the sessions of now.
func (t *sessions) all() map[string]*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.nodes)
}

// nodeHost is the host of requests over a node's connection.
const nodeHost = "node"

// helloTimeout bounds how long a node may take to say who it is.
const helloTimeout = 10 * time.Second

// serveNode keeps the connection of a node that lets itself be called, until
// it ends. A node proves who it is by its secret.
func (s *Server) serveNode(ctx context.Context, conn *wire.Conn) {
	caller := wire.NewCaller(conn)
	defer caller.Close()
	id, err := s.greet(ctx, caller)
	if err != nil {
		s.log.Warn("refused a node's connection", "peer", conn.Peer.Addr, "error", err)
		return
	}
	one := &session{caller: caller, addr: conn.Peer.Addr.String()}
	s.sessions.put(id, one)
	s.log.Debug("node connected", "node_id", id, "peer", one.addr)
	select {
	case <-caller.Gone():
	case <-ctx.Done():
		s.sessions.drop(id, one)
		return
	}
	if s.sessions.drop(id, one) {
		s.log.Info("node disconnected", "node_id", id, "peer", one.addr)
		s.tellLost(ctx, id)
	}
}

// greet asks a node who it is.
func (s *Server) greet(ctx context.Context, caller *wire.Caller) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := api.CallInternal[api.NodeHello](ctx, caller, nodeHost, api.PathNodeHello, api.Empty{})
	if err != nil {
		return "", err
	}
	if err := s.awaitIndex(ctx, hello.Index); err != nil {
		return "", err
	}
	if _, err := s.node(s.store.Snapshot(), hello.NodeID, hello.SecretID); err != nil {
		return "", err
	}
	return hello.NodeID, nil
}

// awaitIndex returns when the state has reached an index.
func (s *Server) awaitIndex(ctx context.Context, index uint64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.store.Snapshot().Index() < index {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return structs.Errorf(structs.Unavailable, "this server is behind: it has applied index %d, not yet %d", s.store.Snapshot().Index(), index)
		}
	}
	return nil
}

// nodeOf finds the node that a request is about: the one of its allocation, or
// the one that it names; "" is the node of this process.
func (s *Server) nodeOf(r *api.Request) (string, error) {
	id := r.Param("id")
	if r.Route.Name == "client.jobAction" { // its id is the job's
		id = r.Values.Get("allocID")
	}
	if id == "" {
		return r.NodeID(), nil
	}
	if len(id) != 36 {
		return "", structs.Errorf(structs.Invalid, "must provide a valid alloc id")
	}
	a := s.store.Snapshot().Alloc(id)
	if a == nil {
		return "", structs.Errorf(structs.NotFound, "Unknown allocation %q", id)
	}
	return a.NodeID, nil
}

// toNode finds the way to a node: its own connection, or the server that has
// it.
func (s *Server) toNode(ctx context.Context, r *api.Request) (*api.Upstream, error) {
	id, err := s.nodeOf(r)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, structs.Errorf(structs.Invalid, "No local Node and node_id not provided")
	}
	if s.store.Snapshot().Node(id) == nil {
		return nil, structs.Errorf(structs.NotFound, "Unknown node %q", id)
	}
	if s.cfg.Port == nil { // the only node is the one of this process
		return nil, nil
	}
	if one := s.sessions.get(id); one != nil {
		return &api.Upstream{Addr: nodeHost, Via: one.caller, Chosen: true}, nil
	}
	if r.Hop() == "" {
		if addr := s.whoHas(ctx, id); addr != "" {
			return &api.Upstream{Addr: addr, Via: s.peers.via, Chosen: true}, nil
		}
	}
	return nil, structs.Errorf(structs.NotFound, "No path to node")
}

// whoHas finds the server that a node is connected to, "" for none.
func (s *Server) whoHas(ctx context.Context, nodeID string) string {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	servers := s.configuration().Servers
	found := make(chan string, len(servers))
	var all sync.WaitGroup
	for _, p := range servers {
		if string(p.ID) == s.id {
			continue
		}
		all.Go(func() {
			got, err := api.CallInternal[api.Found](ctx, s.peers.via, string(p.Address), api.PathServerHasNode, &api.NodeRef{NodeID: nodeID})
			if err == nil && got.OK {
				found <- string(p.Address)
			}
		})
	}
	go func() { all.Wait(); close(found) }()
	return <-found
}

// bindInternal binds the rows between agents.
func (s *Server) bindInternal(mux *api.Mux) {
	mux.Bind("node.register", api.Internal(s.Register))
	mux.Bind("node.introduce", api.Internal(func(ctx context.Context, in *api.NodeIntroduction) (*api.NodeRegisterResponse, error) {
		return s.register(ctx, in.Node, in.Token)
	}))
	mux.Bind("node.heartbeat", api.Internal(func(ctx context.Context, in *api.NodeHeartbeat) (*api.NodeRegisterResponse, error) {
		return s.Heartbeat(ctx, *in)
	}))
	mux.Bind("node.syncAllocs", api.Internal(func(ctx context.Context, in *api.NodeAllocsRequest) (*api.PackedAllocs, error) {
		out, err := s.Allocs(ctx, *in)
		if err != nil {
			return nil, err
		}
		return out.Pack(), nil
	}))
	mux.Bind("node.updateAllocs", api.Internal(func(ctx context.Context, in *api.NodeAllocUpdateRequest) (*api.Empty, error) {
		return &api.Empty{}, s.UpdateAllocs(ctx, *in)
	}))
	mux.Bind("node.services", api.Internal(func(ctx context.Context, in *api.NodeServicesRequest) (*api.Empty, error) {
		return &api.Empty{}, s.UpdateServices(ctx, *in)
	}))
	mux.Bind("node.lookup", api.Internal(func(ctx context.Context, in *api.WorkloadLookup) (*api.WorkloadData, error) {
		return s.Lookup(ctx, *in)
	}))
	mux.Bind("node.sign", api.Internal(func(ctx context.Context, in *api.IdentityRequest) (*api.IdentityResponse, error) {
		return s.SignIdentities(ctx, *in)
	}))
	mux.Bind("node.drainSelf", api.Internal(func(ctx context.Context, in *api.NodeSelfDrain) (*api.NodeSelfDrained, error) {
		return s.DrainSelf(ctx, *in)
	}))
	mux.Bind("node.migrate", api.Internal(func(_ context.Context, in *api.MigrateRequest) (*api.MigrateGrant, error) {
		return s.grantMigration(*in)
	}))
	mux.Bind("node.check", api.Internal(func(ctx context.Context, in *api.IdentityCheck) (*api.IdentityClaims, error) {
		return s.CheckIdentity(ctx, *in)
	}))
	mux.Bind("server.status", api.Internal(func(context.Context, *api.Empty) (*api.ServerStatus, error) { return s.status(), nil }))
	mux.Bind("server.promise", api.Internal(s.promise))
	mux.Bind("server.join", api.Internal(s.admitPeer))
	mux.Bind("server.leave", api.Internal(func(ctx context.Context, in *api.ServerJoin) (*api.Empty, error) {
		return &api.Empty{}, s.RemovePeer(ctx, in.ID)
	}))
	mux.Bind("server.readIndex", api.Internal(func(ctx context.Context, _ *api.Empty) (*api.ReadIndex, error) {
		if err := s.ReadBarrier(ctx); err != nil {
			return nil, err
		}
		return &api.ReadIndex{Index: s.store.Snapshot().Index()}, nil
	}))
	mux.Bind("server.regions", api.Internal(s.exchangeRegions))
	mux.Bind("server.hasNode", api.Internal(func(_ context.Context, in *api.NodeRef) (*api.Found, error) {
		return &api.Found{OK: s.sessions.get(in.NodeID) != nil}, nil
	}))
	mux.Bind("server.probe", api.Internal(func(ctx context.Context, in *api.NodeRef) (*api.Probe, error) {
		return &api.Probe{Result: probe(ctx, in.Addr)}, nil
	}))
	mux.Bind("server.kekWanted", api.Internal(s.giveKEKs))
	mux.Bind("server.hand", api.Internal(s.hand))
	mux.Bind("server.kekGift", api.Internal(s.takeKEK))
	mux.Bind("server.nodeLost", api.Internal(func(ctx context.Context, in *api.NodeRef) (*api.Empty, error) {
		return &api.Empty{}, s.nodeLost(ctx, in.NodeID)
	}))
}

// catchUp returns when this server's state holds everything that was
// acknowledged before the call.
func (s *Server) catchUp(ctx context.Context) error {
	up, err := s.toLeader(ctx)
	if err != nil {
		return err
	}
	if up == nil {
		return s.ReadBarrier(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, leaderHold)
	defer cancel()
	at, err := api.CallInternal[api.ReadIndex](ctx, up.Via, up.Addr, api.PathServerReadIndex, api.Empty{})
	if err != nil {
		return structs.Errorf(structs.Unavailable, "cannot ask the leader how far it is: %w", err)
	}
	return s.awaitIndex(ctx, at.Index)
}

// serverAddrs are the server ports of the Raft peers, this server's first.
func (s *Server) serverAddrs() []string {
	out := []string{s.cfg.RPCAddr}
	for _, p := range s.configuration().Servers {
		if a := string(p.Address); a != s.cfg.RPCAddr && !strings.HasPrefix(a, ":") {
			out = append(out, a)
		}
	}
	return out
}
