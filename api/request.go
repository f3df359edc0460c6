package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/go-hclog"
)

// Handler answers requests of one route. A Response returned beside an error
// only sets headers: the index of a 404 after a read, for instance. Errors are
// turned into status codes by Status.
type Handler func(ctx context.Context, r *Request) (*Response, error)

// Query holds the options that all reads share.
type Query struct {
	Region    string
	Namespace string // never empty; "*" is all
	Stale     bool
	// Index and Wait make the query block until the result's index is greater.
	Index     uint64
	Wait      time.Duration
	Prefix    string
	PerPage   int
	NextToken string
	Reverse   bool
	Filter    string
}

// Request is a request after routing, limits and authorization.
type Request struct {
	Route *Route
	// HTTP is the underlying request. Its body is limited.
	HTTP *http.Request
	// Query holds the common options, Values all parameters.
	Query  Query
	Values url.Values
	// ACL is what the caller's token may do.
	ACL *ACL
	// Token is the caller's secret, "" for none. Never log it.
	Token string
	// Socket is the upgraded connection of a websocket row, nil elsewhere. A
	// handler's error closes it with the error's text; without one the
	// connection is dropped after the handler.
	Socket *websocket.Conn

	params     map[string]string
	authorized bool
	log        hclog.Logger
}

// Param returns the part of the path that ":name" matched.
func (r *Request) Param(name string) string { return r.params[name] }

// Response is what a handler answers.
type Response struct {
	// Body is sent as JSON; nil is "null". A Body that is a json-encodable
	// iterator is not supported: lists are slices, made by List.
	Body any
	// Status is 200 when it is 0.
	Status int
	// Index becomes X-Nomad-Index on rows that carry it.
	Index uint64
	// NextToken becomes X-Nomad-Nexttoken when it is not empty.
	NextToken string
	// Header is added to the response.
	Header http.Header
	// Stream writes the body of a stream row. It runs until it returns or the
	// request's context ends. An error before the first write becomes an error
	// response; later it ends the stream.
	Stream func(ctx context.Context, w *StreamWriter) error
}
