package state

import (
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// Txn is the writing of one Raft entry. It is not safe for concurrent use. A
// verb that returns an error may have written some of its changes: Abort then.
type Txn struct {
	// Cause is what the entry is, for the observer; any number.
	Cause uint16

	s     *Store
	root  *root
	index uint64
	owner uint64
	owned [tableCount]bool
	// lastSpace is the space that was changed last, spacesOwned says that the
	// tree of spaces may be changed.
	lastSpace   space
	spacesOwned bool
	edit        *alloctable.Edit // nil until an allocation or node changes
	dirty       map[Key]struct{}
	// skipped are the kinds of keys that nobody watched when they changed.
	skipped [kindCount]bool

	// What Commit derives from the changes: statuses of jobs, summaries,
	// counters of deployments, the change ring.
	jobsTouched map[JobKey]struct{}
	summaries   map[JobKey]*structs.JobSummary
	deployments map[string]*structs.Deployment
	counted     struct { // the last job whose allocations were counted
		job     *structs.Job
		summary *structs.JobSummary
	}
	nodesTouched []uint32 // with repetitions
	evalsTouched []string

	// For the observer.
	rowsChanged   []RowChange
	allocsChanged []uint64
}

// Begin starts the transaction of the entry with the index. It must be ended
// with Commit or Abort; until then other transactions wait.
func (s *Store) Begin(index uint64) *Txn {
	s.writer.Lock()
	s.txns++
	r := *s.root.Load()
	r.index = index
	return &Txn{s: s, root: &r, index: index, owner: s.txns}
}

// Commit derives what follows from the changes, publishes the new root and
// wakes watchers.
func (t *Txn) Commit() {
	t.flushDeployments()
	t.flushJobs()
	t.flushSummaries()
	t.flushChanges()
	if t.edit != nil {
		t.root.allocs = t.edit.Done()
	}
	t.s.root.Store(t.root)
	t.tell(t.root)
	t.root = nil
	t.s.writer.Unlock()
	t.s.hub.notify(t.dirty)
	t.s.hub.notifyLate(t.skipped)
}

// Abort drops the transaction; after Commit or Abort it does nothing.
func (t *Txn) Abort() {
	if t.root == nil {
		return
	}
	t.root = nil
	t.s.writer.Unlock()
}

func (t *Txn) mark(k Key) {
	if !t.watched(k.kind) {
		return
	}
	if t.dirty == nil {
		t.dirty = make(map[Key]struct{})
	}
	t.dirty[k] = struct{}{}
}

// watched reports whether keys of a kind must be marked. When it says no,
// Commit wakes those who began to watch the kind meanwhile.
func (t *Txn) watched(kind keyKind) bool {
	if t.s.hub.watched(kind) {
		return true
	}
	t.skipped[kind] = true
	return false
}

// Snapshot reads what the transaction has written so far, except what Commit
// derives. It is valid until the next verb.
func (t *Txn) Snapshot() *Snapshot {
	if t.edit != nil {
		t.root.allocs = &t.edit.Table
	}
	return &Snapshot{r: t.root}
}

// allocs returns the allocations as the transaction sees them.
func (t *Txn) allocs() *alloctable.Table {
	if t.edit != nil {
		return &t.edit.Table
	}
	return t.root.allocs
}

// editAllocs returns the allocations for changing.
func (t *Txn) editAllocs() *alloctable.Edit {
	if t.edit == nil {
		t.edit = t.root.allocs.Edit(t.owner)
	}
	return t.edit
}

func (t *Txn) touchJob(ns, id string) {
	if t.jobsTouched == nil {
		t.jobsTouched = make(map[JobKey]struct{})
	}
	t.jobsTouched[JobKey{ns, id}] = struct{}{}
}

func (t *Txn) touchNode(num uint32) {
	if n := len(t.nodesTouched); n == 0 || t.nodesTouched[n-1] != num {
		t.nodesTouched = append(t.nodesTouched, num)
	}
}

// maxChanges is how many changes of nodes, and of evaluations, are remembered
// at least.
const maxChanges = 1 << 17

func (t *Txn) flushChanges() {
	r := t.root
	slices.Sort(t.nodesTouched)
	for _, num := range slices.Compact(t.nodesTouched) {
		r.changes = append(r.changes, NodeChange{t.index, num})
	}
	for _, id := range t.evalsTouched {
		r.evalChanges = append(r.evalChanges, EvalChange{t.index, id})
	}
	// What older roots read stays where it is.
	if n := len(r.changes) - maxChanges; n > maxChanges {
		r.changesFrom = r.changes[n-1].Index
		r.changes = slices.Clone(r.changes[n:])
	}
	if n := len(r.evalChanges) - maxChanges; n > maxChanges {
		r.evalChangesFrom = r.evalChanges[n-1].Index
		r.evalChanges = slices.Clone(r.evalChanges[n:])
	}
}

// Epoch starts a leader's term. Terms do not go back.
func (t *Txn) Epoch(c *Epoch) error {
	if c.Term < t.root.epoch {
		return structs.Errorf(structs.Conflict, "cannot start term %d: term %d has started", c.Term, t.root.epoch)
	}
	t.root.epoch = c.Term
	if t.root.cluster == "" {
		t.root.cluster = c.ClusterID
	}
	if len(c.AllocKey) == 16 && !t.root.keyed {
		t.editAllocs().SetKey([16]byte(c.AllocKey))
		t.root.keyed = true
	}
	return nil
}

// SetSchedulerConfig stores the cluster-wide scheduler configuration.
func (t *Txn) SetSchedulerConfig(c *SchedulerConfig) error {
	if c.Config == nil {
		return structs.Errorf(structs.Invalid, "cannot set the scheduler configuration: it is missing")
	}
	old := schedulerConfigs.get(t.root, "")
	n := *c.Config
	n.CreateIndex, n.ModifyIndex = t.index, t.index
	have := uint64(0)
	if old != nil {
		n.CreateIndex, have = old.CreateIndex, old.ModifyIndex
	}
	if c.CheckIndex && c.ModifyIndex != have {
		return structs.Errorf(structs.Conflict, "cannot set the scheduler configuration: it is at index %d, not %d; read it again", have, c.ModifyIndex)
	}
	schedulerConfigs.set(t, &n)
	return nil
}

// SetAutopilotConfig stores the autopilot's configuration.
func (t *Txn) SetAutopilotConfig(c *AutopilotConfig) error {
	if c.Config == nil {
		return structs.Errorf(structs.Invalid, "cannot set the autopilot configuration: it is missing")
	}
	n := *c.Config
	n.CreateIndex, n.ModifyIndex = t.index, t.index
	have := uint64(0)
	if old := autopilots.get(t.root, ""); old != nil {
		n.CreateIndex, have = old.CreateIndex, old.ModifyIndex
	}
	if c.CheckIndex && c.ModifyIndex != have {
		return structs.Errorf(structs.Conflict, "cannot set the autopilot configuration: it is at index %d, not %d; read it again", have, c.ModifyIndex)
	}
	autopilots.set(t, &n)
	return nil
}

// UpsertNamespaces writes namespaces.
func (t *Txn) UpsertNamespaces(c *NamespaceUpsert) error {
	for _, n := range c.Namespaces {
		if n == nil {
			continue
		}
		v := *n
		v.CreateIndex, v.ModifyIndex = t.index, t.index
		if old := namespaces.get(t.root, n.Name); old != nil {
			v.CreateIndex = old.CreateIndex
		}
		namespaces.set(t, &v)
	}
	return nil
}

// DeleteNamespaces removes namespaces in which nothing runs and that hold no
// variables. Dead jobs are left to the collection of garbage.
func (t *Txn) DeleteNamespaces(c *NamespaceDelete) error {
	for _, name := range c.Names {
		if name == structs.DefaultNamespace {
			return structs.Errorf(structs.Invalid, "cannot delete namespace %q: it always exists", name)
		}
		if namespaces.get(t.root, name) == nil {
			return structs.Errorf(structs.NotFound, "cannot delete namespace %q: no such namespace", name)
		}
		for j := range jobs.prefix(t.root, joinKey(name, "")) {
			if j.Status != structs.JobStatusDead {
				return structs.Errorf(structs.Conflict, "cannot delete namespace %q: job %q in it is %s; stop its jobs first", name, j.ID, j.Status)
			}
		}
		for v := range variables.prefix(t.root, joinKey(name, "")) {
			return structs.Errorf(structs.Conflict, "cannot delete namespace %q: variable %q is in it; purge its variables first", name, v.Path)
		}
		namespaces.remove(t, name)
		t.forgetSpace(name)
	}
	return nil
}

// UpsertNodePools writes node pools.
func (t *Txn) UpsertNodePools(c *NodePoolUpsert) error {
	for _, p := range c.NodePools {
		if p == nil {
			continue
		}
		if p.Name == structs.NodePoolAll || p.Name == structs.NodePoolDefault {
			return structs.Errorf(structs.Invalid, "cannot change node pool %q: it is built in", p.Name)
		}
		v := *p
		v.CreateIndex, v.ModifyIndex = t.index, t.index
		if old := nodePools.get(t.root, p.Name); old != nil {
			v.CreateIndex = old.CreateIndex
		}
		nodePools.set(t, &v)
	}
	return nil
}

// DeleteNodePools removes pools that have neither nodes nor jobs that run.
func (t *Txn) DeleteNodePools(c *NodePoolDelete) error {
	for _, name := range c.Names {
		if name == structs.NodePoolAll || name == structs.NodePoolDefault {
			return structs.Errorf(structs.Invalid, "cannot delete node pool %q: it is built in", name)
		}
		if nodePools.get(t.root, name) == nil {
			return structs.Errorf(structs.NotFound, "cannot delete node pool %q: no such pool", name)
		}
		for n := range nodes.by(t.root, "pool", joinKey(name, "")) {
			return structs.Errorf(structs.Conflict, "cannot delete node pool %q: node %s is in it", name, n.ID)
		}
		for j := range jobs.by(t.root, "pool", joinKey(name, "")) {
			if j.Status == structs.JobStatusDead {
				continue
			}
			return structs.Errorf(structs.Conflict, "cannot delete node pool %q: job %q of namespace %q uses it", name, j.ID, j.Namespace)
		}
		nodePools.remove(t, name)
	}
	return nil
}
