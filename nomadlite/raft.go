package nomadlite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/raftlog"
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
	// snapshotBytes of entries make a snapshot, or as many as the last one has
	// bytes, and so do Config.RaftSnapshotThreshold entries.
	snapshotBytes = 64 << 20
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
	logs      *raftlog.Store         // nil in memory
	// lost has a value after connections of peers to this server have ended.
	lost chan struct{}
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
	if cfg.wrapStores != nil {
		logs, stable = cfg.wrapStores(logs, stable)
	}
	guard := &guardedStore{LogStore: logs, StableStore: stable, fail: fail}
	// Followers apply what they have just written.
	cached, err := raft.NewLogCache(maxAppendEntries, guard)
	if err != nil {
		c.close()
		return nil, err
	}
	c.openTransport(cfg, log)
	if err := c.recover(cfg, conf, guard, snaps, log); err != nil {
		c.close()
		return nil, err
	}
	if c.logs != nil {
		// Raft would go back to an older snapshot when the newest is damaged.
		conf.NoSnapshotRestoreOnStart = true
		if err := restoreNewest(filepath.Join(cfg.DataDir, "raft", "snapshots"), machine); err != nil {
			c.close()
			return nil, err
		}
	}
	if err := forgetBootstrap(guard, snaps); err != nil {
		c.close()
		return nil, err
	}
	known, err := raft.HasExistingState(cached, guard, snaps)
	if err == nil && !known && cfg.BootstrapExpect <= 1 && cfg.selfElects() {
		err = raft.BootstrapCluster(conf, cached, guard, snaps, c.transport, raft.Configuration{Servers: []raft.Server{
			{Suffrage: raft.Voter, ID: conf.LocalID, Address: raft.ServerAddress(cfg.RPCAddr)},
		}})
	}
	if err == nil {
		c.Raft, err = raft.NewRaft(conf, machine, cached, guard, snaps, c.transport)
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
		addr, self := raft.NewInmemTransport(raft.ServerAddress(cfg.RPCAddr))
		self.Connect(addr, self) // for hasten
		c.transport = self
		return
	}
	stream := newRaftStream(cfg.Port.RaftConns(), cfg.Dialer)
	c.lost = stream.lost
	c.network = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: raftMaxConns, Timeout: raftTimeout, Logger: log.Named("transport"),
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
	ended  chan struct{}
	end    func()
	lost   chan struct{} // holds one notice
}

// peerConn tells when a peer's connection has ended.
type peerConn struct {
	net.Conn
	lost chan<- struct{}
}

// Close implements net.Conn; Raft calls it when it can read no more.
func (c peerConn) Close() error {
	select {
	case c.lost <- struct{}{}:
	default:
	}
	return c.Conn.Close()
}

func newRaftStream(l net.Listener, d *wire.Dialer) *raftStream {
	s := &raftStream{Listener: l, dialer: d, ended: make(chan struct{}), lost: make(chan struct{}, 1)}
	s.end = sync.OnceFunc(func() { close(s.ended) })
	return s
}

// Accept implements raft.StreamLayer. The port ends before Raft does, which
// takes that for an error worth telling many times.
func (s *raftStream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		<-s.ended
		return nil, err
	}
	return peerConn{c, s.lost}, nil
}

// Close implements raft.StreamLayer.
func (s *raftStream) Close() error {
	s.end()
	return s.Listener.Close()
}

// Dial implements raft.StreamLayer.
func (s *raftStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
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

// forgetBootstrap makes a server new again whose first start ended between its
// first term and its first entry. Raft would never give it a leader.
func forgetBootstrap(g *guardedStore, snaps raft.SnapshotStore) error {
	last, err1 := g.LastIndex()
	term, err2 := g.GetUint64([]byte(termKey))
	vote, err3 := g.GetUint64([]byte("LastVoteTerm"))
	list, err4 := snaps.List()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return fmt.Errorf("cannot read what Raft keeps: %w", err)
	}
	if last > 0 || term == 0 || vote > 0 || len(list) > 0 {
		return nil
	}
	return g.SetUint64([]byte(termKey), 0)
}

