package structs

import "time"

// Lifecycle hooks of a task; a task without one is a main task.
const (
	LifecycleHookPrestart  = "prestart"
	LifecycleHookPoststart = "poststart"
	LifecycleHookPoststop  = "poststop"
)

// Task is one program, run by a driver.
type Task struct {
	Name            string                 `hcl:"name,label" change:"destroy"`
	Driver          string                 `hcl:"driver" change:"destroy"`
	User            string                 `hcl:"user" change:"destroy"`
	Lifecycle       *TaskLifecycle         `hcl:"lifecycle,block" change:"destroy"`
	Config          map[string]any         `hcl:"config,free" change:"destroy"`
	Constraints     []*Constraint          `hcl:"constraint,block" change:"inplace"`
	Affinities      []*Affinity            `hcl:"affinity,block" change:"inplace"`
	Env             map[string]string      `hcl:"env,map" change:"destroy"`
	Services        []*Service             `hcl:"service,block" change:"inplace"`
	Resources       *Resources             `hcl:"resources,block" change:"destroy"`
	RestartPolicy   *RestartPolicy         `hcl:"restart,block" change:"inplace"`
	Meta            map[string]string      `hcl:"meta,map" change:"destroy"`
	KillTimeout     *time.Duration         `hcl:"kill_timeout" change:"inplace"`
	LogConfig       *LogConfig             `hcl:"logs,block" change:"inplace"`
	Artifacts       []*TaskArtifact        `hcl:"artifact,block" change:"destroy"`
	Vault           *Vault                 `hcl:"vault,block" change:"destroy"`
	Consul          *Consul                `hcl:"consul,block" change:"destroy"`
	Templates       []*Template            `hcl:"template,block" change:"destroy"`
	DispatchPayload *DispatchPayloadConfig `hcl:"dispatch_payload,block" change:"destroy"`
	VolumeMounts    []*VolumeMount         `hcl:"volume_mount,block" change:"destroy"`
	CSIPluginConfig *TaskCSIPluginConfig   `json:",omitempty" hcl:"csi_plugin,block" change:"destroy"`
	Leader          bool                   `hcl:"leader" change:"inplace"`
	ShutdownDelay   time.Duration          `hcl:"shutdown_delay" change:"inplace"`
	KillSignal      string                 `hcl:"kill_signal" change:"inplace"`
	Kind            string                 `hcl:"kind" change:"destroy"`
	ScalingPolicies []*ScalingPolicy       `hcl:"scaling,block" change:"inplace"`
	Secrets         []*Secret              `hcl:"secret,block" change:"destroy"`
	// Identity is the default workload identity; Identities holds the others.
	Identity   *WorkloadIdentity   `hcl:"-" change:"destroy"`
	Identities []*WorkloadIdentity `hcl:"identity,block" change:"destroy"`
	Actions    []*Action           `hcl:"action,block" change:"inplace"`
	Schedule   *TaskSchedule       `hcl:"schedule,block" change:"inplace"`
}

// TaskLifecycle says when a task runs relative to the group's main tasks.
type TaskLifecycle struct {
	Hook    string `hcl:"hook,required"`
	Sidecar bool   `hcl:"sidecar"`
}

// LogConfig bounds the log files of a task.
type LogConfig struct {
	MaxFiles      *int  `hcl:"max_files"`
	MaxFileSizeMB *int  `hcl:"max_file_size"`
	Enabled       *bool `hcl:"enabled"` // ignored; kept for old job files
	Disabled      *bool `hcl:"disabled" change:"destroy"`
}

// TaskArtifact is something fetched into the task directory before the start.
type TaskArtifact struct {
	GetterSource   string            `hcl:"source"`
	GetterOptions  map[string]string `hcl:"options,map"`
	GetterHeaders  map[string]string `hcl:"headers,map"`
	GetterMode     string            `hcl:"mode"`
	GetterInsecure bool              `hcl:"insecure"`
	RelativeDest   string            `hcl:"destination"`
	Chown          bool              `hcl:"chown"`
}

