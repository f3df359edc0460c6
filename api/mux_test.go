package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
	"pgregory.net/rapid"
)

// testMux binds every row that is not fixed to h.
func testMux(cfg MuxConfig, h Handler) *Mux {
	if cfg.Resolve == nil {
		cfg.Resolve = NoACLs
	}
	m := NewMux(cfg)
	for _, name := range m.Check() {
		m.Bind(name, h)
	}
	return m
}

func echo(_ context.Context, r *Request) (*Response, error) {
	return &Response{Index: 7, Body: map[string]any{"route": r.Route.Name, "params": r.params}}, nil
}

func call(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Host = "127.0.0.1:4646"
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestPaths(t *testing.T) {
	m := testMux(MuxConfig{}, echo)
	for _, tt := range []struct{ method, path, route, params string }{
		{"GET", "/v1/jobs", "job.list", `{}`},
		{"POST", "/v1/jobs", "job.register", `{}`},
		{"PUT", "/v1/jobs/parse", "job.parse", `{}`},
		{"GET", "/v1/job/web", "job.read", `{"id":"web"}`},
		{"DELETE", "/v1/job/web", "job.stop", `{"id":"web"}`},
		{"GET", "/v1/job/cron%2Fperiodic-1700000000", "job.read", `{"id":"cron/periodic-1700000000"}`},
		{"GET", "/v1/job/cron/periodic-1700000000", "job.read", `{"id":"cron/periodic-1700000000"}`},
		{"GET", "/v1/job/a%2Fdispatch-1-deadbeef/allocations", "job.allocations", `{"id":"a/dispatch-1-deadbeef"}`},
		{"GET", "/v1/job/allocations/allocations", "job.allocations", `{"id":"allocations"}`},
		{"PUT", "/v1/job/a/b/periodic/force", "job.periodicForce", `{"id":"a/b"}`},
		{"PUT", "/v1/job/a/dispatch/payload", "job.dispatchPayload", `{"id":"a"}`},
		{"PUT", "/v1/job/a/dispatch", "job.dispatch", `{"id":"a"}`},
		{"GET", "/v1/job/periodic/force", "job.read", `{"id":"periodic/force"}`},
		{"GET", "/v1/job/a%20b", "job.read", `{"id":"a b"}`},
		{"GET", "/v1/evaluations/count", "eval.count", `{}`},
		{"GET", "/v1/deployment/allocations/d", "deployment.allocations", `{"id":"d"}`},
		{"GET", "/v1/deployment/d", "deployment.read", `{"id":"d"}`},
		{"GET", "/v1/node/pools", "nodePool.list", `{}`},
		{"GET", "/v1/node/pool/gpu/nodes", "nodePool.nodes", `{"name":"gpu"}`},
		{"GET", "/v1/node/n1", "node.read", `{"id":"n1"}`},
		{"GET", "/v1/client/fs/logs/a1", "client.fsLogs", `{"id":"a1"}`},
		{"GET", "/v1/job/", "", ""},
		{"GET", "/v1/unknown", "", ""},
		{"GET", "/", "redirect", ""},
	} {
		w := call(m, tt.method, tt.path, "{}")
		switch tt.route {
		case "":
			if w.Code != 404 || w.Body.Len() != 0 {
				t.Errorf("%s %s: %d %q, want an empty 404", tt.method, tt.path, w.Code, w.Body)
			}
		case "redirect":
			if w.Code != 307 || w.Header().Get("Location") != "/ui/" {
				t.Errorf("/: %d to %q", w.Code, w.Header().Get("Location"))
			}
		default:
			want := `{"params":` + tt.params + `,"route":"` + tt.route + `"}`
			if w.Code != 200 || w.Body.String() != want {
				t.Errorf("%s %s: %d %s, want %s", tt.method, tt.path, w.Code, w.Body, want)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	boom := func(context.Context, *Request) (*Response, error) { panic("boom") }
	missing := func(context.Context, *Request) (*Response, error) {
		return &Response{Index: 42}, structs.Errorf(structs.NotFound, "job not found")
	}
	list := func(context.Context, *Request) (*Response, error) {
		return &Response{Index: 3, NextToken: "default.b", Body: []string(nil)}, nil
	}
	html := func(context.Context, *Request) (*Response, error) {
		return &Response{Index: 3, Body: []string{"<a&b>", "x"}}, nil
	}
	for _, tt := range []struct {
		name, method, path string
		handler            Handler
		header             []string
		status             int
		body               string
		want               map[string]string
	}{
		{name: "list", method: "GET", path: "/v1/jobs", handler: list, status: 200, body: "[]",
			want: map[string]string{"Content-Type": "application/json", "X-Nomad-Index": "3", "X-Nomad-Knownleader": "true", "X-Nomad-Lastcontact": "5", "X-Nomad-Nexttoken": "default.b", "Vary": "Accept-Encoding", "X-Extra": "yes"}},
		{name: "html", method: "GET", path: "/v1/jobs", handler: html, status: 200, body: `["<a&b>","x"]`},
		{name: "pretty", method: "GET", path: "/v1/jobs?pretty", handler: html, status: 200, body: "[\n    \"<a&b>\",\n    \"x\"\n]\n"},
		{name: "not pretty", method: "GET", path: "/v1/jobs?pretty=0", handler: html, status: 200, body: `["<a&b>","x"]`},
		{name: "not found", method: "GET", path: "/v1/job/x", handler: missing, status: 404, body: "job not found",
			want: map[string]string{"Content-Type": "text/plain; charset=utf-8", "X-Nomad-Index": "42", "X-Nomad-Knownleader": "true"}},
		{name: "panic", method: "GET", path: "/v1/job/x", handler: boom, status: 500, body: "internal error: see the agent's log"},
		{name: "verb", method: "PATCH", path: "/v1/jobs", handler: list, status: 405, body: "Invalid method"},
		{name: "head", method: "HEAD", path: "/v1/jobs", handler: list, status: 405, body: "Invalid method"},
		{name: "gc by post", method: "POST", path: "/v1/system/gc", handler: list, status: 405, body: "Invalid method"},
		{name: "raft verb", method: "PUT", path: "/v1/operator/raft/configuration", handler: list, status: 405, body: ""},
		{name: "raft peer verb", method: "PUT", path: "/v1/operator/raft/peer", handler: list, status: 404, body: "Invalid method"},
		{name: "var verb", method: "HEAD", path: "/v1/var/a/b", handler: list, status: 400, body: "Invalid method"},
		{name: "sub path", method: "GET", path: "/v1/allocation/a/b/c", handler: list, status: 404, body: "resource not found"},
		{name: "fs", method: "GET", path: "/v1/client/fs/other/a", handler: list, status: 404, body: "Invalid method"},
		{name: "plugins", method: "GET", path: "/v1/plugins", handler: list, status: 200, body: "[]", want: map[string]string{"X-Nomad-Index": "1"}},
		{name: "plugin", method: "GET", path: "/v1/plugin/csi/a", handler: list, status: 404, body: "plugin not found"},
		{name: "quotas", method: "GET", path: "/v1/quotas", handler: list, status: 501, body: "Nomad Enterprise only endpoint"},
		{name: "license", method: "GET", path: "/v1/operator/license", handler: list, status: 204, body: ""},
		{name: "acl", method: "GET", path: "/v1/acl/policy/x", handler: list, status: 400, body: "ACL support disabled"},
		{name: "preflight", method: "OPTIONS", path: "/v1/client/fs/ls/a", handler: list, status: 204, body: "",
			want: map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "", "Vary": "Origin"}},
		{name: "no preflight", method: "OPTIONS", path: "/v1/jobs", handler: list, status: 405, body: "Invalid method"},
		{name: "foreign write", method: "PUT", path: "/v1/jobs", handler: list, header: []string{"Origin", "https://evil.example"}, status: 403,
			body: `request refused: it comes from a page of another origin ("https://evil.example")`},
		{name: "cross-site", method: "DELETE", path: "/v1/job/x", handler: list, header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403,
			body: `request refused: it comes from a page of another origin ("cross-site")`},
		{name: "cross-site gc", method: "GET", path: "/v1/client/gc", handler: list, header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403,
			body: `request refused: it comes from a page of another origin ("cross-site")`},
		{name: "foreign write with token", method: "PUT", path: "/v1/jobs", handler: list, header: []string{"Origin", "https://evil.example", "X-Nomad-Token", "t"}, status: 200, body: "[]"},
		{name: "foreign exec", method: "GET", path: "/v1/client/allocation/a/exec", handler: list, header: []string{"Origin", "https://evil.example", "X-Nomad-Token", "t", "Upgrade", "websocket"}, status: 403,
			body: `request refused: it comes from a page of another origin ("https://evil.example")`},
		{name: "own write", method: "PUT", path: "/v1/jobs", handler: list, header: []string{"Origin", "http://127.0.0.1:4646", "Sec-Fetch-Site", "same-origin"}, status: 200, body: "[]"},
		{name: "no websocket", method: "GET", path: "/v1/client/allocation/a/exec", handler: list, status: 500, body: "websocket connection not found in context"},
		{name: "two tokens", method: "GET", path: "/v1/jobs", handler: list, header: []string{"X-Nomad-Token", "a", "X-Nomad-Token", "b"}, status: 400,
			body: "the header X-Nomad-Token was given twice: send one"},
		{name: "stale", method: "GET", path: "/v1/jobs?stale=maybe", handler: list, status: 400, body: "Expect `true` or `false` for `stale` query string parameter"},
		{name: "index", method: "GET", path: "/v1/jobs?index=x", handler: list, status: 400, body: "Invalid index"},
		{name: "wait", method: "GET", path: "/v1/jobs?wait=x", handler: list, status: 400, body: "Invalid wait time"},
		{name: "per_page", method: "GET", path: "/v1/jobs?per_page=x", handler: list, status: 400, body: "Expect a number for `per_page` query string parameter"},
		{name: "long url", method: "GET", path: "/v1/jobs?filter=" + strings.Repeat("x", maxURL), handler: list, status: 414, body: "request URL is longer than 8192 bytes"},
		{name: "parameters", method: "GET", path: "/v1/jobs?" + strings.Repeat("a&", maxParams+1), handler: list, status: 400, body: "request has 1001 parameters: at most 1000 are allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := testMux(MuxConfig{Leader: func() (bool, time.Duration) { return true, 5 * time.Millisecond }, Headers: map[string]string{"X-Extra": "yes"}}, tt.handler)
			w := call(m, tt.method, tt.path, "", tt.header...)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			for k, v := range tt.want {
				if got := w.Header().Get(k); got != v {
					t.Errorf("header %s: got %q, want %q", k, got, v)
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	type thing struct {
		Job *structs.Job
		Any map[string]any
	}
	decode := func(_ context.Context, r *Request) (*Response, error) {
		return nil, r.Decode(&thing{})
	}
	m := testMux(MuxConfig{}, decode)
	for _, tt := range []struct {
		name, body string
		status     int
		text       string
	}{
		{"empty", "", 400, "Request body is empty"},
		{"null", "null", 400, "Request body is empty"},
		{"ok", `{"job":{"id":"x","TaskGroups":[{"Name":"g","Tasks":[{"Name":"t","Config":{"a":null}}]}]}}`, 200, "null"},
		{"bad", `{"Job":`, 400, "unexpected EOF"},
		{"bad type", `{"Job":[]}`, 400, "json: cannot unmarshal array into Go struct field thing.Job of type structs.Job"},
		{"null group", `{"Job":{"TaskGroups":[null]}}`, 400, "Job.TaskGroups[0] is null: give an object or leave it out"},
		{"null task", `{"Job":{"TaskGroups":[{"Tasks":[null]}]}}`, 400, "Job.TaskGroups[0].Tasks[0] is null: give an object or leave it out"},
		{"deep", `{"Any":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5001), 400, "request body is nested deeper than 100 levels"},
		{"braces in text", `{"Any":{"a":"` + strings.Repeat(`{[\"`, 200) + `"}}`, 200, "null"},
		{"large", `{"Any":{"a":"` + strings.Repeat("x", jobBody) + `"}}`, 413, "request body is larger than 10485760 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if w := call(m, "PUT", "/v1/jobs", tt.body); w.Code != tt.status || w.Body.String() != tt.text {
				t.Errorf("got %d %.200q, want %d %q", w.Code, w.Body, tt.status, tt.text)
			}
		})
	}
}

// TestEveryRowIsAuthorized: without a resolver, with a failing one and with a
// token that may do nothing, every row that needs a right says 403; with ACLs
// off none does.
func TestEveryRowIsAuthorized(t *testing.T) {
	denied := errors.New("resolver")
	resolvers := map[string]func(context.Context, string) (*ACL, error){
		"none":    nil,
		"nil":     func(context.Context, string) (*ACL, error) { return nil, nil },
		"nothing": func(context.Context, string) (*ACL, error) { return &ACL{}, nil },
		"error":   func(context.Context, string) (*ACL, error) { return nil, denied },
	}
	bodies := []string{"", "{}", "null", strings.Repeat("x", 100)}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"none", "nil", "nothing", "error"}).Draw(t, "resolver")
		row := rapid.SampledFrom(Routes()).Draw(t, "row")
		method := rapid.SampledFrom(row.Methods).Draw(t, "method")
		body := rapid.SampledFrom(bodies).Draw(t, "body")
		if method == anyMethod {
			method = "GET"
		}
		if row.Answer == AnswerWebsocket {
			return
		}
		m := NewMux(MuxConfig{Resolve: resolvers[name]})
		called := false
		for _, n := range m.Check() {
			m.Bind(n, func(context.Context, *Request) (*Response, error) { called = true; return &Response{}, nil })
		}
		path := strings.NewReplacer(":id...", "a/b", ":path...", "a/b", ":rest...", "a", ":name...", "a", ":id", "a", ":name", "a").Replace(row.Path)
		w := call(m, method, path, body)
		open := row.Auth == AuthNone || row.Auth == AuthFiltered && name == "nothing"
		switch {
		case row.Internal():
			if called || w.Code != 404 {
				t.Fatalf("%s %s: the internal row answers %d on the public port", method, path, w.Code)
			}
		case name == "error" && row.Auth == AuthNone: // its token may be of another kind
			if w.Code == 403 || w.Code == 500 {
				t.Fatalf("%s %s: got %d with a failing resolver", method, path, w.Code)
			}
		case name == "error":
			if called || w.Code != 500 {
				t.Fatalf("%s %s: got %d with a failing resolver", method, path, w.Code)
			}
		case open:
			if w.Code == 403 {
				t.Fatalf("%s %s: refused", method, path)
			}
		case called || w.Code != 403 || w.Body.String() != "Permission denied":
			t.Fatalf("%s %s: got %d %q without a right", method, path, w.Code, w.Body)
		}
	})
}

func TestNilACLDenies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Capability(rapid.String().Draw(t, "capability"))
		ns := rapid.String().Draw(t, "namespace")
		var none *ACL
		if none.Allows(c, ns) || none.Management() || none.Off() || (&ACL{}).Allows(c, ns) {
			t.Fatal("allowed without a token")
		}
		if !ACLsOff.Allows(c, ns) {
			t.Fatal("denied with ACLs off")
		}
	})
}

// TestUncheckedNamespace: a handler that forgets Request.Authorize where the
// mux cannot know the namespace does not get its answer out.
func TestUncheckedNamespace(t *testing.T) {
	m := testMux(MuxConfig{Resolve: func(context.Context, string) (*ACL, error) { return &ACL{management: true}, nil }}, echo)
	if w := call(m, "GET", "/v1/allocation/x", ""); w.Code != 500 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := call(m, "GET", "/v1/job/x", ""); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestHostOnLoopback(t *testing.T) {
	m := testMux(MuxConfig{AllowedHosts: []string{"nomad.corp"}}, echo)
	loopback, lan := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4646}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 4646}
	for _, tt := range []struct {
		host  string
		local net.Addr
		want  int
	}{
		{"127.0.0.1:4646", loopback, 200}, {"localhost:4646", loopback, 200}, {"[::1]:4646", loopback, 200}, {"LOCALHOST.", loopback, 200},
		{"evil.example:4646", loopback, 403}, {"localhost.evil.example", loopback, 403}, {"nomad.corp:4646", loopback, 200}, {"", loopback, 200},
		{"evil.example:4646", lan, 200}, {"evil.example", &net.UnixAddr{Name: "/x"}, 200},
	} {
		req := httptest.NewRequest("GET", "/v1/jobs", nil)
		req.Host = tt.host
		w := httptest.NewRecorder()
		m.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, tt.local)))
		if w.Code != tt.want {
			t.Errorf("host %q at %v: got %d, want %d", tt.host, tt.local, w.Code, tt.want)
		}
	}
}

func TestGzip(t *testing.T) {
	long := make([]string, 1000)
	for i := range long {
		long[i] = strings.Repeat("y", i%50)
	}
	m := testMux(MuxConfig{}, func(_ context.Context, r *Request) (*Response, error) {
		if r.Values.Has("short") {
			return &Response{Body: []string{"x"}}, nil
		}
		return &Response{Body: long}, nil
	})
	w := call(m, "GET", "/v1/jobs", "", "Accept-Encoding", "gzip")
	if w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal("a long answer is not compressed")
	}
	zr, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := json.NewDecoder(zr).Decode(&got); err != nil || len(got) != len(long) {
		t.Fatalf("%d strings, %v", len(got), err)
	}
	if w := call(m, "GET", "/v1/jobs?short", "", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" || w.Header().Get("Content-Length") != "5" {
		t.Errorf("a short answer has header %v", w.Header())
	}
	if w := call(m, "GET", "/v1/jobs", "", "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" {
		t.Error("compressed against the caller's wish")
	}
}

// TestListEncodingIsTheEncoders: encoding a list in chunks gives the bytes of
// encoding it at once.
func TestListEncodingIsTheEncoders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOf(rapid.String()).Draw(t, "items")
		var got, want bytes.Buffer
		if err := encodeBody(&got, items, false); err != nil {
			t.Fatal(err)
		}
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(append([]string{}, items...)); err != nil {
			t.Fatal(err)
		}
		if got.String() != strings.TrimSuffix(want.String(), "\n") {
			t.Fatalf("got %s, want %s", &got, &want)
		}
	})
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{errors.New("x"), 500, "x"},
		{structs.Errorf(structs.Invalid, "x"), 400, "x"},
		{structs.Errorf(structs.Denied, "x"), 403, "x"},
		{structs.Errorf(structs.Unsupported, "x"), 501, "x"},
		{structs.Errorf(structs.Rejected, "x"), 500, "x"},
		{structs.Errorf(structs.Conflict, "x"), 409, "x"},
		{structs.Errorf(structs.BadMethod, "Invalid method"), 405, "Invalid method"},
		{&StatusError{429, "x"}, 429, "x"},
	} {
		if code, text := Status(tt.err); code != tt.code || text != tt.text {
			t.Errorf("%v: got %d %q", tt.err, code, text)
		}
	}
	for kind := structs.Internal; kind <= structs.Rejected; kind++ {
		if statuses[kind] == 0 {
			t.Errorf("kind %d has no status", kind)
		}
	}
}

func TestBindRefusesMistakes(t *testing.T) {
	for _, name := range []string{"no.such", "unbuilt GET /v1/plugins", "job.list"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("binding %q twice did not panic", name)
				}
			}()
			m := NewMux(MuxConfig{})
			m.Bind(name, echo)
			m.Bind(name, echo)
		}()
	}
	m := NewMux(MuxConfig{Resolve: NoACLs})
	if w := call(m, "GET", "/v1/jobs", ""); w.Code != 501 {
		t.Errorf("unbound row: %d", w.Code)
	}
	for _, name := range m.Check("client.", "agent.") {
		if strings.HasPrefix(name, "client.") || strings.HasPrefix(name, "agent.") {
			t.Errorf("Check lists %s", name)
		}
	}
}
