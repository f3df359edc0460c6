package state

import (
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// The types in this file are the arguments of the Txn verbs of the same name
// and, encoded by package fsm, the payloads of Raft entries. Ids and times in
// them are chosen by the proposer. Indexes in the nouns are set by the verbs.

// Epoch starts a leader's term. It is the first command after the barrier;
// plans made under another term are refused.
type Epoch struct {
	Term uint64
	// AllocKey (16 random bytes) and ClusterID are offered with every Epoch and
	// taken from the first one only.
	AllocKey  []byte
	ClusterID string
}

// JobRegister creates or updates a job together with its evaluation.
type JobRegister struct {
	Job        *structs.Job
	Submission *structs.JobSubmission // may be nil
	Eval       *structs.Evaluation    // nil for periodic and parameterized jobs
	// EnforceIndex refuses the command unless the job's JobModifyIndex is
	// JobModifyIndex, 0 meaning that the job must not exist.
	EnforceIndex   bool
	JobModifyIndex uint64
	// Launched is set for a child that the servers make: its parent must be there,
	// and not be stopped.
	Launched bool
	Now      int64 // unix nanoseconds, the SubmitTime of a new version
}

// JobResult is the result of JobRegister, JobDeregister, JobScale and
// JobStability.
type JobResult struct {
	Index          uint64 // of this entry
	JobModifyIndex uint64
	Version        uint64
	NewVersion     bool
	EvalID         string
}

// JobDeregister stops a job, or removes it when Purge is set.
type JobDeregister struct {
	Namespace string
	JobID     string
	Purge     bool
	Eval      *structs.Evaluation
	Now       int64
}

// JobScale changes the count of one group, which makes a new version.
type JobScale struct {
	Namespace string
	JobID     string
	Group     string
	Count     int
	Eval      *structs.Evaluation
	// EnforceIndex and JobModifyIndex are those of JobRegister.
	EnforceIndex   bool
	JobModifyIndex uint64
	Now            int64
	Event          *structs.ScalingEvent // of the group's history; may be nil
}

// ScalingEventAdd adds to the history of a group that is not scaled.
type ScalingEventAdd struct {
	Namespace string
	JobID     string
	Group     string
	Event     *structs.ScalingEvent
}

// JobStability marks a version as stable or not.
type JobStability struct {
	Namespace string
	JobID     string
	Version   uint64
	Stable    bool
}

// JobTag names a version, or removes the name when Tag is nil.
type JobTag struct {
	Namespace string
	JobID     string
	Version   uint64
	Tag       *structs.JobVersionTag
}

// EvalUpsert writes evaluations.
type EvalUpsert struct{ Evals []*structs.Evaluation }

// EvalDelete removes evaluations; their allocations stay.
type EvalDelete struct{ IDs []string }

// AllocUpdate is what one node reports, with the evaluations that follow.
type AllocUpdate struct {
	NodeID  string
	Updates []*structs.AllocUpdate
	Evals   []*structs.Evaluation
	Now     int64
}

// AllocUpdates is what several nodes report at the same time.
type AllocUpdates struct{ Nodes []*AllocUpdate }

// NodeReport is an AllocUpdate as it is applied: with numbers in the place of
// texts.
type NodeReport struct {
	NodeID  string
	Reports []AllocReport
	Evals   []*structs.Evaluation
	Now     int64
}

// AllocReport is a structs.AllocUpdate with its task states packed.
type AllocReport struct {
	ID            [16]byte // of the allocation
	Revision      uint64
	Status        string
	Description   string
	Tasks         alloctable.Tasks
	Healthy       *bool
	DeploymentID  string
	DeploymentNow int64
	Network       *structs.AllocNetworkStatus
}

// Reports are the updates as they are applied. Those of no allocation of any
// cluster are left out.
func (c *AllocUpdates) Reports() []NodeReport {
	var list []NodeReport
	for _, n := range c.Nodes {
		if n == nil {
			continue
		}
		r := NodeReport{NodeID: n.NodeID, Evals: n.Evals, Now: n.Now, Reports: make([]AllocReport, 0, len(n.Updates))}
		for _, u := range n.Updates {
			if u == nil {
				continue
			}
			id, ok := alloctable.ParseID(u.AllocID)
			if !ok {
				continue
			}
			r.Reports = append(r.Reports, AllocReport{
				ID: id, Revision: u.Revision, Status: u.ClientStatus, Description: u.ClientDescription, Tasks: alloctable.PackTasks(u.TaskStates),
				Healthy: u.DeploymentHealthy, DeploymentID: u.DeploymentID, DeploymentNow: u.DeploymentTime, Network: u.NetworkStatus,
			})
		}
		list = append(list, r)
	}
	return list
}

// AllocTransition sets desired transitions by allocation id.
type AllocTransition struct {
	Transitions map[string]*structs.DesiredTransition
	Evals       []*structs.Evaluation
	Now         int64
}

// NodeRegister creates or updates a node. A known node keeps its drain,
// eligibility, status history and events.
type NodeRegister struct {
	Node   *structs.Node
	Event  *structs.NodeEvent   // may be nil
	Health []*structs.NodeEvent // of drivers that became better or worse
	Evals  []*structs.Evaluation
	Now    int64
}

// NodeStatus changes the status of a node.
type NodeStatus struct {
	NodeID string
	Status string
	Event  *structs.NodeEvent
	Evals  []*structs.Evaluation
	Now    int64
}

// NodeEligibility changes whether new allocations may be placed on a node.
type NodeEligibility struct {
	NodeID      string
	Eligibility string
	Event       *structs.NodeEvent
	Evals       []*structs.Evaluation
	Now         int64
}

// NodeDrain starts, changes or (with a nil Strategy) ends the drain of a node.
type NodeDrain struct {
	NodeID       string
	Strategy     *structs.DrainStrategy
	MarkEligible bool
	// Complete tells a drain that ran to its end from a canceled one.
	Complete bool
	Meta     map[string]string
	Event    *structs.NodeEvent
	Evals    []*structs.Evaluation
	Now      int64
}

// NodeDelete removes nodes. Their dense numbers are never used again.
type NodeDelete struct{ IDs []string }

// DeploymentUpsert creates or replaces a deployment.
type DeploymentUpsert struct{ Deployment *structs.Deployment }

// DeploymentStatus changes the status of a deployment, with an evaluation and,
// for auto_revert, the job to register.
type DeploymentStatus struct {
	Update *structs.DeploymentStatusUpdate
	Job    *structs.Job
	Eval   *structs.Evaluation
	Now    int64
}

// DeploymentPromote promotes the canaries of groups, all of them when Groups
// is empty.
type DeploymentPromote struct {
	DeploymentID string
	Groups       []string
	Eval         *structs.Evaluation
	Now          int64
}

// DeploymentAllocHealth sets the health of a deployment's allocations by hand
// or by the deployment watcher.
type DeploymentAllocHealth struct {
	DeploymentID string
	Healthy      []string
	Unhealthy    []string
	Update       *structs.DeploymentStatusUpdate // may be nil
	Job          *structs.Job                    // for auto_revert, may be nil
	Eval         *structs.Evaluation
	Now          int64
}

// JobKey names a job.
type JobKey struct{ Namespace, ID string }

// Collect removes what garbage collection found dead. Rows that are alive
// again by the time it is applied are kept.
type Collect struct {
	Evals       []string
	Allocs      []string
	Jobs        []JobKey
	Deployments []string
	Nodes       []string
}

// AutopilotConfig sets the autopilot's configuration.
type AutopilotConfig struct {
	Config *structs.AutopilotConfiguration
	// CheckIndex makes the change conditional on ModifyIndex, 0 for none.
	CheckIndex  bool
	ModifyIndex uint64
}

// SchedulerConfig sets the cluster-wide scheduler configuration.
type SchedulerConfig struct {
	Config *structs.SchedulerConfiguration
	// CheckIndex refuses the command unless the stored configuration has
	// ModifyIndex.
	CheckIndex  bool
	ModifyIndex uint64
}

// ChildrenLaunch starts the children of periodic jobs and remembers for which
// time that was.
type ChildrenLaunch struct {
	Launches []*ChildLaunch
	Now      int64 // unix nanoseconds, the SubmitTime of the children
}

// ChildLaunch is what one periodic job was due for.
type ChildLaunch struct {
	Namespace string
	JobID     string // of the parent
	At        time.Time
	Child     *structs.Job        // nil when the launch is left out
	Eval      *structs.Evaluation // of the child, nil when it is parameterized
}

// NamespaceUpsert writes namespaces.
type NamespaceUpsert struct{ Namespaces []*structs.Namespace }

// NamespaceDelete removes namespaces in which nothing runs; "default" stays.
type NamespaceDelete struct{ Names []string }

// NodePoolUpsert writes node pools.
type NodePoolUpsert struct{ NodePools []*structs.NodePool }

// NodePoolDelete removes pools without nodes and live jobs; "all" and "default"
// stay.
type NodePoolDelete struct{ Names []string }

// RootKeyAdd adds a wrapped root key. It becomes the active one, unless its
// state is that of a key that is published first.
type RootKeyAdd struct{ Key *RootKey }

// RootKey is a root key as it is stored: wrapped.
type RootKey struct {
	structs.RootKeyMeta
	KEK    string
	Sealed []byte
	// Public verifies what the key signed (Ed25519); servers that cannot unwrap
	// the key can still verify.
	Public []byte
}

// RootKeyState changes a root key: to active, which ends the one that was, or
// from rekeying to inactive, when nothing is encrypted by it any more.
type RootKeyState struct {
	KeyID string
	State string
	// Rekey says, for a key that becomes active, that what the one before
	// encrypted shall be encrypted again.
	Rekey bool
}

// RootKeyDelete removes root keys that are not active. Without Force none may
// be one that encrypts a variable.
type RootKeyDelete struct {
	IDs   []string
	Force bool
}

// VariableRekey replaces how variables are encrypted, not what they hold. One
// that was changed since it was read is left alone.
type VariableRekey struct{ Variables []*SealedVariable }

// VariableSet writes a variable.
type VariableSet struct {
	Variable *SealedVariable
	// Check refuses the command unless the variable's ModifyIndex is Index, 0
	// meaning that it must not exist.
	Check bool
	Index uint64
	Now   int64
}

// SealedVariable is a variable as it is stored: its items are encrypted by
// the root key KeyID.
type SealedVariable struct {
	structs.VariableMetadata
	KeyID  string
	Sealed []byte
}

// VariableDelete removes a variable; Check and Index are those of VariableSet.
type VariableDelete struct {
	Namespace, Path string
	Check           bool
	Index           uint64
}

// VariableResult is the result of VariableSet and VariableDelete.
type VariableResult struct {
	// Conflict is set when the check failed: Current is what is stored, nil
	// for nothing.
	Conflict bool
	Current  *SealedVariable
}

// HostVolumeUpsert writes a dynamic host volume.
type HostVolumeUpsert struct {
	Volume *structs.HostVolume
	Now    int64 // unix nanoseconds
}

// HostVolumeDelete removes a dynamic host volume that nothing uses.
type HostVolumeDelete struct{ Namespace, ID string }
