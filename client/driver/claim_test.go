package driver

import (
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
)

// TestClaim_N48: a plugin names its own driver, but neither another's nor
// what is no name.
func TestClaim_N48(t *testing.T) {
	builtin, acme, other := Spec{Name: "raw_exec"}, Spec{Name: "acme-file", External: true}, Spec{Name: "other", External: true}
	m := New(Config{Specs: []Spec{builtin, acme, other}})
	if !m.knows("anything") {
		t.Error("a driver is ruled out before all plugins have answered")
	}
	for _, tt := range []struct {
		spec       Spec
		name, want string
	}{
		{acme, "acme", ""}, {acme, "acme", ""}, {acme, "renamed", "it was \"acme\" before"}, {other, "acme", "served by plugin \"acme-file\" already"},
		{other, "raw_exec", "served by plugin \"raw_exec\" already"}, {other, "../../bin/ls", "a name is of letters"}, {other, "", "a name is of letters"},
		{other, "a\x00b", "a name is of letters"}, {other, strings.Repeat("a", 65), "a name is of letters"}, {other, "other", ""},
	} {
		err := m.claim(tt.spec, identity{base.TypeDriver, tt.name})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s claims %q: %v, want %q", tt.spec.Name, tt.name, err, tt.want)
		}
	}
	if m.knows("anything") || !m.knows("acme") || m.knows("acme-file") {
		t.Errorf("known are %v", m.Names())
	}
	if got := strings.Join(m.Names(), " "); got != "acme other raw_exec" {
		t.Errorf("names %s", got)
	}
}

// TestEventLimit: a flood of events is cut, a trickle is not.
func TestEventLimit(t *testing.T) {
	now := time.Unix(0, 0)
	l, passed := newEventLimit(now), 0
	for range 10_000 {
		if l.allow(now) {
			passed++
		}
	}
	if passed != eventBurst {
		t.Errorf("%d events of a flood passed, want %d", passed, eventBurst)
	}
	for range 100 {
		now = now.Add(time.Second / eventRate)
		if !l.allow(now) {
			t.Fatal("a slow event is cut")
		}
	}
}
