package task

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func policy(attempts int, interval, delay time.Duration, mode string) *structs.RestartPolicy {
	return &structs.RestartPolicy{Attempts: &attempts, Interval: &interval, Delay: &delay, Mode: &mode}
}

func newTask(mods ...func(*structs.Task)) *structs.Task {
	timeout := 5 * time.Second
	t := &structs.Task{Name: "t", Driver: "mock_driver", KillTimeout: &timeout, RestartPolicy: policy(2, time.Minute, 10*time.Second, "fail")}
	for _, m := range mods {
		m(t)
	}
	return t
}

// show words actions for transcripts.
func show(actions []Action) string {
	var out []string
	for _, a := range actions {
		switch a.Do {
		case Launch:
			out = append(out, "launch")
		case Stop:
			out = append(out, fmt.Sprintf("stop %s %v", a.Signal, a.Timeout))
		case Destroy:
			out = append(out, "destroy")
		case Abort:
			out = append(out, "abort")
		case Withdraw:
			out = append(out, "withdraw")
		case SetTimer:
			out = append(out, fmt.Sprintf("timer %v", a.Delay))
		}
	}
	return strings.Join(out, ", ")
}

// TestTranscripts feeds events, one a line, and compares what is done and what
// the task looks like after each.
func TestTranscripts(t *testing.T) {
	fail := Event{Kind: Exited, Code: 1}
	ok := Event{Kind: Exited}
	leader := &structs.TaskEvent{Type: structs.TaskLeaderDead}
	type line struct {
		after time.Duration
		ev    Event
		want  string // "actions | state failed restarts | last event"
	}
	for _, tc := range []struct {
		name    string
		jobType string
		task    *structs.Task
		lines   []line
	}{
		{"batch success", structs.JobTypeBatch, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, ok, "destroy | dead false 0 | Terminated"},
			{0, Event{Kind: Start}, " | dead false 0 | Terminated"},
			{0, Event{Kind: Kill}, " | dead false 0 | Terminated"},
		}},
		{"service success restarts", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, ok, "destroy, timer 10s | pending false 1 | Restarting"},
			{10 * time.Second, Event{Kind: Timer}, "launch | pending false 1 | Restarting"},
		}},
		{"failures exceed the policy", structs.JobTypeBatch, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, fail, "destroy, timer 10s | pending false 1 | Restarting"},
			{0, Event{Kind: Timer}, "launch | pending false 1 | Restarting"},
			{0, Event{Kind: Started}, " | running false 1 | Started"},
			{0, Event{Kind: Exited, Code: 1, Jitter: 0.5}, "destroy, timer 11.25s | pending false 2 | Restarting"},
			{0, Event{Kind: Timer}, "launch | pending false 2 | Restarting"},
			{0, Event{Kind: Started}, " | running false 2 | Started"},
			{0, fail, "destroy | dead true 2 | Not Restarting"},
		}},
		{"the interval forgets", structs.JobTypeBatch, newTask(func(t *structs.Task) { t.RestartPolicy = policy(1, time.Minute, time.Second, "fail") }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, fail, "destroy, timer 1s | pending false 1 | Restarting"},
			{0, Event{Kind: Timer}, "launch | pending false 1 | Restarting"},
			{0, Event{Kind: Started}, " | running false 1 | Started"},
			{2 * time.Minute, fail, "destroy, timer 1s | pending false 2 | Restarting"},
		}},
		{"mode delay waits for the window", structs.JobTypeBatch, newTask(func(t *structs.Task) { t.RestartPolicy = policy(1, time.Minute, time.Second, "delay") }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, fail, "destroy, timer 1s | pending false 1 | Restarting"},
			{0, Event{Kind: Timer}, "launch | pending false 1 | Restarting"},
			{0, Event{Kind: Started}, " | running false 1 | Started"},
			{20 * time.Second, fail, "destroy, timer 40s | pending false 2 | Restarting"},
		}},
		{"no attempts", structs.JobTypeBatch, newTask(func(t *structs.Task) { t.RestartPolicy = policy(0, time.Minute, time.Second, "fail") }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, fail, "destroy | dead true 0 | Not Restarting"},
		}},
		{"a start that cannot work", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: StartFailed, Failure: structs.TaskDriverFailure, Error: "no such program"}, " | dead true 0 | Not Restarting"},
		}},
		{"a start that may work later", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: StartFailed, Failure: structs.TaskDriverFailure, Error: "busy", Recoverable: true}, "timer 10s | pending false 1 | Restarting"},
		}},
		{"stop", structs.JobTypeService, newTask(func(t *structs.Task) { t.KillSignal = "SIGTERM" }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, Event{Kind: Kill, Announce: leader}, "withdraw, stop SIGTERM 5s | running false 0 | Killing"},
			{0, Event{Kind: Kill}, " | running false 0 | Killing"},
			{0, Event{Kind: Exited, Code: 130, Signal: 2}, "destroy | dead false 0 | Killed"},
		}},
		{"shutdown delay", structs.JobTypeService, newTask(func(t *structs.Task) { t.ShutdownDelay = 3 * time.Second }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, Event{Kind: Kill}, "withdraw, timer 3s | running false 0 | Killing"},
			{3 * time.Second, Event{Kind: Timer}, "stop  5s | running false 0 | Killing"},
			{0, ok, "destroy | dead false 0 | Killed"},
		}},
		{"kill before the start", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Kill}, " | dead false 0 | "},
			{0, Event{Kind: Start}, " | dead false 0 | "},
		}},
		{"kill during the start", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Kill}, "abort | pending false 0 | Killing"},
			{0, Event{Kind: Started}, "stop  5s | pending false 0 | Killing"},
			{0, ok, "destroy | dead false 0 | Killed"},
		}},
		{"a start given up", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Kill, Fails: true}, "abort | pending false 0 | Killing"},
			{0, Event{Kind: Aborted}, " | dead true 0 | Killed"},
		}},
		{"a delay that is cut short", structs.JobTypeService, newTask(func(t *structs.Task) { t.ShutdownDelay = 3 * time.Second }), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, Event{Kind: Kill}, "withdraw, timer 3s | running false 0 | Killing"},
			{0, Event{Kind: Kill}, " | running false 0 | Killing"},
			{0, Event{Kind: Kill, NoDelay: true}, "stop  5s | running false 0 | Skipping shutdown delay"},
			{3 * time.Second, Event{Kind: Timer}, " | running false 0 | Skipping shutdown delay"},
			{0, ok, "destroy | dead false 0 | Killed"},
		}},
		{"restart in the order of the lifecycle", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Restart, Gated: true}, "abort | pending false 0 | Task Setup"},
			{0, Event{Kind: Aborted}, " | pending false 0 | Task Setup"},
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, Event{Kind: Restart, Gated: true}, "stop  5s | running false 0 | Started"},
			{0, fail, "destroy | pending false 1 | Restarting"},
			{0, Event{Kind: Start}, "launch | pending false 1 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 1 | Started"},
			{0, fail, "destroy, timer 10s | pending false 2 | Restarting"},
			{0, Event{Kind: Restart, Gated: true}, " | pending false 2 | Restarting"},
			{0, Event{Kind: Timer}, " | pending false 2 | Restarting"},
			{0, Event{Kind: Start}, "launch | pending false 2 | Task Setup"},
		}},
		{"kill between restarts", structs.JobTypeService, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, fail, "destroy, timer 10s | pending false 1 | Restarting"},
			{0, Event{Kind: Kill}, " | dead false 1 | Restarting"},
			{0, Event{Kind: Timer}, " | dead false 1 | Restarting"},
		}},
		{"restart by hand is not counted", structs.JobTypeBatch, newTask(), []line{
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
			{0, Event{Kind: Started}, " | running false 0 | Started"},
			{0, Event{Kind: Restart, Announce: &structs.TaskEvent{Type: structs.TaskRestartSignal}}, "stop  5s | running false 0 | Restart Signaled"},
			{0, ok, "destroy, timer 0s | pending false 1 | Restarting"},
		}},
		{"found again after a restart of the agent", structs.JobTypeBatch, newTask(), []line{
			{0, Event{Kind: Recovered}, " | running false 0 | "},
			{0, ok, "destroy | dead false 0 | Terminated"},
			{0, Event{Kind: Restart}, " | dead false 0 | Terminated"},
			{0, Event{Kind: Restart, Gated: true}, " | pending false 0 | Terminated"},
			{0, Event{Kind: Start}, "launch | pending false 0 | Task Setup"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := New(Config{Task: tc.task, JobType: tc.jobType, MaxKillTimeout: 30 * time.Second})
			now := t0
			for i, l := range tc.lines {
				now = now.Add(l.after)
				actions := m.Step(l.ev, now)
				s, last := m.State(), ""
				if n := len(s.Events); n > 0 {
					last = s.Events[n-1].Type
				}
				if got := fmt.Sprintf("%s | %s %v %d | %s", show(actions), s.State, s.Failed, s.Restarts, last); got != l.want {
					t.Fatalf("line %d:\n got %q\nwant %q", i+1, got, l.want)
				}
			}
		})
	}
}

