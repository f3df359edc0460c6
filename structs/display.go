package structs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RestartWithinPolicy is the restart_reason of an ordinary restart, which
// Display leaves unsaid.
const RestartWithinPolicy = "Restart within policy"

// fixedDisplay are the texts of events that have no details.
var fixedDisplay = map[string]string{
	TaskReceived:              "Task received by client",
	TaskStarted:               "Task started by client",
	TaskRunning:               "Task is running",
	TaskClientReconnected:     "Client reconnected",
	TaskLeaderDead:            "Leader Task in Group dead",
	TaskMainDead:              "Main tasks in the group died",
	TaskRestoreFailed:         "failed to restore task; will not run until server is contacted",
	TaskWaitingShutdownDelay:  "Waiting for shutdown_delay before killing the task",
	TaskSkippingShutdownDelay: "Skipping shutdown_delay",
	"Pausing":                 "Task is paused by its schedule",
	"Plugin became healthy":   "The plugin is healthy",
	"Plugin became unhealthy": "The plugin is unhealthy",
}

// detailDisplay are events whose text is one detail, or a fixed text without it.
var detailDisplay = map[string][2]string{
	TaskSetup:                {"message", "Task is being set up"},
	TaskDownloadingArtifacts: {"message", "Client is downloading artifacts"},
	TaskSetupFailure:         {"setup_error", "Task setup failed"},
	TaskDriverFailure:        {"driver_error", "Failed to start task"},
	TaskDriverMessage:        {"driver_message", "The driver reported something"},
	TaskFailedValidation:     {"validation_error", "Validation of task failed"},
	TaskKilled:               {"kill_error", "Task successfully killed"},
	TaskNotRestarting:        {"restart_reason", "Task exceeded restart policy"},
	TaskRestartSignal:        {"restart_reason", "Task signaled to restart"},
	TaskHookFailed:           {"message", "A task hook failed"},
	TaskHookMessage:          {"message", "A task hook reported something"},
	"Alloc Unhealthy":        {"message", "The allocation is unhealthy"},
}

// Display is the sentence that users read: DisplayMessage when it is set,
// otherwise one made of the type and its details (reference runtime 6).
func (e *TaskEvent) Display() string {
	if e.DisplayMessage != "" {
		return e.DisplayMessage
	}
	d := e.Details
	switch e.Type {
	case TaskTerminated:
		return displayTerminated(d)
	case TaskKilling:
		return displayKilling(d)
	case TaskRestarting:
		return displayRestarting(d)
	case TaskSignaling:
		return displaySignaling(d)
	case TaskArtifactDownloadFailed:
		return orElse(d["download_error"], "Failed to download artifacts")
	case TaskDiskExceeded:
		return "Task exceeded its disk limit of " + orElse(d["disk_limit"], "?") + " MB"
	case TaskSiblingFailed:
		if sibling := d["failed_sibling"]; sibling != "" {
			return fmt.Sprintf("Task's sibling %q failed", sibling)
		}
		return "Task's sibling failed"
	}
	if text, ok := detailDisplay[e.Type]; ok {
		return orElse(d[text[0]], orElse(e.Message, text[1]))
	}
	return orElse(e.Message, orElse(fixedDisplay[e.Type], d["message"]))
}

func orElse(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// displayTerminated is "Exit Code: 1, Signal: 9, OOM Killed, Exit Message: …",
// with what is known.
func displayTerminated(d map[string]string) string {
	parts := []string{"Exit Code: " + orElse(d["exit_code"], "0")}
	if signal := d["signal"]; signal != "" && signal != "0" {
		parts = append(parts, "Signal: "+signal)
	}
	if d["oom_killed"] == "true" {
		parts = append(parts, "OOM Killed")
	}
	if message := d["exit_message"]; message != "" {
		parts = append(parts, fmt.Sprintf("Exit Message: %q", message))
	}
	return strings.Join(parts, ", ")
}

func displayKilling(d map[string]string) string {
	if reason := d["kill_reason"]; reason != "" {
		return "Killing task: " + reason
	}
	if timeout := d["kill_timeout"]; timeout != "" {
		return "Sent interrupt. Waiting " + timeout + " before force killing"
	}
	return "Sent interrupt"
}

// displayRestarting reads start_delay, a number of nanoseconds.
func displayRestarting(d map[string]string) string {
	text := "Task restarting in " + orElse(d["start_delay"], "0s")
	if ns, err := strconv.ParseInt(d["start_delay"], 10, 64); err == nil {
		text = "Task restarting in " + time.Duration(ns).Round(time.Millisecond).String()
	}
	if reason := d["restart_reason"]; reason != "" && reason != RestartWithinPolicy {
		text = reason + " - " + text
	}
	return text
}

func displaySignaling(d map[string]string) string {
	signal, reason := orElse(d["task_signal"], d["signal"]), d["task_signal_reason"]
	switch {
	case signal == "" && reason == "":
		return "Task being sent a signal"
	case signal == "":
		return "Task being sent a signal: " + reason
	case reason == "":
		return "Task being sent signal " + signal
	}
	return "Task being sent signal " + signal + ": " + reason
}
