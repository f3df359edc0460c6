// Package autopilot cares for the set of servers: new ones vote once they have
// proved stable, dead ones are removed as long as a quorum is left, and the
// health of all is known.
//
// The package decides; its owner asks the servers and changes the peers.
package autopilot

import (
	"cmp"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// deadAfter is how long a peer may be out of reach before it counts as dead: a
// restart is shorter.
const deadAfter = 30 * time.Second

// patience is how many looks in a row must find a server behind before it is
// unhealthy: heartbeats are as rare as the default threshold.
const patience = 2

// Peer is a Raft peer as it was found at one look.
type Peer struct {
	ID, Name, Address, Version string
	Voter, Leader              bool
	// Reached says that it answered; the rest is what it said then.
	Reached bool
	Contact time.Duration // since it heard the leader
	Term    uint64
	Last    uint64 // index of the end of its log
}

// Health is what is known of one server.
type Health struct {
	Peer
	Healthy     bool
	StableSince time.Time
}

// Actions are what a look decided.
type Actions struct {
	Promote []string // ids of servers that shall vote
	Remove  []string // ids of dead servers
}

// Core remembers the servers between looks. It has no clock.
type Core struct {
	seen map[string]*record
}

type record struct {
	healthy bool
	since   time.Time // of healthy or not
	bad     int       // looks in a row that found it behind
	reached time.Time // the last time, or when it was first looked for
}

// New returns a core that has seen nothing.
func New() *Core { return &Core{seen: map[string]*record{}} }

// Look judges the peers as they are now.
func (c *Core) Look(now time.Time, cfg *structs.AutopilotConfiguration, peers []Peer) ([]Health, Actions) {
	var leader Peer
	present := map[string]bool{}
	for _, p := range peers {
		present[p.ID] = true
		if p.Leader {
			leader = p
		}
	}
	for id := range c.seen {
		if !present[id] {
			delete(c.seen, id)
		}
	}
	out := make([]Health, 0, len(peers))
	for _, p := range peers {
		r := c.judge(now, cfg, p, leader)
		out = append(out, Health{Peer: p, Healthy: r.healthy, StableSince: r.since})
	}
	slices.SortFunc(out, func(a, b Health) int { return cmp.Compare(a.ID, b.ID) })
	return out, Actions{Promote: promote(now, cfg, out), Remove: c.remove(now, cfg, out)}
}

func (c *Core) judge(now time.Time, cfg *structs.AutopilotConfiguration, p, leader Peer) *record {
	r := c.seen[p.ID]
	if r == nil {
		r = &record{since: now, reached: now}
		c.seen[p.ID] = r
		r.healthy = p.Reached && !behind(cfg, p, leader)
	}
	if p.Reached {
		r.reached = now
	}
	switch {
	case !p.Reached:
		r.bad = patience
	case behind(cfg, p, leader):
		r.bad++
	default:
		r.bad = 0
	}
	if healthy := r.bad == 0 || r.healthy && r.bad < patience; healthy != r.healthy {
		r.healthy, r.since = healthy, now
	}
	return r
}

func behind(cfg *structs.AutopilotConfiguration, p, leader Peer) bool {
	if p.Leader {
		return false
	}
	return p.Contact > time.Duration(cfg.LastContactThreshold) || p.Term != leader.Term || p.Last+cfg.MaxTrailingLogs < leader.Last
}

// promote finds the servers that have been healthy for long enough to vote.
func promote(now time.Time, cfg *structs.AutopilotConfiguration, all []Health) []string {
	var out []string
	for _, h := range all {
		if !h.Voter && h.Healthy && now.Sub(h.StableSince) >= time.Duration(cfg.ServerStabilizationTime) {
			out = append(out, h.ID)
		}
	}
	return out
}

// remove finds the dead servers that can be spared: what is left must have a
// quorum of healthy voters and MinQuorum voters, and fewer than half go.
func (c *Core) remove(now time.Time, cfg *structs.AutopilotConfiguration, all []Health) []string {
	if !cfg.CleanupDeadServers {
		return nil
	}
	voters, healthy := 0, 0
	for _, h := range all {
		if h.Voter {
			voters++
			if h.Healthy {
				healthy++
			}
		}
	}
	var out []string
	spare := (voters - 1) / 2
	for _, h := range all {
		if h.Leader || h.Reached || now.Sub(c.seen[h.ID].reached) < deadAfter {
			continue
		}
		if !h.Voter {
			out = append(out, h.ID)
			continue
		}
		left := voters - 1
		if spare == 0 || uint(left) < cfg.MinQuorum || healthy < left/2+1 {
			continue
		}
		voters, spare = left, spare-1
		out = append(out, h.ID)
	}
	return out
}

// Tolerance is how many more voters may fail.
func Tolerance(all []Health) (tolerance int, healthy bool) {
	voters, good := 0, 0
	healthy = true
	for _, h := range all {
		healthy = healthy && h.Healthy
		if h.Voter {
			voters++
			if h.Healthy {
				good++
			}
		}
	}
	return max(good-(voters/2+1), 0), healthy
}
