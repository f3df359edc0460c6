package structs

import (
	"math"
	"time"
)

// maxPastEvents is how many events a tracker keeps of an unlimited policy.
const maxPastEvents = 5

// FailTime is when an allocation failed: when its last task finished, else when
// it was last changed.
func (a *Allocation) FailTime() time.Time {
	var last time.Time
	for _, t := range a.TaskStates {
		if t != nil && t.FinishedAt != nil && t.FinishedAt.After(last) {
			last = *t.FinishedAt
		}
	}
	if last.IsZero() {
		last = time.Unix(0, a.ModifyTime)
	}
	return last
}

// pastEvents are the earlier attempts of an allocation, oldest first.
func pastEvents(a *Allocation) []*RescheduleEvent {
	if a.RescheduleTracker == nil {
		return nil
	}
	return a.RescheduleTracker.Events
}

// delayAfter is how long the policy waits after an allocation failed; see reference
// runtime 12 for what each function does when it reaches max_delay.
func (p *ReschedulePolicy) delayAfter(a *Allocation, failed time.Time) time.Duration {
	base, limit := Val(p.Delay), Val(p.MaxDelay)
	events := pastEvents(a)
	if len(events) == 0 {
		return base
	}
	last := events[len(events)-1]
	var delay time.Duration
	switch Val(p.DelayFunction) {
	case DelayExponential:
		delay = doubled(last.Delay)
	case DelayFibonacci:
		delay = base
		if len(events) > 1 {
			before := events[len(events)-2]
			delay = sum(last.Delay, before.Delay)
			if limit > 0 && before.Delay == limit && last.Delay == base {
				delay = base // restarted after a quiet time: the second of the new row
			}
		}
	default:
		return base
	}
	if limit > 0 && delay > limit {
		delay = limit
		quiet := failed.Sub(time.Unix(0, last.RescheduleTime))
		if quiet > delay {
			delay = base
		}
	}
	return delay
}

func doubled(d time.Duration) time.Duration { return sum(d, d) }

// sum adds without overflow.
func sum(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Next says whether an allocation that failed at a time may be placed again,
// and when. A nil policy allows nothing.
func (p *ReschedulePolicy) Next(a *Allocation, failed time.Time) (time.Time, bool) {
	if p == nil {
		return time.Time{}, false
	}
	attempts, interval := Val(p.Attempts), Val(p.Interval)
	unlimited := Val(p.Unlimited)
	if !unlimited && attempts <= 0 {
		return time.Time{}, false
	}
	delay := p.delayAfter(a, failed)
	at := failed.Add(delay)
	if unlimited {
		return at, true
	}
	used := 0
	for _, e := range pastEvents(a) {
		if failed.Sub(time.Unix(0, e.RescheduleTime)) < interval {
			used++
		}
	}
	return at, used < attempts && delay < interval
}

// NextTracker is the tracker of the allocation that replaces at now one that
// failed earlier.
func (p *ReschedulePolicy) NextTracker(a *Allocation, failed, now time.Time) *RescheduleTracker {
	past := pastEvents(a)
	var keep []*RescheduleEvent
	switch {
	case p == nil:
	case Val(p.Unlimited):
		keep = past[max(0, len(past)-maxPastEvents):]
	default:
		for _, e := range past {
			if now.Sub(time.Unix(0, e.RescheduleTime)) < Val(p.Interval) {
				keep = append(keep, e)
			}
		}
	}
	var delay time.Duration
	if p != nil {
		delay = p.delayAfter(a, failed)
	}
	event := &RescheduleEvent{RescheduleTime: now.UnixNano(), PrevAllocID: a.ID, PrevNodeID: a.NodeID, Delay: delay}
	return &RescheduleTracker{Events: append(keep[:len(keep):len(keep)], event)}
}
