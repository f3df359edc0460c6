package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// Upstream is another agent that answers a request.
type Upstream struct {
	Addr string            // "host:port" of its server port
	Via  http.RoundTripper // reaches it
	// Chosen says that it is the one that has to answer and passes the request
	// on to nobody; otherwise it may know who has to.
	Chosen bool
	// Crossing says that it is in another region, which answers or refuses, but
	// passes the request on to no third one.
	Crossing bool
}

// RegionError is what a handler answers about a request that says in its body
// that it is for another region. The request had no effect.
type RegionError struct{ Region string }

// Error is the contract's text.
func (e *RegionError) Error() string { return "No path to region" }

// ErrNotHere is what a handler answers when this agent has ceased to be the
// one that may: the request had no effect and is tried elsewhere. Its text is
// the contract's for a region without a leader.
var ErrNotHere = structs.Errorf(structs.Unavailable, "No cluster leader")

// Headers between agents; from the public port they are ignored.
const (
	// headerHop says that the sender chose the receiver for a reason, which is
	// the Forward of the row: it is not passed on for the same reason.
	headerHop = "Nomadlite-Hop"
	// headerRetry marks an answer that is ErrNotHere.
	headerRetry = "Nomadlite-Retry"
	// headerCrossed marks a request that came from another region.
	headerCrossed = "Nomadlite-Crossed"
	ownHeaders    = "Nomadlite-"
)

// How long a request is tried again after its first failure, and how often: a
// new leader is there sooner.
const (
	relayHold  = 10 * time.Second
	relayPause = 50 * time.Millisecond
	// endGrace is less than an ending agent waits for its requests.
	endGrace = time.Second
)

// answer answers an admitted request here or elsewhere, again when the one who
// should answer went away and the request had no effect.
func (m *Mux) answer(out *responder, r *Request) {
	if f := r.Route.Fixed; f != nil {
		out.fixed(f)
		return
	}
	ctx := r.HTTP.Context()
	if !r.repeatable() && r.Route.Answer != AnswerWebsocket {
		longer, cancel := linger(ctx)
		defer cancel()
		r.HTTP = r.HTTP.WithContext(longer)
	}
	var deadline time.Time
	for {
		err := m.answerOnce(out, r)
		if err == nil {
			return
		}
		var moved *RegionError
		if errors.As(err, &moved) {
			continue // it is for another region: once
		}
		if r.Hop() != "" || r.internal && ctx.Err() != nil {
			out.notHere(err) // this agent is not the one, or ends
			return
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(relayHold)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			out.fail(err)
			return
		}
		select {
		case <-time.After(relayPause):
		case <-ctx.Done():
		}
	}
}

// linger is ctx, but its end comes endGrace later: a write that is under way
// when its agent ends is still done, so that nobody has to ask whether it was.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(endGrace):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

// notHere tells another agent that a request had no effect here.
func (o *responder) notHere(err error) {
	o.w.Header().Set(headerRetry, "1")
	o.text(http.StatusMisdirectedRequest, err.Error())
}

// answerOnce tries once; an error means that nothing was answered and that the
// request may be tried again.
func (m *Mux) answerOnce(out *responder, r *Request) error {
	up, err := m.elsewhere(r)
	switch {
	case errors.Is(err, ErrNotHere) && r.internal: // another agent may know better
		out.notHere(err)
		return nil
	case err != nil:
		out.fail(err)
		return nil
	case up != nil:
		return m.relay(out, r, up)
	}
	return m.answerHere(out, r)
}

func (m *Mux) elsewhere(r *Request) (*Upstream, error) {
	if m.cfg.Elsewhere == nil || r.Route.Forward == ForwardLocal {
		return nil, nil
	}
	return m.cfg.Elsewhere(r.HTTP.Context(), r)
}

// Hop is why another agent chose this one, "" for a request of a user.
func (r *Request) Hop() Forward {
	if !r.internal {
		return ""
	}
	return Forward(r.HTTP.Header.Get(headerHop))
}

// Crossed reports whether the request came from another region.
func (r *Request) Crossed() bool { return r.internal && r.HTTP.Header.Get(headerCrossed) != "" }

