package client

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// Pace of reports. A change of status, or of health in a deployment, goes out
// after a breath: what ends at once is told once. A new event alone can wait
// for the window. Under load one report a window is sent, with everything in
// it; after a pause a few may follow each other without one.
const (
	reportBreath = 5 * time.Millisecond
	reportWindow = 50 * time.Millisecond
	reportBurst  = 3
)

// reporter tells the servers the newest state of each allocation.
type reporter struct {
	servers  api.Servers
	identity func() (id, secret string)
	log      hclog.Logger
	wake     chan struct{}

	mu      sync.Mutex // guards what follows
	pending map[string]*structs.AllocUpdate
	due     time.Time          // when the earliest of pending should go; zero for none
	told    map[string]verdict // last reported, by live allocation
	spent   time.Time          // the pace: a window ahead for each report
}

// verdict is what is worth a report of its own.
type verdict struct {
	status     string
	health     string // "true", "false", or "" while unknown
	deployment string // that the health is for
}

func verdictOf(u *structs.AllocUpdate) verdict {
	v := verdict{status: u.ClientStatus}
	if u.DeploymentHealthy != nil {
		v.health, v.deployment = strconv.FormatBool(*u.DeploymentHealthy), u.DeploymentID
	}
	return v
}

func newReporter(servers api.Servers, identity func() (string, string), log hclog.Logger) *reporter {
	return &reporter{servers: servers, identity: identity, log: log, wake: make(chan struct{}, 1),
		pending: map[string]*structs.AllocUpdate{}, told: map[string]verdict{}}
}

// add queues an update in place of an older one of the same allocation.
func (r *reporter) add(u *structs.AllocUpdate) {
	r.mu.Lock()
	if old := r.pending[u.AllocID]; old == nil || old.Revision <= u.Revision {
		r.pending[u.AllocID] = u
	}
	told, known := r.told[u.AllocID]
	if !known {
		told = verdict{status: structs.AllocClientStatusPending}
	}
	delay := reportWindow
	if verdictOf(u) != told {
		delay = reportBreath
	}
	if at := time.Now().Add(delay); r.due.IsZero() || at.Before(r.due) {
		r.due = at
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// wait is how long the next report has to wait: for its due time and for the
// pace, and long when there is nothing to report.
func (r *reporter) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 {
		return time.Hour
	}
	at := r.due
	if paced := r.spent.Add(-(reportBurst - 1) * reportWindow); paced.After(at) {
		at = paced
	}
	return time.Until(at)
}

// depth is how many allocations wait to be told of.
func (r *reporter) depth() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// take empties the queue for a report.
func (r *reporter) take() []*structs.AllocUpdate {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*structs.AllocUpdate, 0, len(r.pending))
	for _, u := range r.pending {
		out = append(out, u)
	}
	clear(r.pending)
	r.due = time.Time{}
	if now := time.Now(); r.spent.Before(now) {
		r.spent = now
	}
	r.spent = r.spent.Add(reportWindow)
	return out
}

// sent remembers what the servers know now.
func (r *reporter) sent(updates []*structs.AllocUpdate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range updates {
		if structs.ClientStatusTerminal(u.ClientStatus) {
			delete(r.told, u.AllocID)
		} else {
			r.told[u.AllocID] = verdictOf(u)
		}
	}
}

// run sends until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	retry := minRetry
	for r.ready(ctx) {
		updates := r.take()
		id, secret := r.identity()
		err := r.servers.UpdateAllocs(ctx, api.NodeAllocUpdateRequest{NodeID: id, SecretID: secret, Updates: updates})
		if err == nil {
			retry = minRetry
			r.sent(updates)
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
	return nil
}

// ready waits until a report should go out; false when ctx has ended.
func (r *reporter) ready(ctx context.Context) bool {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d := r.wait()
		if d <= 0 {
			return ctx.Err() == nil
		}
		timer.Reset(d)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
}
