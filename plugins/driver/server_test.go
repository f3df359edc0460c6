package driver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// slow is a driver whose starts take until they are let go.
type slow struct {
	Driver
	let  chan struct{}
	runs map[string]bool
}

func (d *slow) StartTask(_ context.Context, cfg *TaskConfig) (*TaskHandle, *NetworkOverride, error) {
	<-d.let
	d.runs[cfg.ID] = true
	return &TaskHandle{Config: cfg}, nil, nil
}

func (d *slow) DestroyTask(_ context.Context, id string, _ bool) error {
	if !d.runs[id] {
		return ErrTaskNotFound
	}
	delete(d.runs, id)
	return nil
}

// TestDestroyOfATaskThatIsBeingStarted_F42: an agent dies while a driver starts
// a task for it. Its successor has the task destroyed: that is done once it
// runs, not said to be done while it does not run yet.
func TestDestroyOfATaskThatIsBeingStarted_F42(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slow{let: make(chan struct{}), runs: map[string]bool{}}
		s := &server{impl: d}
		first, die := context.WithCancel(t.Context())
		go func() {
			if _, err := s.StartTask(first, &driverpb.StartTaskRequest{Task: &driverpb.TaskConfig{Id: "a"}}); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		die()
		destroyed := make(chan error, 1)
		go func() {
			_, err := s.DestroyTask(t.Context(), &driverpb.DestroyTaskRequest{TaskId: "a", Force: true})
			destroyed <- err
		}()
		synctest.Wait()
		select {
		case err := <-destroyed:
			t.Fatalf("destroyed before it was started: %v", err)
		default:
		}
		close(d.let)
		if err := <-destroyed; err != nil || len(d.runs) > 0 {
			t.Errorf("%v, and there run %v", err, d.runs)
		}
		if _, err := s.DestroyTask(t.Context(), &driverpb.DestroyTaskRequest{TaskId: "a", Force: true}); err == nil {
			t.Error("it was destroyed twice")
		}
		if _, err := s.StartTask(first, &driverpb.StartTaskRequest{Task: &driverpb.TaskConfig{Id: "b"}}); err == nil || d.runs["b"] {
			t.Errorf("a start for an agent that is gone: %v, runs %v", err, d.runs)
		}
		if err := s.settled(first, "c"); err != nil {
			t.Error(err)
		}
		end := s.begin("c")
		if err := s.settled(first, "c"); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that was given up: %v", err)
		}
		end()
	})
}
