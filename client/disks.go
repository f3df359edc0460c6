package client

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/client/logs"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

// lookAtDisks compares what the allocations hold on disk with what they asked
// for, and removes log files that are older than log_retention.
func (c *Client) lookAtDisks(ctx context.Context) {
	for _, r := range c.all() {
		if ctx.Err() != nil {
			return
		}
		over := r.over()
		if !over {
			c.measureDisk(r)
		}
		if c.cfg.LogRetention > 0 {
			c.expireLogs(r, time.Now().Add(-c.cfg.LogRetention), !over)
		}
	}
}

// diskCalm is the part of its share below which an allocation that exceeded it
// counts as mended.
const diskCalm = 0.9

// measureDisk tells an allocation, once, that it holds more than its group's
// ephemeral_disk.size.
func (c *Client) measureDisk(r *run) {
	group := r.alloc.Job.LookupGroup(r.alloc.TaskGroup)
	if group == nil || group.EphemeralDisk == nil || structs.Val(group.EphemeralDisk.SizeMB) == 0 {
		return
	}
	share := structs.Val(group.EphemeralDisk.SizeMB)
	limit := int64(share) << 20
	used, err := rootfs.DataUse(r.runner.Dir(), limit)
	switch {
	case err != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("cannot measure the disk of an allocation", "alloc_id", r.alloc.ID, "error", err)
		}
	case used > limit && !r.diskTold:
		r.diskTold = true
		r.runner.Note(&structs.TaskEvent{Type: structs.TaskDiskExceeded, Details: map[string]string{"disk_limit": strconv.Itoa(share)}})
		c.log.Warn("an allocation holds more on disk than its group asked for", "alloc_id", r.alloc.ID, "ephemeral_disk_mb", share)
	case float64(used) < diskCalm*float64(limit):
		r.diskTold = false
	}
}

// expireLogs removes the old log files of an allocation.
func (c *Client) expireLogs(r *run, before time.Time, running bool) {
	group := r.alloc.Job.LookupGroup(r.alloc.TaskGroup)
	if group == nil {
		return
	}
	for _, t := range group.Tasks {
		for _, kind := range []string{"stdout", "stderr"} {
			err := logs.Expire(r.runner.Dir().Task(t.Name).Logs, t.Name+"."+kind, before, running)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.log.Warn("cannot remove old log files", "alloc_id", r.alloc.ID, "task", t.Name, "error", err)
			}
		}
	}
}
