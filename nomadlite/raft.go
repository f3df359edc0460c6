package nomadlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Raft settings (design.md 10, Commit).
const (
	maxAppendEntries = 512
	commitTimeout    = 20 * time.Millisecond
	// aloneTimeout is the heartbeat, election and lease timeout of a server
	// that can have no peers: nobody could disagree, so it elects itself at
	// once.
	aloneTimeout = 100 * time.Millisecond
	// leaderHold is how long a request waits for a leader before it fails.
	leaderHold = 5 * time.Second
	// enqueueTimeout bounds the wait for a place in Raft's queue.
	enqueueTimeout = 10 * time.Second
	snapshotsKept  = 2
)

// errNoLeader is the contract's text for a region without a leader. What fails
// with it had no effect.
var errNoLeader = api.ErrNotHere

// errLost is a commit whose fate is unknown.
var errLost = structs.Errorf(structs.Unavailable, "cannot say whether the request was done: this server lost leadership meanwhile; look before you repeat it")

// consensus is the Raft of a server with what it is made of.
type consensus struct {
	*raft.Raft
	transport raft.Transport
	network   *raft.NetworkTransport // nil for a server that can have no peers
	logs      io.Closer              // nil in memory
}

// openRaft starts Raft over the state machine. fail is called at the first
// error of the log or stable store: what was promised may not be kept any
// more, so the server must end.
func openRaft(cfg *Config, id string, machine *fsm.FSM, log hclog.Logger, fail func(error)) (*consensus, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(id)
	conf.Logger = log
	conf.BatchApplyCh = true
	conf.MaxAppendEntries = maxAppendEntries
	conf.CommitTimeout = commitTimeout
	if cfg.Port == nil {
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = aloneTimeout, aloneTimeout, aloneTimeout
	}
	conf.SnapshotThreshold, conf.SnapshotInterval, conf.TrailingLogs = cfg.RaftSnapshotThreshold, cfg.RaftSnapshotInterval, cfg.RaftTrailingLogs
	conf.NoLegacyTelemetry = true

	c := &consensus{}
	logs, stable, snaps, err := c.stores(cfg, log)
	if err != nil {
		return nil, err
	}
	guard := &guardedStore{LogStore: logs, StableStore: stable, fail: fail}
	c.openTransport(cfg, log)
	if err := c.recover(cfg, conf, guard, snaps, log); err != nil {
		c.close()
		return nil, err
	}
	known, err := raft.HasExistingState(guard, guard, snaps)
	if err == nil && !known && cfg.BootstrapExpect <= 1 && cfg.selfElects() {
		err = raft.BootstrapCluster(conf, guard, guard, snaps, c.transport, raft.Configuration{Servers: []raft.Server{
			{Suffrage: raft.Voter, ID: conf.LocalID, Address: raft.ServerAddress(cfg.RPCAddr)},
		}})
	}
	if err == nil {
		c.Raft, err = raft.NewRaft(conf, machine, guard, guard, snaps, c.transport)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("cannot start Raft in %q: %w", cfg.DataDir, err)
	}
	return c, nil
}

// Limits of Raft's connections.
const (
	raftTimeout  = 10 * time.Second // of one call; longer for snapshots, by size
	raftMaxConns = 3                // kept open for each peer
)

// openTransport connects Raft to its peers over the server port, or to nobody.
func (c *consensus) openTransport(cfg *Config, log hclog.Logger) {
	if cfg.Port == nil {
		_, c.transport = raft.NewInmemTransport(raft.ServerAddress(cfg.RPCAddr))
		return
	}
	c.network = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: raftStream{cfg.Port.RaftConns(), cfg.Dialer}, MaxPool: raftMaxConns, Timeout: raftTimeout, Logger: log.Named("transport"),
	})
	c.transport = namedTransport{c.network, raft.ServerAddress(cfg.RPCAddr)}
}

// namedTransport goes by the advertised address: the port may listen on all.
type namedTransport struct {
	*raft.NetworkTransport
	addr raft.ServerAddress
}