// stores opens the log, the stable store and the snapshots.
func (c *consensus) stores(cfg *Config, log hclog.Logger) (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if cfg.DataDir == "" || cfg.Dev {
		mem := raft.NewInmemStore()
		return mem, mem, raft.NewInmemSnapshotStore(), nil
	}
	dir := filepath.Join(cfg.DataDir, "raft")
	logs, err := raftlog.Open(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, nil, err
	}
	c.logs = logs
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log)
	if err != nil {
		c.close()
		return nil, nil, nil, fmt.Errorf("cannot open the snapshots in %q: %w", dir, err)
	}
	return logs, logs, snaps, nil
}

func (c *consensus) close() {
	if c.network != nil {
		_ = c.network.Close()
	}
	if c.logs != nil {
		_ = c.logs.Close()
	}
}

// shutdownWait bounds the wait for Raft, whose goroutines may hang in a read of
// a disk that has failed.
const shutdownWait = 10 * time.Second

// shutdown stops Raft and closes the log.
func (c *consensus) shutdown() error {
	stopped := make(chan error, 1)
	go func() { stopped <- c.Shutdown().Error() }()
	var err error
	select {
	case err = <-stopped:
	case <-time.After(shutdownWait):
		err = fmt.Errorf("cannot stop Raft within %v; the log stays open until the process ends", shutdownWait)
		return err
	}
	c.close()
	return err
}

// guardedStore tells of the first error of a log and stable store, and takes
// nothing afterwards. It keeps Raft from panicking over such an error.
type guardedStore struct {
	raft.LogStore
	raft.StableStore
	fail   func(error)
	failed atomic.Bool
}

var errStoreFailed = errors.New("an earlier write has failed")

func (g *guardedStore) write(what string, do func() error) error {
	if g.failed.Load() {
		return errStoreFailed
	}
	err := do()
	if err != nil {
		g.failed.Store(true)
		g.fail(fmt.Errorf("cannot write the Raft %s: %w", what, err))
	}
	return err
}

// GetLog implements raft.LogStore. Raft panics when it cannot read what it is
// to apply, so the error ends the server and the reader waits for that.
func (g *guardedStore) GetLog(index uint64, l *raft.Log) error {
	err := g.LogStore.GetLog(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	g.failed.Store(true)
	g.fail(fmt.Errorf("cannot read entry %d of the Raft log: %w", index, err))
	select {}
}

// StoreLog implements raft.LogStore.
func (g *guardedStore) StoreLog(l *raft.Log) error {
	return g.write("log", func() error { return g.LogStore.StoreLog(l) })
}

// StoreLogs implements raft.LogStore.
func (g *guardedStore) StoreLogs(l []*raft.Log) error {
	return g.write("log", func() error { return g.LogStore.StoreLogs(l) })
}

// DeleteRange implements raft.LogStore.
func (g *guardedStore) DeleteRange(first, last uint64) error {
	return g.write("log", func() error { return g.LogStore.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (g *guardedStore) Set(k, v []byte) error {
	return g.write("vote", func() error { return g.StableStore.Set(k, v) })
}

// termKey is where Raft keeps its term. It panics when it cannot write it.
const termKey = "CurrentTerm"

// SetUint64 implements raft.StableStore. A term that could not be written may
// stand in memory while the server ends: without a vote and an entry, which are
// refused from now on, nobody hears of it.
func (g *guardedStore) SetUint64(k []byte, v uint64) error {
	err := g.write("vote", func() error { return g.StableStore.SetUint64(k, v) })
	if string(k) == termKey {
		return nil
	}
	return err
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
	s.handing.RLock()
	defer s.handing.RUnlock()
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
