package state

import (
	"iter"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// ServicesUpdate is what a node says of the services of its allocations.
type ServicesUpdate struct {
	NodeID string
	// Full says that Set is everything: what else the node registered is gone.
	Full   bool
	Set    []*structs.ServiceRegistration
	Remove []string // ids
}

// ServiceDelete removes one registration by hand.
type ServiceDelete struct{ Namespace, Name, ID string }

var services = declare(table[structs.ServiceRegistration]{
	id: TableServices, name: "services",
	key:   func(s *structs.ServiceRegistration) string { return s.ID },
	space: func(s *structs.ServiceRegistration) string { return s.Namespace },
	indexes: []index[structs.ServiceRegistration]{
		{"name", func(s *structs.ServiceRegistration) string { return joinKey(s.Namespace, s.ServiceName, "") }},
		{"node", func(s *structs.ServiceRegistration) string { return joinKey(s.NodeID, "") }},
		{"alloc", func(s *structs.ServiceRegistration) string { return joinKey(s.AllocID, "") }},
		{"job", func(s *structs.ServiceRegistration) string { return joinKey(s.Namespace, s.JobID, "") }},
	},
	dirty: func(s *structs.ServiceRegistration) []Key { return []Key{KeyService(s.Namespace, s.ServiceName)} },
})

// UpdateServices applies what a node says of its services. A service of an
// allocation that is not the node's, or has ended, is skipped.
func (t *Txn) UpdateServices(c *ServicesUpdate) error {
	num, ok := t.allocs().NodeNum(c.NodeID)
	if !ok || nodes.get(t.root, c.NodeID) == nil {
		return structs.Errorf(structs.NotFound, "cannot update services of node %q: no such node", c.NodeID)
	}
	remove := c.Remove
	if c.Full {
		for s := range services.by(t.root, "node", joinKey(c.NodeID, "")) {
			if !slices.ContainsFunc(c.Set, func(n *structs.ServiceRegistration) bool { return n != nil && n.ID == s.ID }) {
				remove = append(remove, s.ID)
			}
		}
	}
	for _, id := range remove {
		if old := services.get(t.root, id); old != nil && old.NodeID == c.NodeID {
			services.remove(t, id)
		}
	}
	for _, s := range c.Set {
		if s == nil || s.Validate() != nil {
			continue
		}
		r, ok := t.allocs().ByID(s.AllocID)
		if !ok || r.Node != num || r.ClientTerminal() || t.allocs().BatchOf(&r).Job.Namespace != s.Namespace {
			continue
		}
		t.putService(s, c.NodeID)
	}
	return nil
}

func (t *Txn) putService(s *structs.ServiceRegistration, nodeID string) {
	n := *s
	n.NodeID, n.CreateIndex, n.ModifyIndex = nodeID, t.index, t.index
	if old := services.get(t.root, n.ID); old != nil {
		if old.NodeID != nodeID || old.Same(&n) {
			return
		}
		n.CreateIndex = old.CreateIndex
	}
	services.set(t, &n)
}

// DeleteService removes one registration.
func (t *Txn) DeleteService(c *ServiceDelete) error {
	s := services.get(t.root, c.ID)
	if s == nil || s.Namespace != c.Namespace || s.ServiceName != c.Name {
		return structs.Errorf(structs.Rejected, "service registration not found")
	}
	services.remove(t, c.ID)
	return nil
}

// dropServices removes what is registered under a key of an index: of an
// allocation that has ended, of a node that is lost.
func (t *Txn) dropServices(index, key string) {
	var ids []string
	for s := range services.by(t.root, index, joinKey(key, "")) {
		ids = append(ids, s.ID)
	}
	for _, id := range ids {
		services.remove(t, id)
	}
}

// Services yields the registrations of a namespace ("" for all) whose service
// name begins with prefix, ordered by namespace, name and id.
func (s *Snapshot) Services(ns, prefix string) iter.Seq[*structs.ServiceRegistration] {
	if ns != "" {
		return services.by(s.r, "name", joinKey(ns, prefix))
	}
	return where(services.by(s.r, "name", ""), func(v *structs.ServiceRegistration) bool {
		return len(v.ServiceName) >= len(prefix) && v.ServiceName[:len(prefix)] == prefix
	})
}

// ServicesByName yields the instances of one service by id.
func (s *Snapshot) ServicesByName(ns, name string) iter.Seq[*structs.ServiceRegistration] {
	return services.by(s.r, "name", joinKey(ns, name, ""))
}

// ServicesByAlloc yields what an allocation offers.
func (s *Snapshot) ServicesByAlloc(id string) iter.Seq[*structs.ServiceRegistration] {
	return services.by(s.r, "alloc", joinKey(id, ""))
}

// ServicesByJob yields what the allocations of a job offer.
func (s *Snapshot) ServicesByJob(ns, id string) iter.Seq[*structs.ServiceRegistration] {
	return services.by(s.r, "job", joinKey(ns, id, ""))
}

// ServicesByNode counts what a node has registered.
func (s *Snapshot) ServicesByNode(id string) int {
	n := 0
	for range services.by(s.r, "node", joinKey(id, "")) {
		n++
	}
	return n
}
