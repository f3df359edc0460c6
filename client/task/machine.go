package task

import (
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// phase is where the machine stands; TaskState.State is its public shadow.
type phase uint8

const (
	waiting  phase = iota // not started yet: the allocation holds it back
	starting              // the driver is asked to start it
	running               // the driver runs it
	backoff               // it ended and starts again after a delay
	delaying              // it shall stop, and waits for its shutdown delay
	stopping              // the driver is asked to stop it
	dead                  // for good
)

// Kind is the kind of an Event.
type Kind uint8

// Events. Timer stands for the only timer that a machine has at a time.
const (
	Start       Kind = iota // the allocation lets the task run
	Started                 // the driver started it
	StartFailed             // the driver or the preparation refused
	Aborted                 // the start was given up, as Abort asked
	Exited                  // it ended; with Code, Signal, OOMKilled, Message
	Timer                   // the time set by the last SetTimer is over
	Kill                    // stop it for good; with Reason
	Restart                 // stop it and start it again; with Reason
	Recovered               // found running after a restart of the agent
)

// Event is something that happened to the task.
type Event struct {
	Kind Kind

	// Of Exited.
	Code      int
	Signal    int
	OOMKilled bool
	Message   string

	// Of StartFailed: the public type of the failure and its text.
	Failure     string // structs.TaskDriverFailure, TaskFailedValidation, TaskSetupFailure
	Error       string
	Recoverable bool

	// Of Kill and Restart.
	Announce *structs.TaskEvent // recorded before the kill, may be nil
	NoDelay  bool               // skip the shutdown delay
	Fails    bool               // Kill: the task counts as failed; Restart: counts against the policy
	Gated    bool               // Restart: once down it waits for Start again, and so does one that is down already

	// Jitter is uniform in [0, 1), for restart delays.
	Jitter float64
}

// Do is the kind of an Action.
type Do uint8

// Actions, to be performed in order. Launch, Stop and Destroy take time: their
// outcome comes back as Started, StartFailed or Aborted, and as Exited.
const (
	Launch   Do = iota // prepare and start the task
	Abort              // give the start up, unless the driver has it already
	Withdraw           // it is about to be stopped for good: take it out of use
	Stop               // ask the driver to stop it, with Signal and Timeout
	Destroy            // let the driver forget it
	SetTimer           // send Timer after Delay; replaces an earlier timer
	Save               // the state changed: persist it, then tell
)

// Action is something to do.
type Action struct {
	Do      Do
	Delay   time.Duration
	Signal  string
	Timeout time.Duration
}

// Config is what a machine needs of the job.
type Config struct {
	Task *structs.Task
	// JobType decides whether a success is restarted.
	JobType string
	// MaxKillTimeout is the node's bound on kill_timeout.
	MaxKillTimeout time.Duration
}

// Machine is the life of one task. It is not safe for concurrent use.
type Machine struct {
	cfg     Config
	tracker tracker
	phase   phase
	state   structs.TaskState
	killed  bool // it shall not run again
	fails   bool // the kill makes it failed
	again   bool // a restart was asked for: it starts again once it is down
	counted bool // that restart counts against the policy
	gated   bool // and waits for the allocation to let it
}

// New makes the machine of a task that has not begun.
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg, state: structs.TaskState{State: structs.TaskStatePending}}
	m.tracker = newTracker(cfg.Task.RestartPolicy, restartsOnSuccess(cfg))
	return m
}

// Restore makes the machine of a task that an earlier agent left in the given
// state. A dead task stays dead; any other waits for Recovered, Exited or
// Start.
func Restore(cfg Config, state *structs.TaskState) *Machine {
	m := New(cfg)
	m.state = *state
	m.state.Events = append([]*structs.TaskEvent(nil), state.Events...)
	if state.State == structs.TaskStateDead {
		m.phase = dead
	}
	return m
}

// restartsOnSuccess reports whether a task that ends well starts again.
func restartsOnSuccess(cfg Config) bool {
	if l := cfg.Task.Lifecycle; l != nil {
		return l.Sidecar && l.Hook != structs.LifecycleHookPoststop
	}
	return cfg.JobType == structs.JobTypeService || cfg.JobType == structs.JobTypeSystem
}

// State is a copy of the task's public state.
func (m *Machine) State() *structs.TaskState {
	s := m.state
	s.Events = append([]*structs.TaskEvent(nil), m.state.Events...)
	return &s
}

// Alive reports whether the driver has, or may have, something of the task.
func (m *Machine) Alive() bool {
	return m.phase == starting || m.phase == running || m.phase == delaying || m.phase == stopping
}

// Begun reports whether the task was ever let run.
func (m *Machine) Begun() bool { return m.phase != waiting }

