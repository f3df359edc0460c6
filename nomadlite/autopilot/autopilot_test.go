package autopilot

import (
	"fmt"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
	"pgregory.net/rapid"
)

func voters(n int) []Peer {
	var out []Peer
	for i := range n {
		out = append(out, Peer{ID: fmt.Sprintf("s%d", i), Voter: true, Leader: i == 0, Reached: true, Term: 2, Last: 100})
	}
	return out
}

func TestPromotion(t *testing.T) {
	c, cfg, now := New(), structs.DefaultAutopilot(), time.Unix(1000, 0)
	peers := append(voters(3), Peer{ID: "new", Reached: true, Term: 2, Last: 100})
	look := func(at time.Duration) []string {
		_, actions := c.Look(now.Add(at), cfg, peers)
		return actions.Promote
	}
	if got := look(0); got != nil {
		t.Errorf("promoted at once: %v", got)
	}
	peers[3].Contact = time.Second
	look(4 * time.Second)
	look(6 * time.Second) // the second time in a row: unhealthy
	peers[3].Contact = 0
	if got := look(12 * time.Second); got != nil {
		t.Errorf("a flapping server was promoted: %v", got)
	}
	if got := look(21 * time.Second); got != nil {
		t.Errorf("promoted before it was stable: %v", got)
	}
	if got := look(22 * time.Second); len(got) != 1 || got[0] != "new" {
		t.Errorf("not promoted: %v", got)
	}
}

// TestRemoval_D09: dead servers go after half a minute, never below a quorum
// or min_quorum, fewer than half at once.
func TestRemoval_D09(t *testing.T) {
	for _, tt := range []struct {
		voters, dead int
		min          uint
		want         int
	}{
		{3, 0, 0, 0}, {3, 1, 0, 1}, {3, 1, 3, 0}, {3, 2, 0, 0}, {5, 1, 0, 1}, {5, 2, 0, 2}, {5, 2, 4, 1}, {5, 3, 0, 0}, {1, 0, 0, 0}, {2, 1, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d of %d, min %d", tt.dead, tt.voters, tt.min), func(t *testing.T) {
			c, cfg, now := New(), structs.DefaultAutopilot(), time.Unix(1000, 0)
			cfg.MinQuorum = tt.min
			peers := voters(tt.voters)
			c.Look(now, cfg, peers)
			for i := range tt.dead {
				peers[len(peers)-1-i].Reached = false
			}
			if _, actions := c.Look(now.Add(29*time.Second), cfg, peers); actions.Remove != nil {
				t.Errorf("removed %v early", actions.Remove)
			}
			if _, actions := c.Look(now.Add(31*time.Second), cfg, peers); len(actions.Remove) != tt.want {
				t.Errorf("removed %v, want %d", actions.Remove, tt.want)
			}
			cfg.CleanupDeadServers = false
			if _, actions := c.Look(now.Add(60*time.Second), cfg, peers); actions.Remove != nil {
				t.Errorf("removed %v although cleanup is off", actions.Remove)
			}
		})
	}
}

// TestNeverBelowQuorum_D09: whatever is out of reach, what is left after the
// removals has a quorum of healthy voters, or nothing is removed.
func TestNeverBelowQuorum_D09(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "voters")
		c, cfg, now := New(), structs.DefaultAutopilot(), time.Unix(1000, 0)
		peers := voters(n)
		c.Look(now, cfg, peers)
		for i := 1; i < n; i++ {
			peers[i].Reached = rapid.Bool().Draw(t, "reached")
		}
		health, actions := c.Look(now.Add(time.Minute), cfg, peers)
		gone := map[string]bool{}
		for _, id := range actions.Remove {
			gone[id] = true
		}
		left, good := 0, 0
		for _, h := range health {
			if h.Leader && gone[h.ID] {
				t.Fatal("the leader was removed")
			}
			if !gone[h.ID] {
				left++
				if h.Healthy {
					good++
				}
			}
		}
		if len(gone) > 0 && (good < left/2+1 || len(gone) > (n-1)/2) {
			t.Fatalf("%d of %d removed: %d healthy of %d are left", len(gone), n, good, left)
		}
	})
}
