package nomadlite

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// This file decides quickly about nodes whose connection has ended. A lost
// connection proves nothing: two servers try to reach the node's agent. An
// answer means that it is alive, silence leaves it to its heartbeats, and only
// a machine that tells both servers, twice, that nobody listens there makes
// the node lost, after an agent could have been started again.

// Pace of probes.
const (
	probeTimeout = time.Second
	probePause   = 200 * time.Millisecond
	probeTimes   = 2
	// maxSuspects bounds the nodes that are probed at once; heartbeats decide
	// about the rest.
	maxSuspects = 64
	// suspectTime is how long an address is probed that does not refuse, and
	// suspectPause the time between.
	suspectTime  = 10 * time.Second
	suspectPause = time.Second
	// settleTime is how long a new leader lets nodes come to it before it
	// probes those that did not.
	settleTime = 5 * time.Second
)

// probe tries to reach an address once.
func probe(ctx context.Context, addr string) api.ProbeResult {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	switch {
	case err == nil:
		conn.Close()
		return api.ProbeAnswers
	case errors.Is(err, syscall.ECONNREFUSED):
		return api.ProbeRefused
	}
	return api.ProbeSilent
}

// verdict sums up probes of one address: an answer wins over silence, and
// silence over refusals.
func verdict(all []api.ProbeResult) api.ProbeResult {
	out := api.ProbeRefused
	for _, r := range all {
		switch {
		case r == api.ProbeAnswers:
			return r
		case r == api.ProbeSilent:
			out = r
		}
	}
	if len(all) == 0 {
		return api.ProbeSilent
	}
	return out
}

// tellPause and tellTime are for telling the leader, who may be changing.
const (
	tellPause = 200 * time.Millisecond
	tellTime  = 15 * time.Second
)

// tellLost tells the leader that a node's connection to this server has ended,
// again while there is none or it does not answer.
func (s *Server) tellLost(ctx context.Context, nodeID string) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	for {
		err := s.tellLostOnce(ctx, nodeID)
		if err == nil {
			return
		}
		if !pause(ctx, tellPause) {
			s.log.Debug("cannot tell the leader of a lost connection; heartbeats decide", "node_id", nodeID, "error", err)
			return
		}
	}
}

func (s *Server) tellLostOnce(ctx context.Context, nodeID string) error {
	ctx, cancel := context.WithTimeout(ctx, leaderHold)
	defer cancel()
	up, err := s.toLeader(ctx)
	switch {
	case err != nil:
		return err
	case up == nil:
		return s.nodeLost(ctx, nodeID)
	case s.sessions.get(nodeID) != nil:
		return nil // it came back to this server meanwhile
	}
	_, err = api.CallInternal[api.Empty](ctx, up.Via, up.Addr, api.PathServerNodeLost, &api.NodeRef{NodeID: nodeID})
	return err
}

// nodeLost begins to look after a node whose connection has ended.
func (s *Server) nodeLost(ctx context.Context, nodeID string) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	s.loops.suspects.add(nodeID, time.Now())
	return nil
}

// suspects are nodes whose connection has ended, while this server leads.
type suspects struct {
	queue chan suspect
}

type suspect struct {
	id    string
	since time.Time
}

func newSuspects() *suspects { return &suspects{queue: make(chan suspect, maxSuspects)} }

func (q *suspects) add(id string, now time.Time) {
	select {
	case q.queue <- suspect{id, now}:
	default: // as many at once are a fault of the network: heartbeats decide
	}
}

// watchSuspects probes suspects until ctx ends.
func (s *Server) watchSuspects(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, maxSuspects)
	settled := time.After(settleTime)
	began := time.Now()
	for {
		select {
		case one := <-s.loops.suspects.queue:
			select {
			case slots <- struct{}{}:
				all.Go(func() {
					defer func() { <-slots }()
					s.suspect(ctx, one)
				})
			default:
			}
		case <-settled:
			s.suspectUnheard(began)
		case <-ctx.Done():
			return nil
		}
	}
}

// suspectUnheard suspects the nodes that a new leader has not heard of: their
// agents may have died together with the old one.
func (s *Server) suspectUnheard(began time.Time) {
	for _, id := range readyNodes(s.store.Snapshot()) {
		if !s.loops.heartbeat.HeardSince(id, began) {
			s.loops.suspects.add(id, began)
		}
	}
}

// suspect finds out about one node and gives it up when it is certainly gone.
func (s *Server) suspect(ctx context.Context, one suspect) {
	n := s.store.Snapshot().Node(one.id)
	if n == nil || n.Status != structs.NodeStatusReady || n.HTTPAddr == "" {
		return
	}
	judge := func() api.ProbeResult { return s.judge(ctx, n.HTTPAddr) }
	heard := func() bool { return s.loops.heartbeat.HeardSince(one.id, one.since) }
	if !insists(ctx, one.since, judge, heard) || !pause(ctx, time.Until(one.since.Add(s.cfg.RestartGrace))) {
		return
	}
	// An agent that was started again has been heard, or listens by now.
	if heard() || judge() != api.ProbeRefused {
		return
	}
	s.log.Warn("the node's agent has ended", "node_id", one.id, "address", n.HTTPAddr)
	s.loops.heartbeat.Expire(one.id, one.since)
}

// insists reports whether a machine says that nobody listens at a node's address,
// unless the node is heard. What was found first is not the end of it: a killed
// agent closes its connections before the port that it listens on, and a server
// may be short of time for a probe itself.
func insists(ctx context.Context, since time.Time, judge func() api.ProbeResult, heard func() bool) bool {
	for judge() != api.ProbeRefused {
		if time.Since(since) > suspectTime || !pause(ctx, suspectPause) || heard() {
			return false // heartbeats decide
		}
	}
	return true
}

// judge is what two servers find at an address: refused only when both are,
// each time that they try.
func (s *Server) judge(ctx context.Context, addr string) api.ProbeResult {
	for i := range probeTimes {
		if i > 0 && !pause(ctx, probePause) {
			return api.ProbeSilent
		}
		if v := verdict(s.probes(ctx, addr)); v != api.ProbeRefused {
			return v
		}
	}
	return api.ProbeRefused
}

// probes are the results of this server and of another one, if there is one.
func (s *Server) probes(ctx context.Context, addr string) []api.ProbeResult {
	results := []api.ProbeResult{probe(ctx, addr)}
	peers := 0
	for _, p := range s.configuration().Servers {
		if string(p.ID) == s.id {
			continue
		}
		peers++
		ask, cancel := context.WithTimeout(ctx, 2*probeTimeout)
		got, err := api.CallInternal[api.Probe](ask, s.peers.via, string(p.Address), api.PathServerProbe, &api.NodeRef{Addr: addr})
		cancel()
		if err == nil {
			return append(results, got.Result)
		}
	}
	if peers > 0 { // nobody could say what it sees
		results = append(results, api.ProbeSilent)
	}
	return results
}

// pause waits; false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