// LocalAddr implements raft.Transport.
func (t namedTransport) LocalAddr() raft.ServerAddress { return t.addr }

// raftStream is the part of the server port that is Raft's.
type raftStream struct {
	net.Listener
	dialer *wire.Dialer
}

// Dial implements raft.StreamLayer.
func (s raftStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dialer.Dial(ctx, string(addr), wire.Raft)
}

// peersFile names a set of peers that an operator wants, after a majority was
// lost for good (D-08).
const peersFile = "peers.json"

// recover replaces the set of peers by that of peers.json, which is used once.
func (c *consensus) recover(cfg *Config, conf *raft.Config, store *guardedStore, snaps raft.SnapshotStore, log hclog.Logger) error {
	if cfg.DataDir == "" || cfg.Dev {
		return nil
	}
	file := filepath.Join(cfg.DataDir, "raft", peersFile)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	peers, err := raft.ReadConfigJSON(file)
	if err != nil {
		return fmt.Errorf("cannot use %q: %w; it must be a list of {\"id\", \"address\", \"non_voter\"}", file, err)
	}
	mine := false
	for _, p := range peers.Servers {
		mine = mine || p.ID == conf.LocalID
	}
	if !mine {
		return fmt.Errorf("cannot use %q: it does not name this server, whose id is %s", file, conf.LocalID)
	}
	machine := fsm.New(state.New(state.Options{}), log, nil)
	if err := raft.RecoverCluster(conf, machine, store, store, snaps, c.transport, peers); err != nil {
		return fmt.Errorf("cannot recover with %q: %w", file, err)
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("recovered, but cannot remove %q: %w; remove it before the next start", file, err)
	}
	log.Warn("recovered the set of Raft peers from a file, which was removed", "file", file, "peers", len(peers.Servers))
	return nil
}

// stores opens the log, the stable store and the snapshots.
func (c *consensus) stores(cfg *Config, log hclog.Logger) (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if cfg.DataDir == "" || cfg.Dev {
		mem := raft.NewInmemStore()
		return mem, mem, raft.NewDiscardSnapshotStore(), nil
	}
	dir := filepath.Join(cfg.DataDir, "raft")
	if err := os.MkdirAll(filepath.Join(dir, "wal"), 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot make the directory of the Raft log: %w", err)
	}
	w, err := wal.Open(filepath.Join(dir, "wal"), wal.WithLogger(log.Named("wal")))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot open the Raft log in %q: %w", dir, err)
	}
	c.logs = w
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log)
	if err != nil {
		c.close()
		return nil, nil, nil, fmt.Errorf("cannot open the snapshots in %q: %w", dir, err)
	}
	return w, w, snaps, nil
}

func (c *consensus) close() {
	if c.network != nil {
		_ = c.network.Close()
	}
	if c.logs != nil {
		_ = c.logs.Close()
	}
}

// shutdown stops Raft and closes the log.
func (c *consensus) shutdown() error {
	err := c.Shutdown().Error()
	c.close()
	return err
}

// guardedStore tells of the first write error of a log and stable store.
type guardedStore struct {
	raft.LogStore
	raft.StableStore
	fail func(error)
}

func (g *guardedStore) check(what string, err error) error {
	if err != nil {
		g.fail(fmt.Errorf("cannot write the Raft %s: %w", what, err))
	}
	return err
}

// StoreLog implements raft.LogStore.
func (g *guardedStore) StoreLog(l *raft.Log) error { return g.check("log", g.LogStore.StoreLog(l)) }

// StoreLogs implements raft.LogStore.
func (g *guardedStore) StoreLogs(l []*raft.Log) error {
	return g.check("log", g.LogStore.StoreLogs(l))
}

// DeleteRange implements raft.LogStore.
func (g *guardedStore) DeleteRange(first, last uint64) error {
	return g.check("log", g.LogStore.DeleteRange(first, last))
}

