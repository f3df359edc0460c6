package docker

import (
	"context"
	"fmt"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// Waits between tries to reach an engine that does not answer.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
)

// watched are the events of containers that matter to tasks.
var watched = []events.Action{events.ActionDie, events.ActionOOM, events.ActionDestroy, events.ActionPause, events.ActionUnPause}

// watch follows the engine's events, one stream for all tasks. A stream that
// breaks says nothing about containers: they are looked at when the engine
// answers again, and run until then.
func (d *Driver) watch(s *session) {
	retry := minRetry
	for s.ctx.Err() == nil {
		began := time.Now()
		err := d.follow(s)
		if s.ctx.Err() != nil {
			return
		}
		d.log.Warn("the docker engine's events ended; tasks are believed to run until it answers", "error", err)
		d.mu.Lock()
		d.notify()
		d.mu.Unlock()
		if time.Since(began) > maxRetry {
			retry = minRetry
		}
		select {
		case <-time.After(retry):
		case <-s.ctx.Done():
			return
		}
		retry = min(2*retry, maxRetry)
	}
}

// follow handles the events of one connection. Tasks are looked at once it
// stands, so that nothing is missed.
func (d *Driver) follow(s *session) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", labelNode))
	for _, a := range watched {
		args.Add("event", string(a))
	}
	// The client agrees on a version with its first call, which the stream of
	// events must not be: it reads the version without the client's lock.
	if _, err := within(ctx, s.engine.patience, s.engine.ServerVersion); err != nil {
		return err
	}
	messages, errs := s.engine.Events(ctx, events.ListOptions{Filters: args})
	select {
	case err := <-errs:
		return err
	default:
	}
	d.mu.Lock()
	d.notify()
	d.mu.Unlock()
	for _, t := range d.all() {
		if t.s == s {
			d.examine(ctx, t)
		}
	}
	for {
		select {
		case m := <-messages:
			d.heard(ctx, &m)
		case err := <-errs:
			return err
		}
	}
}

// heard handles one event.
func (d *Driver) heard(ctx context.Context, m *events.Message) {
	all := d.all()
	i := slices.IndexFunc(all, func(t *task) bool { return t.state.ContainerID == m.Actor.ID })
	if i < 0 {
		return
	}
	t := all[i]
	switch m.Action {
	case events.ActionOOM:
		t.oom.Store(true)
	case events.ActionPause:
		d.tell(t.cfg, "The container was paused by somebody else: the task does nothing until it is unpaused", nil)
	case events.ActionUnPause:
		d.tell(t.cfg, "The container was unpaused", nil)
	case events.ActionDie, events.ActionDestroy:
		d.examine(ctx, t)
	}
}

// examine asks the engine about a task and ends it if its container has. An
// engine that does not answer changes nothing.
func (d *Driver) examine(ctx context.Context, t *task) {
	if !t.running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := t.s.engine.ContainerInspect(ctx, t.state.ContainerID)
	switch {
	case cerrdefs.IsNotFound(err):
		t.exited(&exit{code: 1, err: fmt.Errorf("the container was removed by somebody else: its exit code is unknown"), at: time.Now()})
	case err != nil:
		d.log.Debug("cannot look at a container", "task", t.cfg.ID, "error", err)
	default:
		if e := exitOf(c.State); e != nil {
			t.exited(e)
		}
	}
}

// exitOf is how a container ended; nil while it has not.
func exitOf(state *container.State) *exit {
	if state == nil || state.Running || state.Paused || state.Restarting || state.Status == container.StateCreated {
		return nil
	}
	e := &exit{code: int32(state.ExitCode), oom: state.OOMKilled, at: time.Now()}
	if at, err := time.Parse(time.RFC3339Nano, state.FinishedAt); err == nil {
		e.at = at
	}
	if state.Error != "" {
		e.err = fmt.Errorf("the container ended: %s", state.Error)
	}
	return e
}

// bridgeIP is the address of the node on the engine's own bridge.
func bridgeIP(ctx context.Context, e *engine) string {
	n, err := within(ctx, min(probeTimeout, e.patience), func(ctx context.Context) (network.Inspect, error) {
		return e.NetworkInspect(ctx, "bridge", network.InspectOptions{})
	})
	if err != nil {
		return ""
	}
	for _, c := range n.IPAM.Config {
		if c.Gateway != "" {
			return c.Gateway
		}
	}
	return ""
}

// reap removes containers of this node that no task knows: leftovers of starts
// whose answer was lost. A suspect must have been one in the last round too.
func (d *Driver) reap(s *session, suspects map[string]bool) map[string]bool {
	d.mu.Lock()
	node := d.nodeID
	d.mu.Unlock()
	if node == "" || !s.conf().reapDangling {
		return nil // without a name, which containers are ours is not known
	}
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	list, err := s.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelAlloc), filters.Arg("label", labelNode+"="+node))})
	if err != nil {
		return suspects
	}
	known, allocs := d.known()
	next := map[string]bool{}
	for _, c := range list {
		if known[c.ID] || time.Since(time.Unix(c.Created, 0)) < s.conf().danglingGrace {
			continue
		}
		if c.Labels[labelSandbox] != "" && allocs[c.Labels[labelAlloc]] {
			continue
		}
		if !s.conf().removeContainers && c.State != container.StateRunning {
			continue // kept on purpose
		}
		next[c.ID] = true
		if !suspects[c.ID] {
			continue
		}
		if s.conf().reapDry {
			d.log.Info("would remove a container that no task knows", "container", c.ID, "names", c.Names)
			continue
		}
		d.log.Warn("removing a container that no task knows", "container", c.ID, "names", c.Names)
		if err := s.removeContainer(ctx, c.ID); err != nil {
			d.log.Warn("cannot remove a container that no task knows", "container", c.ID, "error", err)
		}
	}
	return next
}

// known lists the containers of tasks and groups, and the allocations that
// have tasks.
func (d *Driver) known() (containers, allocs map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	containers, allocs = map[string]bool{}, map[string]bool{}
	for _, t := range d.tasks {
		containers[t.state.ContainerID], allocs[t.cfg.AllocID] = true, true
	}
	for alloc, id := range d.networks {
		containers[id], allocs[alloc] = true, true
	}
	return containers, allocs
}

// removeContainer removes a container whatever it does; one that is gone is no
// error.
func (s *session) removeContainer(ctx context.Context, id string) error {
	err := s.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) { // conflict: its removal is under way
		return nil
	}
	return err
}
