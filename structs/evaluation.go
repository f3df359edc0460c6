package structs

import "time"

// Evaluation statuses.
const (
	EvalStatusBlocked  = "blocked"
	EvalStatusPending  = "pending"
	EvalStatusComplete = "complete"
	EvalStatusFailed   = "failed"
	EvalStatusCanceled = "canceled"
)

// What made an evaluation.
const (
	EvalTriggerJobRegister          = "job-register"
	EvalTriggerJobDeregister        = "job-deregister"
	EvalTriggerPeriodicJob          = "periodic-job"
	EvalTriggerNodeDrain            = "node-drain"
	EvalTriggerNodeUpdate           = "node-update"
	EvalTriggerAllocStop            = "alloc-stop"
	EvalTriggerScheduled            = "scheduled"
	EvalTriggerRollingUpdate        = "rolling-update"
	EvalTriggerDeploymentWatcher    = "deployment-watcher"
	EvalTriggerFailedFollowUp       = "failed-follow-up"
	EvalTriggerMaxPlans             = "max-plan-attempts"
	EvalTriggerRetryFailedAlloc     = "alloc-failure"
	EvalTriggerQueuedAllocs         = "queued-allocs"
	EvalTriggerPreemption           = "preemption"
	EvalTriggerScaling              = "job-scaling"
	EvalTriggerMaxDisconnectTimeout = "max-disconnect-timeout"
	EvalTriggerReconnect            = "reconnect"
	EvalTriggerAllocReschedule      = "alloc-reschedule"
)

// Evaluation asks a scheduler to look at one job again.
type Evaluation struct {
	ID                      string
	Priority                int
	Type                    string // the job's type
	TriggeredBy             string
	Namespace               string
	JobID                   string
	JobModifyIndex          uint64
	NodeID                  string `json:",omitempty"`
	NodeModifyIndex         uint64 `json:",omitempty"`
	DeploymentID            string `json:",omitempty"`
	Status                  string
	StatusDescription       string                  `json:",omitempty"`
	Wait                    time.Duration           `json:",omitempty"`
	WaitUntil               *time.Time              `json:",omitempty"` // not before; nil is now
	NextEval                string                  `json:",omitempty"`
	PreviousEval            string                  `json:",omitempty"`
	BlockedEval             string                  `json:",omitempty"`
	RelatedEvals            []*EvaluationStub       `json:",omitempty"`
	FailedTGAllocs          map[string]*AllocMetric `json:",omitempty"`
	PlanAnnotations         *PlanAnnotations        `json:",omitempty"`
	ClassEligibility        map[string]bool         `json:",omitempty"`
	EscapedComputedClass    bool                    `json:",omitempty"`
	QuotaLimitReached       string                  `json:",omitempty"`
	MissingNonNodeResources []string                `json:",omitempty"`
	AnnotatePlan            bool                    `json:",omitempty"`
	QueuedAllocations       map[string]int
	// SnapshotIndex is the newest state that the last scheduling pass saw.
	SnapshotIndex uint64
	CreateIndex   uint64
	ModifyIndex   uint64
	CreateTime    int64 // unix nanoseconds
	ModifyTime    int64
}

// Terminal reports whether nothing will happen to the evaluation any more.
func (e *Evaluation) Terminal() bool {
	switch e.Status {
	case EvalStatusComplete, EvalStatusFailed, EvalStatusCanceled:
		return true
	}
	return false
}

// EvaluationStub is an evaluation as listed beside a related one.
type EvaluationStub struct {
	ID                string
	Priority          int
	Type              string
	TriggeredBy       string
	Namespace         string
	JobID             string
	NodeID            string
	DeploymentID      string
	Status            string
	StatusDescription string
	WaitUntil         *time.Time
	NextEval          string
	PreviousEval      string
	BlockedEval       string
	CreateIndex       uint64
	ModifyIndex       uint64
	CreateTime        int64
	ModifyTime        int64
}

// PlanAnnotations count what a plan does, by group.
type PlanAnnotations struct {
	DesiredTGUpdates map[string]*DesiredUpdates
	PreemptedAllocs  []*AllocListStub
}

// DesiredUpdates counts the decisions for one group.
type DesiredUpdates struct {
	Ignore            uint64
	Place             uint64
	Migrate           uint64
	Stop              uint64
	InPlaceUpdate     uint64
	DestructiveUpdate uint64
	Canary            uint64
	Preemptions       uint64
	Disconnect        uint64
	Reconnect         uint64
	RescheduleNow     uint64
	RescheduleLater   uint64
}

// AllocMetric explains one placement or the lack of it: what was looked at,
// what was filtered out or full, and the best scores.
type AllocMetric struct {
	NodesEvaluated     int
	NodesFiltered      int
	NodesInPool        int
	NodePool           string
	NodesAvailable     map[string]int
	ClassFiltered      map[string]int
	ConstraintFiltered map[string]int
	NodesExhausted     int
	ClassExhausted     map[string]int
	DimensionExhausted map[string]int
	QuotaExhausted     []string
	ResourcesExhausted map[string]*Resources
	Scores             map[string]float64 // always empty; kept by the contract
	AllocationTime     time.Duration
	CoalescedFailures  int
	ScoreMetaData      []*NodeScoreMeta // best five, best first
	// NearMisses say for each exhausted resource which node was nearest; not of
	// the contract.
	NearMisses []*NearMiss `json:",omitempty"`
}

// NodeScoreMeta holds the partial scores of one node.
type NodeScoreMeta struct {
	NodeID    string
	Scores    map[string]float64
	NormScore float64
}