// Set implements raft.StableStore.
func (g *guardedStore) Set(k, v []byte) error { return g.check("vote", g.StableStore.Set(k, v)) }

// SetUint64 implements raft.StableStore.
func (g *guardedStore) SetUint64(k []byte, v uint64) error {
	return g.check("vote", g.StableStore.SetUint64(k, v))
}

// IsMonotonic implements raft.MonotonicLogStore.
func (g *guardedStore) IsMonotonic() bool {
	m, ok := g.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// apply commits a command and returns what its verb returned and the index of
// its entry, the last one of a list that needs several. It waits for a leader
// at most leaderHold; the error says so when there is none.
func (s *Server) apply(ctx context.Context, t fsm.Type, payload any) (value any, index uint64, err error) {
	entries, err := fsm.EncodeAll(t, payload)
	if err != nil {
		return nil, 0, err
	}
	if err := s.awaitLeader(ctx); err != nil {
		return nil, 0, err
	}
	for _, data := range entries {
		if value, index, err = s.commit(data); err != nil {
			return nil, 0, err
		}
	}
	return value, index, nil
}

// commit writes an entry without waiting for leadership to be established.
func (s *Server) commit(data []byte) (value any, index uint64, err error) {
	defer metrics.MeasureSince([]string{"raft", "commit"}, time.Now())
	f := s.raft.Apply(data, enqueueTimeout)
	if err := f.Error(); err != nil {
		return nil, 0, raftError(err)
	}
	result, ok := f.Response().(fsm.Result)
	if !ok {
		return nil, 0, structs.Errorf(structs.Internal, "log entry %d was not applied", f.Index())
	}
	return result.Value, f.Index(), result.Err
}

// raftError turns an error of Raft into the contract's.
func raftError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errNoLeader
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
		return errLost
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return structs.Errorf(structs.Unavailable, "cannot commit: Raft has taken no entry for %v; the server is overloaded", enqueueTimeout)
	}
	return structs.Errorf(structs.Unavailable, "cannot commit: %w", err)
}

// awaitLeader returns when this server is the established leader, and at once
// when another one leads.
func (s *Server) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderHold)
	defer cancel()
	for {
		established, known := s.leading.Load(), s.leaderSeen.wait()
		switch addr, _ := s.raft.LeaderWithID(); {
		case established.now:
			return nil
		case addr != "" && s.raft.State() != raft.Leader && s.cfg.Port != nil:
			return errNoLeader
		}
		select {
		case <-established.changed:
		case <-known:
		case <-s.stopped:
			return errNoLeader
		case <-ctx.Done():
			return errNoLeader
		}
	}
}

// ReadBarrier returns when this server was certainly the leader at some time
// after the call: everything that was acknowledged before the call is in its
// state then.
func (s *Server) ReadBarrier(ctx context.Context) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	if err := s.raft.VerifyLeader().Error(); err != nil {
		return errNoLeader // a read has no effect and can be made elsewhere
	}
	return nil
}

// Leader is the address of the leader, whether there is one, and how long it
// has been silent.
func (s *Server) Leader() (addr string, known bool, lastContact time.Duration) {
	if s.raft.State() == raft.Leader {
		return s.cfg.RPCAddr, true, 0
	}
	leader, _ := s.raft.LeaderWithID()
	if last := s.raft.LastContact(); !last.IsZero() {
		lastContact = time.Since(last)
	}
	return string(leader), leader != "", lastContact
}

// LeaderKnown reports whether the region has a leader that can work.
func (s *Server) LeaderKnown() bool {
	if s.raft.State() == raft.Leader {
		return s.leading.Load().now
	}
	_, known, _ := s.Leader()
	return known
}

// RaftStats are Raft's own figures, for operators.
func (s *Server) RaftStats() map[string]string { return s.raft.Stats() }

// signal is a level-triggered "something changed, look again".
type signal struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

// wait returns a channel that is closed at the next change.
func (g *signal) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

func (g *signal) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
	}
}