// Step takes an event and says what to do. An event that means nothing in the
// task's phase changes nothing.
func (m *Machine) Step(ev Event, now time.Time) []Action {
	switch ev.Kind {
	case Start:
		return m.start(now)
	case Started, Recovered:
		return m.started(ev, now)
	case StartFailed:
		return m.startFailed(ev, now)
	case Exited:
		return m.exited(ev, now)
	case Timer:
		return m.timer(now)
	case Kill:
		return m.kill(ev, now)
	case Aborted:
		return m.aborted(now)
	case Restart:
		return m.restart(ev, now)
	}
	return nil
}

// Note records an event of the task's life that changes nothing else.
func (m *Machine) Note(e *structs.TaskEvent, now time.Time) []Action {
	m.record(now, e.Type, e.Message, e.Details)
	return []Action{{Do: Save}}
}

// record appends an event and keeps the newest.
func (m *Machine) record(now time.Time, kind, message string, details map[string]string) {
	if details == nil {
		details = map[string]string{}
	}
	e := &structs.TaskEvent{Type: kind, Time: now.UnixNano(), Message: message, Details: details}
	e.DisplayMessage = e.Display()
	m.state.Events = append(m.state.Events, e)
	if n := len(m.state.Events) - structs.MaxTaskEvents; n > 0 {
		m.state.Events = append([]*structs.TaskEvent(nil), m.state.Events[n:]...)
	}
}

func (m *Machine) start(now time.Time) []Action {
	if m.phase != waiting || m.killed {
		return nil
	}
	m.phase = starting
	m.record(now, structs.TaskSetup, "Building Task Directory", map[string]string{"message": "Building Task Directory"})
	return []Action{{Do: Save}, {Do: Launch}}
}

func (m *Machine) started(ev Event, now time.Time) []Action {
	switch m.phase {
	case starting, waiting:
	case stopping: // it was killed while it started
		return m.stopActions()
	default:
		return nil
	}
	m.phase = running
	m.state.State = structs.TaskStateRunning
	if ev.Kind == Started {
		at := now
		m.state.StartedAt = &at
		m.record(now, structs.TaskStarted, "", nil)
	}
	if m.killed || m.again {
		m.phase = stopping
		return append([]Action{{Do: Save}}, m.stopActions()...)
	}
	return []Action{{Do: Save}}
}

// failureDetail names the detail of each kind of failed start that holds its
// text (reference runtime 6).
var failureDetail = map[string]string{
	structs.TaskDriverFailure: "driver_error", structs.TaskFailedValidation: "validation_error", structs.TaskSetupFailure: "setup_error",
	structs.TaskArtifactDownloadFailed: "download_error", structs.TaskKilling: "kill_reason",
}

func (m *Machine) startFailed(ev Event, now time.Time) []Action {
	if m.phase != starting && m.phase != stopping {
		return nil
	}
	details := map[string]string{failureDetail[ev.Failure]: ev.Error}
	if !ev.Recoverable && (ev.Failure == structs.TaskSetupFailure || ev.Failure == structs.TaskKilling) {
		details["fails_task"] = "true"
	}
	m.record(now, ev.Failure, "", details)
	if m.killed {
		return m.die(now, m.fails)
	}
	if m.again && m.gated {
		return m.reset()
	}
	m.again = false
	return m.settle(m.tracker.decide(false, ev.Recoverable, now, ev.Jitter), now)
}

// aborted is a start that was given up before the driver had it.
func (m *Machine) aborted(now time.Time) []Action {
	if m.phase != starting && m.phase != stopping {
		return nil
	}
	switch {
	case m.killed:
		m.record(now, structs.TaskKilled, "", nil)
		return m.die(now, m.fails)
	case m.again && m.gated:
		return m.reset()
	}
	m.again, m.phase = false, starting
	return []Action{{Do: Save}, {Do: Launch}}
}

func (m *Machine) exited(ev Event, now time.Time) []Action {
	if !m.Alive() && m.phase != waiting {
		return nil
	}
	details := map[string]string{
		"exit_code": strconv.Itoa(ev.Code), "signal": strconv.Itoa(ev.Signal), "oom_killed": strconv.FormatBool(ev.OOMKilled),
	}
	if ev.Message != "" {
		details["exit_message"] = ev.Message
	}
	m.record(now, structs.TaskTerminated, "", details)
	destroy := []Action{{Do: Destroy}}
	if m.killed {
		m.record(now, structs.TaskKilled, "", nil)
		return append(destroy, m.die(now, m.fails)...)
	}
	if m.again && m.gated {
		m.countRestart(now, verdict{restart: true})
		return append(destroy, m.reset()...)
	}
	if m.again {
		m.again = false
		if !m.counted {
			return append(destroy, m.settle(verdict{restart: true}, now)...)
		}
		return append(destroy, m.settle(m.tracker.decide(false, true, now, ev.Jitter), now)...)
	}
	success := ev.Code == 0 && ev.Signal == 0 && ev.Message == ""
	return append(destroy, m.settle(m.tracker.decide(success, true, now, ev.Jitter), now)...)
}

