package client

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of the talk with servers.
const (
	syncWait   = 5 * time.Minute
	minRetry   = 50 * time.Millisecond
	maxRetry   = 5 * time.Second
	beatsInTTL = 2 // heartbeats within one TTL
)

// keepRegistered registers the node, again whenever it changed, and sends
// heartbeats in between.
func (c *Client) keepRegistered(ctx context.Context) error {
	retry := minRetry
	for ctx.Err() == nil {
		c.contact.asking()
		resp, err := c.register(ctx)
		if err != nil {
			c.log.Warn("cannot register the node; trying again", "error", err)
			if !sleep(ctx, retry) {
				return nil
			}
			retry = min(2*retry, maxRetry)
			continue
		}
		retry = minRetry
		c.log.Debug("node registered", "ttl", resp.HeartbeatTTL)
		if c.registeredAt.Swap(resp.Index) == 0 {
			close(c.registered)
		}
		c.answered(resp)
		c.beat(ctx, resp.HeartbeatTTL)
	}
	return nil
}

// answered takes what the servers say whenever they hear of the node. If they
// had given it up in between, the allocations that they wait for learn so here:
// a report that was under way may have made them known again before the node
// could be told that they were not.
func (c *Client) answered(resp *api.NodeRegisterResponse) {
	if c.contact.heard(resp.ReadySince) {
		for _, r := range c.all() {
			c.mu.Lock()
			a := r.alloc
			c.mu.Unlock()
			if waitedFor(a) {
				r.runner.Reconnected()
			}
		}
	}
	c.offers.Known(resp.Services)
}

// beat sends heartbeats until the node must be registered again.
func (c *Client) beat(ctx context.Context, ttl time.Duration) {
	for {
		select {
		case <-time.After(max(ttl/beatsInTTL, minRetry)):
		case <-c.beatNow:
		case <-c.nodeChanged:
			return
		case <-ctx.Done():
			return
		}
		id, secret := c.identity()
		c.contact.asking()
		resp, err := c.cfg.Servers.Heartbeat(ctx, api.NodeHeartbeat{NodeID: id, SecretID: secret})
		switch {
		case err == nil:
			ttl = resp.HeartbeatTTL
			c.answered(resp)
		case structs.KindOf(err) == structs.NotFound:
			c.log.Warn("the servers do not know this node; registering again")
			return
		default:
			c.log.Warn("heartbeat failed", "error", err)
			ttl = maxRetry
		}
	}
}

// connect lets the servers call this node once they know it. A lost connection
// is followed by a heartbeat: the servers learn at once that the node lives.
func (c *Client) connect(ctx context.Context) error {
	select {
	case <-c.registered:
	case <-ctx.Done():
		return nil
	}
	return c.cfg.Connect(ctx, c.internal, func() {
		select {
		case c.beatNow <- struct{}{}:
		default:
		}
	})
}

// sleep waits; false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// sync fetches the node's allocations as they change. Runners live in below.
func (c *Client) sync(ctx, below context.Context) error {
	var since uint64
	retry := minRetry
	for ctx.Err() == nil {
		id, secret := c.identity()
		resp, err := c.cfg.Servers.Allocs(ctx, api.NodeAllocsRequest{NodeID: id, SecretID: secret, Since: since, Wait: syncWait})
		if err != nil {
			if ctx.Err() == nil && structs.KindOf(err) != structs.NotFound {
				c.log.Warn("cannot fetch allocations; trying again", "error", err)
			}
			if !sleep(ctx, retry) {
				return nil
			}
			retry, since = min(2*retry, maxRetry), 0
			continue
		}
		retry, since = minRetry, resp.Index
		c.apply(below, resp)
		if resp.HasVolumes {
			c.wantVolumes(resp.Volumes)
		}
	}
	return nil
}

