// Package driver is the driver plugin protocol, version v0.1.0: what a driver
// is, how one is served from a plugin process, and how an agent starts, finds
// and calls one. It knows nothing of jobs, allocations or the agent.
//
// The author of a driver writes a Driver and calls Serve. The agent calls
// Launch and gets a Client, which is a Driver too: the same calls, over gRPC.
package driver

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// APIVersion is the version of the driver protocol that this package speaks.
const APIVersion = "v0.1.0"

// HandleVersion is the version of the handles that our drivers make.
const HandleVersion = 1

// DetachSignal in place of a signal's name asks StopTask to let go of a task
// without killing it. Drivers that cannot may treat it as an unknown signal.
const DetachSignal = "DETACH"

// HealthDescriptionHealthy is the description of a driver that works.
const HealthDescriptionHealthy = "Healthy"

// Driver is what every driver does. What only some can do are the optional
// interfaces below; Capabilities must agree with them.
//
// All methods may be called at once from many goroutines. A method that
// streams calls send from one goroutine and returns when ctx has ended, when
// send fails, or when it has no more to tell. An unknown task id is answered
// with ErrTaskNotFound.
type Driver interface {
	base.Plugin
	Describer
	Runner
	Observer
}

// Describer says what a driver is.
type Describer interface {
	// TaskConfigSchema is the schema of a task's config block.
	TaskConfigSchema(ctx context.Context) (*hclspec.Spec, error)

	// Capabilities never change while a plugin process lives.
	Capabilities(ctx context.Context) (*Capabilities, error)

	// Fingerprint sends the driver's state at once, then when it changed or
	// periodically, until ctx ends.
	Fingerprint(ctx context.Context, send func(*Fingerprint) error) error
}

// Runner leads a task through its life. Each start has its own task id.
type Runner interface {
	// RecoverTask takes over a task that an earlier process started. Success
	// when the task is already known. A task that has exited meanwhile is
	// recovered too, if its result is known.
	RecoverTask(ctx context.Context, handle *TaskHandle) error

	// StartTask starts a task and returns without waiting for its end. An
	// error leaves nothing behind. Recoverable(err) says that another try may
	// succeed, any other error that none will.
	StartTask(ctx context.Context, task *TaskConfig) (*TaskHandle, *NetworkOverride, error)

	// WaitTask blocks until the task has exited, any number of times and also
	// after its exit. An ended ctx ends the wait alone.
	WaitTask(ctx context.Context, taskID string) (*ExitResult, error)

	// StopTask sends the signal (empty: the driver's default), waits for the
	// timeout and kills; it returns when the task has stopped. A task that
	// has exited already is no error.
	StopTask(ctx context.Context, taskID string, timeout time.Duration, signal string) error

	// DestroyTask removes all that is left of a task. A running task is
	// killed with force, and an error without: ErrTaskRunning.
	DestroyTask(ctx context.Context, taskID string, force bool) error
}

// Observer tells about tasks.
type Observer interface {
	// InspectTask is the state of a task.
	InspectTask(ctx context.Context, taskID string) (*TaskStatus, error)

	// TaskStats sends usage at once and then every interval until the task
	// has exited or ctx ends.
	TaskStats(ctx context.Context, taskID string, interval time.Duration, send func(*TaskStats) error) error

	// TaskEvents sends what the driver has to say about its tasks, to every
	// caller, until ctx ends.
	TaskEvents(ctx context.Context, send func(*TaskEvent) error) error
}

// Signaler is a Driver with Capabilities.SendSignals.
type Signaler interface {
	// SignalTask sends a signal by name ("SIGHUP"; "HUP" is the same).
	SignalTask(ctx context.Context, taskID, signal string) error
}

// Executor is a Driver with Capabilities.Exec.
type Executor interface {
	// ExecTask runs a command beside the task, with its environment and
	// isolation, and kills it after the timeout. A command that ran and
	// failed is no error: its code is in the result.
	ExecTask(ctx context.Context, taskID string, command []string, timeout time.Duration) (*ExecResult, error)

	// ExecTaskStreaming runs a command whose streams are the caller's. The
	// driver receives input from the stream and sends output to it, closes
	// both outputs, then sends Exited with the result and returns nil. With a
	// terminal all output is standard output and standard error is closed at
	// once. ServeExec does all of this for a driver that has pipes.
	ExecTaskStreaming(ctx context.Context, taskID string, request *ExecRequest, stream ExecStream) error
}

// NetworkManager is a Driver that makes network namespaces itself
// (Capabilities.MustCreateNetwork).
type NetworkManager interface {
	// CreateNetwork makes the namespace of an allocation. created is false
	// when it existed before.
	CreateNetwork(ctx context.Context, allocID, hostname string) (spec *NetworkIsolationSpec, created bool, err error)

	// DestroyNetwork removes what CreateNetwork made; a namespace that is
	// gone already is no error.
	DestroyNetwork(ctx context.Context, allocID string, spec *NetworkIsolationSpec) error
}

// Lifecycle is a Driver that wants to know when its use begins and ends.
type Lifecycle interface {
	// Init is called once after SetConfig, before any task.
	Init(ctx context.Context) error

	// Shutdown is called before the process is asked to end; the caller waits
	// at most two seconds. Tasks stay.
	Shutdown(ctx context.Context) error
}

// ExecStream is the caller's end of an exec session.
type ExecStream interface {
	// Recv is the next input; io.EOF when the caller sends no more. Only one
	// goroutine may call it.
	Recv(ctx context.Context) (*ExecInput, error)

	// Send hands output over. Safe for concurrent use is not promised: callers
	// serialize.
	Send(*ExecOutput) error
}