// settle acts on a verdict about a task that is down.
func (m *Machine) settle(v verdict, now time.Time) []Action {
	if !v.restart {
		if v.reason != "" {
			details := map[string]string{"restart_reason": v.reason}
			if v.failed {
				details["fails_task"] = "true"
			}
			m.record(now, structs.TaskNotRestarting, "", details)
		}
		return m.die(now, v.failed)
	}
	m.countRestart(now, v)
	m.state.State = structs.TaskStatePending
	m.phase = backoff
	return []Action{{Do: Save}, {Do: SetTimer, Delay: v.delay}}
}

func (m *Machine) countRestart(now time.Time, v verdict) {
	at := now
	m.state.Restarts++
	m.state.LastRestart = &at
	m.record(now, structs.TaskRestarting, "", map[string]string{
		"start_delay": strconv.FormatInt(int64(v.delay), 10), "restart_reason": v.reason,
	})
}

func (m *Machine) die(now time.Time, failed bool) []Action {
	at := now
	m.phase = dead
	m.state.State = structs.TaskStateDead
	m.state.Failed = m.state.Failed || failed
	m.state.FinishedAt = &at
	return []Action{{Do: Save}}
}

func (m *Machine) timer(now time.Time) []Action {
	switch m.phase {
	case backoff:
		m.phase = starting
		return []Action{{Do: Save}, {Do: Launch}}
	case delaying:
		m.phase = stopping
		return m.stopActions()
	}
	return nil
}

// killTimeout is the task's, bounded by the node's.
func (m *Machine) killTimeout() time.Duration {
	timeout := structs.Val(m.cfg.Task.KillTimeout)
	if limit := m.cfg.MaxKillTimeout; limit > 0 && timeout > limit {
		return limit
	}
	return timeout
}

func (m *Machine) stopActions() []Action {
	return []Action{{Do: Stop, Signal: m.cfg.Task.KillSignal, Timeout: m.killTimeout()}}
}

func (m *Machine) kill(ev Event, now time.Time) []Action {
	if m.killed && m.phase == delaying && ev.NoDelay {
		m.record(now, structs.TaskSkippingShutdownDelay, "", nil)
		m.phase = stopping
		return append([]Action{{Do: Save}}, m.stopActions()...)
	}
	if m.phase == dead || m.killed {
		return nil
	}
	m.killed, m.fails, m.again = true, ev.Fails, false
	if ev.Announce != nil {
		m.record(now, ev.Announce.Type, ev.Announce.Message, ev.Announce.Details)
	}
	switch m.phase {
	case waiting, backoff:
		return m.die(now, ev.Fails)
	case starting:
		m.phase = stopping // once it is up
		m.announceKill(now)
		return []Action{{Do: Save}, {Do: Abort}}
	}
	delay := m.cfg.Task.ShutdownDelay
	if delay > 0 && !ev.NoDelay && m.phase == running {
		m.phase = delaying
		m.record(now, structs.TaskWaitingShutdownDelay, "", nil)
		m.announceKill(now)
		return []Action{{Do: Save}, {Do: Withdraw}, {Do: SetTimer, Delay: delay}}
	}
	if delay > 0 && ev.NoDelay {
		m.record(now, structs.TaskSkippingShutdownDelay, "", nil)
	}
	m.announceKill(now)
	if m.phase == stopping { // a restart is stopping it already
		return []Action{{Do: Save}}
	}
	m.phase = stopping
	return append([]Action{{Do: Save}, {Do: Withdraw}}, m.stopActions()...)
}

func (m *Machine) announceKill(now time.Time) {
	details := map[string]string{"kill_timeout": m.killTimeout().String()}
	if m.fails {
		details["fails_task"] = "true"
	}
	m.record(now, structs.TaskKilling, "", details)
}

func (m *Machine) restart(ev Event, now time.Time) []Action {
	down := m.phase == dead || m.phase == backoff
	if m.phase == waiting || m.phase == delaying || m.phase == stopping || down && !ev.Gated || m.killed && !down {
		return nil
	}
	if ev.Announce != nil {
		m.record(now, ev.Announce.Type, ev.Announce.Message, ev.Announce.Details)
	}
	if down {
		return m.reset()
	}
	m.again, m.counted, m.gated = true, ev.Fails, ev.Gated
	if m.phase == starting {
		if ev.Gated {
			return []Action{{Do: Save}, {Do: Abort}}
		}
		return []Action{{Do: Save}}
	}
	m.phase = stopping
	return append([]Action{{Do: Save}}, m.stopActions()...)
}

// reset lets a task that is down run again from the beginning.
func (m *Machine) reset() []Action {
	m.phase, m.killed, m.fails, m.again, m.gated = waiting, false, false, false, false
	m.state.State, m.state.Failed, m.state.FinishedAt = structs.TaskStatePending, false, nil
	m.tracker.count, m.tracker.start = 0, time.Time{}
	return []Action{{Do: Save}}
}
