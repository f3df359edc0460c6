package nomadlite

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSuccession: a server stands for election before its timeout only when it
// would be wrong to wait, and one after another.
func TestSuccession(t *testing.T) {
	for _, tt := range []struct {
		name    string
		self    string
		leader  []string // at the first and the second look
		leads   bool     // this server
		refused []bool
		want    string
	}{
		{name: "the leader's process has ended", self: "a", leader: []string{"c", "c"}, refused: []bool{true, true}, want: "2 looks at c, wait 0s, stand"},
		{name: "it still listened while it died", self: "a", leader: []string{"c", "c"}, refused: []bool{false, true, true}, want: "3 looks at c, wait 0s, stand"},
		{name: "and the first of the others is gone too", self: "b", leader: []string{"c", ""}, refused: []bool{true, true}, want: "2 looks at c, wait 250ms, stand"},
		{name: "another was elected meanwhile", self: "b", leader: []string{"c", "a"}, refused: []bool{true, true}, want: "2 looks at c, wait 250ms"},
		{name: "a peer's connection ended, the leader listens", self: "a", leader: []string{"c"}, refused: make([]bool, leaderLooks), want: "6 looks at c"},
		{name: "it listens again and again", self: "a", leader: []string{"c"}, refused: []bool{true, false, true, false, true, false}, want: "6 looks at c"},
		{name: "the leader is this server", self: "c", leader: []string{"c"}, leads: true},
		{name: "a candidate", self: "a", leader: []string{"c"}, leads: true},
		{name: "no leader is known", self: "a", leader: []string{""}},
		{name: "no voter", self: "d", leader: []string{"c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var did []string
			looked := 0
			s := &succession{
				self:    tt.self,
				leader:  func() (string, string) { id := tt.leader[0]; tt.leader = tt.leader[1:]; return "at " + id, id },
				voters:  func() []string { return []string{"c", "b", "a"} },
				follows: func() bool { return !tt.leads },
				refused: func(_ context.Context, addr string) bool {
					looked++
					did = append(did[:0], fmt.Sprintf("%d looks %s", looked, addr))
					return tt.refused[looked-1]
				},
				pause: func(_ context.Context, d time.Duration) bool { did = append(did, fmt.Sprint("wait ", d)); return true },
				stand: func() { did = append(did, "stand") },
			}
			s.lost(t.Context())
			if got := strings.Join(did, ", "); got != tt.want {
				t.Errorf("it did %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRefused: who listens does not refuse, nor who cannot be reached.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if refused(t.Context(), addr) {
		t.Error("a listener refused")
	}
	l.Close()
	if !refused(t.Context(), addr) {
		t.Error("where nobody listens nothing was refused")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if refused(over, addr) {
		t.Error("what could not be asked refused")
	}
}
