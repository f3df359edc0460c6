// Package service keeps what the allocations of a node offer to others:
// services of the built-in provider, their checks, and what these mean for a
// task (check_restart) and for a deployment. An allocation without such
// services never reaches it.
package service

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/check"
	"github.com/nomadlite/nomadlite/client/taskenv"
	"github.com/nomadlite/nomadlite/structs"
)

func hostPort(p place) string { return net.JoinHostPort(p.host, strconv.Itoa(p.port)) }

// Hook follows the allocations of a node.
type Hook struct {
	reporter *Reporter
	pool     *check.Pool
	log      hclog.Logger

	mu     sync.Mutex // guards what follows
	allocs map[string]*entry
}

// entry is one allocation.
type entry struct {
	alloc *alloc.Alloc // the newest
	// running are the tasks that run and are to go on; ended and withdrawn are
	// the last starts that are not: calls may overtake each other.
	running   map[string]*started
	ended     map[string]*alloc.Task
	withdrawn map[string]*alloc.Task
	begun     bool // all main tasks have run
	stopping  bool
	offers    map[string]*offer // by registration
	refused   map[string]string // why a service is not as the job wants it, by name
	notes     []func()          // events to record
}

type started struct {
	task *alloc.Task
	at   time.Time
}

// offer is one registered service.
type offer struct {
	owned
	reg    *structs.ServiceRegistration
	checks map[string]*watched
}

// watched is one check.
type watched struct {
	spec   *structs.ServiceCheck
	result api.CheckResult
	since  time.Time // it has the status
	streak streak
}

// New makes the hook; checks run until ctx ends.
func New(ctx context.Context, r *Reporter, log hclog.Logger) *Hook {
	return &Hook{reporter: r, pool: check.NewPool(ctx), log: log, allocs: map[string]*entry{}}
}

// Wait returns when no check looks any more. Call it after the context of New
// has ended.
func (h *Hook) Wait() { h.pool.Wait() }

// Name implements alloc.Hook.
func (h *Hook) Name() string { return "services" }

// Needs implements alloc.Chooser.
func (h *Hook) Needs(g *structs.TaskGroup) bool { return len(builtIn(g)) > 0 }

// change changes an allocation's entry and draws the consequences.
func (h *Hook) change(a *alloc.Alloc, t *alloc.Task, f func(e *entry)) {
	id := ""
	if a != nil {
		id = a.Alloc.ID
	} else {
		id = t.Alloc.ID
	}
	h.mu.Lock()
	e := h.allocs[id]
	if e == nil && a != nil {
		e = &entry{alloc: a, running: map[string]*started{}, ended: map[string]*alloc.Task{}, withdrawn: map[string]*alloc.Task{},
			offers: map[string]*offer{}, refused: map[string]string{}}
		h.allocs[id] = e
	}
	if e == nil { // over
		h.mu.Unlock()
		return
	}
	f(e)
	h.refresh(e)
	notes := e.notes
	e.notes = nil
	h.mu.Unlock()
	for _, note := range notes { // beside mu: the runner's loop may wait for Checks
		note()
	}
}

// Prerun implements alloc.Prerunner.
func (h *Hook) Prerun(_ context.Context, a *alloc.Alloc) error {
	h.change(a, nil, func(e *entry) { e.take(a) })
	return nil
}

// Update implements alloc.Updater.
func (h *Hook) Update(_ context.Context, a *alloc.Alloc) {
	h.change(a, nil, func(e *entry) {
		e.take(a)
		for _, t := range a.Running {
			e.start(t)
		}
	})
}

// take keeps the newest version of the allocation.
func (e *entry) take(a *alloc.Alloc) {
	if a.Alloc.AllocModifyIndex >= e.alloc.Alloc.AllocModifyIndex {
		e.alloc = a
	}
}

func (e *entry) start(t *alloc.Task) {
	name := t.Spec.Name
	if e.ended[name] == t {
		return
	}
	if old := e.running[name]; old == nil || old.task != t {
		e.running[name] = &started{t, time.Now()}
	}
	for _, spec := range e.alloc.Group.Tasks {
		if spec.Lifecycle == nil && e.running[spec.Name] == nil {
			return
		}
	}
	e.begun = true
}

// Poststart implements alloc.Poststarter.
func (h *Hook) Poststart(_ context.Context, t *alloc.Task) {
	h.change(nil, t, func(e *entry) { e.start(t) })
}

