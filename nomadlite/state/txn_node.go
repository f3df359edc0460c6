package state

import (
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// RegisterNode creates or updates a node. What the servers decided about a
// known node (drain, eligibility, events, indexes) stays.
func (t *Txn) RegisterNode(c *NodeRegister) error {
	if c.Node == nil || c.Node.ID == "" {
		return structs.Errorf(structs.Invalid, "cannot register a node: it has no id")
	}
	n := *c.Node
	old := nodes.get(t.root, n.ID)
	n.CreateIndex, n.LastAllocUpdateIndex, n.LastMissedHeartbeatIndex = t.index, 0, 0
	n.Drain, n.DrainStrategy, n.LastDrain, n.Events = false, nil, nil, nil
	if n.Status == "" {
		n.Status = structs.NodeStatusInit
	}
	event := &structs.NodeEvent{Message: "Node registered", Subsystem: structs.NodeEventSubsystemCluster, Timestamp: time.Unix(0, c.Now).UTC()}
	if old == nil {
		if n.SchedulingEligibility == "" {
			n.SchedulingEligibility = structs.NodeEligible
		}
		n.StatusUpdatedAt = c.Now / int64(time.Second)
	} else {
		if old.SecretID != n.SecretID {
			return structs.Errorf(structs.Denied, "cannot register node %s: its secret is not the one it registered with", n.ID)
		}
		n.CreateIndex, n.LastAllocUpdateIndex, n.LastMissedHeartbeatIndex = old.CreateIndex, old.LastAllocUpdateIndex, old.LastMissedHeartbeatIndex
		n.Drain, n.DrainStrategy, n.LastDrain = old.Drain, old.DrainStrategy, old.LastDrain
		n.SchedulingEligibility, n.Events, n.StatusUpdatedAt = old.SchedulingEligibility, old.Events, old.StatusUpdatedAt
		if n.Status != old.Status {
			n.StatusUpdatedAt = c.Now / int64(time.Second)
		}
		event = nil
	}
	if c.Event != nil {
		event = c.Event
	}
	t.putPool(n.NodePool)
	for _, e := range c.Health {
		t.addEvent(&n, e)
	}
	t.putNode(&n, event)
	t.confirmVolumes(&n, c.Now)
	t.putEvals(c.Evals)
	return nil
}

// putPool creates the pool that a node says it is in.
func (t *Txn) putPool(name string) {
	if name != "" && nodePools.get(t.root, name) == nil {
		nodePools.set(t, &structs.NodePool{Name: name, CreateIndex: t.index, ModifyIndex: t.index})
	}
}

// putNode stores a node, which it takes over, with an event that may be nil.
func (t *Txn) putNode(n *structs.Node, event *structs.NodeEvent) {
	n.ModifyIndex = t.index
	if event != nil {
		t.addEvent(n, event)
	}
	nodes.set(t, n)
	t.touchNode(t.editAllocs().AddNode(alloctable.Node{ID: n.ID, Name: n.Name}))
}

// addEvent keeps an event with the latest of a node that is not stored yet.
func (t *Txn) addEvent(n *structs.Node, event *structs.NodeEvent) {
	e := *event
	e.CreateIndex = t.index
	keep := n.Events
	if len(keep) >= structs.MaxNodeEvents {
		keep = keep[len(keep)-structs.MaxNodeEvents+1:]
	}
	n.Events = append(keep[:len(keep):len(keep)], &e)
}

// changeNode changes a stored node.
func (t *Txn) changeNode(id string, event *structs.NodeEvent, change func(*structs.Node)) error {
	old := nodes.get(t.root, id)
	if old == nil {
		return structs.Errorf(structs.NotFound, "cannot change node %q: no such node", id)
	}
	n := *old
	change(&n)
	t.putNode(&n, event)
	return nil
}

// UpdateNodeStatus changes the status of a node.
func (t *Txn) UpdateNodeStatus(c *NodeStatus) error {
	err := t.changeNode(c.NodeID, c.Event, func(n *structs.Node) {
		if n.Status != c.Status {
			n.StatusUpdatedAt = c.Now / int64(time.Second)
		}
		n.Status = c.Status
		if c.Status == structs.NodeStatusDown || c.Status == structs.NodeStatusDisconnected {
			n.LastMissedHeartbeatIndex = t.index
		}
	})
	if err == nil {
		t.putEvals(c.Evals)
		if c.Status == structs.NodeStatusDown {
			t.dropServices("node", c.NodeID)
		}
	}
	return err
}

// UpdateNodeEligibility changes whether new allocations may be placed on a
// node. A draining node cannot be made eligible.
func (t *Txn) UpdateNodeEligibility(c *NodeEligibility) error {
	if n := nodes.get(t.root, c.NodeID); n != nil && n.DrainStrategy != nil && c.Eligibility == structs.NodeEligible {
		return structs.Errorf(structs.Rejected, "can not set node %q eligible while it is draining", c.NodeID)
	}
	err := t.changeNode(c.NodeID, c.Event, func(n *structs.Node) { n.SchedulingEligibility = c.Eligibility })
	if err == nil {
		t.putEvals(c.Evals)
	}
	return err
}

// UpdateNodeDrain starts, changes or ends the drain of a node.
func (t *Txn) UpdateNodeDrain(c *NodeDrain) error {
	if n := nodes.get(t.root, c.NodeID); c.Complete && (n == nil || n.DrainStrategy == nil) {
		return nil // canceled or purged meanwhile
	}
	now := time.Unix(0, c.Now).UTC()
	err := t.changeNode(c.NodeID, c.Event, func(n *structs.Node) {
		last := structs.DrainMetadata{StartedAt: now, UpdatedAt: now, Status: "draining", Meta: c.Meta}
		if n.DrainStrategy != nil && n.LastDrain != nil {
			last.StartedAt, last.AccessorID = n.LastDrain.StartedAt, n.LastDrain.AccessorID
			if last.Meta == nil {
				last.Meta = n.LastDrain.Meta
			}
		}
		switch {
		case c.Strategy != nil:
			n.SchedulingEligibility = structs.NodeIneligible
		case c.Complete:
			last.Status = "complete"
		default:
			last.Status = "canceled"
		}
		if c.Strategy != nil || n.DrainStrategy != nil {
			n.LastDrain = &last
		}
		n.Drain, n.DrainStrategy = c.Strategy != nil, c.Strategy
		if c.Strategy == nil && c.MarkEligible {
			n.SchedulingEligibility = structs.NodeEligible
		}
	})
	if err == nil {
		t.putEvals(c.Evals)
	}
	return err
}

// DeleteNodes removes nodes.
func (t *Txn) DeleteNodes(c *NodeDelete) error {
	for _, id := range c.IDs {
		if nodes.get(t.root, id) == nil {
			return structs.Errorf(structs.NotFound, "cannot delete node %q: no such node", id)
		}
		t.removeNode(id)
	}
	return nil
}

func (t *Txn) removeNode(id string) {
	nodes.remove(t, id)
	t.dropServices("node", id)
	if num, ok := t.allocs().NodeNum(id); ok {
		t.touchNode(num)
	}
}
