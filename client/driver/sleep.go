package driver

import (
	"context"
	"errors"
	"time"
)

// idleAfter is how long the process of a driver that few jobs need is kept
// without a task. It is started again when somebody wants the driver.
const idleAfter = 15 * time.Second

// errAsleep ends the use of a driver that nobody needs now.
var errAsleep = errors.New("no task needs it")

// sleepy reports whether a plugin's process ends when nobody needs it.
func (m *Manager) sleepy(spec Spec) bool { return spec.Late && m.cfg.Busy != nil }

// awaitIdle returns when a driver that has told what it is has had no task, and
// was not asked for, for a while; or when ctx has ended.
func (m *Manager) awaitIdle(ctx context.Context, name string, told <-chan struct{}) error {
	select {
	case <-told:
	case <-ctx.Done():
		return ctx.Err()
	}
	for idle := time.Now(); time.Since(idle) < idleAfter; {
		select {
		case <-time.After(idleAfter / 3):
		case <-ctx.Done():
			return ctx.Err()
		}
		m.mu.Lock()
		used := m.used[name]
		m.mu.Unlock()
		if m.cfg.Busy(name) {
			used = time.Now()
		}
		if used.After(idle) {
			idle = used
		}
	}
	return nil
}

// sleep waits until somebody wants a driver, or the node lacks what it needs.
// What is known of the driver stays known.
func (m *Manager) sleep(ctx context.Context, spec Spec) {
	m.cfg.Logger.Debug("driver has no tasks: its process is ended until one comes", "driver", spec.Name)
	m.end(ctx, spec)
	for spec.When == nil || spec.When() {
		select {
		case <-m.wake[spec.Name]:
			return
		case <-time.After(needsInterval):
		case <-ctx.Done():
			return
		}
	}
}

// wanted notes that a driver is asked for, and wakes it; the caller holds mu.
func (m *Manager) wanted(name string) {
	wake := m.wake[name]
	if wake == nil {
		return
	}
	m.used[name] = time.Now()
	if m.live[name] != nil {
		return
	}
	select {
	case wake <- struct{}{}:
	default: // it is being woken
	}
}
