package nomadlite

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// This file makes one cluster of several servers. Gossip, or the configuration,
// says where servers may be; each says over its own port who it is. A new
// cluster is made by one of its servers, the lowest by id, after all of them
// have promised to take part in no other. An existing one is joined by asking
// its leader, who asks back.

// Limits of the talk between servers.
const (
	statusTimeout = 2 * time.Second
	joinTimeout   = 15 * time.Second
	// seekPause is between two looks for a cluster.
	seekPause = 500 * time.Millisecond
	// promiseTime is how long a promise binds a server to a set of peers that
	// never became a cluster.
	promiseTime = 10 * time.Second
	maxServers  = 64 // asked at once, and known
)

// peers is what a server knows of the others.
type peers struct {
	cfg *Config
	via *http.Transport

	mu       sync.Mutex // guards what follows
	names    map[string]string
	promised string // the server that may make the first set of peers
	until    time.Time
}

func newPeers(cfg *Config) *peers {
	return &peers{cfg: cfg, via: cfg.Dialer.Transport(), names: map[string]string{}}
}

func (p *peers) name(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[id]
}

// learn remembers the names of servers that said who they are.
func (p *peers) learn(all []*api.ServerStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range all {
		if len(p.names) < maxServers || p.names[st.ID] != "" {
			p.names[st.ID] = st.Name
		}
	}
}

// promise binds this server to the set of peers that from proposes; false when
// it is bound to another.
func (p *peers) promise(from string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.promised != "" && p.promised != from && now.Before(p.until) {
		return false
	}
	p.promised, p.until = from, now.Add(promiseTime)
	return true
}

// status is what this server says of itself.
func (s *Server) status() *api.ServerStatus {
	conf := s.configuration()
	st := &api.ServerStatus{
		ID: s.id, Name: s.cfg.Name, Region: s.cfg.Region, Datacenter: s.cfg.Datacenter, Addr: s.cfg.RPCAddr, Version: s.cfg.Version,
		Expect: s.cfg.BootstrapExpect, ClusterID: s.ClusterID(), HasPeers: len(conf.Servers) > 0,
		LastIndex: s.raft.LastIndex(), Applied: s.store.Snapshot().Index(), Term: s.raft.CurrentTerm(),
	}
	leader, id := s.raft.LeaderWithID()
	st.Leader, st.LeaderID = string(leader), string(id)
	if last := s.raft.LastContact(); !last.IsZero() && st.LeaderID != s.id {
		st.LastContact = time.Since(last)
	}
	return st
}

// configuration is the newest set of Raft peers, empty when Raft has ended.
func (s *Server) configuration() raft.Configuration {
	f := s.raft.GetConfiguration()
	if f.Error() != nil {
		return raft.Configuration{}
	}
	return f.Configuration()
}

// settled reports whether the peers know this server at its address.
func (s *Server) settled() bool {
	for _, p := range s.configuration().Servers {
		if string(p.ID) == s.id {
			return string(p.Address) == s.cfg.RPCAddr
		}
	}
	return false
}

// keepPeers makes this server a peer of its cluster, until ctx ends.
func (s *Server) keepPeers(ctx context.Context) error {
	for ctx.Err() == nil && !s.leaving.Load() {
		lost := s.leaderSeen.wait()
		addrs, changed := s.members()
		again := (<-chan time.Time)(nil)
		// One without a leader may have been removed while it was away.
		leader, _ := s.raft.LeaderWithID()
		if !s.settled() || leader == "" && len(addrs) > 0 {
			s.seek(ctx, addrs)
			again = time.After(seekPause + spread(s.id, seekPause))
		} else {
			s.peers.learn(s.ask(ctx, addrs))
		}
		select {
		case <-changed:
		case <-lost:
		case <-again:
		case <-ctx.Done():
		}
	}
	return nil
}

// hasten spares a server that is alone among its peers the wait for a leader
// that cannot exist: it tells its own Raft to stand for election.
func (s *Server) hasten() {
	conf := s.configuration()
	if len(conf.Servers) != 1 || string(conf.Servers[0].ID) != s.id || s.raft.State() != raft.Follower {
		return
	}
	s.stand()
}

func (s *Server) members() (addrs []string, changed <-chan struct{}) {
	if s.cfg.Members == nil {
		return nil, nil
	}
	addrs, changed = s.cfg.Members.Servers()
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return a == s.cfg.RPCAddr })
	return addrs[:min(len(addrs), maxServers)], changed
}

// ask asks servers who they are, all at once; those of other regions and those
// that do not answer are left out.
func (s *Server) ask(ctx context.Context, addrs []string) []*api.ServerStatus {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	found := make([]*api.ServerStatus, len(addrs))
	var all sync.WaitGroup
	for i, addr := range addrs {
		all.Go(func() {
			st, err := api.CallInternal[api.ServerStatus](ctx, s.peers.via, addr, api.PathServerStatus, api.Empty{})
			switch {
			case err != nil:
				s.log.Debug("cannot ask a server who it is", "peer", addr, "error", err)
			case st.Region != s.cfg.Region:
				s.log.Warn("ignoring a server of another region", "peer", addr, "region", st.Region)
			case st.ID != s.id:
				found[i] = st
			}
		})
	}
	all.Wait()
	return slices.DeleteFunc(found, func(st *api.ServerStatus) bool { return st == nil })
}

