package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nomadlite/nomadlite/structs"
)

// statuses maps kinds of errors to HTTP status codes; it is the only place
// that does.
var statuses = map[structs.ErrorKind]int{
	structs.Internal:    http.StatusInternalServerError,
	structs.Invalid:     http.StatusBadRequest,
	structs.NotFound:    http.StatusNotFound,
	structs.Conflict:    http.StatusConflict,
	structs.Denied:      http.StatusForbidden,
	structs.Unavailable: http.StatusInternalServerError,
	structs.TooLarge:    http.StatusRequestEntityTooLarge,
	structs.Unsupported: http.StatusNotImplemented,
	structs.BadMethod:   http.StatusMethodNotAllowed,
	structs.Rejected:    http.StatusInternalServerError,
}

// StatusError is an error with a status code that no kind has: 429, 415, ….
type StatusError struct {
	Code int
	Text string
}

// Error is the body of the response.
func (e *StatusError) Error() string { return e.Text }

// Status returns the status code of an error and the body to send.
func Status(err error) (int, string) {
	var own *StatusError
	if errors.As(err, &own) {
		return own.Code, own.Text
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("request body is larger than %d bytes", tooLarge.Limit)
	}
	return statuses[structs.KindOf(err)], err.Error()
}
