package client

import (
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestRoom: what decides that a finished allocation must go.
func TestRoom(t *testing.T) {
	limits := room{maxAllocs: 50, maxDisk: 80, maxInodes: 70, maxFinished: -1}
	for _, tc := range []struct {
		name string
		r    func(*room)
		want string
	}{
		{"nothing has ended", func(r *room) { r.allocs, r.disk = 99, 99 }, ""},
		{"room for all", func(r *room) { r.finished, r.allocs, r.disk, r.inodes = 5, 50, 80, 70 }, ""},
		{"too many", func(r *room) { r.finished, r.allocs = 1, 51 }, "the node has 51 allocations, gc_max_allocs is 50"},
		{"disk", func(r *room) { r.finished, r.disk = 1, 81 }, "81% of the disk is used, gc_disk_usage_threshold is 80"},
		{"inodes", func(r *room) { r.finished, r.inodes = 1, 71 }, "71% of the inodes are used, gc_inode_usage_threshold is 70"},
		{"all at once", func(r *room) { r.finished, r.maxFinished = 1, 0 }, "0 finished allocations are kept at most"},
		{"no limits", func(r *room) { *r = room{finished: 9, allocs: 9, disk: 99, inodes: 99, maxFinished: -1} }, ""},
	} {
		r := limits
		tc.r(&r)
		if got := r.short(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestReplacementOutlivesWhatItReplaced: an allocation that was let in when
// another had ended is still looked after once the other is removed.
func TestReplacementOutlivesWhatItReplaced(t *testing.T) {
	s := newServers()
	n := start(t, shortDir(t), s, true)
	s.put(shell(firstID, structs.JobTypeService, "exec sleep 600"))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	next := shell(secondID, structs.JobTypeService, "exec sleep 600")
	next.PreviousAllocation = firstID
	first := shell(firstID, structs.JobTypeService, "exec sleep 600")
	first.DesiredStatus = structs.AllocDesiredStatusStop
	s.put(next, first)
	s.await(t, secondID, is(structs.AllocClientStatusRunning))
	n.collectWhile(t.Context(), room{maxFinished: 0})
	s.stop(secondID)
	s.await(t, secondID, is(structs.AllocClientStatusComplete))
}
