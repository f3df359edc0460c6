package state

import (
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestHostVolumes: a node has no two volumes of a name, a pending volume is
// ready when its node says that it has it, and what it may not change stays.
func TestHostVolumes(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.node(1)
	volume := func(id, name string, node int) *HostVolumeUpsert {
		return &HostVolumeUpsert{Volume: &structs.HostVolume{ID: id, Name: name, Namespace: "default", NodeID: nodeID(node), State: structs.HostVolumePending, RequestedCapacityMinBytes: 7}, Now: w.now}
	}
	must(w, (*Txn).UpsertHostVolume, volume("a", "data", 0))
	must(w, (*Txn).UpsertHostVolume, volume("b", "data", 1))
	for what, bad := range map[string]*HostVolumeUpsert{
		"a name that is taken": volume("c", "data", 0), "another node": volume("a", "data", 1), "another name": volume("a", "other", 0),
		"no such node": volume("d", "x", 9), "no id": volume("", "x", 0),
		"no such namespace": {Volume: &structs.HostVolume{ID: "e", Name: "x", Namespace: "nosuch", NodeID: nodeID(0)}},
	} {
		if err := try(w, (*Txn).UpsertHostVolume, bad); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	n := *w.s.Snapshot().Node(nodeID(0))
	n.HostVolumes = map[string]*structs.HostVolumeInfo{"data": {Path: "/v/a", ID: "a"}, "theirs": {Path: "/v/b", ID: "b"}, "static": {Path: "/x"}}
	must(w, (*Txn).RegisterNode, &NodeRegister{Node: &n, Now: w.now})
	snap := w.s.Snapshot()
	if v := snap.HostVolume("a"); v.State != structs.HostVolumeReady || v.HostPath != "/v/a" || v.CapacityBytes != 7 {
		t.Errorf("after the node's word: %+v", v)
	}
	if v := snap.HostVolume("b"); v.State != structs.HostVolumePending {
		t.Errorf("a node spoke for a volume of another: %+v", v)
	}
	must(w, (*Txn).DeleteHostVolume, &HostVolumeDelete{Namespace: "default", ID: "a"})
	for range w.s.Snapshot().NodeVolumes(nodeID(0)) {
		t.Error("the deleted volume is left on its node")
	}
}