// Template is a file rendered into the task directory.
type Template struct {
	SourcePath    string         `hcl:"source"`
	DestPath      string         `hcl:"destination"`
	EmbeddedTmpl  string         `hcl:"data"`
	ChangeMode    string         `hcl:"change_mode"`
	ChangeScript  *ChangeScript  `hcl:"change_script,block"`
	ChangeSignal  string         `hcl:"change_signal"`
	Once          bool           `hcl:"once"`
	Splay         *time.Duration `hcl:"splay"`
	Perms         string         `hcl:"perms"`
	Uid           *int           `hcl:"uid"`
	Gid           *int           `hcl:"gid"`
	LeftDelim     string         `hcl:"left_delimiter"`
	RightDelim    string         `hcl:"right_delimiter"`
	Envvars       bool           `hcl:"env"`
	VaultGrace    time.Duration  `hcl:"vault_grace"` // deprecated, ignored
	Wait          *WaitConfig    `hcl:"wait,block"`
	ErrMissingKey bool           `hcl:"error_on_missing_key"`
}

// ChangeScript runs in the task when a template changed.
type ChangeScript struct {
	Command          string         `hcl:"command"`
	Args             []string       `hcl:"args"`
	Timeout          *time.Duration `hcl:"timeout"`
	FailOnError      bool           `hcl:"fail_on_error"`
	RunOnFirstRender bool           `hcl:"run_on_first_render"`
}

// WaitConfig delays rendering until data has settled.
type WaitConfig struct {
	Min *time.Duration `hcl:"min"`
	Max *time.Duration `hcl:"max"`
}

// Vault asks for a Vault token for the task.
type Vault struct {
	Policies             []string `hcl:"policies"`
	Role                 string   `hcl:"role"`
	Namespace            string   `hcl:"namespace"`
	Cluster              string   `hcl:"cluster"`
	Env                  *bool    `hcl:"env"`
	DisableFile          *bool    `hcl:"disable_file"`
	ChangeMode           string   `hcl:"change_mode"`
	ChangeSignal         string   `hcl:"change_signal"`
	AllowTokenExpiration bool     `hcl:"allow_token_expiration"`
}

// DispatchPayloadConfig names the file under local/ that receives the payload.
type DispatchPayloadConfig struct {
	File string `hcl:"file"`
}

// VolumeMount mounts a volume of the group into the task.
type VolumeMount struct {
	Volume          string `hcl:"volume"`
	Destination     string `hcl:"destination"`
	ReadOnly        bool   `hcl:"read_only"`
	PropagationMode string `hcl:"propagation_mode"`
	SELinuxLabel    string `hcl:"selinux_label"`
}

// TaskCSIPluginConfig marks a task that serves a storage plugin.
type TaskCSIPluginConfig struct {
	ID                  string        `hcl:"id"`
	Type                string        `hcl:"type"`
	MountDir            string        `hcl:"mount_dir"`
	StagePublishBaseDir string        `hcl:"stage_publish_base_dir"`
	HealthTimeout       time.Duration `hcl:"health_timeout"`
}

// Secret is a value fetched from a provider and used as ${secret.NAME.KEY}.
type Secret struct {
	Name     string            `hcl:"name,label"`
	Provider string            `hcl:"provider"`
	Path     string            `hcl:"path"`
	Config   map[string]any    `hcl:"config,free"`
	Env      map[string]string `hcl:"env,map"`
}

// WorkloadIdentity is a signed token given to a task or a service.
type WorkloadIdentity struct {
	Name         string        `hcl:"name"`
	Audience     []string      `hcl:"aud"`
	ChangeMode   string        `hcl:"change_mode"`
	ChangeSignal string        `hcl:"change_signal"`
	Env          bool          `hcl:"env"`
	File         bool          `hcl:"file"`
	Filepath     string        `hcl:"filepath"`
	ServiceName  string        `hcl:"service_name"`
	TTL          time.Duration `hcl:"ttl"`
	ExtraClaims  []string      `hcl:"extra_claims"`
}

// Action is a command that an operator may run in a running task.
type Action struct {
	Name    string   `hcl:"name,label"`
	Command string   `hcl:"command,required"`
	Args    []string `hcl:"args"`
}

// TaskSchedule pauses and runs a task by cron. This build parses it and
// refuses it at registration.
type TaskSchedule struct {
	Cron *TaskScheduleCron `hcl:"cron,block"`
}

// TaskScheduleCron is the window of a TaskSchedule.
type TaskScheduleCron struct {
	Start    string `hcl:"start"`
	End      string `hcl:"end"`
	Timezone string `hcl:"timezone"`
}
