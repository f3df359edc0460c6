package scheduler

import (
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Snapshot is the state that a pass reads. Results are shared and are never
// changed by the scheduler. Unknown names give nil or false.
type Snapshot interface {
	// Index is the index of the newest entry that the snapshot holds.
	Index() uint64
	Job(namespace, id string) *structs.Job
	// JobAllocs returns every allocation of the job, whatever its status, in
	// an order that depends on the state alone.
	JobAllocs(namespace, id string) []*structs.Allocation
	NodeByNum(num uint32) *structs.Node
	NodeNum(id string) (uint32, bool)
	// NodeAllocs returns the allocations of a node that its client is not done
	// with; it is asked only when lower priorities may be evicted.
	NodeAllocs(num uint32) []*structs.Allocation
	LatestDeployment(namespace, id string) *structs.Deployment
	// Eval is an evaluation, nil when there is none.
	Eval(id string) *structs.Evaluation
	NodePool(name string) *structs.NodePool
	SchedulerConfig() *structs.SchedulerConfiguration
}

// Options are the inputs of a pass that are not state.
type Options struct {
	// Now is the time of the pass.
	Now time.Time
	// Seed breaks ties and picks dynamic ports.
	Seed uint64
	// Algorithm selects an algorithm, see CheckAlgorithm, and wins over all
	// else; "" follows the job, its node pool and the cluster's configuration.
	Algorithm string
	// Dry makes a plan that is only shown: it carries annotations.
	Dry bool
	// NewID makes the ids of evaluations and deployments; nil derives them
	// from Seed.
	NewID func() string
}

// Result is what a pass decided.
type Result struct {
	// Plan holds the changes; Plan.Eval is the evaluation with its outcome and
	// Plan.NewEvals the blocked and follow-up evaluations. Plan.Epoch is left
	// for the caller.
	Plan *structs.Plan
	// Placed counts the placements of all groups.
	Placed int
}

// NoOp reports whether the plan changes nothing but evaluations.
func (r *Result) NoOp() bool {
	p := r.Plan
	return r.Placed == 0 && len(p.Stops) == 0 && len(p.InPlace) == 0 && len(p.Preemptions) == 0 &&
		p.Deployment == nil && len(p.DeploymentUpdates) == 0
}

// Process runs one pass for eval. The cluster must describe the same state as
// snap; it is used exclusively while Process runs and is left as it was.
//
// Errors are of kind structs.Invalid (an evaluation of an unknown type, an
// unknown algorithm) or structs.Internal (a panic, which the pass survives and
// reports); the plan is nil then.
func Process(snap Snapshot, cluster *Cluster, eval *structs.Evaluation, opts Options) (result *Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, err = nil, structs.Errorf(structs.Internal,
				"cannot schedule evaluation %q of job %q: the scheduler panicked: %v", eval.ID, eval.JobID, r)
		}
		cluster.rollback()
	}()
	p, err := newPass(snap, cluster, eval, opts)
	if err != nil {
		return nil, err
	}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.finish(), nil
}

// pass is one run of Process.
type pass struct {
	snap    Snapshot
	cluster *Cluster
	eval    *structs.Evaluation
	opts    Options
	newID   func() string

	job       *structs.Job // nil when purged
	batch     bool
	config    settings
	algorithm selected
	allocs    []*structs.Allocation
	nodes     map[string]*structs.Node // nodes of allocs; nil for deleted ones

	changes  map[changeKey]change // answers of changeOf
	decision *decision
	plan     *structs.Plan
	failed   map[string]*structs.AllocMetric
	queued   map[string]int
	blocking eligibility
	placed   int
	// placements are those of the groups before the one at hand.
	placements []placedOn
	// given are the cores and devices that the plan gives away, by node.
	given map[uint32]usedThings

	evictable map[uint32][]victim // by node, once looked at
	evicted   map[string]bool     // by allocation
	losses    map[groupKey]int    // evicted of each group
	// rivals are the nodes where the losses of a group decide who is evicted.
	rivals    map[groupKey][]uint32
	preempted []*structs.Allocation
}

// placedOn is where the plan puts an allocation of a group.
type placedOn struct {
	num   uint32
	group string
}

// settings is the scheduler configuration that applies to one job.
type settings struct {
	algorithm  string
	oversub    bool
	preemption bool
}

