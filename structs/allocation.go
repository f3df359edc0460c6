package structs

import (
	"strconv"
	"strings"
	"time"
)

// Desired statuses: what the servers want of an allocation.
const (
	AllocDesiredStatusRun   = "run"
	AllocDesiredStatusStop  = "stop"
	AllocDesiredStatusEvict = "evict"
)

// Client statuses: what the node reports.
const (
	AllocClientStatusPending  = "pending"
	AllocClientStatusRunning  = "running"
	AllocClientStatusComplete = "complete"
	AllocClientStatusFailed   = "failed"
	AllocClientStatusLost     = "lost"
	AllocClientStatusUnknown  = "unknown"
)

// Allocation is one instance of a task group on one node.
type Allocation struct {
	ID        string
	Namespace string
	EvalID    string
	// Name is "<job>.<group>[<index>]"; see AllocName.
	Name     string
	NodeID   string
	NodeName string
	JobID    string
	// Job is the version that the allocation runs. It is shared and must not
	// be changed.
	Job       *Job
	TaskGroup string

	AllocatedResources *AllocatedResources
	Metrics            *AllocMetric

	DesiredStatus      string
	DesiredDescription string `json:",omitempty"`
	DesiredTransition  DesiredTransition
	ClientStatus       string
	ClientDescription  string
	TaskStates         map[string]*TaskState
	DeploymentID       string                 `json:",omitempty"`
	DeploymentStatus   *AllocDeploymentStatus `json:",omitempty"`
	FollowupEvalID     string                 `json:",omitempty"`
	PreviousAllocation string                 `json:",omitempty"`
	NextAllocation     string                 `json:",omitempty"`
	RescheduleTracker  *RescheduleTracker     `json:",omitempty"`
	NetworkStatus      *AllocNetworkStatus    `json:",omitempty"`

	PreemptedAllocations  []string `json:",omitempty"`
	PreemptedByAllocation string   `json:",omitempty"`

	CreateIndex uint64
	ModifyIndex uint64
	// AllocModifyIndex moves only with changes by the servers, so that a
	// client does not fetch its own updates.
	AllocModifyIndex uint64
	CreateTime       int64 // unix nanoseconds
	ModifyTime       int64
}

// AllocName is the name of the allocation with the given index.
func AllocName(job, group string, index uint) string {
	return job + "." + group + "[" + strconv.FormatUint(uint64(index), 10) + "]"
}

// Index is the number in the allocation's name, 0 when the name has none.
func (a *Allocation) Index() uint {
	open := strings.LastIndexByte(a.Name, '[')
	if open < 0 || !strings.HasSuffix(a.Name, "]") {
		return 0
	}
	n, err := strconv.ParseUint(a.Name[open+1:len(a.Name)-1], 10, 32)
	if err != nil {
		return 0
	}
	return uint(n)
}

// ServerTerminal reports whether the servers want the allocation gone.
func (a *Allocation) ServerTerminal() bool {
	return a.DesiredStatus == AllocDesiredStatusStop || a.DesiredStatus == AllocDesiredStatusEvict
}

// ClientTerminal reports whether the node is done with the allocation.
func (a *Allocation) ClientTerminal() bool { return ClientStatusTerminal(a.ClientStatus) }

// Terminal reports whether the allocation is done for either side.
func (a *Allocation) Terminal() bool { return a.ServerTerminal() || a.ClientTerminal() }

// DeploymentHealthy reports whether the allocation was found healthy in its
// deployment; it may have ended since.
func (a *Allocation) DeploymentHealthy() bool {
	return a.DeploymentStatus != nil && Val(a.DeploymentStatus.Healthy)
}

// LivesHealthy reports whether the allocation was found healthy in its deployment
// and has not ended. A deployment's own counters keep those that have.
func (a *Allocation) LivesHealthy() bool { return !a.Terminal() && a.DeploymentHealthy() }

// ClientStatusTerminal reports whether a client status is final.
func ClientStatusTerminal(status string) bool {
	switch status {
	case AllocClientStatusComplete, AllocClientStatusFailed, AllocClientStatusLost:
		return true
	}
	return false
}

// AllocListStub is an allocation as lists show it.
type AllocListStub struct {
	ID                    string
	EvalID                string
	Name                  string
	Namespace             string
	NodeID                string
	NodeName              string
	JobID                 string
	JobType               string
	JobVersion            uint64
	TaskGroup             string
	AllocatedResources    *AllocatedResources `json:",omitempty"`
	DesiredStatus         string
	DesiredDescription    string
	DesiredTransition     DesiredTransition
	ClientStatus          string
	ClientDescription     string
	TaskStates            map[string]*TaskState
	DeploymentStatus      *AllocDeploymentStatus
	FollowupEvalID        string
	NextAllocation        string
	RescheduleTracker     *RescheduleTracker
	PreemptedAllocations  []string
	PreemptedByAllocation string
	CreateIndex           uint64
	ModifyIndex           uint64
	CreateTime            int64
	ModifyTime            int64
}

// DesiredTransition asks a scheduler to do something about an allocation.
type DesiredTransition struct {
	Migrate                 *bool
	Reschedule              *bool
	ForceReschedule         *bool
	NoShutdownDelay         *bool
	MigrateDisablePlacement *bool
}

// AllocDeploymentStatus is an allocation's part in a deployment. Healthy is
// nil until it is known.
type AllocDeploymentStatus struct {
	Healthy     *bool
	Timestamp   time.Time
	Canary      bool
	ModifyIndex uint64
}

// RescheduleTracker remembers earlier attempts of a rescheduled allocation.
type RescheduleTracker struct {
	Events         []*RescheduleEvent
	LastReschedule string
}

// RescheduleEvent is one replacement of a failed allocation.
type RescheduleEvent struct {
	RescheduleTime int64 // unix nanoseconds
	PrevAllocID    string
	PrevNodeID     string
	Delay          time.Duration
}

// AllocNetworkStatus is the address of an allocation's own network namespace.
type AllocNetworkStatus struct {
	InterfaceName string
	Address       string
	AddressIPv6   string
	DNS           *DNSConfig
}

// Task states.
const (
	TaskStatePending = "pending"
	TaskStateRunning = "running"
	TaskStateDead    = "dead"
)

// TaskState is what the node knows of one task. Times are nil when unset.
type TaskState struct {
	State       string
	Failed      bool
	Restarts    uint64
	LastRestart *time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time
	Paused      string
	Events      []*TaskEvent // the newest ten, oldest first
}

// MaxTaskEvents is how many events a task keeps.
const MaxTaskEvents = 10

// Successful reports whether the task ended well.
func (s *TaskState) Successful() bool { return s.State == TaskStateDead && !s.Failed }
