package api

import (
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// NodeDrainRequest starts a drain, or with a nil DrainSpec ends one.
type NodeDrainRequest struct {
	NodeID    string
	DrainSpec *structs.DrainSpec
	// MarkEligible makes the node eligible again when a drain ends.
	MarkEligible bool
	Meta         map[string]string
	WriteRequest
}

// NodeEligibilityRequest sets the scheduling eligibility of a node.
type NodeEligibilityRequest struct {
	NodeID      string
	Eligibility string
	WriteRequest
}

// NodeUpdateResponse answers writes to a node: drain, eligibility, evaluate
// and purge.
type NodeUpdateResponse struct {
	NodeModifyIndex uint64
	EvalIDs         []string
	EvalCreateIndex uint64
	ResponseMeta
}

// NodeMetaApplyRequest changes the metadata of a node, of the asked agent's own
// when NodeID is empty; null unsets a key.
type NodeMetaApplyRequest struct {
	NodeID string
	Meta   map[string]*string
}

// NodeMetaResponse is the metadata of a node; Static comes from the agent's
// configuration, Dynamic from the API (null unsets), Meta is both together.
type NodeMetaResponse struct {
	Meta    map[string]string
	Dynamic map[string]*string
	Static  map[string]string
}

// EvalDeleteRequest deletes evaluations by id or by filter, not both.
type EvalDeleteRequest struct {
	EvalIDs []string
	Filter  string
	WriteRequest
}

// MaxEvalDeletes is how many ids an EvalDeleteRequest may hold.
const MaxEvalDeletes = 7281

// EvalDeleteResponse says how many evaluations were deleted.
type EvalDeleteResponse struct {
	Count int
	ResponseMeta
}

// EvalCountResponse counts evaluations.
type EvalCountResponse struct {
	Count int
	ResponseMeta
}

// DeploymentUpdateResponse answers writes to a deployment.
type DeploymentUpdateResponse struct {
	EvalID                string
	EvalCreateIndex       uint64
	DeploymentModifyIndex uint64
	RevertedJobVersion    *uint64
	ResponseMeta
}

// RaftConfiguration lists the Raft peers.
type RaftConfiguration struct {
	Servers []*RaftServer
	Index   uint64
}

// RaftServer is one Raft peer.
type RaftServer struct {
	ID           string
	Node         string // "<name>.<region>", "(unknown)" when no member says it
	Address      string
	Leader       bool
	Voter        bool
	RaftProtocol string
}

// SchedulerConfigurationResponse holds the setting of the schedulers.
type SchedulerConfigurationResponse struct {
	SchedulerConfig *structs.SchedulerConfiguration
	ResponseMeta
}

// SchedulerSetConfigurationResponse says whether a conditional update happened.
type SchedulerSetConfigurationResponse struct {
	Updated bool
	ResponseMeta
}

// OperatorHealthReply is the health of the servers.
type OperatorHealthReply struct {
	Healthy bool
	// FailureTolerance is how many more servers may fail.
	FailureTolerance int
	Leader           string
	Voters           []string
	Servers          []ServerHealth
}

// ServerHealth is the health of one server.
type ServerHealth struct {
	ID, Name, Address string
	SerfStatus        string
	Version           string
	Leader            bool
	LastContact       structs.TextDuration
	LastTerm          uint64
	LastIndex         uint64
	Healthy           bool
	Voter             bool
	StableSince       time.Time
}

// KeyringResponse answers a change or a list of gossip keys. Keys counts the
// members that have each key.
type KeyringResponse struct {
	Messages    map[string]string
	Keys        map[string]int
	PrimaryKeys map[string]int
	NumNodes    int
}

// Search contexts: the kinds of things that a search can find.
const (
	ContextAll           = "all"
	ContextJobs          = "jobs"
	ContextEvals         = "evals"
	ContextAllocs        = "allocs"
	ContextNodes         = "nodes"
	ContextNodePools     = "node_pools"
	ContextDeployments   = "deployment"
	ContextPlugins       = "plugins"
	ContextVolumes       = "volumes"
	ContextHostVolumes   = "host_volumes"
	ContextScalingPolicy = "scaling_policy"
	ContextVariables     = "vars"
	ContextNamespaces    = "namespaces"
	ContextGroups        = "groups"
	ContextTasks         = "tasks"
	ContextServices      = "services"
	ContextImages        = "images"
	ContextCommands      = "commands"
	ContextClasses       = "classes"
)

// SearchRequest finds ids by prefix.
type SearchRequest struct {
	Prefix  string
	Context string
	WriteRequest
}

// SearchResponse maps contexts to ids, at most 20 each; Truncations says where
// there are more.
type SearchResponse struct {
	Matches     map[string][]string
	Truncations map[string]bool
	ResponseMeta
}

// FuzzySearchRequest finds names that contain Text, and ids by Prefix.
type FuzzySearchRequest struct {
	Text    string
	Prefix  string `json:",omitempty"`
	Context string
	WriteRequest
}

// FuzzySearchResponse maps contexts to matches.
type FuzzySearchResponse struct {
	Matches     map[string][]FuzzyMatch
	Truncations map[string]bool
	ResponseMeta
}

// FuzzyMatch is a found name; Scope leads to it, namespace first.
type FuzzyMatch struct {
	ID    string
	Scope []string `json:",omitempty"`
}

// AgentSelf is what an agent says of itself. The keys of Config and Stats are
// those of agent-config.md.
type AgentSelf struct {
	Config map[string]any               `json:"config"`
	Member AgentMember                  `json:"member"`
	Stats  map[string]map[string]string `json:"stats"`
}

// AgentMember is a gossip member.
type AgentMember struct {
	Name        string // "<name>.<region>"
	Addr        string
	Port        uint16
	Tags        map[string]string
	Status      string // alive, left, failed
	ProtocolMin uint8
	ProtocolMax uint8
	ProtocolCur uint8
	DelegateMin uint8
	DelegateMax uint8
	DelegateCur uint8
}

// ServerMembers lists the members that an agent knows.
type ServerMembers struct {
	ServerName   string
	ServerRegion string
	ServerDC     string
	Members      []*AgentMember
}

// AgentHealth is the health of one half of an agent.
type AgentHealth struct {
	Ok      bool   `json:"ok"`
	Message string `json:"message"`
}

// AgentHealthResponse is the health of an agent; what it does not run is nil.
type AgentHealthResponse struct {
	Client *AgentHealth `json:"client,omitempty"`
	Server *AgentHealth `json:"server,omitempty"`
}

// JoinResponse answers a request to join other agents.
type JoinResponse struct {
	NumJoined int    `json:"num_joined"`
	Error     string `json:"error"`
	Warning   string `json:"warning,omitempty"`
}

// MetricsSummary is one interval of an agent's metrics.
type MetricsSummary struct {
	Timestamp string
	Gauges    []GaugeValue
	Points    []PointValue
	Counters  []SampledValue
	Samples   []SampledValue
}

// GaugeValue is the last value of a gauge.
type GaugeValue struct {
	Name   string
	Value  float32
	Labels map[string]string
}

// PointValue is the values of a point metric.
type PointValue struct {
	Name   string
	Points []float32
}

// SampledValue is the aggregate of a counter or a sample.
type SampledValue struct {
	Name   string
	Count  int
	Rate   float64
	Sum    float64
	Min    float64
	Max    float64
	Mean   float64
	Stddev float64
	Labels map[string]string
}
