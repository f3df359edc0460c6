package structs

// Job types, as in the job file's "type".
const (
	JobTypeService  = "service"
	JobTypeBatch    = "batch"
	JobTypeSystem   = "system"
	JobTypeSysBatch = "sysbatch"
	JobTypeCore     = "_core"
)

// Job statuses. The state store computes them; see reference: pending until
// something runs, running while it does, dead when nothing is left to do.
const (
	JobStatusPending = "pending"
	JobStatusRunning = "running"
	JobStatusDead    = "dead"
)

// Defaults and limits of a job.
const (
	DefaultNamespace   = "default"
	AllNamespaces      = "*"
	DefaultRegion      = "global"
	DefaultPriority    = 50
	MinPriority        = 1
	MaxPriority        = 100
	NodePoolDefault    = "default"
	NodePoolAll        = "all"
	TrackedJobVersions = 6
)

// Job is a unit of work as its owner wrote it, plus what the servers know of
// it. Its key is (Namespace, ID).
type Job struct {
	Region           string                  `hcl:"region" change:"ignore"`
	Namespace        string                  `hcl:"namespace" change:"ignore"`
	ID               string                  `hcl:"id" change:"ignore"`
	Name             string                  `hcl:"name" change:"inplace"`
	Type             string                  `hcl:"type" change:"inplace"`
	Priority         int                     `hcl:"priority" change:"inplace"`
	AllAtOnce        bool                    `hcl:"all_at_once" change:"inplace"`
	Datacenters      []string                `hcl:"datacenters" change:"inplace"`
	NodePool         string                  `hcl:"node_pool" change:"inplace"`
	Constraints      []*Constraint           `hcl:"constraint,block" change:"inplace"`
	Affinities       []*Affinity             `hcl:"affinity,block" change:"inplace"`
	TaskGroups       []*TaskGroup            `hcl:"group,block"`
	Update           *UpdateStrategy         `hcl:"update,block" change:"inplace"`
	Multiregion      *Multiregion            `hcl:"multiregion,block" change:"inplace"`
	Spreads          []*Spread               `hcl:"spread,block" change:"inplace"`
	Periodic         *PeriodicConfig         `hcl:"periodic,block" change:"inplace"`
	ParameterizedJob *ParameterizedJobConfig `hcl:"parameterized,block" change:"inplace"`
	Reschedule       *ReschedulePolicy       `hcl:"reschedule,block" change:"inplace"`
	Migrate          *MigrateStrategy        `hcl:"migrate,block" change:"inplace"`
	Meta             map[string]string       `hcl:"meta,map" change:"destroy"`
	UI               *JobUIConfig            `hcl:"ui,block" change:"inplace"`

	// Stop is true once the job was stopped: nothing of it shall run.
	Stop bool `hcl:"-" change:"inplace"`
	// ParentID is the periodic or parameterized job that this one came from.
	ParentID string `hcl:"-" change:"ignore"`
	// Dispatched marks a child of a parameterized job.
	Dispatched               bool   `hcl:"-" change:"ignore"`
	DispatchIdempotencyToken string `hcl:"-" change:"ignore"`
	// Payload is the dispatch input, at most 16 KiB, base64 in JSON.
	Payload         []byte `hcl:"-" change:"ignore"`
	ConsulNamespace string `hcl:"consul_namespace" change:"inplace"`
	VaultNamespace  string `hcl:"vault_namespace" change:"inplace"`
	NomadTokenID    string `hcl:"-" change:"ignore"`

	Status            string `hcl:"-" change:"ignore"`
	StatusDescription string `hcl:"-" change:"ignore"`
	// Stable is set once a version's deployment succeeded; auto_revert goes
	// back to the newest stable version.
	Stable bool `hcl:"-" change:"ignore"`
	// Version counts changed specifications from 0.
	Version uint64 `hcl:"-" change:"ignore"`
	// SubmitTime is when this version was registered, unix nanoseconds.
	SubmitTime  int64  `hcl:"-" change:"ignore"`
	CreateIndex uint64 `hcl:"-" change:"ignore"`
	// ModifyIndex moves with every change, status included.
	ModifyIndex uint64 `hcl:"-" change:"ignore"`
	// JobModifyIndex moves only when the specification changes.
	JobModifyIndex uint64         `hcl:"-" change:"ignore"`
	VersionTag     *JobVersionTag `hcl:"-" change:"ignore"`
}

// JobVersionTag names a version so that garbage collection keeps it.
type JobVersionTag struct {
	Name        string
	Description string
	TaggedTime  int64 // unix nanoseconds
}

// JobUIConfig is what user interfaces show beside a job.
type JobUIConfig struct {
	Description string       `hcl:"description"`
	Links       []*JobUILink `hcl:"link,block"`
}

// JobUILink is one labelled link of a job.
type JobUILink struct {
	Label string `hcl:"label"`
	URL   string `hcl:"url"`
}

// PeriodicConfig makes a batch job a cron job.
type PeriodicConfig struct {
	Enabled *bool `hcl:"enabled"`
	// Spec is the single cron expression of the older form; Specs holds several.
	Spec            string   `hcl:"cron"`
	Specs           []string `hcl:"crons"`
	SpecType        string   `hcl:"-"` // always "cron"
	ProhibitOverlap bool     `hcl:"prohibit_overlap"`
	TimeZone        string   `hcl:"time_zone"` // IANA name, default UTC
}

// ParameterizedJobConfig makes a job a template for dispatched children.
type ParameterizedJobConfig struct {
	Payload      string   `hcl:"payload"` // optional, required or forbidden
	MetaRequired []string `hcl:"meta_required"`
	MetaOptional []string `hcl:"meta_optional"`
}

// Multiregion spreads one job over regions. This build parses it and refuses
// it at registration.
type Multiregion struct {
	Strategy *MultiregionStrategy `hcl:"strategy,block"`
	Regions  []*MultiregionRegion `hcl:"region,block"`
}

// MultiregionStrategy paces a multiregion rollout.
type MultiregionStrategy struct {
	MaxParallel *int   `hcl:"max_parallel"`
	OnFailure   string `hcl:"on_failure"`
}

// MultiregionRegion is one region's share of a multiregion job.
type MultiregionRegion struct {
	Name        string            `hcl:"name,label"`
	Count       *int              `hcl:"count"`
	Datacenters []string          `hcl:"datacenters"`
	NodePool    string            `hcl:"node_pool"`
	Meta        map[string]string `hcl:"meta,map"`
}

// JobSubmission is the source that a job version was registered from.
type JobSubmission struct {
	Source        string
	Format        string // hcl2 or json
	VariableFlags map[string]string
	Variables     string

	Namespace      string
	JobID          string
	Version        uint64
	JobModifyIndex uint64
}
