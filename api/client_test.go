package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// serve starts a mux on a loopback port and returns a client of it.
func serve(t *testing.T, bind map[string]Handler) *Client {
	t.Helper()
	m := NewMux(MuxConfig{Resolve: NoACLs})
	for name, h := range bind {
		m.Bind(name, h)
	}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	c, err := NewClient(ClientConfig{Address: s.URL, Namespace: "prod", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientReadsAndWrites(t *testing.T) {
	c := serve(t, map[string]Handler{
		"job.read": func(_ context.Context, r *Request) (*Response, error) {
			if r.Token != "secret" || r.Query.Namespace != "prod" {
				t.Errorf("token %q, namespace %q", r.Token, r.Query.Namespace)
			}
			if r.Param("id") == "gone" {
				return &Response{Index: 9}, structs.Errorf(structs.NotFound, "job not found")
			}
			return &Response{Index: 12, Body: &structs.Job{ID: r.Param("id")}}, nil
		},
		"job.list": func(_ context.Context, r *Request) (*Response, error) {
			if r.Query.Index != 5 || r.Query.Wait != 2*time.Second || r.Query.Prefix != "we" || r.Query.PerPage != 3 || !r.Query.Reverse || r.Query.Filter != `ID == "x"` || !r.Query.Stale {
				t.Errorf("query %+v", r.Query)
			}
			return &Response{Index: 6, NextToken: "prod.x", Body: []*structs.JobListStub{{ID: "web"}}}, nil
		},
		"job.stop": func(_ context.Context, r *Request) (*Response, error) {
			if purge, _ := r.Bool("purge", false); !purge {
				t.Error("purge is lost")
			}
			return &Response{Index: 20, Body: &JobDeregisterResponse{EvalID: "e"}}, nil
		},
		"job.statuses": func(_ context.Context, r *Request) (*Response, error) {
			req := &JobStatusesRequest{}
			if err := r.Decode(req); err != nil {
				return nil, err
			}
			return &Response{Body: []*JobStatus{{ID: req.Jobs[0].ID}}}, nil
		},
		"job.deployment": func(context.Context, *Request) (*Response, error) { return &Response{Index: 4}, nil },
		"system.gc":      func(context.Context, *Request) (*Response, error) { return nil, nil },
	})
	ctx := context.Background()
	for _, id := range []string{"web", "cron/periodic-17", "a b?c#d%"} {
		job, meta, err := c.Jobs().Get(ctx, id, nil)
		if err != nil || job.ID != id || meta.LastIndex != 12 {
			t.Errorf("%q: %+v %+v %v", id, job, meta, err)
		}
	}
	_, _, err := c.Jobs().Get(ctx, "gone", nil)
	var answer *ResponseError
	if !errors.As(err, &answer) || answer.Code != 404 || err.Error() != "Unexpected response code: 404 (job not found)" {
		t.Error(err)
	}
	jobs, meta, err := c.Jobs().List(ctx, &QueryOptions{WaitIndex: 5, WaitTime: 2 * time.Second, Prefix: "we", PerPage: 3, Reverse: true, Filter: `ID == "x"`, AllowStale: true})
	if err != nil || len(jobs) != 1 || meta.NextToken != "prod.x" || meta.LastIndex != 6 {
		t.Error(jobs, meta, err)
	}
	out, wmeta, err := c.Jobs().Stop(ctx, "web", StopOptions{Purge: true}, nil)
	if err != nil || out.EvalID != "e" || wmeta.LastIndex != 20 {
		t.Error(out, wmeta, err)
	}
	statuses, _, err := c.Jobs().Statuses(ctx, &JobStatusesRequest{Jobs: []NamespacedID{{ID: "web"}}}, nil)
	if err != nil || len(statuses) != 1 || statuses[0].ID != "web" {
		t.Error(statuses, err)
	}
	if d, _, err := c.Jobs().LatestDeployment(ctx, "web", nil); d != nil || err != nil {
		t.Error(d, err)
	}
	if err := c.SystemGC(ctx); err != nil {
		t.Error(err)
	}
}

func TestClientAddresses(t *testing.T) {
	for _, address := range []string{"ftp://x", "127.0.0.1:4646", "http://%zz"} {
		if _, err := NewClient(ClientConfig{Address: address}); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%q: %v", address, err)
		}
	}
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMux(MuxConfig{Resolve: NoACLs})
	m.Bind("region.list", func(context.Context, *Request) (*Response, error) { return &Response{Body: []string{"global"}}, nil })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, NewServer(m), LimitListener(l, 1), time.Second) }()
	c, err := NewClient(ClientConfig{Address: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	if regions, err := c.Regions(ctx); err != nil || len(regions) != 1 {
		t.Error(regions, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClientConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	c, err := NewClient(ClientConfig{Address: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Jobs().List(context.Background(), nil)
	want := `Get "http://` + address + `/v1/jobs": dial tcp ` + address + `: connect: connection refused`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClientConfigFromEnv(t *testing.T) {
	t.Setenv("NOMAD_ADDR", "https://nomad:4646")
	t.Setenv("NOMAD_TOKEN", "t")
	t.Setenv("NOMAD_NAMESPACE", "prod")
	t.Setenv("NOMAD_SKIP_VERIFY", "true")
	cfg := ClientConfigFromEnv()
	if cfg.Address != "https://nomad:4646" || cfg.Token != "t" || cfg.Namespace != "prod" || !cfg.TLS.Insecure {
		t.Errorf("%+v", cfg)
	}
	if _, err := NewClient(ClientConfig{Address: "https://x", TLS: TLSConfig{CACert: "/no/such/file"}}); err == nil {
		t.Error("a missing certificate authority is accepted")
	}
	if _, err := NewClient(ClientConfig{Address: "https://x", TLS: TLSConfig{ClientCert: "a"}}); err == nil {
		t.Error("a certificate without a key is accepted")
	}
}

// TestFramesArriveAsTheyAreWritten: each frame reaches the caller before the
// next is written, compressed or not, and idle streams send heartbeats.
func TestFramesArriveAsTheyAreWritten(t *testing.T) {
	frames := make(chan StreamFrame)
	logs := func(context.Context, *Request) (*Response, error) {
		return &Response{Stream: func(ctx context.Context, w *StreamWriter) error { return w.Frames(ctx, frames) }}, nil
	}
	c := serve(t, map[string]Handler{"client.fsLogs": logs})
	r, err := c.FS().Logs(context.Background(), LogsRequest{AllocID: "a", Task: "t", Type: "stdout", Follow: true}, nil)
	if err == nil {
		t.Cleanup(func() { _ = r.Close() })
	}
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.Next(); err != nil || !f.Heartbeat() {
		t.Fatalf("first frame of an idle stream: %+v %v", f, err)
	}
	for _, text := range []string{"one\n", "two\n"} {
		frames <- StreamFrame{Data: []byte(text), File: "f", Offset: 4}
		f, err := r.Next()
		if err != nil || string(f.Data) != text || f.File != "f" || f.Offset != 4 {
			t.Fatalf("%+v %v", f, err)
		}
	}
	close(frames)
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestStreamErrors(t *testing.T) {
	c := serve(t, map[string]Handler{"client.fsCat": func(_ context.Context, r *Request) (*Response, error) {
		return &Response{Stream: func(_ context.Context, w *StreamWriter) error {
			if r.Values.Get("path") == "gone" {
				return structs.Errorf(structs.NotFound, "no such file")
			}
			_, err := w.Write([]byte("text"))
			return err
		}}, nil
	}})
	if _, err := c.FS().Cat(context.Background(), "a", "gone", nil); err == nil || err.Error() != "Unexpected response code: 404 (no such file)" {
		t.Error(err)
	}
	body, err := c.FS().Cat(context.Background(), "a", "f", nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(body); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
}

func TestExec(t *testing.T) {
	exec := func(ctx context.Context, r *Request) (*Response, error) {
		if err := r.Authorize("default"); err != nil {
			return nil, err
		}
		if r.Values.Get("task") == "gone" {
			return nil, structs.Errorf(structs.Internal, "task not found")
		}
		if err := r.WriteExec(ctx, &ExecOutput{Stderr: &ExecData{Data: []byte("hello " + r.Values.Get("command"))}}); err != nil {
			return nil, err
		}
		for {
			in, err := r.ReadExec(ctx)
			if err != nil {
				return nil, err
			}
			if in.Stdin != nil && in.Stdin.Close {
				break
			}
			if in.Stdin != nil {
				if err := r.WriteExec(ctx, &ExecOutput{Stdout: &ExecData{Data: bytes.ToUpper(in.Stdin.Data)}}); err != nil {
					return nil, err
				}
			}
		}
		for _, out := range []*ExecOutput{{Stdout: &ExecData{Close: true}}, {Stderr: &ExecData{Close: true}}, {Exited: true, Result: &ExecResult{ExitCode: 7}}} {
			if err := r.WriteExec(ctx, out); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	c := serve(t, map[string]Handler{"client.allocExec": exec})
	var stdout, stderr strings.Builder
	code, err := c.Allocations().Exec(context.Background(), &ExecRequest{AllocID: "a", Task: "t", Command: []string{"cat"},
		Stdin: strings.NewReader("input"), Stdout: &stdout, Stderr: &stderr}, nil)
	if err != nil || code != 7 || stdout.String() != "INPUT" || stderr.String() != `hello ["cat"]` {
		t.Errorf("code %d, stdout %q, stderr %q, %v", code, stdout.String(), stderr.String(), err)
	}
	_, err = c.Allocations().Exec(context.Background(), &ExecRequest{AllocID: "a", Task: "gone"}, nil)
	if err == nil || err.Error() != "task not found" {
		t.Error(err)
	}
}

// TestWritesOutliveTheirAgent: a write that is under way when its agent ends is
// done all the same; a read ends at once.
func TestWritesOutliveTheirAgent(t *testing.T) {
	began, release := make(chan struct{}, 1), make(chan struct{})
	handler := func(ctx context.Context, r *Request) (*Response, error) {
		began <- struct{}{}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-release:
			return &Response{Body: map[string]string{}}, nil
		}
	}
	m := NewMux(MuxConfig{Resolve: NoACLs})
	m.Bind("job.register", handler)
	m.Bind("job.list", handler)
	ctx, end := context.WithCancel(t.Context())
	web := httptest.NewUnstartedServer(m)
	web.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	web.Start()
	t.Cleanup(web.Close)
	answers := map[string]chan string{}
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		answer := make(chan string, 1)
		answers[method] = answer
		go func() {
			req, err := http.NewRequest(method, web.URL+"/v1/jobs", strings.NewReader("{}"))
			if err != nil {
				answer <- err.Error()
				return
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				answer <- err.Error()
				return
			}
			resp.Body.Close()
			answer <- resp.Status
		}()
		<-began
	}
	end()
	if got := <-answers[http.MethodGet]; got != "500 Internal Server Error" {
		t.Errorf("the read: %s", got)
	}
	close(release)
	if got := <-answers[http.MethodPut]; got != "200 OK" {
		t.Errorf("the write: %s", got)
	}
}

// TestExecSaysWhyItEnded ends a session with an error while its input is still
// being read, as a driver does whose task ended meanwhile.
func TestExecSaysWhyItEnded(t *testing.T) {
	c := serve(t, map[string]Handler{"client.allocExec": func(ctx context.Context, r *Request) (*Response, error) {
		if err := r.Authorize("default"); err != nil {
			return nil, err
		}
		if _, err := r.ReadExec(ctx); err != nil { // the end of the input
			return nil, err
		}
		reading, cancel := context.WithCancel(ctx)
		read := make(chan error)
		go func() {
			_, err := r.ReadExec(reading)
			read <- err
		}()
		cancel()
		if err := <-read; !errors.Is(err, context.Canceled) {
			t.Errorf("reading ended with %v", err)
		}
		return nil, structs.Errorf(structs.Internal, "the task ended")
	}})
	_, err := c.Allocations().Exec(context.Background(), &ExecRequest{AllocID: "a", Task: "t"}, nil)
	if err == nil || err.Error() != "the task ended" {
		t.Error(err)
	}
}

func TestConnectionLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := LimitListener(inner, 2)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, NewServer(http.NotFoundHandler()), l, time.Second) }()
	t.Cleanup(func() { cancel(); <-done })
	ask := func(request string) (net.Conn, string) {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			return conn, "refused"
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return conn, strings.TrimSpace(line)
	}
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	a, first := ask(request)
	b, second := ask(request)
	c, third := ask("") // refused before it says anything
	if first != "HTTP/1.1 404 Not Found" || second != first || third != "HTTP/1.1 429 Too Many Requests" {
		t.Errorf("%q, %q, %q", first, second, third)
	}
	for _, conn := range []net.Conn{a, b, c} {
		_ = conn.Close()
	}
	for range 100 { // the server sees the close in its own time
		conn, line := ask(request)
		_ = conn.Close()
		if line == first {
			return
		}
	}
	t.Error("closed connections still count")
}

func TestRateOfReplies(t *testing.T) {
	now := time.Unix(1, 0)
	r := rate{perSecond: 10, burst: 100, tokens: 100}
	taken := 0
	for range 1000 {
		if r.take(now) {
			taken++
		}
	}
	if taken != 100 || r.take(now.Add(50*time.Millisecond)) || !r.take(now.Add(150*time.Millisecond)) {
		t.Errorf("%d replies in a burst", taken)
	}
}

func TestServerLimits(t *testing.T) {
	s := NewServer(http.NotFoundHandler())
	if s.ReadHeaderTimeout != 10*time.Second || s.IdleTimeout != 2*time.Minute || s.MaxHeaderBytes != 64<<10 {
		t.Errorf("%+v", s)
	}
}

type fakeStore struct{ reads int }

func (f *fakeStore) Block(ctx context.Context, minIndex uint64, _ []string, read func(int) uint64) error {
	for {
		f.reads++
		if read(f.reads) > minIndex {
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func TestBlock(t *testing.T) {
	blocking := &Route{Blocking: true}
	for _, tt := range []struct {
		route  *Route
		min    uint64
		reads  int
		result uint64
	}{
		{blocking, 0, 1, 1},
		{blocking, 5, 6, 6},
		{&Route{}, 5, 1, 1},
	} {
		f := &fakeStore{}
		index, err := Block(context.Background(), &Request{Route: tt.route, Query: Query{Index: tt.min, Wait: time.Minute}}, f, []string{"k"}, func(s int) uint64 { return uint64(s) })
		if err != nil || index != tt.result || f.reads != tt.reads {
			t.Errorf("index %d: got %d after %d reads, %v", tt.min, index, f.reads, err)
		}
	}
	if index, _ := Block(context.Background(), &Request{Route: blocking}, &fakeStore{}, nil, func(int) uint64 { return 0 }); index != 1 {
		t.Errorf("an empty table has index %d", index)
	}
	if jittered(16*time.Second, 0) != 16*time.Second || jittered(16*time.Second, 1) != 17*time.Second {
		t.Error("jitter is not within a sixteenth")
	}
}
