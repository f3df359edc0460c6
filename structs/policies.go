package structs

import "time"

// UpdateStrategy paces changes of running allocations. All fields are pointers
// because a group's block overlays the job's field by field.
type UpdateStrategy struct {
	Stagger          *time.Duration `hcl:"stagger" change:"ignore"`
	MaxParallel      *int           `hcl:"max_parallel"`
	HealthCheck      *string        `hcl:"health_check"` // checks, task_states, manual
	MinHealthyTime   *time.Duration `hcl:"min_healthy_time"`
	HealthyDeadline  *time.Duration `hcl:"healthy_deadline"`
	ProgressDeadline *time.Duration `hcl:"progress_deadline"`
	Canary           *int           `hcl:"canary"`
	AutoRevert       *bool          `hcl:"auto_revert"`
	AutoPromote      *bool          `hcl:"auto_promote"`
}

// MigrateStrategy paces the moves off a draining node.
type MigrateStrategy struct {
	MaxParallel     *int           `hcl:"max_parallel"`
	HealthCheck     *string        `hcl:"health_check"` // checks, task_states
	MinHealthyTime  *time.Duration `hcl:"min_healthy_time"`
	HealthyDeadline *time.Duration `hcl:"healthy_deadline"`
}

// Restart policy modes.
const (
	RestartModeFail  = "fail"
	RestartModeDelay = "delay"
)

// RestartPolicy says how often a task is started again on its node.
type RestartPolicy struct {
	Interval        *time.Duration `hcl:"interval"`
	Attempts        *int           `hcl:"attempts"`
	Delay           *time.Duration `hcl:"delay"`
	Mode            *string        `hcl:"mode"`
	RenderTemplates *bool          `hcl:"render_templates" change:"destroy"`
}

// Delay functions of a ReschedulePolicy.
const (
	DelayConstant    = "constant"
	DelayExponential = "exponential"
	DelayFibonacci   = "fibonacci"
)

// ReschedulePolicy says how often a failed allocation is placed again.
type ReschedulePolicy struct {
	Attempts      *int           `hcl:"attempts"`
	Interval      *time.Duration `hcl:"interval"`
	Delay         *time.Duration `hcl:"delay"`
	DelayFunction *string        `hcl:"delay_function"`
	MaxDelay      *time.Duration `hcl:"max_delay"`
	Unlimited     *bool          `hcl:"unlimited"`
}

// Reconcile options of a DisconnectStrategy.
const (
	ReconcileBestScore       = "best_score"
	ReconcileKeepOriginal    = "keep_original"
	ReconcileKeepReplacement = "keep_replacement"
	ReconcileLongestRunning  = "longest_running"
)

// DisconnectStrategy says what happens while a node cannot be heard.
type DisconnectStrategy struct {
	LostAfter         *time.Duration `hcl:"lost_after"`
	StopOnClientAfter *time.Duration `hcl:"stop_on_client_after"`
	Replace           *bool          `hcl:"replace"`
	Reconcile         *string        `hcl:"reconcile"`
}
