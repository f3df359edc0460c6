package client

import (
	"context"
	"fmt"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/client/rootfs"
)

// collect removes finished allocations when the node has too many, or too
// little room.
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
			c.collectDue(ctx)
			c.lookAtDisks(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// room is what decides about finished allocations.
type room struct {
	allocs, maxAllocs     int // of the node, finished or not
	disk, maxDisk         float64
	inodes, maxInodes     float64
	finished, maxFinished int           // maxFinished < 0 is no limit
	age, maxAge           time.Duration // since the oldest finished one ended
}

// short says why a finished allocation must go; "" when all may stay. Limits
// of 0 are none, use is in percent.
func (r room) short() string {
	switch {
	case r.finished == 0:
		return ""
	case r.maxFinished >= 0 && r.finished > r.maxFinished:
		return fmt.Sprintf("%d finished allocations are kept at most", r.maxFinished)
	case r.maxAge > 0 && r.age > r.maxAge:
		return fmt.Sprintf("it ended %v ago, gc_max_age is %v", r.age.Round(time.Second), r.maxAge)
	case r.maxAllocs > 0 && r.allocs > r.maxAllocs:
		return fmt.Sprintf("the node has %d allocations, gc_max_allocs is %d", r.allocs, r.maxAllocs)
	case r.maxDisk > 0 && r.disk > r.maxDisk:
		return fmt.Sprintf("%.0f%% of the disk is used, gc_disk_usage_threshold is %.0f", r.disk, r.maxDisk)
	case r.maxInodes > 0 && r.inodes > r.maxInodes:
		return fmt.Sprintf("%.0f%% of the inodes are used, gc_inode_usage_threshold is %.0f", r.inodes, r.maxInodes)
	}
	return ""
}

// measure fills in what the disk says now.
func (c *Client) measure(r *room) {
	use, err := rootfs.DiskUse(c.cfg.AllocDir)
	if err != nil {
		c.log.Warn("cannot look at the disk of the allocations", "error", err)
		return
	}
	r.disk, r.inodes = use.Percent, use.InodesPercent
}

// collectDue removes the allocations that ended first, one batch of
// GCParallel after another, until the node has room.
func (c *Client) collectDue(ctx context.Context) {
	c.collectWhile(ctx, room{
		maxAllocs: c.cfg.GCMaxAllocs, maxDisk: c.cfg.GCDiskThreshold, maxInodes: c.cfg.GCInodeThreshold, maxFinished: -1, maxAge: c.cfg.GCMaxAge,
	})
}

func (c *Client) collectWhile(ctx context.Context, r room) {
	over, total := c.finished()
	r.allocs, r.finished = total, len(over)
	for len(over) > 0 && ctx.Err() == nil {
		c.measure(&r)
		batch := 0
		var why string
		// What the disk says changes only once something is gone.
		for batch < min(max(c.cfg.GCParallel, 1), len(over)) {
			r.age = time.Since(time.Unix(0, endOf(over[batch])))
			reason := r.short()
			if reason == "" {
				break
			}
			why = reason
			r.allocs, r.finished = r.allocs-1, r.finished-1
			batch++
		}
		if batch == 0 {
			return
		}
		var group errgroup.Group
		for _, one := range over[:batch] {
			group.Go(func() error {
				c.log.Debug("removing a finished allocation", "alloc_id", one.alloc.ID, "reason", why)
				if err := c.destroy(one); err != nil {
					c.log.Warn("cannot remove a finished allocation", "alloc_id", one.alloc.ID, "error", err)
				}
				return nil
			})
		}
		_ = group.Wait()
		over = over[batch:]
	}
}

// finished lists the allocations that have ended, the first to end first, and
// counts all.
func (c *Client) finished() (over []*run, total int) {
	all := c.all()
	at := map[*run]int64{}
	for _, r := range all {
		if r.over() {
			at[r] = endOf(r)
			over = append(over, r)
		}
	}
	sort.Slice(over, func(i, j int) bool {
		if a, b := at[over[i]], at[over[j]]; a != b {
			return a < b
		}
		return over[i].alloc.CreateIndex < over[j].alloc.CreateIndex
	})
	return over, len(all)
}

// endOf is when the last task of an allocation ended, in unix nanoseconds.
func endOf(r *run) (last int64) {
	for _, s := range r.runner.Status().TaskStates {
		if s.FinishedAt != nil {
			last = max(last, s.FinishedAt.UnixNano())
		}
	}
	return last
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
