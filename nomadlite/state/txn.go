package state

import "github.com/nomadlite/nomadlite/structs"

// Txn is the writing of one Raft entry. It is not safe for concurrent use.
type Txn struct {
	s     *Store
	root  *root
	index uint64
	owned [tableCount]bool
	dirty map[Key]struct{}
}

// Begin starts the transaction of the entry with the index. It must be ended
// with Commit or Abort; until then other transactions wait.
func (s *Store) Begin(index uint64) *Txn {
	s.writer.Lock()
	s.txns++
	r := *s.root.Load()
	r.index = index
	return &Txn{s: s, root: &r, index: index}
}

// Commit publishes the transaction and wakes watchers.
func (t *Txn) Commit() {
	t.s.root.Store(t.root)
	dirty := t.dirty
	t.root = nil
	t.s.writer.Unlock()
	t.s.hub.notify(dirty)
}

// Abort drops the transaction.
func (t *Txn) Abort() {
	t.root = nil
	t.s.writer.Unlock()
}

func (t *Txn) mark(k Key) {
	if !t.s.hub.watched(k.kind) {
		return
	}
	if t.dirty == nil {
		t.dirty = make(map[Key]struct{})
	}
	t.dirty[k] = struct{}{}
}

// Snapshot reads what the transaction has written so far. It is valid until
// the next verb.
func (t *Txn) Snapshot() *Snapshot { return &Snapshot{r: t.root} }

func (t *Txn) Epoch(c *Epoch) error                                    { return nil }
func (t *Txn) RegisterJob(c *JobRegister) (*JobResult, error)          { return nil, nil }
func (t *Txn) DeregisterJob(c *JobDeregister) (*JobResult, error)      { return nil, nil }
func (t *Txn) ScaleJob(c *JobScale) (*JobResult, error)                { return nil, nil }
func (t *Txn) SetJobStability(c *JobStability) (*JobResult, error)     { return nil, nil }
func (t *Txn) TagJob(c *JobTag) error                                  { return nil }
func (t *Txn) UpsertEvals(c *EvalUpsert) error                         { return nil }
func (t *Txn) DeleteEvals(c *EvalDelete) error                         { return nil }
func (t *Txn) ApplyPlan(p *structs.Plan) (*structs.PlanResult, error)  { return nil, nil }
func (t *Txn) UpdateAllocs(c *AllocUpdate) error                       { return nil }
func (t *Txn) UpdateAllocTransitions(c *AllocTransition) error         { return nil }
func (t *Txn) RegisterNode(c *NodeRegister) error                      { return nil }
func (t *Txn) UpdateNodeStatus(c *NodeStatus) error                    { return nil }
func (t *Txn) UpdateNodeEligibility(c *NodeEligibility) error          { return nil }
func (t *Txn) UpdateNodeDrain(c *NodeDrain) error                      { return nil }
func (t *Txn) DeleteNodes(c *NodeDelete) error                         { return nil }
func (t *Txn) UpsertDeployment(c *DeploymentUpsert) error              { return nil }
func (t *Txn) UpdateDeploymentStatus(c *DeploymentStatus) error        { return nil }
func (t *Txn) PromoteDeployment(c *DeploymentPromote) error            { return nil }
func (t *Txn) SetDeploymentAllocHealth(c *DeploymentAllocHealth) error { return nil }
func (t *Txn) Collect(c *Collect) error                                { return nil }
func (t *Txn) SetSchedulerConfig(c *SchedulerConfig) error             { return nil }
func (t *Txn) RecordPeriodicLaunch(c *PeriodicLaunch) error            { return nil }
func (t *Txn) UpsertNamespaces(c *NamespaceUpsert) error               { return nil }
func (t *Txn) DeleteNamespaces(c *NamespaceDelete) error               { return nil }
func (t *Txn) UpsertNodePools(c *NodePoolUpsert) error                 { return nil }
func (t *Txn) DeleteNodePools(c *NodePoolDelete) error                 { return nil }
func newRoot(Options) *root {
	r := &root{}
	for i, t := range tables {
		if t != nil {
			r.tables[i] = t.empty()
		}
	}
	return r
}
