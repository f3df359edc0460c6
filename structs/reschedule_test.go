package structs

import (
	"testing"
	"time"
)

// TestRescheduleNext checks when a failed allocation may be placed again; the
// expected values follow from reference runtime 12 alone.
func TestRescheduleNext(t *testing.T) {
	failed := time.Unix(100_000, 0)
	policy := func(function string, attempts int, interval, delay, limit time.Duration) *ReschedulePolicy {
		return &ReschedulePolicy{DelayFunction: &function, Attempts: &attempts, Interval: &interval, Delay: &delay, MaxDelay: &limit, Unlimited: Ptr(attempts == 0)}
	}
	// tried gives an allocation earlier attempts, "ago" before it failed.
	tried := func(agoAndDelay ...time.Duration) *Allocation {
		a := &Allocation{RescheduleTracker: &RescheduleTracker{}, ModifyTime: failed.Add(time.Hour).UnixNano(),
			TaskStates: map[string]*TaskState{"t": {FinishedAt: &failed}}}
		for i := 0; i < len(agoAndDelay); i += 2 {
			a.RescheduleTracker.Events = append(a.RescheduleTracker.Events,
				&RescheduleEvent{RescheduleTime: failed.Add(-agoAndDelay[i]).UnixNano(), Delay: agoAndDelay[i+1]})
		}
		return a
	}
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, c := range []struct {
		name   string
		policy *ReschedulePolicy
		alloc  *Allocation
		wait   time.Duration
		no     bool
	}{
		{name: "no policy", alloc: tried(), no: true},
		{name: "no attempts", policy: policy("constant", 0, h, s, 0), alloc: tried(), wait: s},
		{name: "first", policy: policy("exponential", 1, h, 5*s, h), alloc: tried(), wait: 5 * s},
		{name: "spent", policy: policy("constant", 1, h, 5*s, 0), alloc: tried(59*m, 5*s), no: true, wait: 5 * s},
		{name: "counted from the failure, not from the last change", policy: policy("constant", 1, h, 5*s, 0), alloc: tried(30*m, 5*s), no: true, wait: 5 * s},
		{name: "out of the interval", policy: policy("constant", 1, h, 5*s, 0), alloc: tried(61*m, 5*s), wait: 5 * s},
		{name: "delay as long as the interval", policy: policy("constant", 5, m, m, 0), alloc: tried(), no: true, wait: m},
		{name: "exponential", policy: policy("exponential", 0, 0, 5*s, h), alloc: tried(2*m, 5*s, m, 10*s), wait: 20 * s},
		{name: "exponential at its limit", policy: policy("exponential", 0, 0, 5*s, 15*s), alloc: tried(s, 10*s), wait: 15 * s},
		{name: "exponential after a quiet time", policy: policy("exponential", 0, 0, 5*s, 15*s), alloc: tried(m, 10*s), wait: 5 * s},
		{name: "fibonacci, second", policy: policy("fibonacci", 0, 0, 5*s, h), alloc: tried(m, 5*s), wait: 5 * s},
		{name: "fibonacci, third", policy: policy("fibonacci", 0, 0, 5*s, h), alloc: tried(2*m, 5*s, m, 5*s), wait: 10 * s},
		{name: "fibonacci after its restart", policy: policy("fibonacci", 0, 0, 5*s, 8*s), alloc: tried(h, 8*s, m, 5*s), wait: 5 * s},
		{name: "no overflow", policy: policy("exponential", 0, 0, 5*s, 0), alloc: tried(m, 1<<62), wait: 1<<63 - 1},
	} {
		at, ok := c.policy.Next(c.alloc, c.alloc.FailTime())
		if ok == c.no {
			t.Errorf("%s: placed again: %v", c.name, ok)
		}
		if c.policy != nil && c.wait < 1<<62 && at.Sub(failed) != c.wait {
			t.Errorf("%s: waits %v, want %v", c.name, at.Sub(failed), c.wait)
		}
	}
}
