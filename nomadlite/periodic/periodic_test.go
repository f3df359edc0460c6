package periodic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func cronJob(id, spec string) *structs.Job {
	return &structs.Job{Namespace: "default", ID: id, Name: id, Type: structs.JobTypeBatch, NodePool: "default",
		Periodic: &structs.PeriodicConfig{Enabled: structs.Ptr(true), Spec: spec, TimeZone: "UTC"}}
}

func TestNext(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	after := at("2026-03-28T23:30:00Z")
	for _, tt := range []struct {
		name   string
		change func(*structs.Job)
		want   string
	}{
		{"daily", func(j *structs.Job) { j.Periodic.Spec = "0 3 * * *" }, "2026-03-29T03:00:00Z"},
		{"the first of several", func(j *structs.Job) {
			j.Periodic.Spec, j.Periodic.Specs = "", []string{"0 3 * * *", "45 23 * * *"}
		}, "2026-03-28T23:45:00Z"},
		{"time zone", func(j *structs.Job) { j.Periodic.Spec, j.Periodic.TimeZone = "0 5 * * *", "Europe/Berlin" }, "2026-03-29T03:00:00Z"},
		{"disabled", func(j *structs.Job) { j.Periodic.Enabled = structs.Ptr(false) }, ""},
		{"stopped", func(j *structs.Job) { j.Stop = true }, ""},
		{"unknown zone", func(j *structs.Job) { j.Periodic.TimeZone = "Mars/Base" }, ""},
		{"no such date", func(j *structs.Job) { j.Periodic.Spec = "0 0 31 2 *" }, ""},
		{"broken", func(j *structs.Job) { j.Periodic.Spec = "x" }, ""},
	} {
		job := cronJob("c", "0 3 * * *")
		tt.change(job)
		got, ok := Next(job, after)
		if ok != (tt.want != "") || ok && !got.Equal(at(tt.want)) {
			t.Errorf("%s: got %v %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// world is a store with a running launcher, in virtual time.
type world struct {
	t     *testing.T
	store *state.Store

	mu       sync.Mutex // guards what follows
	index    uint64
	launched []string
	fail     int
}

func (w *world) write(verb func(*state.Txn) error) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	txn := w.store.Begin(w.index)
	if err := verb(txn); err != nil {
		w.t.Fatal(err)
	}
	txn.Commit()
}

func (w *world) register(job *structs.Job) {
	w.t.Helper()
	w.write(func(t *state.Txn) error {
		_, err := t.RegisterJob(&state.JobRegister{Job: job, Now: time.Now().UnixNano()})
		return err
	})
}

// lead runs a launcher for a while.
func (w *world) lead(during func()) {
	l := New(Config{Store: w.store, Logger: hclog.NewNullLogger(),
		Launch: func(_ context.Context, due []Launch) error {
			for _, d := range due {
				if !d.Overlaps && !w.accept(fmt.Sprintf("%s %s", d.Parent.ID, d.At.UTC().Format("15:04"))) {
					return errors.New("not now")
				}
			}
			w.write(launchOf(due))
			return nil
		}})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	synctest.Wait()
	during()
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
}

// launchOf is the command of launches.
func launchOf(due []Launch) func(*state.Txn) error {
	cmd := &state.ChildrenLaunch{}
	for _, d := range due {
		one := &state.ChildLaunch{Namespace: d.Parent.Namespace, JobID: d.Parent.ID, At: d.At}
		if !d.Overlaps {
			child := *d.Parent
			child.ID, child.ParentID, child.Periodic = fmt.Sprintf("%s/periodic-%d", d.Parent.ID, d.At.Unix()), d.Parent.ID, nil
			one.Child = &child
		}
		cmd.Launches = append(cmd.Launches, one)
	}
	return func(t *state.Txn) error { return t.LaunchChildren(cmd) }
}

// accept notes a launch, unless it is to fail.
func (w *world) accept(launch string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail > 0 {
		w.fail--
		return false
	}
	w.launched = append(w.launched, launch)
	return true
}

func (w *world) failNext(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = n
}

func (w *world) want(launches ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if fmt.Sprint(w.launched) != fmt.Sprint(launches) {
		w.t.Errorf("launched %v, want %v", w.launched, launches)
	}
	w.launched = nil
}

func TestLauncher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC
		w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
		w.lead(func() {
			w.register(cronJob("hourly", "0 * * * *"))
			time.Sleep(2*time.Hour + time.Minute)
			synctest.Wait()
			w.want("hourly 01:00", "hourly 02:00")

			w.failNext(2)
			time.Sleep(time.Hour)
			synctest.Wait()
			w.want("hourly 03:00")

			w.register(cronJob("hourly", "30 * * * *"))
			time.Sleep(time.Hour)
			synctest.Wait()
			w.want("hourly 03:30")
		})
		// No leader from 04:01 to 07:01: one launch makes up for all.
		time.Sleep(3 * time.Hour)
		w.lead(func() {
			synctest.Wait()
			w.want("hourly 07:01")
			time.Sleep(time.Hour)
			synctest.Wait()
			w.want("hourly 07:30")
		})
		// A leader that died after a launch, before it was recorded.
		child := cronJob(fmt.Sprintf("hourly/periodic-%d", time.Now().Add(time.Hour).Unix()), "")
		child.ParentID, child.Periodic = "hourly", nil
		w.register(child)
		time.Sleep(time.Hour)
		w.lead(func() { w.want() })
	})
}

func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
		job := cronJob("slow", "0 * * * *")
		job.Periodic.ProhibitOverlap = true
		w.lead(func() {
			w.register(job)
			time.Sleep(3*time.Hour + time.Minute)
			synctest.Wait()
			w.want("slow 01:00") // its child is pending all the time
			snap := w.store.Snapshot()
			for child := range snap.JobChildren("default", "slow") {
				w.write(func(t *state.Txn) error {
					_, err := t.DeregisterJob(&state.JobDeregister{Namespace: "default", JobID: child.ID, Purge: true})
					return err
				})
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			w.want("slow 04:00")
		})
	})
}

// TestBrokenJobs_B41: jobs that no clock can launch keep neither the launcher
// nor the others from working, at the start of a term nor later; each zone is
// its own after a change of the leader.
func TestBrokenJobs_B41(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC
		w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
		zone := cronJob("zone", "0 * * * *")
		zone.Periodic.TimeZone = "Mars/Base"
		west := cronJob("west", "30 20 * * *") // 01:30 UTC
		west.Periodic.TimeZone = "America/New_York"
		w.register(zone)
		w.register(cronJob("text", "not cron"))
		w.register(cronJob("never", "0 0 31 2 *"))
		w.register(west)
		w.register(cronJob("hourly", "0 * * * *"))
		for range 2 {
			w.lead(func() {
				time.Sleep(time.Minute)
				synctest.Wait()
			})
		}
		w.lead(func() {
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			w.want("hourly 01:00", "west 01:30", "hourly 02:00")
		})
	})
}