func newPass(snap Snapshot, cluster *Cluster, eval *structs.Evaluation, opts Options) (*pass, error) {
	p := &pass{
		snap: snap, cluster: cluster, eval: eval, opts: opts, newID: opts.NewID,
		job:     snap.Job(eval.Namespace, eval.JobID),
		allocs:  snap.JobAllocs(eval.Namespace, eval.JobID),
		nodes:   map[string]*structs.Node{},
		failed:  map[string]*structs.AllocMetric{},
		queued:  map[string]int{},
		changes: map[changeKey]change{},
		given:   map[uint32]usedThings{}, evictable: map[uint32][]victim{}, evicted: map[string]bool{}, losses: map[groupKey]int{},
		rivals: map[groupKey][]uint32{},
	}
	if p.newID == nil {
		p.newID = seededIDs(opts.Seed)
	}
	for _, a := range p.allocs {
		if _, seen := p.nodes[a.NodeID]; seen {
			continue
		}
		p.nodes[a.NodeID] = nil
		if num, ok := snap.NodeNum(a.NodeID); ok {
			p.nodes[a.NodeID] = snap.NodeByNum(num)
		}
	}
	p.config = p.settings()
	var err error
	if p.algorithm, err = lookupAlgorithm(p.config.algorithm); err != nil {
		return nil, err
	}
	p.plan = &structs.Plan{
		EvalID: eval.ID, Namespace: eval.Namespace, JobID: eval.JobID,
		SnapshotIndex: snap.Index(), Now: opts.Now.UnixNano(),
	}
	if p.job != nil {
		p.batch = p.job.Type == structs.JobTypeBatch
		p.plan.JobVersion = p.job.Version
		p.plan.JobModifyIndex = p.job.JobModifyIndex
		p.plan.AllAtOnce = p.job.AllAtOnce
	}
	return p, nil
}

// MetaAlgorithm is the key of a job's meta that selects its algorithm. It is
// meta so that every client of the contract passes it on.
const MetaAlgorithm = "scheduler_algorithm"

// settings finds the algorithm of the job over its node pool's over the
// cluster's, and what else is configured.
func (p *pass) settings() settings {
	s := settings{algorithm: structs.SchedulerAlgorithmBinpack}
	kind := p.eval.Type
	if c := p.snap.SchedulerConfig(); c != nil {
		if c.SchedulerAlgorithm != "" {
			s.algorithm = c.SchedulerAlgorithm
		}
		s.oversub = c.MemoryOversubscriptionEnabled
		switch kind {
		case structs.JobTypeService:
			s.preemption = c.PreemptionConfig.ServiceSchedulerEnabled
		case structs.JobTypeBatch:
			s.preemption = c.PreemptionConfig.BatchSchedulerEnabled
		case structs.JobTypeSystem:
			s.preemption = c.PreemptionConfig.SystemSchedulerEnabled
		case structs.JobTypeSysBatch:
			s.preemption = c.PreemptionConfig.SysBatchSchedulerEnabled
		}
	}
	if p.job != nil {
		if pool := p.snap.NodePool(p.job.NodePool); pool != nil && pool.SchedulerConfiguration != nil {
			c := pool.SchedulerConfiguration
			if c.SchedulerAlgorithm != "" {
				s.algorithm = c.SchedulerAlgorithm
			}
			if c.MemoryOversubscriptionEnabled != nil {
				s.oversub = *c.MemoryOversubscriptionEnabled
			}
		}
	}
	if p.job != nil && p.job.Meta[MetaAlgorithm] != "" {
		s.algorithm = p.job.Meta[MetaAlgorithm]
	}
	if p.opts.Algorithm != "" {
		s.algorithm = p.opts.Algorithm
	}
	return s
}

func (p *pass) run() error {
	switch p.eval.Type {
	case structs.JobTypeService, structs.JobTypeBatch:
		p.decision = p.reconcile()
	case structs.JobTypeSystem, structs.JobTypeSysBatch:
		p.decision = p.reconcileSystem()
	default:
		return structs.Errorf(structs.Invalid,
			"cannot schedule evaluation %q: no scheduler for type %q, use service, batch, system or sysbatch", p.eval.ID, p.eval.Type)
	}
	p.apply(p.decision)
	return nil
}

// seededIDs makes UUID-shaped ids from a seed.
func seededIDs(seed uint64) func() string {
	n := uint64(0)
	return func() string {
		n++
		a, b := mix(seed^n), mix(seed+n*0x9e3779b97f4a7c15)
		return fmt.Sprintf("%08x-%04x-8%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
	}
}

// mix scatters the bits of x (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
