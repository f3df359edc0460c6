// Package heartbeat remembers until when each node counts as alive, and tells
// of nodes that were not heard in time.
//
// The table lives in the leader's memory: a new leader gives every node time
// to be heard. The leader's own pauses are no fault of the nodes and are added
// to all deadlines. When many nodes fall silent together the fault is likely
// on this side: the table then freezes and raises an alarm instead of moving
// half of the cluster's work.
package heartbeat

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
)

// Config configures a Table.
type Config struct {
	MinTTL       time.Duration // shortest time between heartbeats
	Grace        time.Duration // added to the TTL before a node is missed
	MaxPerSecond float64       // heartbeats of all nodes together
	// FailoverTTL is what every known node has after a change of leader.
	FailoverTTL time.Duration
	Logger      hclog.Logger
	// Missed takes a node for lost; a failed call is repeated. With waits it is
	// called again after MinTTL, until the node is heard: something may still
	// wait for it.
	Missed func(ctx context.Context, nodeID string) (waits bool, err error)
	// Now and Jitter, which is uniform in [0, 1), are the clock's and chance
	// when they are nil.
	Now    func() time.Time
	Jitter func() float64
}

// Limits of the table's own behaviour.
const (
	// tick is how often deadlines are looked at; a tick that comes later than
	// twice that means that this process stood still.
	tick = 500 * time.Millisecond
	// massShare of the nodes, at least massNodes, missed within one look
	// freeze the table for freezeTime.
	massShare  = 0.3
	massNodes  = 3
	freezeTime = time.Minute
	// maxPerTick bounds how many nodes are given up in one look.
	maxPerTick = 64
	// earlyBeats is how long before Run a beat may come and still count: the
	// server answers as leader while its loops start.
	earlyBeats = 2 * time.Second
)

// Table holds the deadlines of the nodes.
type Table struct {
	cfg  Config
	core *core
	mu   sync.Mutex // guards core
}

// New returns an empty table.
func New(cfg Config) *Table {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	return &Table{cfg: cfg, core: newCore()}
}

// Beat records that a node was heard, and returns when it should be heard
// again.
func (t *Table) Beat(nodeID string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	ttl := t.cfg.ttl(len(t.core.deadlines), t.cfg.Jitter())
	now := t.cfg.Now()
	t.core.heard[nodeID] = now
	delete(t.core.waits, nodeID)
	t.core.deadlines[nodeID] = now.Add(ttl + t.cfg.Grace)
	return ttl
}

// HeardSince reports whether a node was heard after a time.
func (t *Table) HeardSince(nodeID string, since time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.core.heard[nodeID].After(since)
}

// Expire ends the time of a node that is known to be gone and was not heard
// after since. The limits for many nodes at once hold for it too.
func (t *Table) Expire(nodeID string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.core.deadlines[nodeID]; known && !t.core.heard[nodeID].After(since) {
		t.core.deadlines[nodeID] = t.cfg.Now()
	}
}

// Forget drops a node that is no longer expected.
func (t *Table) Forget(nodeID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.core.deadlines, nodeID)
	delete(t.core.heard, nodeID)
	delete(t.core.waits, nodeID)
}

// ttl spreads the heartbeats of n nodes over enough time; where in the random
// part is x, 0 to 1.
func (c Config) ttl(n int, x float64) time.Duration {
	ttl := c.MinTTL
	if c.MaxPerSecond > 0 {
		ttl = max(ttl, time.Duration(float64(n)/c.MaxPerSecond*float64(time.Second)))
	}
	return ttl + time.Duration(x*float64(ttl)/4)
}

// Run watches the deadlines until ctx ends, beginning with the given nodes,
// which all have FailoverTTL.
func (t *Table) Run(ctx context.Context, known []string) error {
	t.Begin(known)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.Look(ctx)
		}
	}
}

