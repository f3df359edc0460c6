package structs

import (
	"errors"
	"fmt"
)

// ErrorKind classifies errors; one table each maps it to an HTTP status and an
// exit code.
type ErrorKind uint8

// Kinds of errors.
const (
	Internal    ErrorKind = iota // our fault, or not classified: HTTP 500
	Invalid                      // the request cannot be right: 400
	NotFound                     // no such object: 404
	Conflict                     // exists or changed meanwhile: 409
	Denied                       // not allowed: 403
	Unavailable                  // no leader, not now: 500 with its text
	TooLarge                     // over a limit: 413
	Unsupported                  // not in this build or edition: 501
	BadMethod                    // wrong verb: 405
	Rejected                     // validation failed: 500 by the contract
)

// Error is an error with a kind. Its text is the public message.
type Error struct {
	Kind ErrorKind
	Text string
	Err  error // the cause, may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given kind; %w keeps the cause.
func Errorf(kind ErrorKind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Text: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of the first *Error in err's chain, else Internal.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
