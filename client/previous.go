package client

import (
	"context"
	"fmt"

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
// move over once the earlier allocation has ended.
func (p previous) Prerun(ctx context.Context, a *alloc.Alloc) error {
	id := a.Alloc.PreviousAllocation
	if id == "" || a.Restored {
		return nil
	}
	p.c.mu.Lock()
	prev := p.c.runners[id]
	p.c.mu.Unlock()
	if prev == nil {
		return nil
	}
	select {
	case <-prev.runner.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	var tasks []string
	for _, t := range a.Group.Tasks {
		tasks = append(tasks, t.Name)
	}
	if err := rootfs.MoveData(prev.runner.Dir(), a.Dir, tasks); err != nil {
		return fmt.Errorf("cannot take over the data of allocation %s: %w", id, err)
	}
	return nil
}
