// Package periodic launches the children of periodic jobs when their time has
// come. What is due is worked out by Next, which is pure; the Launcher keeps one
// deadline a job in a queue, made anew from the state when jobs change.
//
// A launch is named by its second: launching one twice is launching it once.
package periodic

import (
	"container/heap"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Next is the first time after a moment at which a periodic job is due, in the
// job's time zone; ok is false when it never is: stopped, disabled, or a cron
// expression without a future. Around a change of the clocks, a wall time that
// does not exist is left out and one that exists twice counts twice.
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
		if t := nextOf(cron, after.In(zone)); t.After(after) && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// nextOf is the next time of an expression. The library leaves out the first
// minute after a gap that is no whole hour (Australia/Lord_Howe).
func nextOf(cron *cronexpr.Expression, after time.Time) time.Time {
	t := cron.Next(after)
	_, before := after.Zone()
	_, offset := t.Zone()
	if t.IsZero() || before == offset {
		return t
	}
	low, high := after.Unix(), t.Unix() // the clocks change between them
	for high-low > 1 {
		middle := low + (high-low)/2
		if _, o := time.Unix(middle, 0).In(after.Location()).Zone(); o == offset {
			high = middle
		} else {
			low = middle
		}
	}
	first := cron.Next(time.Unix(low, 0).In(time.FixedZone("", offset))).In(after.Location())
	if _, o := first.Zone(); o == offset && first.After(after) && first.Before(t) {
		return first
	}
	return t
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

// Launch is what a job is due for.
type Launch struct {
	Parent *structs.Job
	At     time.Time
	// Overlaps is set when another child is not done and the job does not want
	// two: the launch is remembered, so that the next leader knows, and no child
	// starts.
	Overlaps bool
}

// Config configures a Launcher.
type Config struct {
	Store *state.Store
	// Launch commits launches: the children with their evaluations, and what the
	// next leader must know. After an error all of them are due again.
	Launch func(ctx context.Context, due []Launch) error
	Logger hclog.Logger
	// AtOnce is how many calls of Launch run at the same time; 0 is 4.
	AtOnce int
}

// Launcher launches the children of all periodic jobs of a region.
type Launcher struct {
	cfg Config

	// What follows belongs to Look.
	due     map[state.JobKey]*deadline
	queue   queue
	changed bool      // jobs may have
	scanned time.Time // when jobs were looked at last; zero at the start of a term
}

// New returns a launcher.
func New(cfg Config) *Launcher {
	if cfg.AtOnce == 0 {
		cfg.AtOnce = atOnce
	}
	l := &Launcher{cfg: cfg}
	l.begin()
	return l
}

// begin starts a term: nothing is known of the jobs.
func (l *Launcher) begin() {
	l.due, l.queue, l.changed, l.scanned = map[state.JobKey]*deadline{}, nil, true, time.Time{}
}

// Notice says that jobs have changed.
func (l *Launcher) Notice() { l.changed = true }

// Pauses and limits of the loop.
const (
	idle       = time.Hour        // without any deadline
	errorPause = time.Second      // after a launch that failed
	shortest   = time.Millisecond // before a deadline that is just ahead
	// scanPause is how often changed jobs are looked for at most: every launch
	// changes the table of jobs.
	scanPause = time.Second
	// together is how many launches are committed together, atOnce how many such
	// commits run at the same time.
	together = 64
	atOnce   = 4
)

// Run launches what is due until ctx ends. What became due while there was no
// leader is launched once, at the start.
func (l *Launcher) Run(ctx context.Context) error {
	l.begin()
	watch := l.cfg.Store.Watch(state.KeyTable(state.TableJobs))
	defer watch.Close()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		l.Look(ctx, time.Now())
		timer.Reset(l.pause(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			l.Notice()
		case <-timer.C:
		}
	}
}

// Look launches what is due. Run calls it; without Run it is not safe for
// concurrent use.
func (l *Launcher) Look(ctx context.Context, now time.Time) {
	if l.changed && now.Sub(l.scanned) >= scanPause {
		l.scan(now, l.scanned.IsZero())
		l.changed, l.scanned = false, now
	}
	l.fire(ctx, now)
}

// pause is how long nothing needs to be done.
func (l *Launcher) pause(now time.Time) time.Duration {
	pause := idle
	if len(l.queue) > 0 {
		pause = l.queue[0].wake.Sub(now)
	}
	if l.changed {
		pause = min(pause, l.scanned.Add(scanPause).Sub(now))
	}
	return min(max(pause, shortest), idle)
}

// scan brings the deadlines up to date with the jobs. At the start of a term
// jobs are due for what they missed.
func (l *Launcher) scan(now time.Time, first bool) {
	snap := l.cfg.Store.Snapshot()
	seen := make(map[state.JobKey]*deadline, len(l.due))
	for job := range snap.PeriodicJobs() {
		key := state.JobKey{Namespace: job.Namespace, ID: job.ID}
		d := l.due[key]
		if d == nil || d.version != job.JobModifyIndex {
			l.queue.drop(d)
			d = l.plan(snap, job, now, first)
			d.key = key
			l.queue.add(d)
		}
		seen[key] = d
	}
	for key, d := range l.due {
		if seen[key] == nil {
			l.queue.drop(d)
		}
	}
	l.due = seen
}

// plan makes the deadline of a job that is new here or has changed. At the
// start of a term that is the first time after the last launch, which may be
// past: then the job is due now. Later a job is due from now on.
func (l *Launcher) plan(snap *state.Snapshot, job *structs.Job, now time.Time, first bool) *deadline {
	if first && job.ParameterizedJob == nil {
		if last, launched := lastLaunch(snap, job); launched {
			if at, ok := Next(job, last); ok && !at.After(now) {
				return &deadline{version: job.JobModifyIndex, at: now, wake: now}
			}
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

func next(job *structs.Job, after time.Time) *deadline {
	at, ok := Next(job, after)
	return &deadline{version: job.JobModifyIndex, at: at, wake: at, never: !ok}
}

// fire launches everything that is due, many at once.
func (l *Launcher) fire(ctx context.Context, now time.Time) {
	var batch []*deadline
	for len(l.queue) > 0 && !l.queue[0].wake.After(now) {
		batch = append(batch, heap.Pop(&l.queue).(*deadline))
	}
	if len(batch) == 0 {
		return
	}
	snap := l.cfg.Store.Snapshot()
	var group errgroup.Group
	group.SetLimit(l.cfg.AtOnce)
	for some := range slices.Chunk(batch, together) {
		group.Go(func() error {
			err := l.launch(ctx, snap, some)
			for _, d := range some {
				d.settle(err, snap, now)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed waits in its deadline
	for _, d := range batch {
		l.queue.add(d)
	}
}

// launch starts what is due, but for jobs that have changed: the next scan
// sees to them.
func (l *Launcher) launch(ctx context.Context, snap *state.Snapshot, due []*deadline) error {
	launches := make([]Launch, 0, len(due))
	for _, d := range due {
		job := snap.Job(d.key.Namespace, d.key.ID)
		if job == nil || job.JobModifyIndex != d.version {
			continue
		}
		one := Launch{Parent: job, At: d.at, Overlaps: Overlaps(snap, job)}
		if one.Overlaps {
			l.cfg.Logger.Debug("skipping a launch: the last child is not done", "job_id", job.ID, "namespace", job.Namespace)
		}
		launches = append(launches, one)
	}
	if len(launches) == 0 {
		return nil
	}
	err := l.cfg.Launch(ctx, launches)
	if err != nil {
		first := launches[0].Parent
		l.cfg.Logger.Error("cannot launch periodic jobs; trying again", "jobs", len(launches), "job_id", first.ID, "namespace", first.Namespace, "error", err)
	}
	return err
}
