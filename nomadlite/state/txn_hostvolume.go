package state

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

var hostVolumes = declare(table[structs.HostVolume]{
	id: TableHostVolumes, name: "host volumes",
	key:   func(v *structs.HostVolume) string { return v.ID },
	space: func(v *structs.HostVolume) string { return v.Namespace },
	indexes: []index[structs.HostVolume]{
		{"node", func(v *structs.HostVolume) string { return joinKey(v.NodeID, "") }},
	},
	dirty: func(v *structs.HostVolume) []Key { return []Key{KeyHostVolume(v.ID), KeyNodeVolumes(v.NodeID)} },
})

// UpsertHostVolume stores a volume whose node was chosen. A node has no two
// volumes of one name.
func (t *Txn) UpsertHostVolume(c *HostVolumeUpsert) error {
	if c.Volume == nil || c.Volume.ID == "" {
		return structs.Errorf(structs.Invalid, "cannot write a host volume: it has no id")
	}
	v := *c.Volume
	if namespaces.get(t.root, v.Namespace) == nil {
		return structs.Errorf(structs.Rejected, "cannot write host volume %q: namespace %q does not exist", v.Name, v.Namespace)
	}
	node := nodes.get(t.root, v.NodeID)
	if node == nil {
		return structs.Errorf(structs.Rejected, "cannot write host volume %q: node %q does not exist", v.Name, v.NodeID)
	}
	for other := range nodeVolumes(t.root, v.NodeID) {
		if other.Name == v.Name && other.ID != v.ID {
			return structs.Errorf(structs.Rejected, "cannot write host volume %q: node %s has volume %s of that name", v.Name, v.NodeID, other.ID)
		}
	}
	if static := node.HostVolumes[v.Name]; static != nil && static.ID == "" {
		return structs.Errorf(structs.Rejected, "cannot write host volume %q: node %s has a volume of that name in its configuration", v.Name, v.NodeID)
	}
	now := c.Now / int64(time.Second)
	v.CreateIndex, v.ModifyIndex, v.CreateTime, v.ModifyTime, v.Allocations = t.index, t.index, now, now, nil
	if old := hostVolumes.get(t.root, v.ID); old != nil {
		if old.NodeID != v.NodeID || old.Namespace != v.Namespace || old.Name != v.Name {
			return structs.Errorf(structs.Rejected, "cannot change host volume %s: its node, namespace and name stay", v.ID)
		}
		v.CreateIndex, v.CreateTime = old.CreateIndex, old.CreateTime
	}
	hostVolumes.set(t, &v)
	return nil
}

// DeleteHostVolume removes a volume; its node takes it away when it learns so.
func (t *Txn) DeleteHostVolume(c *HostVolumeDelete) error {
	v := hostVolumes.get(t.root, c.ID)
	if v == nil || v.Namespace != c.Namespace {
		return structs.Errorf(structs.NotFound, "no such volume: %s", c.ID)
	}
	hostVolumes.remove(t, c.ID)
	return nil
}

// confirmVolumes marks the volumes that a node says it has as ready.
func (t *Txn) confirmVolumes(n *structs.Node, now int64) {
	for _, name := range slices.Sorted(maps.Keys(n.HostVolumes)) {
		info := n.HostVolumes[name]
		if info == nil || info.ID == "" {
			continue
		}
		v := hostVolumes.get(t.root, info.ID)
		if v == nil || v.NodeID != n.ID || v.State == structs.HostVolumeReady && v.HostPath == info.Path {
			continue
		}
		own := *v
		own.State, own.HostPath, own.ModifyIndex, own.ModifyTime = structs.HostVolumeReady, info.Path, t.index, now/int64(time.Second)
		if own.CapacityBytes == 0 {
			own.CapacityBytes = own.RequestedCapacityMinBytes
		}
		hostVolumes.set(t, &own)
	}
}

func nodeVolumes(r *root, nodeID string) iter.Seq[*structs.HostVolume] {
	return hostVolumes.by(r, "node", joinKey(nodeID, ""))
}

// HostVolume returns a volume, or nil.
func (s *Snapshot) HostVolume(id string) *structs.HostVolume { return hostVolumes.get(s.r, id) }

// HostVolumes yields the volumes whose id begins with prefix.
func (s *Snapshot) HostVolumes(prefix string) iter.Seq[*structs.HostVolume] {
	return hostVolumes.prefix(s.r, prefix)
}

// NodeVolumes yields the volumes of a node.
func (s *Snapshot) NodeVolumes(nodeID string) iter.Seq[*structs.HostVolume] {
	return nodeVolumes(s.r, nodeID)
}