// moveTo makes a request one for another region; false when it came from there.
func (r *Request) moveTo(region string) bool {
	if r.Crossed() || r.Query.Region == region {
		return false
	}
	r.Query.Region = region
	r.Values.Set("region", region)
	r.HTTP.URL.RawQuery = r.Values.Encode()
	return true
}

// repeatable reports whether a request may be sent twice.
func (r *Request) repeatable() bool {
	return r.HTTP.Method == http.MethodGet || r.Route.Meta == MetaRead || r.Route.Internal()
}

// relay passes a request on and its answer back, both as they are.
func (m *Mux) relay(out *responder, r *Request, up *Upstream) error {
	body := io.Reader(r.HTTP.Body)
	if r.Route.Answer != AnswerWebsocket {
		b, err := r.Body()
		if err != nil {
			out.fail(err)
			return nil
		}
		body = bytes.NewReader(b)
	}
	resp, err := send(r.HTTP.Context(), r, up, r.HTTP.Method, body)
	if err != nil {
		return m.relayFailed(out, r, up, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusMisdirectedRequest && resp.Header.Get(headerRetry) != "" {
		return ErrNotHere
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		// Rows do not redirect, and the caller would follow with its token.
		m.log.Warn("an agent answered with a redirect", "peer", up.Addr, "path", r.HTTP.URL.Path, "location", resp.Header.Get("Location"))
		out.fail(structs.Errorf(structs.Unavailable, "cannot use the answer of %s: it is a redirect", up.Addr))
		return nil
	}
	h := out.w.Header()
	for k, v := range resp.Header {
		if r.internal || !strings.HasPrefix(k, ownHeaders) {
			h[k] = v
		}
	}
	out.send(resp.StatusCode)
	if err := out.copyBody(resp.Body); err != nil {
		m.log.Debug("relayed response cut short", "path", r.HTTP.URL.Path, "peer", up.Addr, "error", err)
		panic(http.ErrAbortHandler) // never a part for the whole
	}
	return nil
}

// relayFailed decides about a request that got no answer.
func (m *Mux) relayFailed(out *responder, r *Request, up *Upstream, err error) error {
	if ctx := r.HTTP.Context(); ctx.Err() != nil && r.internal && r.repeatable() {
		return ErrNotHere // this agent ends: another can still answer
	} else if ctx.Err() != nil {
		out.fail(ctx.Err())
		return nil
	}
	var dial *wire.DialError
	if errors.As(err, &dial) || r.repeatable() {
		m.log.Debug("cannot relay a request; trying again", "path", r.HTTP.URL.Path, "peer", up.Addr, "error", err)
		return structs.Errorf(structs.Unavailable, "cannot reach %s, which has to answer: %w", up.Addr, err)
	}
	out.fail(structs.Errorf(structs.Unavailable, "cannot say whether the request was done: the connection to %s ended: %w; look before you repeat it", up.Addr, err))
	return nil
}

// send sends a request to another agent on behalf of its caller.
func send(ctx context.Context, r *Request, up *Upstream, method string, body io.Reader) (*http.Response, error) {
	u := *r.HTTP.URL
	u.Scheme, u.Host = "http", up.Addr
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for k, v := range r.HTTP.Header {
		if !perConnection[k] && !strings.HasPrefix(k, ownHeaders) {
			req.Header[k] = v
		}
	}
	if r.Token != "" {
		req.Header.Set("X-Nomad-Token", r.Token)
	}
	if up.Chosen {
		req.Header.Set(headerHop, string(r.Route.Forward))
	}
	if up.Crossing || r.Crossed() {
		req.Header.Set(headerCrossed, "1")
	}
	return up.Via.RoundTrip(req)
}

// perConnection headers say something about one connection alone.
var perConnection = map[string]bool{
	"Connection": true, "Upgrade": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Proxy-Connection": true, "Host": true, "Content-Length": true,
	"Sec-Websocket-Key": true, "Sec-Websocket-Version": true, "Sec-Websocket-Extensions": true, "Sec-Websocket-Protocol": true,
}

// copyBody copies what comes, flushed as it comes; it fails when the caller
// does not read for writeTimeout.
func (o *responder) copyBody(body io.Reader) error {
	ctl := http.NewResponseController(o.w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			_ = ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, werr := o.w.Write(buf[:n]); werr != nil {
				return werr
			}
			if ferr := ctl.Flush(); ferr != nil {
				return ferr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
	}
}
