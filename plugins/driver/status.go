package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nomadlite/nomadlite/plugins/proto/sharedpb"
)

// shutdownWait is how long a call whose connection broke waits for the
// process to be known as ended, before it calls the break an ordinary error.
const shutdownWait = 3 * time.Second

// toStatus is how a driver's error travels.
func toStatus(err error) error {
	var r *RecoverableError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		s, detailErr := status.New(codes.FailedPrecondition, err.Error()).
			WithDetails(&sharedpb.RecoverableError{Recoverable: r.Recoverable})
		if detailErr != nil {
			return err
		}
		return s.Err()
	case errors.Is(err, ErrNotSupported):
		return status.Error(codes.Unimplemented, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// remoteError has the text of the other side and the sentinel it stands for.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// fromStatus turns the error of an RPC into ours. done ends with the plugin
// process.
func fromStatus(ctx context.Context, done <-chan struct{}, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := s.Message()
	switch {
	case s.Code() == codes.FailedPrecondition:
		if details := s.Details(); len(details) > 0 {
			if r, ok := details[0].(*sharedpb.RecoverableError); ok {
				return &RecoverableError{Err: sentinel(text), Recoverable: r.GetRecoverable()}
			}
		}
	case s.Code() == codes.Unimplemented:
		return &remoteError{text: text, is: ErrNotSupported}
	case s.Code() == codes.Unavailable, s.Code() == codes.Canceled:
		return broken(ctx, done, text)
	}
	return sentinel(text)
}

// sentinel recognises the errors that travel by their text.
func sentinel(text string) error {
	for _, known := range []error{ErrTaskNotFound, ErrTaskRunning} {
		if text == known.Error() {
			return known
		}
		if strings.Contains(text, known.Error()) {
			return &remoteError{text: text, is: known}
		}
	}
	return errors.New(text)
}

// broken decides what a lost connection means by waiting for the end of the
// plugin process.
func broken(ctx context.Context, done <-chan struct{}, text string) error {
	timer := time.NewTimer(shutdownWait)
	defer timer.Stop()
	select {
	case <-done:
		return fmt.Errorf("%w: %s", ErrPluginShutdown, text)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New(text)
	}
}
