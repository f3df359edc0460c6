package periodic

import (
	"container/heap"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// deadline is when a version of a job is due next.
type deadline struct {
	key     state.JobKey
	version uint64    // the JobModifyIndex that it was made from
	at      time.Time // the time that the launch is for
	wake    time.Time // when to try: at, or later after a failure
	never   bool
	place   int // in the queue, counted from 1; 0 is not in it
}

// settle makes the next deadline after a launch, or tries the same again.
func (d *deadline) settle(err error, snap *state.Snapshot, now time.Time) {
	if err != nil {
		d.wake = now.Add(errorPause)
		return
	}
	job := snap.Job(d.key.Namespace, d.key.ID)
	if job == nil || job.JobModifyIndex != d.version {
		d.never = true
		return
	}
	n := next(job, now)
	d.at, d.wake, d.never = n.at, n.wake, n.never
}

// queue is a heap of deadlines, the next one first.
type queue []*deadline

// add puts a deadline into the queue, unless it never comes.
func (q *queue) add(d *deadline) {
	if !d.never && d.place == 0 {
		heap.Push(q, d)
	}
}

// drop takes a deadline, which may be nil, out of the queue.
func (q *queue) drop(d *deadline) {
	if d != nil && d.place > 0 {
		heap.Remove(q, d.place-1)
	}
}

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].wake.Before(q[j].wake) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	d := x.(*deadline)
	d.place = len(*q) + 1
	*q = append(*q, d)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = nil
	d.place = 0
	*q = old[:len(old)-1]
	return d
}
