package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// contact remembers when the servers were heard last: groups may say that their
// allocations end some time after that (disconnect stop_on_client_after). The
// time of a file keeps it while no agent runs.
type contact struct {
	path    string
	changed chan struct{} // there may be an earlier deadline

	mu    sync.Mutex // guards what follows
	last  time.Time  // an answer came
	asked time.Time  // a heartbeat was sent
	ready int64      // since when the node is ready, as the servers say; 0 before they did
}

// newContact reads when an earlier agent heard the servers last. A node that
// never did has heard them now.
func newContact(stateDir string) (*contact, error) {
	c := &contact{path: filepath.Join(stateDir, "servers-heard"), changed: make(chan struct{}, 1), last: time.Now()}
	info, err := os.Stat(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, os.WriteFile(c.path, nil, 0o600)
	case err != nil:
		return nil, err
	}
	if at := info.ModTime(); at.Before(c.last) {
		c.last = at
	}
	return c, nil
}

// asking notes that the servers are asked.
func (c *contact) asking() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Now()
}

// answerTime is how long an answer may take before the servers count as silent.
const answerTime = 2 * time.Second

// silent reports whether the servers were asked since they were heard, and have
// not answered in time. Without a question they cannot be silent: heartbeats may
// be further apart than what an allocation tolerates.
func (c *contact) silent(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked.After(c.last) && now.Sub(c.asked) >= answerTime
}

// heard notes that the servers have answered, and since when the node is ready
// to them. It reports whether they had given it up since their last answer to
// this agent.
func (c *contact) heard(ready int64) (back bool) {
	now := time.Now()
	c.mu.Lock()
	back = c.ready != 0 && c.ready != ready
	c.last, c.ready = now, ready
	c.mu.Unlock()
	_ = os.Chtimes(c.path, now, now) // a lost note ends an allocation too early, never too late
	return back
}

func (c *contact) since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// look asks for the deadlines to be looked at again.
func (c *contact) look() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// stopAfter is when an allocation ends that has not been heard of by the servers
// since a time; false when it never does.
func stopAfter(a *structs.Allocation, since time.Time) (time.Time, bool) {
	if a.Job == nil || a.ServerTerminal() {
		return time.Time{}, false
	}
	g := a.Job.LookupGroup(a.TaskGroup)
	if g == nil || g.Disconnect == nil || structs.Val(g.Disconnect.StopOnClientAfter) <= 0 {
		return time.Time{}, false
	}
	return since.Add(*g.Disconnect.StopOnClientAfter), true
}

// waitedFor reports whether the servers take an allocation for unknown, and not
// for lost, while its node is away.
func waitedFor(a *structs.Allocation) bool {
	if a.Job == nil || a.ServerTerminal() {
		return false
	}
	g := a.Job.LookupGroup(a.TaskGroup)
	return g != nil && (structs.Val(g.MaxClientDisconnect) > 0 || g.Disconnect != nil && structs.Val(g.Disconnect.LostAfter) > 0)
}

// stopDisconnected ends allocations that shall not outlive the connection to the
// servers by more than they say, until ctx ends.
func (c *Client) stopDisconnected(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		next := now.Add(time.Hour)
		for _, r := range c.all() {
			c.mu.Lock()
			a := r.alloc
			c.mu.Unlock()
			at, limited := stopAfter(a, c.contact.since())
			switch {
			case !limited || r.over():
			case at.After(now):
				if at.Before(next) {
					next = at
				}
			case !c.contact.silent(now):
				select {
				case c.beatNow <- struct{}{}:
				default:
				}
				next = now.Add(answerTime / 4)
			default:
				c.log.Warn("the servers were not heard for stop_on_client_after; stopping an allocation", "alloc_id", a.ID, "since", c.contact.since())
				r.runner.Stop()
			}
		}
		timer.Reset(max(time.Until(next), answerTime/4))
		select {
		case <-timer.C:
		case <-c.contact.changed:
		case <-ctx.Done():
			return nil
		}
	}
}
