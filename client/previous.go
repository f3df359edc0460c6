package client

import (
	"context"
	"crypto/hmac"
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

// previous is the hook that hands the data of an allocation on to the one that
// replaces it (ephemeral_disk sticky and migrate).
type previous struct{ c *Client }

// Name implements alloc.Hook.
func (previous) Name() string { return "migrate_disk" }

// Needs implements alloc.Chooser.
func (previous) Needs(g *structs.TaskGroup) bool {
	d := g.EphemeralDisk
	return d != nil && (d.Sticky || d.Migrate)
}

// Prerun implements alloc.Prerunner: alloc/data and each task's local folder
// move over once the earlier allocation has ended. From another node that is
// tried once: a disk that cannot be had leaves an empty one.
func (p previous) Prerun(ctx context.Context, a *alloc.Alloc) error {
	id := a.Alloc.PreviousAllocation
	if id == "" || a.Restored {
		return nil
	}
	p.c.mu.Lock()
	prev := p.c.runners[id]
	p.c.mu.Unlock()
	if prev != nil {
		return p.move(ctx, a, prev)
	}
	if !a.Group.EphemeralDisk.Migrate {
		return nil
	}
	err := p.fetch(ctx, a)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	p.c.log.Warn("cannot take over the disk of an allocation", "alloc_id", a.Alloc.ID, "previous", id, "error", err)
	a.Note(&structs.TaskEvent{Type: structs.TaskHookMessage, Details: map[string]string{
		"message": fmt.Sprintf("The data of allocation %s cannot be taken over, and the disk is empty: %v", id, err)}})
	return rootfs.ClearData(a.Dir, taskNames(a.Group))
}

func taskNames(g *structs.TaskGroup) (out []string) {
	for _, t := range g.Tasks {
		out = append(out, t.Name)
	}
	return out
}

// move takes over the disk of an allocation of this node.
func (p previous) move(ctx context.Context, a *alloc.Alloc, prev *run) error {
	select {
	case <-prev.runner.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := rootfs.MoveData(prev.runner.Dir(), a.Dir, taskNames(a.Group)); err != nil {
		return fmt.Errorf("cannot take over the data of allocation %s: %w", a.Alloc.PreviousAllocation, err)
	}
	return nil
}

// migrateTimeout bounds a migration, the end of the earlier allocation
// included.
const migrateTimeout = 30 * time.Minute

// fetch takes over the disk of an allocation of another node.
func (p previous) fetch(ctx context.Context, a *alloc.Alloc) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	req := api.MigrateRequest{AllocID: a.Alloc.ID}
	req.NodeID, req.SecretID = p.c.identity()
	disk, err := p.c.cfg.Workloads.PreviousDisk(ctx, req)
	if err != nil {
		return err
	}
	defer disk.Close()
	return rootfs.ReadData(disk, a.Dir, taskNames(a.Group), int64(structs.Val(a.Group.EphemeralDisk.SizeMB))<<20)
}

// allocSnapshot sends what an allocation leaves, when it has ended.
func (c *Client) allocSnapshot(_ context.Context, r *api.Request) (*api.Response, error) {
	id := r.Param("id")
	_, secret := c.identity()
	if !hmac.Equal([]byte(r.Token), []byte(structs.MigrateToken(id, secret))) {
		return nil, structs.Errorf(structs.Denied, "Permission denied")
	}
	c.mu.Lock()
	run := c.runners[id]
	c.mu.Unlock()
	if run == nil {
		return nil, structs.Errorf(structs.NotFound, "Unknown allocation %q", id)
	}
	return &api.Response{Stream: func(ctx context.Context, w *api.StreamWriter) error {
		select {
		case <-run.runner.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		return rootfs.WriteData(w, run.runner.Dir(), taskNames(run.alloc.Job.LookupGroup(run.alloc.TaskGroup)))
	}}, nil
}
