package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTTL(t *testing.T) {
	c := Config{MinTTL: 10 * time.Second, MaxPerSecond: 50}
	for _, tt := range []struct {
		n    int
		x    float64
		want time.Duration
	}{
		{0, 0, 10 * time.Second}, {500, 0, 10 * time.Second}, {1000, 0, 20 * time.Second}, {500, 1, 12500 * time.Millisecond},
	} {
		if got := c.ttl(tt.n, tt.x); got != tt.want {
			t.Errorf("%d nodes: got %v, want %v", tt.n, got, tt.want)
		}
	}
}

// TestOwnStallIsNoSilence_B09: nodes are missed at their deadlines, to which a
// stall of this process is added.
func TestOwnStallIsNoSilence_B09(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

	c := newCore()
	c.deadlines = map[string]time.Time{"a": at(5), "b": at(7)}
	for s := 0.0; s < 5; s += 0.5 {
		if missed, _ := c.step(at(s)); missed != nil {
			t.Fatalf("missed %v at %v s", missed, s)
		}
	}
	if missed, _ := c.step(at(5)); !slices.Equal(missed, []string{"a"}) {
		t.Errorf("missed %v", missed)
	}
	// The process stood still for 10 s: b gets that time on top.
	if missed, _ := c.step(at(15)); missed != nil {
		t.Errorf("missed %v after a stall", missed)
	}
	if missed, _ := c.step(at(15.5)); missed != nil {
		t.Errorf("missed %v right after a stall", missed)
	}
	if missed, _ := c.step(at(16)); !slices.Equal(missed, []string{"b"}) {
		t.Errorf("missed %v", missed)
	}
}

// TestMassLossFreezes_B09: many nodes missed at once take no work away for a
// while.
func TestMassLossFreezes_B09(t *testing.T) {
	start := time.Unix(1000, 0)
	c := newCore()
	for i := range 10 {
		c.deadlines[fmt.Sprint(i)] = start.Add(time.Hour)
	}
	for i := range 3 {
		c.deadlines[fmt.Sprint(i)] = start
	}
	if missed, alarm := c.step(start); !alarm || len(missed) != 3 || len(c.deadlines) != 10 {
		t.Fatalf("missed %v, alarm %v", missed, alarm)
	}
	now := start
	for now.Before(start.Add(freezeTime - tick)) {
		now = now.Add(tick)
		if missed, alarm := c.step(now); missed != nil || alarm {
			t.Fatalf("missed %v, alarm %v while frozen", missed, alarm)
		}
	}
	if missed, alarm := c.step(now.Add(tick)); len(missed) != 3 || alarm {
		t.Errorf("after the freeze: missed %v, alarm %v", missed, alarm)
	}
}

func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		lost := map[string]int{}
		failures := 1
		table := New(Config{MinTTL: 10 * time.Second, Grace: 10 * time.Second, FailoverTTL: time.Minute, Missed: func(_ context.Context, id string) (bool, error) {
			if lost[id]++; failures > 0 {
				failures--
				return false, errors.New("not now")
			}
			return false, nil
		}})
		done := make(chan error, 1)
		go func() { done <- table.Run(ctx, []string{"known"}) }()
		synctest.Wait()
		table.Beat("beating")
		table.Beat("silent")
		table.Beat("gone")
		table.Forget("gone")
		for range 5 {
			time.Sleep(9 * time.Second)
			table.Beat("beating")
		}
		synctest.Wait()
		if lost["silent"] != 2 || len(lost) != 1 {
			t.Errorf("after 45 s: %v", lost)
		}
		time.Sleep(16 * time.Second)
		table.Beat("beating")
		synctest.Wait()
		if lost["known"] != 1 || lost["beating"] != 0 {
			t.Errorf("after a minute: %v", lost)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWaitedFor: a node that something waits for is given up again from time to
// time, until nothing waits any more or it is heard.
func TestWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := map[string]int{}
		table := New(Config{MinTTL: 10 * time.Second, Grace: 10 * time.Second, FailoverTTL: 20 * time.Second, Missed: func(_ context.Context, id string) (bool, error) {
			calls[id]++
			return id == "back" || calls[id] < 3, nil
		}})
		done := make(chan error, 1)
		go func() { done <- table.Run(ctx, []string{"gone", "back"}) }()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if calls["gone"] != 1 || calls["back"] != 1 {
			t.Errorf("after 25 s: %v", calls)
		}
		for range 5 {
			table.Beat("back")
			time.Sleep(9 * time.Second)
		}
		synctest.Wait()
		if calls["gone"] != 3 || calls["back"] != 1 {
			t.Errorf("after 70 s: %v", calls)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
