package identity

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// renewals replaces the tokens of a running task in time, beside it. The caller
// holds k.mu.
func (h *Hook) renewals(k *holder, t *alloc.Task) {
	expires := false
	for _, tok := range k.tokens {
		expires = expires || !tok.renewAt.IsZero()
	}
	if !expires {
		return
	}
	ctx, stop := context.WithCancel(h.ctx)
	k.stop = stop
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		defer stop()
		for h.renewNext(ctx, k, t) {
		}
	}()
}

// spread is by how much of the wait at most a renewal comes earlier, so that
// tasks that started together do not ask together.
const spread = 0.1

// renewNext waits for the next renewal and makes it; false ends them.
func (h *Hook) renewNext(ctx context.Context, k *holder, t *alloc.Task) bool {
	k.mu.Lock()
	var next time.Time
	for _, tok := range k.tokens {
		if !tok.renewAt.IsZero() && (next.IsZero() || tok.renewAt.Before(next)) {
			next = tok.renewAt
		}
	}
	k.mu.Unlock()
	wait := time.Until(next)
	timer := time.NewTimer(wait - time.Duration(rand.Float64()*spread*float64(max(wait, 0))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	renewed, err := h.renew(ctx, k, t, next)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		h.log.Warn("cannot renew the identity of a task; trying again", "alloc_id", t.Alloc.ID, "task", t.Spec.Name, "error", err)
		select {
		case <-time.After(minRetry):
			return true
		case <-ctx.Done():
			return false
		}
	}
	return h.react(ctx, t, renewed)
}

// renew replaces the tokens that are due at a time and writes their files.
func (h *Hook) renew(ctx context.Context, k *holder, t *alloc.Task, at time.Time) ([]*structs.WorkloadIdentity, error) {
	var due []*structs.WorkloadIdentity
	k.mu.Lock()
	for _, id := range wanted(t.Spec) {
		if k.tokens[id.Name].due(at) {
			due = append(due, id)
		}
	}
	k.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, signPatience)
	defer cancel()
	fresh, err := h.fetch(within, t, due) // the task may end meanwhile
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil || k.current != t {
		return nil, context.Canceled
	}
	if err := k.take(t, fresh); err != nil {
		return nil, err
	}
	for _, id := range due {
		if id.File {
			if err := write(t, id, fresh[id.Name].jwt); err != nil {
				return nil, err
			}
		}
	}
	return due, nil
}

// reaction is what a task needs when tokens of it are new: a restart, which
// makes signals needless, or each signal once.
func reaction(renewed []*structs.WorkloadIdentity) (restart string, signals map[string]string) {
	signals = map[string]string{}
	for _, id := range renewed {
		switch id.ChangeMode {
		case "restart":
			restart = id.Name
		case "signal":
			signals[id.ChangeSignal] = id.Name
		}
	}
	if restart != "" {
		return restart, nil
	}
	return "", signals
}

// react tells the task of new tokens as the job wants it; false when the task
// is started again, and with it the renewals.
func (h *Hook) react(ctx context.Context, t *alloc.Task, renewed []*structs.WorkloadIdentity) bool {
	restart, signals := reaction(renewed)
	if restart != "" {
		t.Restart(&structs.TaskEvent{Type: structs.TaskRestartSignal, Details: map[string]string{"restart_reason": fmt.Sprintf("Identity %q with change_mode restart was renewed", restart)}}, false)
		return false
	}
	for _, signal := range slices.Sorted(maps.Keys(signals)) {
		if err := t.Signal(ctx, signal, fmt.Sprintf("Identity %q was renewed", signals[signal])); err != nil && ctx.Err() == nil {
			t.Note(&structs.TaskEvent{Type: structs.TaskHookFailed, Details: map[string]string{"message": fmt.Sprintf("Identity %q was renewed, but the task cannot be sent %s: %v", signals[signal], signal, err)}})
		}
	}
	return ctx.Err() == nil
}
