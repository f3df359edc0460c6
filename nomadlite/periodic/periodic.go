// Package periodic launches the children of periodic jobs when their time has
// come. What is due is worked out by Next and Missed, which are pure; the
// Launcher keeps one deadline a job, made anew from the state whenever jobs
// change.
//
// A launch is named by its second: launching one twice is launching it once.
package periodic

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Next is the first time after a moment at which a periodic job is due, in the
// job's time zone; ok is false when it never is: stopped, disabled, or a cron
// expression without a future.
func Next(job *structs.Job, after time.Time) (at time.Time, ok bool) {
	p := job.Periodic
	if p == nil || job.Stop || p.Enabled != nil && !*p.Enabled {
		return time.Time{}, false
	}
	zone, err := time.LoadLocation(p.TimeZone)
	if err != nil {
		return time.Time{}, false
	}
	for _, spec := range p.All() {
		cron, err := cronexpr.Parse(spec)
		if err != nil {
			continue
		}
		if t := cron.Next(after.In(zone)); !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Overlaps reports whether a job that prohibits overlaps has a child that is
// not done.
func Overlaps(snap *state.Snapshot, job *structs.Job) bool {
	if !job.Periodic.ProhibitOverlap {
		return false
	}
	for child := range snap.JobChildren(job.Namespace, job.ID) {
		if child.Status != structs.JobStatusDead {
			return true
		}
	}
	return false
}

// Config configures a Launcher.
type Config struct {
	Store *state.Store
	// Launch registers the child of a job for a time, with its evaluation.
	Launch func(ctx context.Context, parent *structs.Job, at time.Time) error
	// Record remembers a launch that was due, so that the next leader knows.
	Record func(ctx context.Context, launch *state.PeriodicLaunch) error
	Logger hclog.Logger
}

// Launcher launches the children of all periodic jobs of a region.
type Launcher struct {
	cfg Config
	due map[state.JobKey]deadline // belongs to Run
}

// deadline is when a version of a job is due next.
type deadline struct {
	version uint64 // the JobModifyIndex that it was made from
	at      time.Time
	never   bool
}

// New returns a launcher.
func New(cfg Config) *Launcher { return &Launcher{cfg: cfg} }

// Pauses of the loop.
const (
	idle       = time.Hour        // without any deadline
	errorPause = time.Second      // after a launch that failed
	shortest   = time.Millisecond // before a deadline that is just ahead
)

// Run launches what is due until ctx ends. What became due while there was no
// leader is launched once, at the start.
func (l *Launcher) Run(ctx context.Context) error {
	l.due = map[state.JobKey]deadline{}
	watch := l.cfg.Store.Watch(state.KeyTable(state.TableJobs))
	defer watch.Close()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		timer.Reset(l.look(ctx, time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
		case <-timer.C:
		}
	}
}

// look launches what is due and returns when to look again.
func (l *Launcher) look(ctx context.Context, now time.Time) time.Duration {
	snap := l.cfg.Store.Snapshot()
	pause, seen := idle, map[state.JobKey]deadline{}
	for job := range snap.Jobs("", "") {
		if job.Periodic == nil {
			continue
		}
		key := state.JobKey{Namespace: job.Namespace, ID: job.ID}
		d, known := l.due[key]
		if !known || d.version != job.JobModifyIndex {
			d = l.plan(snap, job, now, known)
		}
		if !d.never && !d.at.After(now) {
			if err := l.fire(ctx, snap, job, d.at); err != nil {
				l.cfg.Logger.Error("cannot launch a periodic job; trying again", "job_id", job.ID, "namespace", job.Namespace, "error", err)
				pause = min(pause, errorPause)
			} else {
				d = next(job, now)
			}
		}
		if !d.never {
			pause = min(pause, max(d.at.Sub(now), shortest))
		}
		seen[key] = d
	}
	l.due = seen
	return pause
}

// plan makes the deadline of a job that is new here. At the start of a term
// that is the first time after the last launch, which may be past: then the
// job is due now. A changed job is due from now on.
func (l *Launcher) plan(snap *state.Snapshot, job *structs.Job, now time.Time, changed bool) deadline {
	last, launched := lastLaunch(snap, job)
	if launched && !changed && job.ParameterizedJob == nil {
		if at, ok := Next(job, last); ok && !at.After(now) {
			return deadline{version: job.JobModifyIndex, at: now}
		}
	}
	return next(job, now)
}

// lastLaunch is the newest launch that was recorded, or whose child exists: a
// leader may have died between the two.
func lastLaunch(snap *state.Snapshot, job *structs.Job) (time.Time, bool) {
	last, ok := snap.PeriodicLaunch(job.Namespace, job.ID)
	for child := range snap.JobChildren(job.Namespace, job.ID) {
		second, err := strconv.ParseInt(strings.TrimPrefix(child.ID, job.ID+"/periodic-"), 10, 64)
		if at := time.Unix(second, 0); err == nil && at.After(last) {
			last, ok = at, true
		}
	}
	return last, ok
}

func next(job *structs.Job, after time.Time) deadline {
	at, ok := Next(job, after)
	return deadline{version: job.JobModifyIndex, at: at, never: !ok}
}

// fire launches a job, unless a child of it still runs and it does not want
// two.
func (l *Launcher) fire(ctx context.Context, snap *state.Snapshot, job *structs.Job, at time.Time) error {
	if Overlaps(snap, job) {
		l.cfg.Logger.Debug("skipping a launch: the last child is not done", "job_id", job.ID, "namespace", job.Namespace)
	} else if err := l.cfg.Launch(ctx, job, at); err != nil {
		return err
	}
	return l.cfg.Record(ctx, &state.PeriodicLaunch{Namespace: job.Namespace, JobID: job.ID, Launch: at})
}