// seek joins a cluster, or makes a new one when all that it needs are there.
func (s *Server) seek(ctx context.Context, addrs []string) {
	others := s.ask(ctx, addrs)
	s.peers.learn(others)
	if s.leaving.Load() {
		return
	}
	mine := s.status()
	if mine.HasPeers && mine.ClusterID == "" {
		return // of a cluster whose name it does not know yet: it must not join another
	}
	for _, st := range others {
		if !st.HasPeers {
			continue
		}
		if mine.ClusterID != "" && st.ClusterID != "" && mine.ClusterID != st.ClusterID {
			s.log.Error("refusing to join another cluster; remove one of the two data directories if they should be one", "peer", st.Addr, "cluster", mine.ClusterID, "other", st.ClusterID)
			continue
		}
		if err := s.join(ctx, st.Addr); err != nil {
			s.log.Warn("cannot join the cluster; trying again", "peer", st.Addr, "error", err)
			continue
		}
		s.log.Debug("the cluster knows this server", "by", st.Addr)
		return
	}
	if mine.HasPeers || mine.Expect < 1 || slices.ContainsFunc(others, func(st *api.ServerStatus) bool { return st.HasPeers }) {
		return
	}
	s.bootstrap(ctx, append(others, mine))
}

func (s *Server) join(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	_, err := api.CallInternal[api.Empty](ctx, s.peers.via, addr, api.PathServerJoin, &api.ServerJoin{ID: s.id, Addr: s.cfg.RPCAddr, ClusterID: s.ClusterID()})
	return err
}

