package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/nomadlite/nomadlite/structs"
)

// handle is the msgpack dialect between agents, the same as the log's: untyped
// numbers are signed, so that a value is the same after any round trip.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.Canonical = true
	h.RawToString = true
	h.SignedInteger = true
	h.WriteExt = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	return h
}()

func encodeBinary(v any) ([]byte, error) {
	var b []byte
	err := codec.NewEncoderBytes(&b, handle).Encode(v)
	return b, err
}

// headerKind carries the kind of an error between agents.
const headerKind = "Nomadlite-Error"

// Internal makes the handler of an internal row.
func Internal[In, Out any](f func(ctx context.Context, in *In) (*Out, error)) Handler {
	return func(ctx context.Context, r *Request) (*Response, error) {
		body, err := r.Body()
		if err != nil {
			return nil, err
		}
		in := new(In)
		if err := codec.NewDecoderBytes(body, handle).Decode(in); err != nil {
			return nil, structs.Errorf(structs.Invalid, "cannot read the request: %w", err)
		}
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return &Response{Body: out}, nil
	}
}

// Empty is the body of internal rows that say nothing.
type Empty struct{}

// CallInternal calls an internal row of the agent at addr ("host:port" of its
// server port). Errors of the other side are structs errors of the same kind;
// any other error means that it may not have been reached.
func CallInternal[Out any](ctx context.Context, via http.RoundTripper, addr, path string, in any) (*Out, error) {
	body, err := encodeBinary(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := via.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return nil, remoteError(resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxInternalAnswer))
	if err != nil {
		return nil, err
	}
	out := new(Out)
	if err := codec.NewDecoderBytes(raw, handle).Decode(out); err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s to %s: %w", addr, path, err)
	}
	return out, nil
}

// maxInternalAnswer bounds an answer between agents: all allocations of one
// node, each with its job.
const maxInternalAnswer = 256 << 20

// remoteError is the error that another agent answered with.
func remoteError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	kind, err := strconv.ParseUint(resp.Header.Get(headerKind), 10, 8)
	if err != nil {
		return &ResponseError{Code: resp.StatusCode, Body: string(text)}
	}
	return structs.Errorf(structs.ErrorKind(kind), "%s", text)
}

// OpenInternal reads a stream of a public row through another agent. The
// caller closes it.
func OpenInternal(ctx context.Context, via http.RoundTripper, addr, path, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Nomad-Token", token)
	resp, err := via.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer drain(resp.Body)
		return nil, remoteError(resp)
	}
	return resp.Body, nil
}
