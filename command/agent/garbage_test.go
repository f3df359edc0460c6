package agent

import (
	"testing"
	"time"
)

// TestNextPercent: a small heap under load has more room, step by step and up to a
// bound; a large one and one at rest have the usual.
func TestNextPercent(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name    string
		percent int
		since   time.Duration
		live    uint64
		want    int
	}{
		{"under load", 100, 50 * time.Millisecond, 20 * mib, 200},
		{"still", 400, 50 * time.Millisecond, 20 * mib, 800},
		{"room enough", 800, 300 * time.Millisecond, 20 * mib, 1280},
		{"room enough, a larger heap", 800, 300 * time.Millisecond, 128 * mib, 200},
		{"a large heap", 400, 50 * time.Millisecond, 2048 * mib, 100},
		{"neither busy nor calm", 400, time.Second, 20 * mib, 400},
		{"at rest", 800, time.Minute, 20 * mib, 100},
		{"nothing", 100, time.Minute, 0, 100},
	} {
		if got := nextPercent(tt.percent, tt.since, tt.live); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