// TestAnyEvents feeds any events in any order: nothing panics, the events stay
// within their limit, a dead task stays dead unless all tasks restart, and a task
// that was killed and is down never starts again.
func TestAnyEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := New(Config{Task: newTask(), JobType: rapid.SampledFrom([]string{structs.JobTypeBatch, structs.JobTypeService}).Draw(rt, "type")})
		now := t0
		killed := false
		for range rapid.IntRange(1, 40).Draw(rt, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
			kind := Kind(rapid.IntRange(int(Start), int(Recovered)).Draw(rt, "kind"))
			gated := rapid.Bool().Draw(rt, "gated")
			before := m.State().State
			actions := m.Step(Event{Kind: kind, Gated: gated, Code: rapid.IntRange(0, 1).Draw(rt, "code"), Failure: structs.TaskDriverFailure, Recoverable: rapid.Bool().Draw(rt, "recoverable")}, now)
			after := m.State()
			if before == structs.TaskStateDead && after.State != structs.TaskStateDead && (kind != Restart || !gated) {
				rt.Fatalf("event %d brought a dead task back", kind)
			}
			if len(after.Events) > structs.MaxTaskEvents {
				rt.Fatalf("%d events", len(after.Events))
			}
			switch kind {
			case Kill:
				killed = killed || before != structs.TaskStateDead
			case Restart:
				killed = killed && !(gated && before == structs.TaskStateDead)
			}
			for _, a := range actions {
				if a.Do == Launch && killed {
					rt.Fatalf("a killed task was launched by event %d", kind)
				}
			}
			if after.State == structs.TaskStateDead && after.FinishedAt == nil {
				rt.Fatal("dead without a time")
			}
		}
	})
}
