package template

import (
	"context"
	"sync"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// Hook renders the templates of the tasks of a node.
type Hook struct {
	ctx    context.Context
	lookup Lookup
	cfg    Config
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	tasks map[string]*kept
}

// kept is a task's manager. mu orders the starts and ends of one task, which
// may overtake each other.
type kept struct {
	mu      sync.Mutex
	m       *manager
	current *alloc.Task // of the start under way or running
	ended   *alloc.Task
}

// New makes the hook; what it runs ends with ctx.
func New(ctx context.Context, lookup Lookup, cfg Config) *Hook {
	return &Hook{ctx: ctx, lookup: lookup, cfg: cfg.orDefault(), tasks: map[string]*kept{}}
}

// Wait returns when nothing runs any more. Call it after the context of New
// has ended.
func (h *Hook) Wait() {
	h.wg.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.tasks {
		k.m.end()
	}
}

// Name implements alloc.Hook.
func (h *Hook) Name() string { return "template" }

// Needs implements alloc.Chooser.
func (h *Hook) Needs(g *structs.TaskGroup) bool {
	for _, t := range g.Tasks {
		if len(t.Templates) > 0 {
			return true
		}
	}
	return false
}

func (h *Hook) task(t *alloc.Task) *kept {
	if len(t.Spec.Templates) == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.tasks[t.ID()]
	if k == nil {
		k = &kept{m: newManager(t.Spec.Templates, h.lookup, h.cfg)}
		h.tasks[t.ID()] = k
	}
	return k
}

// Prestart implements alloc.Prestarter: it returns when all is rendered.
func (h *Hook) Prestart(ctx context.Context, t *alloc.Task) error {
	k := h.task(t)
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.m.end()
	watching, stop := context.WithCancel(h.ctx)
	k.m.stop = stop
	if err := k.m.first(ctx, watching, t); err != nil {
		k.m.end()
		return err
	}
	t.AddEnv(k.m.env)
	k.current = t
	if once(t.Spec.Templates) {
		k.m.end()
		return nil
	}
	h.run(k, watching, t)
	return nil
}

// once reports whether no template is to be rendered again.
func once(specs []*structs.Template) bool {
	for _, s := range specs {
		if !s.Once {
			return false
		}
	}
	return true
}

// run keeps the templates up until watching ends.
func (h *Hook) run(k *kept, watching context.Context, t *alloc.Task) {
	k.m.wg.Add(1)
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		defer k.m.wg.Done()
		k.m.keep(watching, t)
	}()
}

// Poststart implements alloc.Poststarter: a task that was found again is
// followed again.
func (h *Hook) Poststart(_ context.Context, t *alloc.Task) {
	k := h.task(t)
	if k == nil || !t.Found || once(t.Spec.Templates) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == t || k.current == t {
		return
	}
	k.m.end()
	watching, stop := context.WithCancel(h.ctx)
	k.m.stop, k.current = stop, t
	k.m.poke() // what changed while nobody looked is a change
	h.run(k, watching, t)
}

// Exited implements alloc.Exiter.
func (h *Hook) Exited(_ context.Context, t *alloc.Task) {
	k := h.task(t)
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = t
	if k.current == t {
		k.current = nil
		k.m.end()
	}
}

// Postrun implements alloc.Postrunner.
func (h *Hook) Postrun(_ context.Context, a *alloc.Alloc) error {
	for _, spec := range a.Group.Tasks {
		h.mu.Lock()
		id := a.Alloc.ID + "/" + spec.Name
		k := h.tasks[id]
		delete(h.tasks, id)
		h.mu.Unlock()
		if k != nil {
			k.mu.Lock()
			k.m.end()
			k.mu.Unlock()
		}
	}
	return nil
}
