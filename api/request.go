package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/structs"
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
	// Wait is between 0 and MaxWait, DefaultWait when not given.
	Index     uint64
	Wait      time.Duration
	Prefix    string
	PerPage   int // 0 is all
	NextToken string
	Reverse   bool
	Filter    string
}

// Request is a request after routing, limits and authorization.
type Request struct {
	Route *Route
	// HTTP is the underlying request. Its body is limited; use Decode or Body.
	HTTP *http.Request
	// Query holds the common options, Values all parameters.
	Query  Query
	Values url.Values
	// ACL is what the caller's token may do.
	ACL *ACL
	// Token is the caller's secret, "" for none. Never log it.
	Token string

	params     map[string]string
	filter     *filter // Query.Filter, compiled
	control    *http.ResponseController
	exec       execConn // of a websocket row
	internal   bool     // it came over the server port
	body       []byte   // read by Body
	authorized bool
}

// Response is what a handler answers.
type Response struct {
	// Body is sent as JSON; nil is "null", a nil slice "[]".
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

// Param returns the part of the path that ":name" matched.
func (r *Request) Param(name string) string { return r.params[name] }

// NodeID is the node that a request names, "" for that of the asked agent.
func (r *Request) NodeID() string {
	if r.Route.Name == routeApplyMeta {
		body := NodeMetaApplyRequest{}
		if _, err := r.DecodeOptional(&body); err == nil && body.NodeID != "" { // its handler tells an error
			return body.NodeID
		}
	}
	return r.Values.Get("node_id")
}

// Bool reads a boolean parameter; an empty or absent one is def. A bad value
// is a 500 by the contract (http-api.md 1.2).
func (r *Request) Bool(name string, def bool) (bool, error) {
	s := r.Values.Get(name)
	if s == "" {
		return def, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, structs.Errorf(structs.Internal, "Failed to parse value of %q (%v) as a bool: %w", name, s, err)
	}
	return v, nil
}

// Uint reads a number; ok is false when the parameter is absent or empty.
func (r *Request) Uint(name string) (n uint64, ok bool, err error) {
	s := r.Values.Get(name)
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, true, structs.Errorf(structs.Invalid, "Failed to parse value of %q (%v) as a number: %w", name, s, err)
	}
	return n, true, nil
}

// Authorize checks the row's capability in a namespace. Handlers of rows whose
// namespace comes from the body or from an object must call it before they
// act or answer.
func (r *Request) Authorize(namespace string) error {
	if !r.ACL.Allows(r.Route.Capability, namespace) {
		return errDenied
	}
	r.authorized = true
	return nil
}

// bodyTimeout bounds how long a request body may take to arrive.
const bodyTimeout = 60 * time.Second

