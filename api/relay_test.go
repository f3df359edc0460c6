package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// agentStub answers as another agent.
type agentStub func(*http.Request) *http.Response

// RoundTrip implements http.RoundTripper.
func (f agentStub) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// TestNodeCannotRedirect_X09: what a node answers to a request that is passed
// on to it sends neither the server nor the caller, with its token, elsewhere.
func TestNodeCannotRedirect_X09(t *testing.T) {
	var asked []string
	node := agentStub(func(r *http.Request) *http.Response {
		asked = append(asked, r.URL.String())
		return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://evil.example/v1/vars"}}, Body: io.NopCloser(strings.NewReader(""))}
	})
	mux := NewMux(MuxConfig{Resolve: NoACLs, AllowedHosts: []string{"*"}, Elsewhere: func(context.Context, *Request) (*Upstream, error) {
		return &Upstream{Addr: "node", Via: node, Chosen: true}, nil
	}})
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/v1/client/stats?node_id=x", nil)
	req.Header.Set("X-Nomad-Token", "secret")
	mux.ServeHTTP(w, req)
	if w.Code != http.StatusInternalServerError || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), "it is a redirect") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if len(asked) != 1 || !strings.HasPrefix(asked[0], "http://node/") {
		t.Errorf("requests went to %v", asked)
	}
}
