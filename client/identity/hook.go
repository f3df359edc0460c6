// Package identity hands tasks the tokens by which they prove who they are: in
// files and in the environment, renewed before they expire. Tokens are signed
// by the servers when a task starts; they are kept in memory and where the job
// asks for them, nowhere else.
package identity

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// Sign has the servers make tokens.
type Sign func(ctx context.Context, req api.IdentityRequest) (*api.IdentityResponse, error)

// Times of signing.
const (
	signTimeout  = 10 * time.Second // one try
	signPatience = time.Minute      // all tries of one start
	minRetry     = 250 * time.Millisecond
	maxRetry     = 30 * time.Second
)

// Hook keeps the identities of the tasks of a node.
type Hook struct {
	ctx  context.Context
	sign Sign
	log  hclog.Logger
	wg   sync.WaitGroup

	mu    sync.Mutex // guards tasks
	tasks map[string]*holder
}

// New makes the hook; what it runs ends with ctx.
func New(ctx context.Context, sign Sign, log hclog.Logger) *Hook {
	return &Hook{ctx: ctx, sign: sign, log: log, tasks: map[string]*holder{}}
}

// Wait returns when nothing runs any more, after the context of New has ended.
func (h *Hook) Wait() { h.wg.Wait() }

// Name implements alloc.Hook.
func (h *Hook) Name() string { return "identity" }

// Needs implements alloc.Chooser.
func (h *Hook) Needs(g *structs.TaskGroup) bool {
	for _, t := range g.Tasks {
		if len(wanted(t)) > 0 {
			return true
		}
	}
	return false
}

// wanted are the identities that a task asks to be handed.
func wanted(t *structs.Task) (out []*structs.WorkloadIdentity) {
	for _, id := range append([]*structs.WorkloadIdentity{t.Identity}, t.Identities...) {
		if id != nil && (id.Env || id.File) {
			out = append(out, id)
		}
	}
	return out
}

// holder keeps the tokens of one task. mu orders its starts, renewals and end.
type holder struct {
	mu      sync.Mutex
	tokens  map[string]token
	current *alloc.Task
	ended   *alloc.Task
	stop    context.CancelFunc // of the renewals; nil while there are none
}

// token is a signed identity. jwt is empty where only its times are known: an
// earlier agent handed it out.
type token struct {
	jwt     string
	renewAt time.Time // zero for one that does not expire
}

func (h *Hook) holder(t *alloc.Task) *holder {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.tasks[t.ID()]
	if k == nil {
		k = &holder{tokens: map[string]token{}}
		h.tasks[t.ID()] = k
	}
	return k
}

// Prestart implements alloc.Prestarter.
func (h *Hook) Prestart(ctx context.Context, t *alloc.Task) error {
	ids := wanted(t.Spec)
	if len(ids) == 0 {
		return nil
	}
	k := h.holder(t)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end()
	var due []*structs.WorkloadIdentity
	for _, id := range ids {
		if tok := k.tokens[id.Name]; tok.jwt == "" || tok.due(time.Now()) {
			due = append(due, id)
		}
	}
	within, cancel := context.WithTimeout(ctx, signPatience)
	defer cancel()
	fresh, err := h.fetch(within, t, due)
	if err != nil {
		return err
	}
	if err := k.take(t, fresh); err != nil {
		return err
	}
	env := map[string]string{}
	for _, id := range ids {
		if id.File {
			if err := write(t, id, k.tokens[id.Name].jwt); err != nil {
				return err
			}
		}
		if id.Env {
			env[variable(id)] = k.tokens[id.Name].jwt
		}
	}
	if len(env) > 0 {
		env["NOMAD_UNIX_ADDR"] = "unix://" + t.Env.Map()["NOMAD_SECRETS_DIR"] + "/api.sock"
	}
	for name := range env {
		if _, own := t.Spec.Env[name]; own { // the job's word wins
			delete(env, name)
		}
	}
	t.AddEnv(env)
	k.current = t
	h.renewals(k, t)
	return nil
}

// due reports whether it is time for a new token.
func (k token) due(now time.Time) bool { return !k.renewAt.IsZero() && !now.Before(k.renewAt) }

// take keeps new tokens, and makes durable when they are to be renewed.
func (k *holder) take(t *alloc.Task, fresh map[string]token) error {
	maps.Copy(k.tokens, fresh)
	return remember(t, k.tokens)
}

// fetch has tokens signed; it tries until ctx ends.
func (h *Hook) fetch(ctx context.Context, t *alloc.Task, ids []*structs.WorkloadIdentity) (map[string]token, error) {
	out := map[string]token{}
	if len(ids) == 0 {
		return out, nil
	}
	req := api.IdentityRequest{AllocID: t.Alloc.ID}
	for _, id := range ids {
		req.Wanted = append(req.Wanted, api.IdentityName{Task: t.Spec.Name, Name: id.Name})
	}
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		asked := time.Now()
		try, cancel := context.WithTimeout(ctx, signTimeout)
		resp, err := h.sign(try, req)
		cancel()
		if err == nil && len(resp.Tokens) != len(ids) {
			err = fmt.Errorf("%d tokens came back for %d identities", len(resp.Tokens), len(ids))
		}
		if err == nil {
			for i, id := range ids {
				out[id.Name] = token{jwt: resp.Tokens[i].JWT, renewAt: renewAt(asked, resp.Tokens[i].Expires)}
			}
			return out, nil
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot get the task's identities from the servers: %w", err)
		}
	}
}

// renewAt is when a token is replaced: at half of its life.
func renewAt(signed, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return signed.Add(expires.Sub(signed) / 2)
}

// Poststart implements alloc.Poststarter: a task that was found again goes on
// with the tokens that it has.
func (h *Hook) Poststart(_ context.Context, t *alloc.Task) {
	if !t.Found || len(wanted(t.Spec)) == 0 {
		return
	}
	k := h.holder(t)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == t || k.current == t {
		return
	}
	k.end()
	times, err := recall(t)
	if err != nil {
		h.log.Warn("cannot read when a task's tokens expire; they are renewed now", "alloc_id", t.Alloc.ID, "task", t.Spec.Name, "error", err)
	}
	for _, id := range wanted(t.Spec) {
		at, known := times[id.Name]
		if id.TTL > 0 && !known {
			at = time.Now()
		}
		k.tokens[id.Name] = token{renewAt: at}
	}
	k.current = t
	h.renewals(k, t)
}

// Exited implements alloc.Exiter.
func (h *Hook) Exited(_ context.Context, t *alloc.Task) {
	if len(wanted(t.Spec)) == 0 {
		return
	}
	k := h.holder(t)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = t
	if k.current == t {
		k.current = nil
		k.end()
	}
}

// Postrun implements alloc.Postrunner.
func (h *Hook) Postrun(_ context.Context, a *alloc.Alloc) error {
	for _, spec := range a.Group.Tasks {
		id := a.Alloc.ID + "/" + spec.Name
		h.mu.Lock()
		k := h.tasks[id]
		delete(h.tasks, id)
		h.mu.Unlock()
		if k != nil {
			k.mu.Lock()
			k.end()
			k.mu.Unlock()
		}
	}
	return nil
}

// end ends the renewals. They may be waiting for mu: nobody waits for them
// here.
func (k *holder) end() {
	if k.stop != nil {
		k.stop()
		k.stop = nil
	}
}
