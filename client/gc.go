package client

import (
	"context"
	"sort"
	"time"
)

// collect removes finished allocations beyond the number that is kept.
func (c *Client) collect(ctx context.Context) error {
	interval := c.cfg.GCInterval
	if interval <= 0 {
		interval = time.Minute
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.collectOver(c.cfg.GCMaxAllocs)
		case <-ctx.Done():
			return nil
		}
	}
}

// collectOver removes the oldest finished allocations until keep are left.
func (c *Client) collectOver(keep int) {
	var over []*run
	for _, r := range c.all() {
		if r.over() {
			over = append(over, r)
		}
	}
	sort.Slice(over, func(i, j int) bool { return over[i].alloc.CreateIndex < over[j].alloc.CreateIndex })
	for _, r := range over[:max(0, len(over)-keep)] {
		if err := c.destroy(r); err != nil {
			c.log.Warn("cannot remove a finished allocation", "alloc_id", r.alloc.ID, "error", err)
		}
	}
}

// forget ends and removes an allocation that the servers no longer have.
func (c *Client) forget(ctx context.Context, r *run) {
	r.runner.Stop()
	select {
	case <-r.runner.Done():
	case <-ctx.Done():
		return
	}
	if err := c.destroy(r); err != nil {
		c.log.Warn("cannot remove an allocation", "alloc_id", r.alloc.ID, "error", err)
	}
}

// destroy removes everything of an allocation that is over.
func (c *Client) destroy(r *run) error {
	r.runner.Drain()
	r.cancel()
	<-r.ended
	c.mu.Lock()
	delete(c.runners, r.alloc.ID)
	c.mu.Unlock()
	return r.runner.Destroy()
}
