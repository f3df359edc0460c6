package nomadlite

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// This file spares a region Raft's heartbeat timeout when its leader's process has
// ended: the connection that the leader held to this server is closed, and twice
// nobody listens at its address any more. That is no silence, which may be a
// network, a pause or load and has Raft's whole patience: who does not listen
// leads nobody, and if he starts again he starts as a follower. The election
// itself is Raft's.

const (
	// leaderLooks are how often a leader's address is looked at, and leaderPause the time
	// before each: a process that is killed closes its connections before the port
	// that it listens on.
	leaderLooks = 6
	leaderPause = 30 * time.Millisecond
	// refusedTimeout is how long an address may take to refuse.
	refusedTimeout = 500 * time.Millisecond
	// standApart is between servers that stand for election, in the order of their
	// ids: one vote is split by none. Longer than an election takes.
	standApart = 250 * time.Millisecond
)

// succession decides when a server stands for election before its timeout.
type succession struct {
	self    string
	leader  func() (addr, id string)
	voters  func() []string // ids
	follows func() bool     // this server is a follower
	refused func(ctx context.Context, addr string) bool
	pause   func(ctx context.Context, d time.Duration) bool // false when ctx has ended
	stand   func()
}

// lost is called after a connection of Raft to this server has ended.
func (s *succession) lost(ctx context.Context) {
	addr, id := s.leader()
	if id == "" || id == s.self || !s.follows() {
		return
	}
	heirs := slices.DeleteFunc(s.voters(), func(voter string) bool { return voter == id })
	slices.Sort(heirs)
	rank := slices.Index(heirs, s.self)
	if rank < 0 || !s.gone(ctx, addr) || !s.pause(ctx, time.Duration(rank)*standApart) {
		return
	}
	if _, now := s.leader(); s.follows() && (now == id || now == "") {
		s.stand()
	}
}

// gone reports whether an address refuses twice in a row.
func (s *succession) gone(ctx context.Context, addr string) bool {
	times := 0
	for range leaderLooks {
		if !s.pause(ctx, leaderPause) {
			return false
		}
		if !s.refused(ctx, addr) {
			times = 0
		} else if times++; times == 2 {
			return true
		}
	}
	return false
}

// watchSuccession runs succession until ctx ends.
func (s *Server) watchSuccession(ctx context.Context) error {
	one := &succession{
		self: s.id, refused: refused, pause: pause, stand: s.stand,
		leader: func() (string, string) { addr, id := s.raft.LeaderWithID(); return string(addr), string(id) },
		voters: func() (ids []string) {
			for _, p := range s.configuration().Servers {
				if p.Suffrage == raft.Voter {
					ids = append(ids, string(p.ID))
				}
			}
			return ids
		},
		follows: func() bool { return s.raft.State() == raft.Follower },
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.raft.lost:
			one.lost(ctx)
		}
	}
}

// refused reports whether nobody listens at an address, as its host says.
func refused(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: refusedTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// stand tells this server's own Raft to stand for election.
func (s *Server) stand() {
	to, ok := s.raft.transport.(interface {
		TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error
	})
	if !ok {
		return
	}
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(s.id), Addr: []byte(s.cfg.RPCAddr)}
	var resp raft.TimeoutNowResponse
	if err := to.TimeoutNow(raft.ServerID(s.id), raft.ServerAddress(s.cfg.RPCAddr), &raft.TimeoutNowRequest{RPCHeader: header}, &resp); err != nil {
		s.log.Debug("cannot hasten the election", "error", err)
	}
}