// Withdraw implements alloc.Withdrawer.
func (h *Hook) Withdraw(_ context.Context, t *alloc.Task) {
	h.change(nil, t, func(e *entry) { e.withdrawn[t.Spec.Name] = t })
}

// Exited implements alloc.Exiter.
func (h *Hook) Exited(_ context.Context, t *alloc.Task) {
	h.change(nil, t, func(e *entry) {
		name := t.Spec.Name
		e.ended[name] = t
		if s := e.running[name]; s != nil && s.task == t {
			delete(e.running, name)
		}
	})
}

// WithdrawAlloc implements alloc.AllocWithdrawer.
func (h *Hook) WithdrawAlloc(_ context.Context, a *alloc.Alloc) {
	h.change(a, nil, func(e *entry) { e.stopping = true })
}

// Postrun implements alloc.Postrunner.
func (h *Hook) Postrun(_ context.Context, a *alloc.Alloc) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.allocs[a.Alloc.ID]; e != nil {
		e.stopping = true
		h.refresh(e)
		delete(h.allocs, a.Alloc.ID)
	}
	return nil
}

// env is the environment that a service's texts are read with: its task's, or
// that of any task that runs; nil when the service is not to be offered.
func (e *entry) env(o owned) *taskenv.Env {
	if e.stopping {
		return nil
	}
	if o.task != "" {
		if s := e.running[o.task]; s != nil && e.withdrawn[o.task] != s.task {
			return s.task.Env
		}
		return nil
	}
	if !e.begun {
		return nil
	}
	for _, spec := range e.alloc.Group.Tasks {
		if s := e.running[spec.Name]; s != nil {
			return s.task.Env
		}
	}
	for _, of := range e.offers { // all restart at once: what was said stays
		if of.task == "" {
			return emptyEnv
		}
	}
	return nil
}

// emptyEnv stands for "as before".
var emptyEnv = &taskenv.Env{}

// refresh brings registrations and checks in line with an entry. The caller
// holds mu.
func (h *Hook) refresh(e *entry) {
	keep := map[string]bool{}
	for _, o := range builtIn(e.alloc.Group) {
		env := e.env(o)
		if env == emptyEnv {
			for id, of := range e.offers {
				keep[id] = keep[id] || of.task == ""
			}
			continue
		}
		if env == nil {
			continue
		}
		reg, err := register(e.alloc, o, env)
		if err != nil {
			h.refuse(e, o, err)
			continue
		}
		keep[reg.ID] = true
		h.offer(e, o, reg, env)
	}
	for id, of := range e.offers {
		if keep[id] {
			continue
		}
		for cid := range of.checks {
			h.pool.Remove(cid)
		}
		delete(e.offers, id)
		h.reporter.Remove(id)
	}
}

// refuse tells why a service, or its check, is not there.
func (h *Hook) refuse(e *entry, o owned, err error) {
	if e.refused[o.spec.Name] == err.Error() {
		return
	}
	e.refused[o.spec.Name] = err.Error()
	h.log.Warn("a service is not as the job wants it", "alloc_id", e.alloc.Alloc.ID, "service", o.spec.Name, "error", err)
	event := &structs.TaskEvent{Type: structs.TaskHookFailed, Details: map[string]string{"message": err.Error()}}
	a, t := e.alloc, e.alloc.Task(o.task)
	e.notes = append(e.notes, func() {
		if t != nil {
			t.Note(event)
		} else {
			a.Note(event)
		}
	})
}

// offer registers a service with its checks, or changes it.
func (h *Hook) offer(e *entry, o owned, reg *structs.ServiceRegistration, env *taskenv.Env) {
	of := e.offers[reg.ID]
	if of == nil {
		of = &offer{checks: map[string]*watched{}}
		e.offers[reg.ID] = of
	}
	again := of.owned.spec == o.spec // nothing new about its checks
	of.owned, of.reg = o, reg
	keep := map[string]bool{}
	for _, c := range o.spec.Checks {
		id := checkID(reg, c)
		keep[id] = true
		if of.checks[id] == nil || !again {
			h.watch(e, of, c, id, env)
		}
	}
	for id := range of.checks {
		if !keep[id] {
			h.pool.Remove(id)
			delete(of.checks, id)
		}
	}
	h.tell(of)
}