// Begin gives the nodes that a new leader knows FailoverTTL. Run calls it.
func (t *Table) Begin(known []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := t.cfg.Now()
	fresh := newCore()
	for id, deadline := range t.core.deadlines {
		if start.Sub(t.core.heard[id]) > earlyBeats {
			continue // of an earlier term: others have heard it since
		}
		fresh.deadlines[id], fresh.heard[id] = deadline, t.core.heard[id]
	}
	for _, id := range known {
		if _, heard := fresh.deadlines[id]; !heard {
			fresh.deadlines[id] = start.Add(max(t.cfg.FailoverTTL, t.cfg.MinTTL+t.cfg.Grace))
		}
	}
	t.core = fresh
}

// Look gives up the nodes whose time is over. Run calls it.
func (t *Table) Look(ctx context.Context) {
	t.mu.Lock()
	missed, alarm := t.core.step(t.cfg.Now())
	waiting := t.core.waiting(t.cfg.Now())
	active := len(t.core.deadlines)
	t.mu.Unlock()
	metrics.SetGauge([]string{"nomad", "heartbeat", "active"}, float32(active))
	if alarm {
		t.cfg.Logger.Error("many nodes fell silent at once; nodes are not taken for lost for a while: look at this server and its network", "silent", len(missed), "known", active, "for", freezeTime)
		return
	}
	for _, id := range missed {
		t.cfg.Logger.Warn("node TTL expired", "node_id", id)
		metrics.IncrCounter([]string{"nomad", "heartbeat", "invalidate"}, 1)
		t.giveUp(ctx, id)
	}
	for _, id := range waiting {
		t.giveUp(ctx, id)
	}
}

// giveUp takes a node for lost, as far as nothing waits for it.
func (t *Table) giveUp(ctx context.Context, id string) {
	waits, err := t.cfg.Missed(ctx, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, heard := t.core.deadlines[id]; heard {
		return
	}
	switch {
	case err != nil:
		t.cfg.Logger.Error("cannot mark a node as lost; trying again", "node_id", id, "error", err)
		t.core.deadlines[id] = t.cfg.Now()
	case waits:
		t.core.waits[id] = t.cfg.Now().Add(t.cfg.MinTTL)
	}
}

// core is the table without clock and locks.
type core struct {
	deadlines map[string]time.Time
	heard     map[string]time.Time // the last beat, of nodes in deadlines
	waits     map[string]time.Time // nodes that were given up, and for which something waits: when to look again
	last      time.Time            // of the last step, zero before the first
	frozen    time.Time            // no node is missed before
}

func newCore() *core {
	return &core{deadlines: map[string]time.Time{}, heard: map[string]time.Time{}, waits: map[string]time.Time{}}
}

// waiting takes out the nodes for which something waited long enough to look
// again, at most maxPerTick.
func (c *core) waiting(now time.Time) (ids []string) {
	ids = due(c.waits, now)
	ids = ids[:min(len(ids), maxPerTick)]
	for _, id := range ids {
		delete(c.waits, id)
	}
	return ids
}

// step returns the nodes whose deadline has passed, at most maxPerTick, and
// drops them. With alarm they are too many to be believed and are kept.
func (c *core) step(now time.Time) (missed []string, alarm bool) {
	if stall := now.Sub(c.last) - 2*tick; !c.last.IsZero() && stall > 0 {
		for id, d := range c.deadlines {
			c.deadlines[id] = d.Add(stall)
		}
	}
	c.last = now
	if now.Before(c.frozen) {
		return nil, false
	}
	missed = due(c.deadlines, now)
	if c.frozen.IsZero() && len(missed) >= massNodes && float64(len(missed)) >= massShare*float64(len(c.deadlines)) {
		c.frozen = now.Add(freezeTime)
		return missed, true
	}
	if len(missed) == 0 {
		c.frozen = time.Time{}
		return nil, false
	}
	missed = missed[:min(len(missed), maxPerTick)]
	for _, id := range missed {
		delete(c.deadlines, id)
		delete(c.heard, id)
	}
	return missed, false
}

// due are the nodes whose time has come, sorted.
func due(times map[string]time.Time, now time.Time) (ids []string) {
	for id, at := range times {
		if !at.After(now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
