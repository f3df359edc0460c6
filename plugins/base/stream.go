package base

import (
	"context"
	"reflect"
	"time"
)

// StreamChanges serves a stream of what a plugin sees when it looks from time
// to time: it sends at once, looks again every interval and sends what changed,
// until ctx ends.
func StreamChanges[T any](ctx context.Context, interval time.Duration, look func(context.Context) T, send func(T) error) error {
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

// minStatsInterval keeps a careless caller from making a plugin spin.
const minStatsInterval = 100 * time.Millisecond

// StreamStats serves a stream of figures that a plugin measures on demand: it
// sends at once and then every interval, until exited is closed (nil: never) or
// ctx ends.
func StreamStats[T any](ctx context.Context, interval time.Duration, exited <-chan struct{}, measure func() (T, error), send func(T) error) error {
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
