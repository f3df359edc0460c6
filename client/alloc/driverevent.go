package alloc

import (
	"time"

	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// DriverEvent takes what a driver says about a task among the task's events.
// It says nothing of tasks that the runner does not have.
func (r *Runner) DriverEvent(e *plugin.TaskEvent) {
	r.post(func() { r.driverSaid(e) })
}

// driverSaid is DriverEvent in the loop.
func (r *Runner) driverSaid(e *plugin.TaskEvent) {
	t := r.find(e.TaskName)
	if t == nil || t.id != e.TaskID {
		return
	}
	details := map[string]string{"driver_message": e.Message}
	for k, v := range e.Annotations {
		details[k] = v
	}
	t.m.Note(&structs.TaskEvent{Type: structs.TaskDriverMessage, Details: details}, time.Now())
	r.dirty = true
}
