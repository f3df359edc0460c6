package driver

import (
	"context"
	"reflect"
	"sync"
	"time"
)

// StreamFingerprint is Fingerprint for a driver that looks at its node from
// time to time: it sends at once, looks again every interval and sends what
// changed, until ctx ends.
func StreamFingerprint(ctx context.Context, interval time.Duration, look func(context.Context) *Fingerprint, send func(*Fingerprint) error) error {
	last := look(ctx)
	if err := send(last); err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		next := look(ctx)
		if reflect.DeepEqual(last, next) {
			continue
		}
		if err := send(next); err != nil {
			return err
		}
		last = next
	}
}

// eventBacklog is how many events a slow reader may lag behind.
const eventBacklog = 64

// Events hands a driver's task events to every caller of TaskEvents. The zero
// value is ready.
type Events struct {
	mu      sync.Mutex // guards readers
	readers map[chan *TaskEvent]struct{}
}

// Publish hands an event to all readers without waiting: a reader that lags
// eventBacklog behind misses it.
func (e *Events) Publish(event *TaskEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for reader := range e.readers {
		select {
		case reader <- event:
		default:
		}
	}
}

// Stream is Observer.TaskEvents.
func (e *Events) Stream(ctx context.Context, send func(*TaskEvent) error) error {
	reader := make(chan *TaskEvent, eventBacklog)
	e.mu.Lock()
	if e.readers == nil {
		e.readers = make(map[chan *TaskEvent]struct{})
	}
	e.readers[reader] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.readers, reader)
		e.mu.Unlock()
	}()
	for {
		select {
		case event := <-reader:
			if err := send(event); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// minStatsInterval keeps a careless caller from making a driver spin.
const minStatsInterval = 100 * time.Millisecond

// StreamStats is Observer.TaskStats for a driver that measures on demand: it
// sends at once and then every interval, until exited is closed or ctx ends.
func StreamStats(ctx context.Context, interval time.Duration, exited <-chan struct{}, measure func() (*TaskStats, error), send func(*TaskStats) error) error {
	ticker := time.NewTicker(max(interval, minStatsInterval))
	defer ticker.Stop()
	for {
		stats, err := measure()
		if err != nil {
			return err
		}
		if err := send(stats); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-exited:
			return nil
		case <-ticker.C:
		}
	}
}
