package api

import (
	"context"
	"math/rand/v2"
	"time"
)

// Blocker runs a read until its index is greater than minIndex, or until ctx
// ends, which is no error: the read of the last run stands. The state store is
// one; S is its snapshot, K what it watches.
type Blocker[S, K any] interface {
	Block(ctx context.Context, minIndex uint64, keys []K, read func(S) uint64) error
}

// Block runs a read for a request: once, or on blocking rows with an index
// until the result is newer or the time is up. The read returns the index of
// its result; anything below 1 counts as 1, so that a caller that saw an empty
// table can wait for the first row. Block returns that index.
func Block[S, K any](ctx context.Context, r *Request, b Blocker[S, K], keys []K, read func(S) uint64) (uint64, error) {
	min := uint64(0)
	if r.Route.Blocking && r.Query.Index > 0 {
		min = r.Query.Index
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, jittered(r.Query.Wait, rand.Float64()))
		defer cancel()
	}
	index := uint64(0)
	err := b.Block(ctx, min, keys, func(s S) uint64 {
		index = max(read(s), 1)
		return index
	})
	return index, err
}

// jittered adds up to wait/JitterFraction; where in that range is x, 0 to 1.
func jittered(wait time.Duration, x float64) time.Duration {
	return wait + time.Duration(x*float64(wait)/JitterFraction)
}