// apply takes a difference, or the whole list, from the servers.
func (c *Client) apply(below context.Context, resp *api.NodeAllocsResponse) {
	c.mu.Lock()
	listed := map[string]bool{}
	for _, a := range resp.Allocs {
		listed[a.ID] = true
		c.applyOne(a)
	}
	removed := resp.Removed
	if resp.Full {
		for id := range c.runners {
			if !listed[id] {
				removed = append(removed, id)
			}
		}
	}
	var gone []*run
	for _, id := range removed {
		if r := c.runners[id]; r != nil {
			gone = append(gone, r)
		}
	}
	c.mu.Unlock()
	c.admit(below)
	for _, r := range gone {
		go c.forget(below, r)
	}
}

// applyOne takes one allocation. The caller holds mu.
func (c *Client) applyOne(a *structs.Allocation) {
	if r := c.runners[a.ID]; r != nil {
		if a.AllocModifyIndex > r.alloc.AllocModifyIndex {
			r.alloc = a
			r.runner.Update(a)
		}
		return
	}
	for i, q := range c.queue {
		if q.ID == a.ID {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			break
		}
	}
	switch {
	case a.ClientTerminal():
	case a.ServerTerminal(): // it never ran here, and never will
		c.reports.add(&structs.AllocUpdate{
			AllocID: a.ID, Revision: alloc.FirstRevision(a, time.Now()), ClientStatus: structs.AllocClientStatusComplete,
			ClientDescription: "stopped before it started", TaskStates: map[string]*structs.TaskState{},
		})
	default:
		c.queue = append(c.queue, a)
	}
}

// admit starts the waiting allocations that have room: those that they replace
// must have ended, and so must enough of what is being stopped.
func (c *Client) admit(below context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var still []*structs.Allocation
	for _, a := range c.queue {
		if below.Err() != nil {
			return
		}
		if c.mustWait(a) {
			still = append(still, a)
			continue
		}
		if err := c.newRunner(below, a, nil); err != nil {
			c.log.Error("cannot run an allocation", "alloc_id", a.ID, "error", err)
			c.reports.add(&structs.AllocUpdate{
				AllocID: a.ID, Revision: alloc.FirstRevision(a, time.Now()), ClientStatus: structs.AllocClientStatusFailed, ClientDescription: err.Error(),
				TaskStates: map[string]*structs.TaskState{},
			})
		}
	}
	c.queue = still
}

// mustWait reports whether something that is ending holds what a needs. What
// nobody is about to free is not waited for: the servers have counted.
func (c *Client) mustWait(a *structs.Allocation) bool {
	if prev := c.runners[a.PreviousAllocation]; prev != nil && !prev.over() && prev.alloc.ServerTerminal() {
		return true
	}
	for _, id := range a.PreemptedAllocations {
		if r := c.runners[id]; r != nil && !r.over() && r.alloc.ServerTerminal() {
			return true // it passes its ports, cores and devices on
		}
	}
	need := usage(a)
	free := c.capacity()
	var ending share
	for _, r := range c.runners {
		if r.over() {
			continue
		}
		u := usage(r.alloc)
		free.cpu, free.memory = free.cpu-u.cpu, free.memory-u.memory
		if r.alloc.ServerTerminal() {
			ending.cpu, ending.memory = ending.cpu+u.cpu, ending.memory+u.memory
		}
	}
	short := need.cpu > free.cpu || need.memory > free.memory
	return short && (ending.cpu > 0 || ending.memory > 0)
}

// share is CPU in MHz and memory in MiB.
type share struct{ cpu, memory int64 }

func usage(a *structs.Allocation) share {
	var s share
	if a.AllocatedResources == nil {
		return s
	}
	for _, t := range a.AllocatedResources.Tasks {
		s.cpu += t.Cpu.CpuShares
		s.memory += t.Memory.MemoryMB
	}
	return s
}

// capacity is what the node offers to allocations.
func (c *Client) capacity() share {
	var s share
	if n := c.node.NodeResources; n != nil {
		s = share{n.Cpu.CpuShares, n.Memory.MemoryMB}
	}
	if r := c.node.ReservedResources; r != nil {
		s.cpu, s.memory = s.cpu-r.Cpu.CpuShares, s.memory-r.Memory.MemoryMB
	}
	return s
}
