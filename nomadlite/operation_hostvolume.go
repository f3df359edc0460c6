package nomadlite

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// volumeWriter changes dynamic host volumes.
type volumeWriter interface {
	// PutHostVolume makes a volume on a node that fits, or with register takes
	// one that stands there already. It returns as soon as it is stored; the
	// node makes it then.
	PutHostVolume(ctx context.Context, v *structs.HostVolume, register bool) (*structs.HostVolume, uint64, error)
	DeleteHostVolume(ctx context.Context, ns, id string) (uint64, error)
}

// PutHostVolume implements volumeWriter.
func (s *Server) PutHostVolume(ctx context.Context, in *structs.HostVolume, register bool) (*structs.HostVolume, uint64, error) {
	if in == nil {
		return nil, 0, structs.Errorf(structs.Internal, "missing volume definition")
	}
	v := *in
	v.Canonicalize()
	if err := v.Validate(register); err != nil {
		return nil, 0, err
	}
	if err := s.awaitLeader(ctx); err != nil {
		return nil, 0, err
	}
	snap := s.store.Snapshot()
	v.State = structs.HostVolumePending
	if v.ID == "" {
		v.ID = newID()
	} else if old := snap.HostVolume(v.ID); old == nil {
		return nil, 0, structs.Errorf(structs.NotFound, "cannot update volume %q: volume does not exist", v.ID)
	} else if v.NodeID == "" {
		v.NodeID = old.NodeID
	}
	node, err := nodeForVolume(snap, &v, register)
	if err != nil {
		return nil, 0, err
	}
	v.NodeID, v.NodePool = node.ID, node.NodePool
	if register {
		v.State, v.CapacityBytes = structs.HostVolumeReady, max(v.CapacityBytes, v.RequestedCapacityMinBytes)
	}
	_, index, err := s.apply(ctx, fsm.HostVolumeUpsert, &state.HostVolumeUpsert{Volume: &v, Now: time.Now().UnixNano()})
	if err != nil {
		return nil, 0, err
	}
	return s.store.Snapshot().HostVolume(v.ID), index, nil
}

// nodeForVolume finds the node for a volume: the named one, or of those that
// fit the one with the fewest volumes.
func nodeForVolume(snap *state.Snapshot, v *structs.HostVolume, register bool) (*structs.Node, error) {
	if v.NodeID != "" {
		node := snap.Node(v.NodeID)
		if node == nil {
			return nil, structs.Errorf(structs.Invalid, "node %q does not exist", v.NodeID)
		}
		if why := unfit(snap, node, v, register); why != "" {
			return nil, structs.Errorf(structs.Invalid, "node %s cannot have the volume: %s", v.NodeID, why)
		}
		return node, nil
	}
	var best *structs.Node
	least := 0
	reasons := map[string]bool{}
	for n := range snap.Nodes() {
		if why := unfit(snap, n, v, register); why != "" {
			reasons[why] = true
			continue
		}
		if count := len(slices.Collect(snap.NodeVolumes(n.ID))); best == nil || count < least {
			best, least = n, count
		}
	}
	if best == nil {
		var all []string
		for why := range reasons {
			all = append(all, why)
		}
		slices.Sort(all)
		return nil, structs.Errorf(structs.Invalid, "no node can have the volume: %s", strings.Join(all, "; "))
	}
	return best, nil
}

// unfit says why a node cannot have a volume, "" when it can.
func unfit(snap *state.Snapshot, n *structs.Node, v *structs.HostVolume, register bool) string {
	switch {
	case n.Status != structs.NodeStatusReady:
		return "it is " + n.Status
	case v.NodePool != "" && v.NodePool != structs.NodePoolAll && n.NodePool != v.NodePool:
		return "it is in node pool " + n.NodePool
	case !register && n.Attributes["plugins.host_volume."+v.PluginID+".version"] == "":
		return "it has no host volume plugin " + v.PluginID
	}
	if why := scheduler.Unmet(n, v.Constraints); why != "" {
		return "constraint " + why
	}
	for other := range snap.NodeVolumes(n.ID) {
		if other.Name == v.Name && other.ID != v.ID {
			return "it has a volume of that name"
		}
	}
	if info := n.HostVolumes[v.Name]; info != nil && info.ID == "" {
		return "it has a volume of that name in its configuration"
	}
	return ""
}

// DeleteHostVolume implements volumeWriter.
func (s *Server) DeleteHostVolume(ctx context.Context, ns, id string) (uint64, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return 0, err
	}
	snap := s.store.Snapshot()
	v := snap.HostVolume(id)
	if v == nil || v.Namespace != ns {
		return 0, structs.Errorf(structs.Internal, "no such volume: %s", id)
	}
	var users []string
	for _, a := range volumeUsers(snap, v) {
		users = append(users, a.ID)
	}
	if len(users) > 0 {
		return 0, structs.Errorf(structs.Internal, "volume %s in use by allocations: %v", id, users)
	}
	_, index, err := s.apply(ctx, fsm.HostVolumeDelete, &state.HostVolumeDelete{Namespace: ns, ID: id})
	return index, err
}

// volumeUsers are the allocations that mount a volume, or may still.
func volumeUsers(snap *state.Snapshot, v *structs.HostVolume) []*structs.Allocation {
	var out []*structs.Allocation
	for a := range snap.AllocsByNode(v.NodeID) {
		if a.ClientTerminal() || a.Namespace != v.Namespace || a.Job == nil {
			continue
		}
		group := a.Job.LookupGroup(a.TaskGroup)
		if group == nil {
			continue
		}
		for _, want := range group.Volumes {
			if want.Type == "host" && (want.Source == v.Name && !want.PerAlloc || want.PerAlloc && structs.VolumeName(want.Source, a.Index()) == v.Name) {
				out = append(out, a)
				break
			}
		}
	}
	return out
}
