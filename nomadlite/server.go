// Package nomadlite is the server: it keeps the region's state through Raft,
// turns jobs into evaluations and evaluations into allocations, and answers the
// rows of the route table that belong to servers.
//
// This package wires. What decides stands below it: package state holds the
// data, fsm applies log entries, scheduler and worker place, broker, blocked,
// planner, heartbeat, periodic, deploy and gc are the loops of the leader. It
// must not know the client.
package nomadlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/autopilot"
	"github.com/nomadlite/nomadlite/nomadlite/events"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// Server is one server of a region. New starts Raft; Run leads when elected
// and returns when the server has ended.
type Server struct {
	cfg Config
	id  string
	// wasCluster is the cluster that this server was in when it ended.
	wasCluster string
	log        hclog.Logger
	store      *state.Store
	raft       *consensus
	loops      *loops
	// events are the newest changes, nil when they are off.
	events *events.Ring
	keys   *keyring.Ring
	// dispatchMu makes dispatches with an idempotency token one after the other.
	dispatchMu sync.Mutex
	// handing is held for writing while leadership is handed over: entries that
	// are under way are committed before, others after, elsewhere.
	handing sync.RWMutex
	// rootKeyMu makes one root key at a time.
	rootKeyMu sync.Mutex

	leading    atomic.Pointer[leadership]
	acks       acks
	leaderSeen signal // another leader, or none
	peers      *peers
	regions    *regions
	sessions   *sessions
	again      signal                             // the term of leadership shall begin again
	leaving    atomic.Bool                        // for good: it joins no more
	health     atomic.Pointer[[]autopilot.Health] // of the servers, while leading
	// internal answers requests over the server port.
	internal http.Handler
	// failed receives the first error that must end the server.
	failed chan error
	// stopped is closed when Run has ended.
	stopped  chan struct{}
	stopOnce sync.Once
}

// leadership says whether this server is the established leader; changed is
// closed when that is no longer so.
type leadership struct {
	now     bool
	changed chan struct{}
}

// New opens the server's log and state. The server answers reads at once and
// writes as soon as Run has made it the leader.
func New(cfg Config) (*Server, error) {
	if err := cfg.finish(); err != nil {
		return nil, err
	}
	id, err := serverID(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, id: id, log: cfg.Logger, store: state.New(state.Options{}), failed: make(chan error, 1), stopped: make(chan struct{})}
	if s.wasCluster, err = clusterOf(&cfg); err != nil {
		return nil, err
	}
	if s.keys, err = keyring.Open(cfg.DataDir); err != nil {
		return nil, err
	}
	s.peers, s.sessions, s.regions = newPeers(&s.cfg), newSessions(), newRegions(s.cfg.Dialer)
	if !cfg.DisableEvents {
		s.events = newEvents(cfg.EventBufferSize)
		s.store.Observe(s.events.Observe)
	}
	s.leading.Store(&leadership{changed: make(chan struct{})})
	s.loops = newLoops(s)
	machine := fsm.New(s.store, s.log.Named("fsm"), func(index uint64, err error) {
		s.fail(fmt.Errorf("cannot go on after log entry %d: %w", index, err))
	})
	if s.raft, err = openRaft(&s.cfg, id, machine, s.log.Named("raft"), s.fail); err != nil {
		return nil, err
	}
	return s, nil
}

// fail ends the server; the first error is the one that Run returns.
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// ID is the server's id among its peers.
func (s *Server) ID() string { return s.id }

// ClusterID names the cluster, "" before it has had a leader. A server that was
// started again knows it before it has applied its log.
func (s *Server) ClusterID() string {
	if id := s.store.Snapshot().ClusterID(); id != "" {
		return id
	}
	return s.wasCluster
}

// Bind binds the rows that servers answer.
func (s *Server) Bind(mux *api.Mux) {
	bindEndpoints(mux, endpointDeps{Store: s.store, Ops: s, ParseJob: s.cfg.ParseJob, Issuer: s.cfg.OIDCIssuer, Events: s.events})
	s.bindInternal(mux)
	s.internal = mux.Internal()
}

