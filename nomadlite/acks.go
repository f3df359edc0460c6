package nomadlite

import (
	"context"
	"sync"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// maxAcks bounds the updates of allocations that become one log entry.
const maxAcks = 4096

// acks commits what nodes report: one entry at a time, with everything that
// came in while the last one was on its way. Nothing waits for more to come.
type acks struct {
	turn sync.Mutex // held while an entry is on its way

	mu   sync.Mutex // guards open, and groups while they are open
	open *ackGroup
}

// ackGroup is an entry to be.
type ackGroup struct {
	nodes []*state.AllocUpdate
	size  int
	done  chan struct{}
	err   error // once done is closed
}

// commit returns when the update is committed by apply.
func (a *acks) commit(ctx context.Context, u *state.AllocUpdate, apply func(context.Context, fsm.Type, any) (any, uint64, error)) error {
	a.mu.Lock()
	g, first := a.open, false
	if g == nil {
		g, first = &ackGroup{done: make(chan struct{})}, true
		a.open = g
	}
	g.nodes = append(g.nodes, u)
	if g.size += len(u.Updates); g.size >= maxAcks {
		a.open = nil
	}
	a.mu.Unlock()
	if first {
		a.turn.Lock()
		a.mu.Lock()
		if a.open == g {
			a.open = nil
		}
		a.mu.Unlock()
		// The others wait for it too, whatever becomes of this request.
		_, _, g.err = apply(context.WithoutCancel(ctx), fsm.AllocReports, &state.AllocUpdates{Nodes: g.nodes})
		a.turn.Unlock()
		close(g.done)
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
