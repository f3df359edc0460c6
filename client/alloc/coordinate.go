// Package alloc runs one allocation on its node: coordinate, summarise and
// health are pure and decide; Runner performs.
//
// The order of tasks (prestart, main, poststart, poststop, leaders, sidecars)
// is reference runtime.md 5, status and health are runtime.md 5 and 12.
package alloc

import (
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// role is what a task is for its allocation.
type role uint8

const (
	roleMain role = iota
	rolePrestart
	rolePrestartSidecar
	rolePoststart
	rolePoststartSidecar
	rolePoststop
)

// roleOf reads a task's lifecycle block.
func roleOf(t *structs.Task) role {
	if t.Lifecycle == nil {
		return roleMain
	}
	sidecar := t.Lifecycle.Sidecar
	switch t.Lifecycle.Hook {
	case structs.LifecycleHookPrestart:
		if sidecar {
			return rolePrestartSidecar
		}
		return rolePrestart
	case structs.LifecycleHookPoststart:
		if sidecar {
			return rolePoststartSidecar
		}
		return rolePoststart
	case structs.LifecycleHookPoststop:
		return rolePoststop
	}
	return roleMain
}

func (r role) sidecar() bool { return r == rolePrestartSidecar || r == rolePoststartSidecar }

// taskView is what the coordinator sees of a task.
type taskView struct {
	name   string
	role   role
	leader bool
	state  *structs.TaskState
	begun  bool // it was let run
}

func (v taskView) dead() bool    { return v.state.State == structs.TaskStateDead }
func (v taskView) running() bool { return v.state.State == structs.TaskStateRunning }

// pendingStill is a task that neither runs nor has ended.
func (v taskView) pendingStill() bool { return v.state.State == structs.TaskStatePending }

// kill is an order to stop a task for good.
type kill struct {
	name     string
	announce *structs.TaskEvent
	fails    bool
}

// orders are what coordinate wants: tasks to let run, and tasks to stop.
// Kills come in waves: a later wave waits until the earlier one is down.
type orders struct {
	start []string
	kill  []kill
}

// coordinate decides what the tasks of an allocation do to each other. stop
// says that the allocation as a whole shall end. It is level-triggered: called
// after every change, it repeats what is still due, and repeated orders have
// no effect.
func coordinate(tasks []taskView, stop bool) orders {
	var out orders
	if stop {
		out.kill = killWave(tasks, nil)
		out.start = poststop(tasks)
		return out
	}
	if cause := downfall(tasks); cause != nil {
		out.kill = killWave(tasks, cause)
		out.start = poststop(tasks)
		return out
	}
	for _, t := range tasks {
		if !t.begun && mayStart(tasks, t.role) {
			out.start = append(out.start, t.name)
		}
	}
	out.start = append(out.start, poststop(tasks)...)
	return out
}

// mayStart reports whether the gate of a role is open.
func mayStart(tasks []taskView, r role) bool {
	switch r {
	case rolePrestart, rolePrestartSidecar:
		return true
	case roleMain:
		return every(tasks, func(t taskView) bool {
			switch t.role {
			case rolePrestart:
				return t.dead() && !t.state.Failed
			case rolePrestartSidecar:
				return t.running() || t.dead()
			}
			return true
		})
	case rolePoststart, rolePoststartSidecar:
		return every(tasks, func(t taskView) bool { return t.role != roleMain || t.begun && !t.pendingStill() })
	}
	return false
}

// poststop lists the poststop tasks that are due: all others are down.
func poststop(tasks []taskView) []string {
	if !every(tasks, func(t taskView) bool { return t.role == rolePoststop || t.dead() }) {
		return nil
	}
	var out []string
	for _, t := range tasks {
		if t.role == rolePoststop && !t.begun {
			out = append(out, t.name)
		}
	}
	return out
}

// downfall finds the reason for the end of all tasks, as the event that they
// get; nil for none.
func downfall(tasks []taskView) *structs.TaskEvent {
	for _, t := range tasks {
		if t.role != rolePoststop && t.dead() && t.state.Failed {
			return &structs.TaskEvent{Type: structs.TaskSiblingFailed, Details: map[string]string{"failed_sibling": t.name}}
		}
	}
	mains, mainsDown := 0, 0
	for _, t := range tasks {
		if t.leader && t.dead() {
			return &structs.TaskEvent{Type: structs.TaskLeaderDead}
		}
		if t.role == roleMain {
			mains++
			if t.dead() {
				mainsDown++
			}
		}
	}
	others := every(tasks, func(t taskView) bool {
		return t.role != rolePoststart || t.dead()
	})
	if mains > 0 && mains == mainsDown && others {
		return &structs.TaskEvent{Type: structs.TaskMainDead}
	}
	return nil
}

// killWave orders the next wave of kills: leaders, then all but sidecars, then
// sidecars. Poststop tasks are left alone.
func killWave(tasks []taskView, announce *structs.TaskEvent) []kill {
	waves := []func(taskView) bool{
		func(t taskView) bool { return t.leader },
		func(t taskView) bool { return !t.role.sidecar() },
		func(t taskView) bool { return true },
	}
	for _, in := range waves {
		var out []kill
		for _, t := range tasks {
			if t.role != rolePoststop && !t.dead() && in(t) {
				out = append(out, kill{name: t.name, announce: announce})
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func every(tasks []taskView, ok func(taskView) bool) bool {
	for _, t := range tasks {
		if !ok(t) {
			return false
		}
	}
	return true
}

// summarise computes the allocation's client status from its tasks.
func summarise(tasks []taskView) (status, description string) {
	var failed, running, pending bool
	for _, t := range tasks {
		switch {
		case t.dead() && t.state.Failed:
			failed = true
		case t.running():
			running = true
		case t.pendingStill():
			// A poststop task that waits for the others is no pending work,
			// and neither is one that was let run and has restarts to come.
			if t.role != rolePoststop || t.begun {
				pending = true
			}
		}
	}
	switch {
	case failed:
		return structs.AllocClientStatusFailed, "Failed tasks"
	case running:
		return structs.AllocClientStatusRunning, "Tasks are running"
	case pending:
		return structs.AllocClientStatusPending, "No tasks have started"
	}
	return structs.AllocClientStatusComplete, "All tasks have completed"
}

// over reports whether nothing of the allocation will run again.
func over(tasks []taskView) bool {
	return every(tasks, func(t taskView) bool { return t.dead() })
}

// verdict is a decision about the health of an allocation in a deployment.
type verdict struct {
	healthy *bool
	reason  string    // of an unhealthy one
	again   time.Time // when to look again; zero for never
}

// checkView is what the checks of an allocation's services say to a deployment.
type checkView struct {
	passing bool
	since   time.Time
	why     string // they do not pass
}

// judge decides the health of an allocation: healthy once its tasks have run
// without a restart, and its checks have passed, for min_healthy_time;
// unhealthy at a failure or at the deadline. checks is nil when none matter.
// started is when the allocation joined the deployment here.
func judge(u *structs.UpdateStrategy, tasks []taskView, checks *checkView, started, now time.Time) verdict {
	deadline := started.Add(structs.Val(u.HealthyDeadline))
	minTime := structs.Val(u.MinHealthyTime)
	since := time.Time{}
	steady := true
	for _, t := range tasks {
		switch {
		case t.role == rolePoststop:
			continue
		case t.dead() && t.state.Failed:
			return verdict{healthy: structs.Ptr(false), reason: "Unhealthy because of failed task"}
		case t.dead() && (t.role == rolePrestart || t.role == rolePoststart):
			continue
		case t.dead():
			return verdict{healthy: structs.Ptr(false), reason: "Unhealthy because of dead task"}
		case !t.running() || t.state.StartedAt == nil:
			steady = false
			continue
		}
		if t.state.StartedAt.After(since) {
			since = *t.state.StartedAt
		}
	}
	tasksSteady := steady
	if checks != nil {
		steady = steady && checks.passing
		if checks.since.After(since) {
			since = checks.since
		}
	}
	if steady && !now.Before(since.Add(minTime)) {
		return verdict{healthy: structs.Ptr(true)}
	}
	if !now.Before(deadline) {
		return verdict{healthy: structs.Ptr(false), reason: late(tasks, u, tasksSteady, checks)}
	}
	again := deadline
	if steady && since.Add(minTime).Before(again) {
		again = since.Add(minTime)
	}
	return verdict{again: again}
}

// late words why the deadline was missed.
func late(tasks []taskView, u *structs.UpdateStrategy, tasksSteady bool, checks *checkView) string {
	if tasksSteady && checks != nil && !checks.passing {
		return "Checks not passing by healthy_deadline of " + structs.Val(u.HealthyDeadline).String() + ": " + checks.why
	}
	for _, t := range tasks {
		if t.role != rolePoststop && !t.running() && !t.dead() {
			return "Task not running by healthy_deadline of " + structs.Val(u.HealthyDeadline).String()
		}
	}
	return "Task not running for min_healthy_time of " + structs.Val(u.MinHealthyTime).String() +
		" by healthy_deadline of " + structs.Val(u.HealthyDeadline).String()
}
