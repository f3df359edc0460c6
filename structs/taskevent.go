package structs

// Types of task events, as clients print them.
const (
	TaskReceived               = "Received"
	TaskSetup                  = "Task Setup"
	TaskSetupFailure           = "Setup Failure"
	TaskStarted                = "Started"
	TaskRunning                = "Running"
	TaskDriverFailure          = "Driver Failure"
	TaskDriverMessage          = "Driver"
	TaskFailedValidation       = "Failed Validation"
	TaskTerminated             = "Terminated"
	TaskKilling                = "Killing"
	TaskKilled                 = "Killed"
	TaskRestarting             = "Restarting"
	TaskNotRestarting          = "Not Restarting"
	TaskRestartSignal          = "Restart Signaled"
	TaskSignaling              = "Signaling"
	TaskDownloadingArtifacts   = "Downloading Artifacts"
	TaskArtifactDownloadFailed = "Failed Artifact Download"
	TaskDiskExceeded           = "Disk Resources Exceeded"
	TaskSiblingFailed          = "Sibling Task Failed"
	TaskLeaderDead             = "Leader Task Dead"
	TaskMainDead               = "Main Tasks Dead"
	TaskHookFailed             = "Task hook failed"
	TaskHookMessage            = "Task hook message"
	TaskRestoreFailed          = "Failed Restoring Task"
	TaskWaitingShutdownDelay   = "Waiting for shutdown delay"
	TaskSkippingShutdownDelay  = "Skipping shutdown delay"
	TaskClientReconnected      = "Reconnected"
)

// TaskEvent is something that happened to a task. Details holds the facts;
// DisplayMessage is computed from them when it is empty (see Display).
type TaskEvent struct {
	Type           string
	Time           int64 // unix nanoseconds
	Message        string
	DisplayMessage string
	Details        map[string]string
}
