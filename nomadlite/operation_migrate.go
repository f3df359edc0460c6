package nomadlite

import (
	"context"
	"io"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// grantMigration lets the node of an allocation read what the one before it
// left, where its group asks for that.
func (s *Server) grantMigration(req api.MigrateRequest) (*api.MigrateGrant, error) {
	snap := s.store.Snapshot()
	a, err := s.workload(snap, req.NodeID, req.SecretID, req.AllocID)
	if err != nil {
		return nil, err
	}
	g := a.Job.LookupGroup(a.TaskGroup)
	if g == nil || g.EphemeralDisk == nil || !g.EphemeralDisk.Migrate {
		return nil, structs.Errorf(structs.Denied, "allocation %q does not migrate its disk", a.ID)
	}
	prev := snap.Alloc(a.PreviousAllocation)
	if prev == nil || prev.Namespace != a.Namespace || prev.JobID != a.JobID {
		return nil, structs.Errorf(structs.NotFound, "nothing is known of the allocation before %q", a.ID)
	}
	node := snap.Node(prev.NodeID)
	if node == nil || node.Status == structs.NodeStatusDown {
		return nil, structs.Errorf(structs.NotFound, "node %q, which holds the disk, is down", prev.NodeID)
	}
	return &api.MigrateGrant{AllocID: prev.ID, Token: structs.MigrateToken(prev.ID, node.SecretID)}, nil
}

// PreviousDisk implements api.Workloads: a node in our own process has no
// other beside it.
func (s *Server) PreviousDisk(context.Context, api.MigrateRequest) (io.ReadCloser, error) {
	return nil, structs.Errorf(structs.NotFound, "there is no other node")
}