// watch begins a check, or begins it again because it changed.
func (h *Hook) watch(e *entry, of *offer, c *structs.ServiceCheck, id string, env *taskenv.Env) {
	w := &watched{spec: c, since: time.Now(), result: api.CheckResult{
		ID: id, Mode: modeOf(c), Status: initial(c), Output: "nomad: waiting to run", Timestamp: time.Now().Unix(),
		Group: e.alloc.Alloc.Name, Task: of.task, Service: of.reg.ServiceName, Check: env.Replace(c.Name),
	}}
	if old := of.checks[id]; old != nil {
		w.result.Status, w.since = old.result.Status, old.since
	}
	of.checks[id] = w
	p, err := probe(e.alloc, of.owned, c, env)
	if err != nil {
		w.result.Status, w.result.Output = check.Failure, err.Error()
		h.refuse(e, of.owned, err)
		return
	}
	h.pool.Set(check.Spec{ID: id, Probe: p, Interval: c.Interval, Timeout: c.Timeout, Done: func(r check.Result) { h.result(e, of, w, r) }})
}

// tell hands the newest registration to the reporter.
func (h *Hook) tell(of *offer) {
	reg := *of.reg
	reg.Health = structs.ServiceHealthy
	for _, w := range of.checks {
		switch {
		case w.result.Status == check.Failure:
			reg.Health = structs.ServiceUnhealthy
		case w.result.Status == check.Pending && reg.Health == structs.ServiceHealthy:
			reg.Health = structs.ServicePending
		}
	}
	h.reporter.Set(&reg)
}

// result takes what a check found.
func (h *Hook) result(e *entry, of *offer, w *watched, r check.Result) {
	h.mu.Lock()
	if of.checks[w.result.ID] != w || e.offers[of.reg.ID] != of {
		h.mu.Unlock()
		return // removed meanwhile
	}
	changed := w.result.Status != r.Status
	w.result.Status, w.result.Output, w.result.StatusCode, w.result.Timestamp = r.Status, r.Output, r.Code, r.Time.Unix()
	if changed {
		w.since = r.Time
		h.tell(of)
	}
	targets := h.targets(e, of, w, r)
	a := e.alloc
	h.mu.Unlock()
	for _, t := range targets {
		t.Restart(&structs.TaskEvent{Type: structs.TaskRestartSignal,
			Details: map[string]string{"restart_reason": `healthcheck: check "` + w.result.Check + `" unhealthy`}}, true)
	}
	if changed {
		a.Look()
	}
}

// targets are the tasks that a check restarts now.
func (h *Hook) targets(e *entry, of *offer, w *watched, r check.Result) []*alloc.Task {
	name := w.spec.TaskName
	for _, other := range []string{of.spec.TaskName, of.task} {
		if name == "" {
			name = other
		}
	}
	var out []*alloc.Task
	began := time.Time{}
	for _, spec := range e.alloc.Group.Tasks {
		s := e.running[spec.Name]
		if s == nil || name != "" && spec.Name != name || name == "" && spec.Lifecycle != nil {
			continue
		}
		out = append(out, s.task)
		if s.at.After(began) {
			began = s.at
		}
	}
	if len(out) == 0 || !w.streak.next(w.spec.CheckRestart, r.Status, began, r.Time) {
		return nil
	}
	return out
}

// Checks implements alloc.Checker.
func (h *Hook) Checks(allocID string) (passing bool, since time.Time, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.allocs[allocID]
	if e == nil {
		return false, time.Time{}, "its services are not registered yet"
	}
	wanted, seen := 0, 0
	for _, o := range builtIn(e.alloc.Group) {
		for _, c := range o.spec.Checks {
			if modeOf(c) == healthiness {
				wanted++
			}
		}
	}
	for _, of := range e.offers {
		for _, w := range of.checks {
			if w.result.Mode != healthiness {
				continue
			}
			seen++
			if w.result.Status != check.Success {
				return false, time.Time{}, `check "` + w.result.Check + `" is ` + w.result.Status + ": " + w.result.Output
			}
			if w.since.After(since) {
				since = w.since
			}
		}
	}
	if seen < wanted {
		return false, time.Time{}, "its services are not registered yet"
	}
	return true, since, ""
}

// Results are what the checks of an allocation said last, by id; nil for an
// allocation without services here.
func (h *Hook) Results(allocID string) map[string]*api.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.allocs[allocID]
	if e == nil {
		return nil
	}
	out := map[string]*api.CheckResult{}
	for _, of := range e.offers {
		for id, w := range of.checks {
			r := w.result
			out[id] = &r
		}
	}
	return out
}
