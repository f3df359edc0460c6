package driver

import (
	"context"
	"sync"
	"time"
)

// RepeatFingerprint is Fingerprint for a driver whose configuration may change:
// it sends at once, and again every interval and whenever the channel that look
// returned is closed, until ctx ends. An error of look ends it.
func RepeatFingerprint(ctx context.Context, interval time.Duration, look func(context.Context) (*Fingerprint, <-chan struct{}, error), send func(*Fingerprint) error) error {
	for {
		now, changed, err := look(ctx)
		if err != nil {
			return err
		}
		if err := send(now); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(interval):
		}
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
