// Package task is the life of one task as a pure machine: events and the time
// go in, actions come out. It starts nothing, waits for nothing and knows no
// driver; client/alloc performs what it decides. Facts: reference runtime.md 5
// and 6.
package task

import (
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// jitterFraction of the delay is added at most, so that tasks that fell
// together do not rise together.
const jitterFraction = 0.25

// verdict is what becomes of a task that is not running.
type verdict struct {
	restart bool
	delay   time.Duration
	failed  bool
	reason  string // of a restart, or of none; empty when there is nothing to say
}

// tracker counts restarts against the policy.
type tracker struct {
	policy    structs.RestartPolicy
	onSuccess bool // restart also after a success
	count     int
	start     time.Time // of the interval; zero before the first use
}

// newTracker reads the policy; what it leaves open is not allowed.
func newTracker(policy *structs.RestartPolicy, onSuccess bool) tracker {
	t := tracker{onSuccess: onSuccess}
	if policy != nil {
		t.policy = *policy
	}
	return t
}

// decide says what follows an end or a failed start. jitter is uniform in
// [0, 1).
func (t *tracker) decide(success, recoverable bool, now time.Time, jitter float64) verdict {
	attempts, interval := structs.Val(t.policy.Attempts), structs.Val(t.policy.Interval)
	if attempts == 0 {
		if success && !t.onSuccess {
			return verdict{}
		}
		return verdict{failed: true, reason: "Policy allows no restarts"}
	}
	if t.start.IsZero() || now.After(t.start.Add(interval)) {
		t.count, t.start = 0, now
	}
	t.count++
	switch {
	case !recoverable:
		return verdict{failed: true, reason: "Error was unrecoverable"}
	case success && !t.onSuccess:
		return verdict{}
	case t.count <= attempts:
		delay := structs.Val(t.policy.Delay)
		delay += time.Duration(float64(delay) * jitter * jitterFraction)
		return verdict{restart: true, delay: delay, reason: structs.RestartWithinPolicy}
	case structs.Val(t.policy.Mode) == structs.RestartModeDelay:
		return verdict{restart: true, delay: t.start.Add(interval).Sub(now), reason: "Exceeded allowed attempts, applying a delay"}
	}
	return verdict{failed: true, reason: fmt.Sprintf("Exceeded allowed attempts %d in interval %v and mode is %q", attempts, interval, structs.RestartModeFail)}
}
