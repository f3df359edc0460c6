package driver

import "errors"

// ErrTaskNotFound is the answer to an unknown task id. Its text is the
// contract's; over gRPC it is recognised by the text.
var ErrTaskNotFound = errors.New("task not found for given id")

// ErrTaskRunning is DestroyTask's refusal of a running task without force.
var ErrTaskRunning = errors.New("cannot destroy running task")

// ErrPluginShutdown says that the plugin process has ended or its connection
// is lost. Start the process again, recover its tasks and repeat the call.
var ErrPluginShutdown = errors.New("plugin is shut down")

// ErrNotSupported is the answer to a call of an optional interface that the
// driver does not have.
var ErrNotSupported = errors.New("driver does not support this operation")

// RecoverableError carries the driver's judgement whether the same call may
// succeed later.
type RecoverableError struct {
	Err         error
	Recoverable bool
}

// Error is the text of the wrapped error.
func (e *RecoverableError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *RecoverableError) Unwrap() error { return e.Err }

// Recoverable marks an error as one that another try may avoid.
func Recoverable(err error) error {
	if err == nil {
		return nil
	}
	return &RecoverableError{Err: err, Recoverable: true}
}

// IsRecoverable reports whether a driver said that another try may help. An
// error that says nothing about it is not recoverable.
func IsRecoverable(err error) bool {
	var r *RecoverableError
	return errors.As(err, &r) && r.Recoverable
}