// Run leads the region whenever Raft elects this server, until ctx ends or the
// log cannot be written any more. It stops Raft before it returns.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.hasten(); return nil })
	group.Go(func() error { return s.watchLeadership(ctx) })
	group.Go(func() error { return s.observeLeader(ctx) })
	if s.cfg.Port != nil {
		group.Go(func() error { return s.keepPeers(ctx) })
		group.Go(func() error { return s.keepClusterID(ctx) })
		group.Go(func() error { return s.watchSuccession(ctx) })
		group.Go(func() error { return s.keepKEKs(ctx) })
		group.Go(func() error { return s.keepRegions(ctx) })
	}
	group.Go(func() error { return s.limitLog(ctx) })
	group.Go(func() error { return s.measureLog(ctx) })
	group.Go(func() error {
		select {
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	// The port outlives the loops: leadership is handed over while requests are
	// still answered.
	below, stopPort := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPort()
	var port errgroup.Group
	if s.cfg.Port != nil {
		port.Go(func() error {
			err := s.cfg.Port.Run(below, s.internal, s.serveNode)
			if err != nil {
				s.fail(err)
			}
			return err
		})
	}
	err := group.Wait()
	s.handOver()
	s.stopOnce.Do(func() { close(s.stopped) })
	stopPort()
	return errors.Join(err, port.Wait(), s.raft.shutdown())
}

// leaderRetry is the pause after a term that failed, and the longest time that
// a lost notice of an election can cost.
const leaderRetry = time.Second

// watchLeadership runs a term of leadership after each election, until ctx
// ends.
func (s *Server) watchLeadership(ctx context.Context) error {
	again := time.NewTicker(leaderRetry)
	defer again.Stop()
	for {
		for s.raft.State() == raft.Leader && ctx.Err() == nil {
			if !s.lead(ctx) {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.raft.LeaderCh():
		case <-again.C:
		}
	}
}

// lead is one term of leadership: barrier, the epoch, then the loops. It
// returns when leadership was lost, a loop failed or ctx ended, and true when
// the term shall begin again at once.
func (s *Server) lead(ctx context.Context) (again bool) {
	began := time.Now()
	if err := s.establish(); err != nil {
		s.log.Error("cannot establish leadership", "error", err)
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, replaced := make(chan error, 1), s.again.wait()
	go func() { ended <- s.loops.run(ctx) }()
	s.setLeading(true)
	metrics.MeasureSince([]string{"nomad", "leader", "establish_leadership"}, began)
	s.log.Info("cluster leadership acquired")
	for lost := false; !lost && !again; {
		select {
		case leader := <-s.raft.LeaderCh():
			lost = !leader
		case <-replaced:
			again = true
		case err := <-ended:
			s.setLeading(false)
			if ctx.Err() == nil {
				s.log.Error("stepping down: a loop of the leader failed", "error", err)
			}
			return false
		}
	}
	s.setLeading(false)
	s.log.Warn("cluster leadership lost, or begun again", "again", again)
	revoking := time.Now()
	cancel()
	<-ended
	metrics.MeasureSince([]string{"nomad", "leader", "revoke_leadership"}, revoking)
	return again
}

func (s *Server) setLeading(now bool) {
	old := s.leading.Swap(&leadership{now: now, changed: make(chan struct{})})
	close(old.changed)
}

// establish waits until everything committed is applied and starts the term.
func (s *Server) establish() error {
	began := time.Now()
	if err := s.raft.Barrier(leaderHold).Error(); err != nil {
		return err
	}
	metrics.MeasureSince([]string{"nomad", "leader", "barrier"}, began)
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails since Go 1.24
	data, err := fsm.Encode(fsm.Epoch, &state.Epoch{Term: s.raft.CurrentTerm(), AllocKey: key, ClusterID: newID()})
	if err != nil {
		return err
	}
	_, _, err = s.commit(data)
	return err
}

// Stats are the server's figures, for operators.
func (s *Server) Stats() map[string]string {
	addr, known, _ := s.Leader()
	return map[string]string{
		"leader": strconv.FormatBool(known), "leader_addr": addr, "bootstrap": "true", "known_regions": strconv.Itoa(len(s.Regions())),
		"applied_state_index": strconv.FormatUint(s.store.Snapshot().Index(), 10),
	}
}

// Peers are the addresses of the Raft peers.
func (s *Server) Peers() ([]string, error) {
	cfg, err := s.RaftConfiguration()
	if err != nil {
		return nil, err
	}
	peers := []string{}
	for _, p := range cfg.Servers {
		peers = append(peers, p.Address)
	}
	return peers, nil
}

// RaftConfiguration lists the Raft peers.
func (s *Server) RaftConfiguration() (*api.RaftConfiguration, error) {
	f := s.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, raftError(err)
	}
	_, leader := s.raft.LeaderWithID()
	out := &api.RaftConfiguration{Servers: []*api.RaftServer{}, Index: f.Index()}
	for _, p := range f.Configuration().Servers {
		shown := &api.RaftServer{ID: string(p.ID), Node: "(unknown)", Address: string(p.Address), Voter: p.Suffrage == raft.Voter, RaftProtocol: "3"}
		if name := s.peers.name(shown.ID); name != "" {
			shown.Node = name + "." + s.cfg.Region
		}
		if shown.ID == s.id {
			shown.Node, shown.Address = s.cfg.Name+"."+s.cfg.Region, s.cfg.RPCAddr
		}
		shown.Leader = p.ID == leader
		out.Servers = append(out.Servers, shown)
	}
	return out, nil
}
