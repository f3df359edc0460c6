package planner

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nomadlite/nomadlite/structs"
)

func TestPlansInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := New(Deps{Apply: func(context.Context, *structs.Plan) (*structs.PlanResult, error) {
			<-release
			return &structs.PlanResult{Applied: 7}, nil
		}})
		var all sync.WaitGroup
		for range MaxInFlight {
			all.Go(func() {
				if r, err := p.Submit(t.Context(), &structs.Plan{}); err != nil || r.Applied != 7 {
					t.Errorf("%+v %v", r, err)
				}
			})
		}
		synctest.Wait()
		if p.Depth() != MaxInFlight {
			t.Errorf("%d plans in flight", p.Depth())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Submit(ctx, &structs.Plan{}); !errors.Is(err, context.Canceled) {
			t.Errorf("one plan too many: %v", err)
		}
		close(release)
		all.Wait()
		if p.Depth() != 0 {
			t.Errorf("%d plans are still in flight", p.Depth())
		}
	})
}
