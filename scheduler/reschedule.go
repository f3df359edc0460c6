package scheduler

import (
	"math"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// maxPastEvents is how many events a tracker keeps of an unlimited policy.
const maxPastEvents = 5

// rescheduleSoon is how early a delayed reschedule may happen.
const rescheduleSoon = time.Second

// failTime is when an allocation failed: when its last task finished.
func failTime(a *structs.Allocation) time.Time {
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
func pastEvents(a *structs.Allocation) []*structs.RescheduleEvent {
	if a.RescheduleTracker == nil {
		return nil
	}
	return a.RescheduleTracker.Events
}

// rescheduleDelay is how long the policy waits after a failure; see reference
// runtime 12 for what each function does when it reaches max_delay.
func rescheduleDelay(policy *structs.ReschedulePolicy, a *structs.Allocation) time.Duration {
	base, limit := structs.Val(policy.Delay), structs.Val(policy.MaxDelay)
	events := pastEvents(a)
	if len(events) == 0 {
		return base
	}
	last := events[len(events)-1]
	var delay time.Duration
	switch structs.Val(policy.DelayFunction) {
	case structs.DelayExponential:
		delay = doubled(last.Delay)
	case structs.DelayFibonacci:
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
		quiet := failTime(a).Sub(time.Unix(0, last.RescheduleTime))
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

// rescheduleAt says whether a failed allocation may be placed again, and when.
func rescheduleAt(policy *structs.ReschedulePolicy, a *structs.Allocation) (time.Time, bool) {
	if policy == nil {
		return time.Time{}, false
	}
	attempts, interval := structs.Val(policy.Attempts), structs.Val(policy.Interval)
	unlimited := structs.Val(policy.Unlimited)
	if !unlimited && attempts <= 0 {
		return time.Time{}, false
	}
	failed, delay := failTime(a), rescheduleDelay(policy, a)
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

// nextTracker is the tracker of the allocation that replaces a.
func nextTracker(policy *structs.ReschedulePolicy, a *structs.Allocation, now time.Time) *structs.RescheduleTracker {
	past := pastEvents(a)
	var keep []*structs.RescheduleEvent
	switch {
	case policy == nil:
	case structs.Val(policy.Unlimited):
		keep = past[max(0, len(past)-maxPastEvents):]
	default:
		for _, e := range past {
			if now.Sub(time.Unix(0, e.RescheduleTime)) < structs.Val(policy.Interval) {
				keep = append(keep, e)
			}
		}
	}
	var delay time.Duration
	if policy != nil {
		delay = rescheduleDelay(policy, a)
	}
	event := &structs.RescheduleEvent{RescheduleTime: now.UnixNano(), PrevAllocID: a.ID, PrevNodeID: a.NodeID, Delay: delay}
	return &structs.RescheduleTracker{Events: append(keep[:len(keep):len(keep)], event)}
}
