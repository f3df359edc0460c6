package nomadlite

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
)

func TestFounders(t *testing.T) {
	server := func(id string, expect int, peers bool) *api.ServerStatus {
		return &api.ServerStatus{ID: id, Expect: expect, HasPeers: peers}
	}
	for _, tt := range []struct {
		name string
		all  []*api.ServerStatus
		want string // ids in order
	}{
		{"too few", []*api.ServerStatus{server("b", 3, false), server("a", 3, false)}, ""},
		{"lowest first", []*api.ServerStatus{server("c", 3, false), server("a", 3, false), server("b", 3, false)}, "abc"},
		{"other numbers do not count", []*api.ServerStatus{server("a", 3, false), server("b", 3, false), server("c", 5, false)}, ""},
		{"members of a cluster do not count", []*api.ServerStatus{server("a", 3, false), server("b", 3, false), server("c", 3, true)}, ""},
		{"more than expected", []*api.ServerStatus{server("d", 3, false), server("c", 3, false), server("b", 3, false), server("a", 3, false)}, "abcd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, st := range founders(tt.all, 3) {
				got += st.ID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPromise: a server is in one first set of peers at a time.
func TestPromise(t *testing.T) {
	p := newPeers(&Config{Dialer: &wire.Dialer{}})
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		from string
		at   time.Duration
		want bool
	}{
		{"a", 0, true}, {"b", time.Second, false}, {"a", 5 * time.Second, true}, {"b", 14 * time.Second, false}, {"b", 16 * time.Second, true}, {"a", 17 * time.Second, false},
	} {
		if got := p.promise(step.from, now.Add(step.at)); got != step.want {
			t.Errorf("step %d: promise to %s: %v", i, step.from, got)
		}
	}
}

// TestVerdict: an answer wins over silence, silence over refusals; nobody's
// word proves nothing.
func TestVerdict(t *testing.T) {
	const silent, answers, refused = api.ProbeSilent, api.ProbeAnswers, api.ProbeRefused
	for _, tt := range []struct {
		probes []api.ProbeResult
		want   api.ProbeResult
	}{
		{nil, silent},
		{[]api.ProbeResult{refused}, refused},
		{[]api.ProbeResult{refused, refused}, refused},
		{[]api.ProbeResult{refused, silent}, silent},
		{[]api.ProbeResult{silent, refused}, silent},
		{[]api.ProbeResult{refused, answers}, answers},
		{[]api.ProbeResult{answers, silent}, answers},
	} {
		if got := verdict(tt.probes); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.probes, got, tt.want)
		}
	}
}

// TestInsists: that a node's address answered once does not make the node alive.
// An agent that is killed closes its connections before its ports, so the first
// probe may find it listening; who is heard is alive, who never refuses is left to
// its heartbeats.
func TestInsists(t *testing.T) {
	const silent, answers, refused = api.ProbeSilent, api.ProbeAnswers, api.ProbeRefused
	for _, tt := range []struct {
		name  string
		finds []api.ProbeResult // the last one for ever
		heard time.Duration     // 0 for never
		want  bool
		after time.Duration
	}{
		{name: "it refuses", finds: []api.ProbeResult{refused}, want: true},
		{name: "it still listened while it died", finds: []api.ProbeResult{answers, refused}, want: true, after: suspectPause},
		{name: "nobody had time", finds: []api.ProbeResult{silent, silent, refused}, want: true, after: 2 * suspectPause},
		{name: "it is heard again", finds: []api.ProbeResult{answers}, heard: 1500 * time.Millisecond, after: 2 * suspectPause},
		{name: "it listens and says nothing", finds: []api.ProbeResult{answers}, after: suspectTime + suspectPause},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				judge := func() api.ProbeResult {
					found := tt.finds[0]
					tt.finds = tt.finds[min(1, len(tt.finds)-1):]
					return found
				}
				heard := func() bool { return tt.heard > 0 && time.Since(began) >= tt.heard }
				if got := insists(t.Context(), began, judge, heard); got != tt.want || time.Since(began) != tt.after {
					t.Errorf("%v after %v, want %v after %v", got, time.Since(began), tt.want, tt.after)
				}
			})
		})
	}
}
