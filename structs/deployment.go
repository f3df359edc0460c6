package structs

import "time"

// Deployment statuses.
const (
	DeploymentStatusRunning      = "running"
	DeploymentStatusPaused       = "paused"
	DeploymentStatusFailed       = "failed"
	DeploymentStatusSuccessful   = "successful"
	DeploymentStatusCancelled    = "cancelled"
	DeploymentStatusInitializing = "initializing"
	DeploymentStatusPending      = "pending"
	DeploymentStatusBlocked      = "blocked"
	DeploymentStatusUnblocking   = "unblocking"
)

// Deployment tracks the rollout of one job version.
type Deployment struct {
	ID                 string
	Namespace          string
	JobID              string
	JobVersion         uint64
	JobModifyIndex     uint64
	JobSpecModifyIndex uint64
	JobCreateIndex     uint64
	IsMultiregion      bool
	TaskGroups         map[string]*DeploymentState
	Status             string
	StatusDescription  string
	EvalPriority       int
	CreateIndex        uint64
	ModifyIndex        uint64
	CreateTime         int64 // unix nanoseconds
	ModifyTime         int64
}

// Active reports whether the deployment still steers placements.
func (d *Deployment) Active() bool {
	switch d.Status {
	case DeploymentStatusRunning, DeploymentStatusPaused, DeploymentStatusInitializing,
		DeploymentStatusPending, DeploymentStatusBlocked, DeploymentStatusUnblocking:
		return true
	}
	return false
}

// Descriptions of deployments that are under way (runtime.md 10).
const (
	DeploymentDescRunning = "Deployment is running"
	DeploymentDescManual  = "Deployment is running but requires manual promotion"
	DeploymentDescAuto    = "Deployment is running pending automatic promotion"
	DeploymentDescPaused  = "Deployment is paused"
	DeploymentDescFailed  = "Deployment marked as failed"
)

// AutoReverts reports whether the job goes back to a stable version when the
// deployment fails.
func (d *Deployment) AutoReverts() bool {
	for _, g := range d.TaskGroups {
		if g.AutoRevert {
			return true
		}
	}
	return false
}

// RunningDescription describes the deployment while it runs: with canaries it
// says who promotes them.
func (d *Deployment) RunningDescription() string {
	canaries, auto := false, true
	for _, g := range d.TaskGroups {
		if g.AwaitsPromotion() {
			canaries, auto = true, auto && g.AutoPromote
		}
	}
	switch {
	case !canaries:
		return DeploymentDescRunning
	case auto:
		return DeploymentDescAuto
	}
	return DeploymentDescManual
}

// DeploymentState is the rollout of one group.
type DeploymentState struct {
	AutoRevert        bool
	AutoPromote       bool
	ProgressDeadline  time.Duration
	RequireProgressBy time.Time
	Promoted          bool
	PlacedCanaries    []string
	DesiredCanaries   int
	DesiredTotal      int
	PlacedAllocs      int
	HealthyAllocs     int
	UnhealthyAllocs   int
}

// AwaitsPromotion reports whether canaries of the group must be promoted before
// anything else of the new version is placed.
func (s *DeploymentState) AwaitsPromotion() bool { return s.DesiredCanaries > 0 && !s.Promoted }

// DeploymentStatusUpdate changes the status of a deployment.
type DeploymentStatusUpdate struct {
	DeploymentID      string
	Status            string
	StatusDescription string
	UpdatedAt         int64
}
