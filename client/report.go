package client

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// reportWindow is how long further changes wait after a report, so that many
// travel together. The first change after a pause goes out at once.
const reportWindow = 50 * time.Millisecond

// reporter tells the servers the newest state of each allocation.
type reporter struct {
	servers  api.Servers
	identity func() (id, secret string)
	log      hclog.Logger
	wake     chan struct{}

	mu      sync.Mutex // guards pending
	pending map[string]*structs.AllocUpdate
}

func newReporter(servers api.Servers, identity func() (string, string), log hclog.Logger) *reporter {
	return &reporter{servers: servers, identity: identity, log: log, wake: make(chan struct{}, 1), pending: map[string]*structs.AllocUpdate{}}
}

// add queues an update in place of an older one of the same allocation.
func (r *reporter) add(u *structs.AllocUpdate) {
	r.mu.Lock()
	if old := r.pending[u.AllocID]; old == nil || old.Revision <= u.Revision {
		r.pending[u.AllocID] = u
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) take() []*structs.AllocUpdate {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*structs.AllocUpdate, 0, len(r.pending))
	for _, u := range r.pending {
		out = append(out, u)
	}
	clear(r.pending)
	return out
}

// run sends until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	retry := minRetry
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
		updates := r.take()
		if len(updates) == 0 {
			continue
		}
		id, secret := r.identity()
		err := r.servers.UpdateAllocs(ctx, api.NodeAllocUpdateRequest{NodeID: id, SecretID: secret, Updates: updates})
		if err == nil {
			retry = minRetry
			if !sleep(ctx, reportWindow) {
				return nil
			}
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		r.log.Warn("cannot report allocations; trying again", "count", len(updates), "error", err)
		for _, u := range updates {
			r.add(u)
		}
		if !sleep(ctx, retry) {
			return nil
		}
		retry = min(2*retry, maxRetry)
	}
}
