package check

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestProbes(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte("short and stout" + strings.Repeat("!", 10<<10)))
		case "/moved":
			http.Redirect(w, r, "/teapot", http.StatusFound)
		case "/post":
			if r.Method != "POST" || r.Header.Get("X-Probe") != "yes" || r.Host != "example.test" {
				w.WriteHeader(http.StatusBadRequest)
			}
		}
	}))
	defer web.Close()
	host, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := dead.Addr().String()
	dead.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, states := grpc.NewServer(), health.NewServer()
	states.SetServingStatus("up", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, states)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	script := func(out string, code int, err error) Probe {
		return Script{Run: func(context.Context) (string, int, error) { return out, code, err }}
	}
	url := func(path string) string { return "http://" + net.JoinHostPort(host, port) + path }
	for _, tc := range []struct {
		name   string
		probe  Probe
		status string
		code   int
		output string // a part of it
	}{
		{"tcp", TCP{web.Listener.Addr().String()}, Success, 0, "nomad: tcp ok"},
		{"tcp refused", TCP{closed}, Failure, 0, "connection refused"},
		{"http", HTTP{URL: url("/")}, Success, 200, "nomad: http ok"},
		{"http error", HTTP{URL: url("/teapot")}, Failure, 418, "short and stout"},
		{"http redirect", HTTP{URL: url("/moved")}, Success, 302, "Found"},
		{"http request", HTTP{URL: url("/post"), Method: "post", Header: map[string][]string{"X-Probe": {"yes"}, "Host": {"example.test"}}}, Success, 200, ""},
		{"http timeout", HTTP{URL: url("/slow")}, Failure, 0, "deadline exceeded"},
		{"http nonsense", HTTP{URL: "http://[::1"}, Failure, 0, "nomad: "},
		{"grpc", GRPC{Address: l.Addr().String(), Service: "up"}, Success, 0, "nomad: grpc ok"},
		{"grpc down", GRPC{Address: l.Addr().String(), Service: "down"}, Failure, 0, "NOT_SERVING"},
		{"grpc unknown", GRPC{Address: l.Addr().String(), Service: "none"}, Failure, 0, "NotFound"},
		{"script", script("fine", 0, nil), Success, 0, "fine"},
		{"script fails", script("broken", 2, nil), Failure, 2, "broken"},
		{"script cannot run", script("", 0, context.Canceled), Failure, 0, "cannot run the script"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		r := tc.probe.Look(ctx)
		cancel()
		if r.Status != tc.status || r.Code != tc.code || !strings.Contains(r.Output, tc.output) || len(r.Output) > maxOutput {
			t.Errorf("%s: %+v, want %s, %d, %q", tc.name, r, tc.status, tc.code, tc.output)
		}
	}
}

// looks is a probe that counts, and takes as long as it is told.
type looks struct {
	n    atomic.Int64
	last atomic.Int64 // how many look at once at most
	now  atomic.Int64
	take time.Duration
}

func (l *looks) Look(ctx context.Context) Result {
	l.n.Add(1)
	l.last.Store(max(l.last.Load(), l.now.Add(1)))
	defer l.now.Add(-1)
	select {
	case <-time.After(l.take):
	case <-ctx.Done():
	}
	return Result{Status: Success}
}

// TestRedirectsAreNotFollowed_X11: a check that is sent elsewhere asks nobody
// there, whatever is named: another port of the machine or metadata of a cloud.
func TestRedirectsAreNotFollowed_X11(t *testing.T) {
	var asked atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer inner.Close()
	for _, to := range []string{inner.URL, "http://169.254.169.254/latest", "file:///etc/passwd", "gopher://127.0.0.1:1/"} {
		outer := httptest.NewServer(http.RedirectHandler(to, http.StatusFound))
		r := guarded(t.Context(), Spec{Probe: HTTP{URL: outer.URL}, Timeout: 5 * time.Second})
		outer.Close()
		if r.Status != Success || r.Code != http.StatusFound {
			t.Errorf("to %s: %+v", to, r)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestPoolKeepsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(ctx)
		quick, hangs := &looks{}, &looks{take: time.Hour}
		var told atomic.Int64
		p.Set(Spec{ID: "quick", Probe: quick, Interval: time.Second, Timeout: time.Second, Done: func(Result) { told.Add(1) }})
		p.Set(Spec{ID: "hangs", Probe: hangs, Interval: time.Second, Timeout: 5 * time.Second, Done: func(Result) {}})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if n := quick.n.Load(); n != 11 || told.Load() != n {
			t.Errorf("in 10.5 s a check of each second looked %d times and told %d", n, told.Load())
		}
		if n := hangs.n.Load(); n != 2 {
			t.Errorf("a check that takes 5 s looked %d times", n)
		}
		p.Remove("quick")
		p.Remove("hangs")
		before := quick.n.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		if quick.n.Load() != before || p.Len() != 0 {
			t.Errorf("a removed check looked %d times more", quick.n.Load()-before)
		}
		cancel()
		p.Wait()
	})
}

// TestPoolIsBounded: ten times as many checks as workers, all hanging, never
// use more than the workers, and each gets its turn.
func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(ctx)
		hangs := &looks{take: time.Hour}
		var turns [10 * workers]atomic.Int64
		for i := range turns {
			p.Set(Spec{ID: string(rune(i)), Probe: hangs, Interval: time.Second, Timeout: time.Second, Done: func(Result) { turns[i].Add(1) }})
		}
		time.Sleep(30 * time.Second)
		cancel()
		p.Wait()
		if n := hangs.last.Load(); n > workers {
			t.Errorf("%d looked at once", n)
		}
		for i := range turns {
			if turns[i].Load() == 0 {
				t.Fatalf("check %d never had its turn", i)
			}
		}
	})
}

// TestPanicOfAProbe is a failure of its check alone.
func TestPanicOfAProbe(t *testing.T) {
	r := guarded(t.Context(), Spec{Probe: Script{}})
	if r.Status != Failure || !strings.Contains(r.Output, "failed inside") {
		t.Errorf("%+v", r)
	}
}
