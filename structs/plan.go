package structs

// Plan is what one scheduling pass wants to change. The scheduler makes it,
// the planner checks it against the newest state, and the state machine is the
// only authority over it: each part is applied or refused, alike on every
// server. Nodes are named by their dense numbers (state.NodeNum).
type Plan struct {
	// Epoch is the term of the leader that made the plan; under another epoch
	// the whole plan is refused.
	Epoch          uint64
	EvalID         string
	Namespace      string
	JobID          string
	JobVersion     uint64
	JobModifyIndex uint64 // of the specification; a newer one refuses the plan
	SnapshotIndex  uint64 // the state that the plan was made from
	AllAtOnce      bool   // refuse everything when anything is refused
	Now            int64  // unix nanoseconds, the time of all changes

	Groups      []*PlanGroup
	Stops       []AllocStop
	InPlace     []AllocInPlace
	Preemptions []AllocPreemption

	// Deployment is created, or replaced when its id exists.
	Deployment        *Deployment
	DeploymentUpdates []*DeploymentStatusUpdate

	// Eval is the evaluation with its outcome. When any part is refused it is
	// not applied: the evaluation stays pending and the worker looks again.
	Eval *Evaluation
	// NewEvals are the blocked and follow-up evaluations, applied with Eval.
	NewEvals []*Evaluation

	Annotations *PlanAnnotations // for dry runs, never committed
}

// PlanGroup places allocations of one task group that share everything but
// node, name index and the extras of a Placement.
type PlanGroup struct {
	Group string
	// Older is how many versions before the plan's these allocations run: they
	// replace others of that version while canaries of the plan's are not promoted.
	Older        uint64
	DeploymentID string
	// Resources is what each allocation gets, without ports, devices, cores.
	Resources  *AllocatedResources
	Metrics    *AllocMetric
	Placements []Placement
}

// Placement puts one allocation on a node.
type Placement struct {
	Node      uint32 // dense node number
	NameIndex uint32
	Canary    bool
	// PreviousAlloc is the allocation that this one replaces, "" for none. It
	// must exist and must not have been replaced yet.
	PreviousAlloc string
	// Extra is nil for most placements.
	Extra *PlacementExtra
}

// PlacementExtra is what differs between allocations of one PlanGroup.
type PlacementExtra struct {
	Ports      []PortMapping
	Networks   []*NetworkResource
	Cores      map[string][]uint16                   // by task
	Devices    map[string][]*AllocatedDeviceResource // by task
	Volumes    []VolumeClaim                         // host volumes that are written to
	Reschedule *RescheduleTracker
}

// VolumeClaim is the use of a node's host volume by an allocation that writes
// to it under an access mode. An exclusive writer has no other beside it.
type VolumeClaim struct {
	Source    string
	Exclusive bool
}

// Excludes reports whether two allocations of a node cannot have both claims.
func (c VolumeClaim) Excludes(other VolumeClaim) bool {
	return c.Source == other.Source && (c.Exclusive || other.Exclusive)
}

// AllocStop changes the desired status of an allocation.
type AllocStop struct {
	AllocID            string
	DesiredStatus      string // stop or evict
	DesiredDescription string
	// ClientStatus is set when the node cannot tell any more: lost, unknown.
	ClientStatus   string
	FollowupEvalID string
}

// AllocInPlace moves a running allocation to a newer version of its job
// without a restart, or (with an unchanged version) sets its FollowupEvalID.
type AllocInPlace struct {
	AllocID        string
	JobVersion     uint64
	DeploymentID   string
	Resources      *AllocatedResources // nil keeps what it has
	FollowupEvalID string
	ClientStatus   string // set for unknown and reconnecting allocations
	Description    string
}

// AllocPreemption evicts an allocation of another job for a placement.
type AllocPreemption struct {
	AllocID string
	// Group and NameIndex name the placement that takes its place.
	Group     string
	NameIndex uint32
	// Node is the victim's, for those who have no state at hand; it is not
	// written to the log.
	Node uint32
}

// PlanResult says what became of a plan.
type PlanResult struct {
	// Applied is the index of the entry that applied the plan.
	Applied uint64
	// Collided is set when the plan was not committed: one that was in flight
	// wanted the same room. The worker looks again from Applied.
	Collided bool
	// Refused lists the parts that were not applied; empty is full success.
	Refused []PlanRefusal
	// Placed are the numbers of the placed allocations plus one, by group and
	// in the order of the placements, 0 for a refused one.
	Placed [][]uint64
}

// PlanRefusal is one refused part of a plan.
type PlanRefusal struct {
	// Group and Placement index the refused placement; Group is -1 when the
	// plan as a whole was refused.
	Group     int
	Placement int
	Node      uint32
	Reason    string // a sentence for logs and metrics
}

// AllocUpdate is what a node reports of one of its allocations. The servers
// ignore an update whose Revision is not newer than the last one.
type AllocUpdate struct {
	AllocID           string
	Revision          uint64 // counts up on the node, across restarts
	ClientStatus      string
	ClientDescription string
	TaskStates        map[string]*TaskState
	DeploymentHealthy *bool // nil while unknown
	// DeploymentID is the deployment that the health is for: the servers ignore
	// a verdict about an earlier one.
	DeploymentID   string
	DeploymentTime int64 // unix nanoseconds, when health was decided
	NetworkStatus  *AllocNetworkStatus
}