// Body reads the whole request body, at most the row's limit. It may be called
// again.
func (r *Request) Body() ([]byte, error) {
	if r.body != nil || r.HTTP.Body == nil {
		return r.body, nil
	}
	if r.control != nil {
		_ = r.control.SetReadDeadline(time.Now().Add(bodyTimeout))
		defer func() { _ = r.control.SetReadDeadline(time.Time{}) }()
	}
	var b bytes.Buffer
	if n := r.HTTP.ContentLength; n > 0 && n <= r.Route.BodyLimit {
		b.Grow(int(n) + bytes.MinRead) // else large bodies are copied many times
	}
	_, err := b.ReadFrom(http.MaxBytesReader(nil, r.HTTP.Body, r.Route.BodyLimit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, structs.Errorf(structs.Invalid, "cannot read the request body: %w", err)
	}
	r.body = b.Bytes()
	return r.body, nil
}

// Decode reads the request body as JSON into v. A missing body is an error.
func (r *Request) Decode(v any) error {
	ok, err := r.DecodeOptional(v)
	if err == nil && !ok {
		return structs.Errorf(structs.Invalid, "Request body is empty")
	}
	return err
}

// DecodeOptional is Decode for routes whose body may be missing; ok is false
// then, and also when the body is "null".
func (r *Request) DecodeOptional(v any) (ok bool, err error) {
	b, err := r.Body()
	if err != nil {
		return false, err
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 || string(b) == "null" {
		return false, nil
	}
	if err := checkShape(b); err != nil {
		return false, err
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		return false, structs.Errorf(structs.Invalid, "%w", err)
	}
	return true, checkNulls(reflect.ValueOf(v))
}

// Limits of a JSON body (reliability.md 1d): decoded, an object takes hundreds
// of bytes even when it is empty, and any value some.
const (
	maxDepth   = 100
	maxObjects = 50_000
	maxValues  = 500_000
)

// checkShape refuses deep JSON, and JSON of very many parts, before the decoder
// sees it.
func checkShape(b []byte) error {
	depth, objects, values, inString := 0, 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == ',':
			if values++; values > maxValues {
				return structs.Errorf(structs.Invalid, "request body has more than %d values", maxValues)
			}
		case c == '{' || c == '[':
			if objects++; objects > maxObjects {
				return structs.Errorf(structs.Invalid, "request body has more than %d objects and lists", maxObjects)
			}
			if depth++; depth > maxDepth {
				return structs.Errorf(structs.Invalid, "request body is nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// checkNulls refuses null where a list or a map holds objects: no code behind
// the API expects it, and no client means it.
func checkNulls(v reflect.Value) error {
	if path, found := findNull(v); found {
		return structs.Errorf(structs.Invalid, "%s is null: give an object or leave it out", strings.TrimPrefix(path, "."))
	}
	return nil
}

// findNull finds such a null and says where it is, as ".TaskGroups[0].Tasks[1]".
// The path is put together on the way back: most bodies have none.
func findNull(v reflect.Value) (path string, found bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return findNull(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if !f.CanInterface() { // not exported
				continue
			}
			if path, found = findNull(f); found {
				return "." + v.Type().Field(i).Name + path, true
			}
		}
	case reflect.Slice, reflect.Array:
		if !mayHoldObjects(v.Type().Elem()) {
			return "", false
		}
		for i := range v.Len() {
			if path, found = nullElement(v.Index(i)); found {
				return fmt.Sprintf("[%d]%s", i, path), true
			}
		}
	case reflect.Map:
		if !mayHoldObjects(v.Type().Elem()) {
			return "", false
		}
		for iter := v.MapRange(); iter.Next(); {
			if path, found = nullElement(iter.Value()); found {
				return fmt.Sprintf("[%v]%s", iter.Key(), path), true
			}
		}
	}
	return "", false
}

func mayHoldObjects(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return t.Elem().Kind() == reflect.Struct
	case reflect.Struct, reflect.Slice, reflect.Map:
		return true
	}
	return false
}

func nullElement(v reflect.Value) (path string, found bool) {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return "", true
	}
	return findNull(v)
}

// parseQuery reads the options that all reads share (http-api.md 1.2).
func parseQuery(v url.Values) (Query, error) {
	q := Query{
		Region:    v.Get("region"),
		Namespace: first(v.Get("namespace"), structs.DefaultNamespace),
		Prefix:    v.Get("prefix"),
		NextToken: v.Get("next_token"),
		Reverse:   v.Get("reverse") == "true",
		Filter:    v.Get("filter"),
		Wait:      DefaultWait,
	}
	if s, given := v["stale"]; given {
		switch s[0] {
		case "", "true":
			q.Stale = true
		case "false":
		default:
			return q, structs.Errorf(structs.Invalid, "Expect `true` or `false` for `stale` query string parameter")
		}
	}
	var err error
	if s := v.Get("index"); s != "" {
		if q.Index, err = strconv.ParseUint(s, 10, 64); err != nil {
			return q, structs.Errorf(structs.Invalid, "Invalid index")
		}
	}
	if s := v.Get("wait"); s != "" {
		if q.Wait, err = time.ParseDuration(s); err != nil {
			return q, structs.Errorf(structs.Invalid, "Invalid wait time")
		}
		q.Wait = min(max(q.Wait, 0), MaxWait)
		if q.Wait == 0 {
			q.Wait = DefaultWait
		}
	}
	if s := v.Get("per_page"); s != "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return q, structs.Errorf(structs.Invalid, "Expect a number for `per_page` query string parameter")
		}
		q.PerPage = int(max(n, 0))
	}
	return q, nil
}

// callerToken returns the secret that a request carries: the X-Nomad-Token
// header, else a bearer token. Never a parameter: URLs are logged.
func callerToken(h http.Header) (string, error) {
	if len(h.Values("X-Nomad-Token")) > 1 {
		return "", structs.Errorf(structs.Invalid, "the header X-Nomad-Token was given twice: send one")
	}
	if t := strings.TrimSpace(h.Get("X-Nomad-Token")); t != "" {
		return t, nil
	}
	if scheme, token, ok := strings.Cut(h.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token), nil
	}
	return "", nil
}