// founders are the servers that make a new cluster: those that expect the same
// number, when they are that many. The lowest by id comes first.
func founders(all []*api.ServerStatus, expect int) []*api.ServerStatus {
	var out []*api.ServerStatus
	for _, st := range all {
		if st.Expect == expect && !st.HasPeers {
			out = append(out, st)
		}
	}
	if len(out) < expect {
		return nil
	}
	slices.SortFunc(out, func(a, b *api.ServerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// bootstrap makes a new cluster when this server is the one to do it and all
// others promise to be in no other.
func (s *Server) bootstrap(ctx context.Context, all []*api.ServerStatus) {
	first := founders(all, s.cfg.BootstrapExpect)
	if first == nil {
		s.log.Debug("waiting for servers", "have", len(all), "expect", s.cfg.BootstrapExpect)
		return
	}
	if first[0].ID != s.id || !s.peers.promise(s.id, time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	conf := raft.Configuration{}
	for _, st := range first {
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(st.ID), Address: raft.ServerAddress(st.Addr)})
		if st.ID == s.id {
			continue
		}
		if _, err := api.CallInternal[api.Empty](ctx, s.peers.via, st.Addr, api.PathServerPromise, &api.ServerPromise{From: s.id, Expect: s.cfg.BootstrapExpect}); err != nil {
			s.log.Info("a server did not agree to the first set of peers; trying again", "peer", st.Addr, "error", err)
			return
		}
	}
	if err := s.raft.BootstrapCluster(conf).Error(); err != nil {
		s.log.Error("cannot make the cluster", "error", err)
		return
	}
	s.log.Info("made a new cluster", "servers", len(conf.Servers))
}

// Promise answers a server that wants to make the first set of peers.
func (s *Server) promise(_ context.Context, in *api.ServerPromise) (*api.Empty, error) {
	switch {
	case len(s.configuration().Servers) > 0:
		return nil, structs.Errorf(structs.Conflict, "server %s has peers already", s.id)
	case in.Expect != s.cfg.BootstrapExpect:
		return nil, structs.Errorf(structs.Conflict, "server %s expects %d servers, not %d: bootstrap_expect must be the same everywhere", s.id, s.cfg.BootstrapExpect, in.Expect)
	case !s.peers.promise(in.From, time.Now()):
		return nil, structs.Errorf(structs.Conflict, "server %s has promised to be in another set of peers", s.id)
	}
	return &api.Empty{}, nil
}

// admitPeer makes a server a Raft peer, or changes its address. Whoever asks
// must answer at the address under the id that it names.
func (s *Server) admitPeer(ctx context.Context, in *api.ServerJoin) (*api.Empty, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	own := s.ClusterID()
	if in.ClusterID != "" && in.ClusterID != own {
		s.log.Warn("refused a server of another cluster: clusters never merge", "peer", in.Addr, "cluster", in.ClusterID, "own", own)
		return nil, structs.Errorf(structs.Denied, "server %s belongs to cluster %s, this is %s: clusters never merge", in.ID, in.ClusterID, own)
	}
	ask, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	st, err := api.CallInternal[api.ServerStatus](ask, s.peers.via, in.Addr, api.PathServerStatus, api.Empty{})
	switch {
	case err != nil:
		return nil, structs.Errorf(structs.Invalid, "cannot ask the joining server back at %s: %w; set advertise { rpc } to an address that others reach", in.Addr, err)
	case st.ID != in.ID || st.Region != s.cfg.Region:
		return nil, structs.Errorf(structs.Denied, "%s is server %s of region %q, not %s of %q", in.Addr, st.ID, st.Region, in.ID, s.cfg.Region)
	}
	s.peers.learn([]*api.ServerStatus{st})
	s.log.Debug("a server asks to be a peer", "id", in.ID, "address", in.Addr)
	return &api.Empty{}, s.addPeer(in.ID, in.Addr)
}

func (s *Server) addPeer(id, addr string) error {
	suffrage := raft.Nonvoter
	for _, p := range s.configuration().Servers {
		switch {
		case string(p.ID) == id && string(p.Address) == addr:
			return nil
		case string(p.ID) == id:
			suffrage = p.Suffrage
		case string(p.Address) == addr: // a server that lost its data came back as a new one
			s.log.Warn("replacing a peer by another at its address", "old", p.ID, "new", id, "address", addr)
			if err := s.raft.RemoveServer(p.ID, 0, enqueueTimeout).Error(); err != nil {
				return raftError(err)
			}
		}
	}
	s.log.Info("adding a peer", "id", id, "address", addr, "suffrage", suffrage)
	add := s.raft.AddNonvoter
	if suffrage == raft.Voter {
		add = s.raft.AddVoter
	}
	if err := add(raft.ServerID(id), raft.ServerAddress(addr), 0, enqueueTimeout).Error(); err != nil {
		return raftError(err)
	}
	return nil
}

// RemovePeer removes a server from the Raft peers.
func (s *Server) RemovePeer(ctx context.Context, id string) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	for _, p := range s.configuration().Servers {
		if string(p.ID) == id {
			if err := s.raft.RemoveServer(p.ID, 0, enqueueTimeout).Error(); err != nil {
				return raftError(err)
			}
			s.log.Info("removed a peer", "id", id, "address", p.Address)
			return nil
		}
	}
	return structs.Errorf(structs.NotFound, "id %q was not found in the Raft configuration", id)
}

// TransferLeadership makes another server the leader: the one with that id or
// address, or with neither the one that is up to date.
func (s *Server) TransferLeadership(ctx context.Context, id, addr string) (*api.TransferLeadershipResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	out := &api.TransferLeadershipResponse{From: api.RaftIDAddress{ID: s.id, Address: s.cfg.RPCAddr}}
	for _, p := range s.configuration().Servers {
		if string(p.ID) != id && string(p.Address) != addr {
			continue
		}
		out.To = api.RaftIDAddress{ID: string(p.ID), Address: string(p.Address)}
		if out.To.ID == s.id {
			out.Noop = true
			return out, nil
		}
		if p.Suffrage != raft.Voter {
			return nil, structs.Errorf(structs.Invalid, "cannot transfer leadership to %s: it is not a voter", p.ID)
		}
		s.handing.Lock()
		err := s.raft.LeadershipTransferToServer(p.ID, p.Address).Error()
		s.handing.Unlock()
		if err != nil {
			return nil, structs.Errorf(structs.Unavailable, "cannot transfer leadership to %s: %w", p.ID, err)
		}
		return out, nil
	}
	return nil, structs.Errorf(structs.NotFound, "cannot transfer leadership: no Raft peer has id %q or address %q", id, addr)
}

// handOver gives leadership to another server before this one ends, so that
// nobody has to notice its silence.
func (s *Server) handOver() {
	if s.raft.State() != raft.Leader || len(s.configuration().Servers) < 2 {
		return
	}
	s.handing.Lock()
	err := s.raft.LeadershipTransfer().Error()
	s.handing.Unlock()
	if err != nil {
		s.log.Warn("cannot hand over leadership", "error", err)
	}
}

// Leave makes this server cease to be a peer, for good, as far as the others
// can agree to it.
func (s *Server) Leave(ctx context.Context) error {
	if s.cfg.Port == nil || len(s.configuration().Servers) < 2 {
		return nil
	}
	s.leaving.Store(true)
	s.handOver()
	for ctx.Err() == nil {
		changed := s.leaderSeen.wait()
		addr, id := s.raft.LeaderWithID()
		if addr != "" && string(id) != s.id {
			_, err := api.CallInternal[api.Empty](ctx, s.peers.via, string(addr), api.PathServerLeave, &api.ServerJoin{ID: s.id})
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return structs.Errorf(structs.Unavailable, "cannot leave the cluster in time: it has no leader")
}

// observeLeader tells waiters of every change of leader.
func (s *Server) observeLeader(ctx context.Context) error {
	changes := make(chan raft.Observation, 16)
	o := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, is := o.Data.(raft.LeaderObservation)
		return is
	})
	s.raft.RegisterObserver(o)
	defer s.raft.DeregisterObserver(o)
	for {
		select {
		case <-changes: // a full channel drops one, but not the last
		case <-ctx.Done():
			return nil
		}
		s.leaderSeen.fire()
	}
}
