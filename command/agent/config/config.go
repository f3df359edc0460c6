// Package config is the agent's configuration: one struct decoded by tags from
// HCL and JSON files, directories, flags and the environment, in that order.
//
// A key that this build cannot honour is never silently dropped: harmless ones
// are accepted with a warning, all others are refused by name and position.
// The keys and defaults are the public contract's.
package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"time"
)

// Config is everything an agent can be told. The hcl tags are the names in
// configuration files; in JSON (agent self) the Go names are served.
type Config struct {
	Region             string            `hcl:"region"`
	Datacenter         string            `hcl:"datacenter"`
	NodeName           string            `hcl:"name"`
	DataDir            string            `hcl:"data_dir"`
	BindAddr           string            `hcl:"bind_addr"`
	Ports              Ports             `hcl:"ports"`
	Addresses          Addresses         `hcl:"addresses"`
	Advertise          Addresses         `hcl:"advertise"`
	LogLevel           string            `hcl:"log_level"`
	LogJSON            bool              `hcl:"log_json"`
	LogIncludeLocation bool              `hcl:"log_include_location"`
	EnableDebug        bool              `hcl:"enable_debug"`
	LeaveOnInterrupt   bool              `hcl:"leave_on_interrupt"`
	LeaveOnTerminate   bool              `hcl:"leave_on_terminate"`
	PluginDir          string            `hcl:"plugin_dir"`
	HTTPHeaders        map[string]string `hcl:"http_api_response_headers"`
	Limits             Limits            `hcl:"limits"`
	TLS                TLS               `hcl:"tls"`
	Autopilot          Autopilot         `hcl:"autopilot"`
	Server             Server            `hcl:"server"`
	Client             Client            `hcl:"client"`
	Plugins            map[string]Plugin `hcl:"plugin"`
	Telemetry          Telemetry         `hcl:"telemetry"`
	UI                 UI                `hcl:"ui"`

	// DevMode keeps everything in memory and temporary folders, and makes one
	// process server and client.
	DevMode bool `hcl:"-"`
	// Files are the configuration files that were read, in order.
	Files []string `hcl:"-"`
}

// Ports of the three listeners; 0 takes any free port.
type Ports struct {
	HTTP int `hcl:"http"`
	RPC  int `hcl:"rpc"`
	Serf int `hcl:"serf"`
}

// Addresses of the three listeners, as bound or as advertised.
type Addresses struct {
	HTTP string `hcl:"http"`
	RPC  string `hcl:"rpc"`
	Serf string `hcl:"serf"`
}

// Limits protect the agent from its callers; 0 turns one off.
type Limits struct {
	HTTPSHandshakeTimeout     time.Duration `hcl:"https_handshake_timeout"`
	HTTPMaxConnsPerClient     int           `hcl:"http_max_conns_per_client"`
	RPCHandshakeTimeout       time.Duration `hcl:"rpc_handshake_timeout"`
	RPCMaxConnsPerClient      int           `hcl:"rpc_max_conns_per_client"`
	HTTPMaxConcurrentBlocking int           `hcl:"-"`
}

// TLS configures encryption. RPC covers the server port, HTTP the public one.
// Role and region in certificates are always checked on the server port.
type TLS struct {
	HTTP                 bool   `hcl:"http"`
	RPC                  bool   `hcl:"rpc"`
	CAFile               string `hcl:"ca_file"`
	CertFile             string `hcl:"cert_file"`
	KeyFile              string `hcl:"key_file"`
	VerifyServerHostname bool   `hcl:"verify_server_hostname"`
	VerifyHTTPSClient    bool   `hcl:"verify_https_client"`
	MinVersion           string `hcl:"tls_min_version"`
}

// Autopilot is how the leader cares for the set of servers, at the first start
// of a cluster; afterwards the API changes it.
type Autopilot struct {
	CleanupDeadServers      bool          `hcl:"cleanup_dead_servers"`
	LastContactThreshold    time.Duration `hcl:"last_contact_threshold"`
	MaxTrailingLogs         int           `hcl:"max_trailing_logs"`
	MinQuorum               int           `hcl:"min_quorum"`
	ServerStabilizationTime time.Duration `hcl:"server_stabilization_time"`
}

// Join says which agents to find others by.
type Join struct {
	StartJoin     []string      `hcl:"start_join"`
	RetryJoin     []string      `hcl:"retry_join"`
	RetryMax      int           `hcl:"retry_max"`
	RetryInterval time.Duration `hcl:"retry_interval"`
}

// given reports whether anything is set.
func (j Join) given() bool {
	return len(j.StartJoin)+len(j.RetryJoin)+j.RetryMax > 0 || j.RetryInterval != 0
}

// Server configures the server role.
type Server struct {
	Enabled                bool          `hcl:"enabled"`
	BootstrapExpect        int           `hcl:"bootstrap_expect"`
	DataDir                string        `hcl:"data_dir"`
	Join                   Join          `hcl:"server_join"`
	StartJoin              []string      `hcl:"start_join"`
	RetryJoin              []string      `hcl:"retry_join"`
	RetryMax               int           `hcl:"retry_max"`
	RetryInterval          time.Duration `hcl:"retry_interval"`
	Encrypt                string        `hcl:"encrypt"`
	AgentRestartGrace      time.Duration `hcl:"agent_restart_grace"`
	NumSchedulers          *int          `hcl:"num_schedulers"`
	EnabledSchedulers      []string      `hcl:"enabled_schedulers"`
	HeartbeatGrace         time.Duration `hcl:"heartbeat_grace"`
	MinHeartbeatTTL        time.Duration `hcl:"min_heartbeat_ttl"`
	MaxHeartbeatsPerSecond float64       `hcl:"max_heartbeats_per_second"`
	FailoverHeartbeatTTL   time.Duration `hcl:"failover_heartbeat_ttl"`
	NodeGCThreshold        time.Duration `hcl:"node_gc_threshold"`
	JobGCInterval          time.Duration `hcl:"job_gc_interval"`
	JobGCThreshold         time.Duration `hcl:"job_gc_threshold"`
	EvalGCThreshold        time.Duration `hcl:"eval_gc_threshold"`
	BatchEvalGCThreshold   time.Duration `hcl:"batch_eval_gc_threshold"`
	DeploymentGCThreshold  time.Duration `hcl:"deployment_gc_threshold"`
	RootKeyGCInterval      time.Duration `hcl:"root_key_gc_interval"`
	RootKeyGCThreshold     time.Duration `hcl:"root_key_gc_threshold"`
	RootKeyRotation        time.Duration `hcl:"root_key_rotation_threshold"`
	JobDefaultPriority     int           `hcl:"job_default_priority"`
	JobMaxPriority         int           `hcl:"job_max_priority"`
	JobMaxCount            int           `hcl:"job_max_count"`
	JobMaxSourceSize       string        `hcl:"job_max_source_size"`
	JobTrackedVersions     int           `hcl:"job_tracked_versions"`
	RaftSnapshotThreshold  int           `hcl:"raft_snapshot_threshold"`
	RaftSnapshotInterval   time.Duration `hcl:"raft_snapshot_interval"`
	RaftTrailingLogs       int           `hcl:"raft_trailing_logs"`
	EnableEventBroker      bool          `hcl:"enable_event_broker"`
	EventBufferSize        int           `hcl:"event_buffer_size"`
	Introduction           Introduction  `hcl:"client_introduction"`
	// OIDCIssuer is the URL under which others reach the HTTP API, for the
	// discovery of the keys of workload identities.
	OIDCIssuer string `hcl:"oidc_issuer"`
	// DefaultServiceProvider is that of services that name none: consul, as the
	// contract has it, or nomad. It is beyond the contract.
	DefaultServiceProvider string `hcl:"default_service_provider"`
}

// Introduction says whether a node that is new to the region must show a token
// of `node intro create`.
type Introduction struct {
	Enforcement string        `hcl:"enforcement"` // none, warn or strict
	DefaultTTL  time.Duration `hcl:"default_identity_ttl"`
	MaxTTL      time.Duration `hcl:"max_identity_ttl"`
}

// Client configures the client role.
type Client struct {
	Enabled          bool              `hcl:"enabled"`
	StateDir         string            `hcl:"state_dir"`
	AllocDir         string            `hcl:"alloc_dir"`
	Servers          []string          `hcl:"servers"`
	Join             Join              `hcl:"server_join"`
	Gossip           bool              `hcl:"gossip"`
	Encrypt          string            `hcl:"encrypt"`
	NodeClass        string            `hcl:"node_class"`
	NodePool         string            `hcl:"node_pool"`
	Meta             map[string]string `hcl:"meta"`
	Options          map[string]string `hcl:"options"`
	NetworkInterface string            `hcl:"network_interface"`
	NetworkSpeed     int               `hcl:"network_speed"`
	CPUTotalCompute  int               `hcl:"cpu_total_compute"`
	MemoryTotalMB    int               `hcl:"memory_total_mb"`
	DiskTotalMB      int               `hcl:"disk_total_mb"`
	DiskFreeMB       int               `hcl:"disk_free_mb"`
	Reserved         Reserved          `hcl:"reserved"`
	MinDynamicPort   int               `hcl:"min_dynamic_port"`
	MinPluginPort    int               `hcl:"client_min_port"` // for plugins that listen on TCP
	MaxPluginPort    int               `hcl:"client_max_port"`
	MaxDynamicPort   int               `hcl:"max_dynamic_port"`
	MaxKillTimeout   time.Duration     `hcl:"max_kill_timeout"`
	GCInterval       time.Duration     `hcl:"gc_interval"`
	GCParallel       int               `hcl:"gc_parallel_destroys"`
	GCDiskThreshold  float64           `hcl:"gc_disk_usage_threshold"`
	GCInodeThreshold float64           `hcl:"gc_inode_usage_threshold"`
	GCMaxAllocs      int               `hcl:"gc_max_allocs"`
	// GCMaxAge and LogRetention are beyond the contract; 0 is no limit.
	GCMaxAge          time.Duration `hcl:"gc_max_age"`
	LogRetention      time.Duration `hcl:"log_retention"`
	NodeMaxAllocs     int           `hcl:"node_max_allocs"`
	DisableRemoteExec bool          `hcl:"disable_remote_exec"`
	CgroupParent      string        `hcl:"cgroup_parent"`
	DefaultIneligible bool          `hcl:"default_ineligible"`
	// IntroToken comes from the flag or the environment alone.
	IntroToken      string           `hcl:"-"`
	DrainOnShutdown *DrainOnShutdown `hcl:"drain_on_shutdown"`
	SimulateNodes   int              `hcl:"simulate_nodes"` // light nodes in the place of this one, for capacity tests
	SimulateProfile string           `hcl:"simulate_profile"`

	CNIPath       string `hcl:"cni_path"`
	CNIConfigDir  string `hcl:"cni_config_dir"`
	BridgeName    string `hcl:"bridge_network_name"`
	BridgeSubnet  string `hcl:"bridge_network_subnet"`
	BridgeSubnet6 string `hcl:"bridge_network_subnet_ipv6"`
	BridgeHairpin bool   `hcl:"bridge_network_hairpin_mode"`

	HostNetworks        map[string]HostNetwork `hcl:"host_network"`
	HostVolumes         map[string]HostVolume  `hcl:"host_volume"`
	HostVolumesDir      string                 `hcl:"host_volumes_dir"`
	HostVolumePluginDir string                 `hcl:"host_volume_plugin_dir"`

	Artifact Artifact `hcl:"artifact"`
	Template Template `hcl:"template"`
	DNS      DNS      `hcl:"dns"`
}

// DrainOnShutdown is how a node is drained before its agent leaves.
type DrainOnShutdown struct {
	Deadline         *time.Duration `hcl:"deadline"` // unset is an hour, 0 none
	IgnoreSystemJobs bool           `hcl:"ignore_system_jobs"`
	Force            bool           `hcl:"force"` // all work ends at once
}

// DNS has the client answer for healthy instances of services. It is beyond the
// contract, and off without an address.
type DNS struct {
	Address string        `hcl:"address"` // host:port
	Domain  string        `hcl:"domain"`
	TTL     time.Duration `hcl:"ttl"`
}

// HostNetwork names addresses of the host that ports may ask for.
type HostNetwork struct {
	CIDR          string `hcl:"cidr"`
	Interface     string `hcl:"interface"`
	ReservedPorts string `hcl:"reserved_ports"`
}

// HostVolume is a folder of the host that jobs may mount.
type HostVolume struct {
	Path     string `hcl:"path"`
	ReadOnly bool   `hcl:"read_only"`
}

// Reserved is withheld from scheduling.
type Reserved struct {
	CPU           int    `hcl:"cpu"`
	Cores         string `hcl:"cores"`
	MemoryMB      int    `hcl:"memory"`
	DiskMB        int    `hcl:"disk"`
	ReservedPorts string `hcl:"reserved_ports"`
}

// Plugin configures one driver plugin; Config goes to it as it is.
type Plugin struct {
	Args   []string       `hcl:"args"`
	Config map[string]any `hcl:"config"`
}

// Telemetry configures metrics.
type Telemetry struct {
	CollectionInterval         time.Duration `hcl:"collection_interval"`
	InMemoryCollectionInterval time.Duration `hcl:"in_memory_collection_interval"`
	InMemoryRetentionPeriod    time.Duration `hcl:"in_memory_retention_period"`
	PrometheusMetrics          bool          `hcl:"prometheus_metrics"`
	PublishAllocationMetrics   bool          `hcl:"publish_allocation_metrics"`
	PublishNodeMetrics         bool          `hcl:"publish_node_metrics"`
	DisableHostname            bool          `hcl:"disable_hostname"`
	StatsdAddress              string        `hcl:"statsd_address"`
	StatsiteAddress            string        `hcl:"statsite_address"`
	PrefixFilter               []string      `hcl:"prefix_filter"` // "+prefix" tells it, "-prefix" does not
	FilterDefault              bool          `hcl:"filter_default"`
	UseNodeName                bool          `hcl:"use_node_name"`
}

// UI configures the web interface and the command line's hints.
type UI struct {
	Enabled      bool `hcl:"enabled"`
	ShowCLIHints bool `hcl:"show_cli_hints"`
}

// harmless keys change nothing that a user could miss here.
var harmless = set(
	"disable_update_check", "disable_anonymous_signature", "consul", "vault", "reporting",
	"autopilot.enable_redundancy_zones", "autopilot.disable_upgrade_migration", "autopilot.enable_custom_upgrades", "server.raft_multiplier", "server.raft_protocol", "server.raft_boltdb", "server.rejoin_after_leave",
	"client.template.max_stale", // answers are never stale
	"client.no_host_uuid", "client.cpu_disable_dmidecode", "server.plan_apply_pipeline", "client.nomad_service_discovery",
	"telemetry.disable_dispatched_job_summary_metrics",
	"telemetry.disable_rpc_rate_metrics_labels", "telemetry.disable_allocation_hook_metrics",
	"telemetry.disable_quota_utilization_metrics",
)

// notBuilt keys are the contract's, and would be missed.
var notBuilt = set(
	"acl", "tls.rpc_upgrade_mode", "tls.tls_cipher_suites", "tls.tls_prefer_server_cipher_suites", "audit", "sentinel", "keyring", "rpc", "eventlog", "enable_syslog", "syslog_facility",
	"log_file", "log_rotate_duration", "log_rotate_bytes", "log_rotate_max_files",

	"server.authoritative_region", "server.default_scheduler_config", "server.plan_rejection_tracker",
	"server.search", "server.raft_logstore",
	"server.start_timeout", "server.log_file",
	"client.chroot_env",
	"client.common_plugin_dir",

	"client.template.consul_retry", "client.template.vault_retry", "client.template.vault_default_lease_duration", "client.template.use_client_consul_token",
	"client.users", "client.fingerprint", "client.log_file", "client.reservable_cores",
	"client.preferred_address_family", "client.alloc_mounts_dir", "client.gc_volumes_on_node_gc",
	"client.bind_wildcard_default_host_network",
	"telemetry.datadog_address", "telemetry.datadog_tags",
)

func set(keys ...string) map[string]bool {
	m := make(map[string]bool, len(keys))
	for _, k := range keys {
		m[k] = true
	}
	return m
}

// Default is the configuration of an agent that was told nothing.
func Default() *Config {
	return &Config{
		Region:     "global",
		Datacenter: "dc1",
		BindAddr:   "0.0.0.0",
		Ports:      Ports{HTTP: 4646, RPC: 4647, Serf: 4648},
		LogLevel:   "INFO",
		Limits: Limits{
			HTTPSHandshakeTimeout: 5 * time.Second,
			HTTPMaxConnsPerClient: 100,
			RPCHandshakeTimeout:   5 * time.Second,
			RPCMaxConnsPerClient:  100,
		},
		Autopilot: Autopilot{
			CleanupDeadServers: true, LastContactThreshold: 200 * time.Millisecond, MaxTrailingLogs: 250, ServerStabilizationTime: 10 * time.Second,
		},
		Server: Server{
			AgentRestartGrace:      3 * time.Second,
			HeartbeatGrace:         10 * time.Second,
			MinHeartbeatTTL:        10 * time.Second,
			MaxHeartbeatsPerSecond: 50,
			FailoverHeartbeatTTL:   5 * time.Minute,
			NodeGCThreshold:        24 * time.Hour,
			JobGCInterval:          5 * time.Minute,
			JobGCThreshold:         4 * time.Hour,
			EvalGCThreshold:        time.Hour,
			BatchEvalGCThreshold:   24 * time.Hour,
			DeploymentGCThreshold:  time.Hour,
			RootKeyGCInterval:      10 * time.Minute,
			RootKeyGCThreshold:     time.Hour,
			RootKeyRotation:        720 * time.Hour,
			Introduction:           Introduction{Enforcement: "warn", DefaultTTL: 5 * time.Minute, MaxTTL: 30 * time.Minute},
			JobDefaultPriority:     50,
			JobMaxPriority:         100,
			JobMaxCount:            50000,
			JobMaxSourceSize:       "1M",
			JobTrackedVersions:     6,
			RaftSnapshotThreshold:  100000,
			RaftSnapshotInterval:   2 * time.Minute,
			RaftTrailingLogs:       10240,
			EnableEventBroker:      true,
			EventBufferSize:        100,
		},
		Client: Client{
			NodePool:         "default",
			Gossip:           true,
			MinDynamicPort:   20000,
			MinPluginPort:    14000,
			MaxPluginPort:    14512,
			MaxDynamicPort:   32000,
			MaxKillTimeout:   30 * time.Second,
			GCInterval:       time.Minute,
			GCParallel:       2,
			GCDiskThreshold:  80,
			GCInodeThreshold: 70,
			GCMaxAllocs:      50,
			CgroupParent:     "nomad.slice",
			Artifact:         defaultArtifact(),
			DNS:              DNS{Domain: "nomad", TTL: 2 * time.Second},
		},
		Telemetry: Telemetry{
			FilterDefault:              true,
			CollectionInterval:         time.Second,
			InMemoryCollectionInterval: 10 * time.Second,
			InMemoryRetentionPeriod:    time.Minute,
		},
		UI: UI{Enabled: true, ShowCLIHints: true},
	}
}

// Dev is the configuration of `agent -dev`.
func Dev() *Config {
	c := Default()
	c.DevMode = true
	c.BindAddr = "127.0.0.1"
	c.LogLevel = "DEBUG"
	c.EnableDebug = true
	c.Server.Enabled = true
	c.Server.BootstrapExpect = 1
	c.Client.Enabled = true
	c.Client.NetworkInterface = "lo"
	c.Client.GCInterval = 10 * time.Minute
	c.Client.GCDiskThreshold = 99
	c.Client.GCInodeThreshold = 99
	c.Telemetry.PrometheusMetrics = true
	c.Telemetry.PublishAllocationMetrics = true
	c.Telemetry.PublishNodeMetrics = true
	c.Plugins = map[string]Plugin{"raw_exec": {Config: map[string]any{"enabled": true}}}
	return c
}

// Load merges the files and directories of paths into c, in order. It returns
// warnings about keys that have no effect. The error names every problem of a
// file at once.
func (c *Config) Load(paths []string) (warnings []string, err error) {
	for _, path := range paths {
		files, err := expand(path)
		if err != nil {
			return warnings, fmt.Errorf("Error loading configuration from %s: %w", path, err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				return warnings, fmt.Errorf("Error loading configuration from %s: %w", path, err)
			}
			w, err := c.Parse(file, src)
			warnings = append(warnings, w...)
			if err != nil {
				return warnings, fmt.Errorf("Error loading configuration from %s: Error loading %s: %w", path, file, err)
			}
			c.Files = append(c.Files, file)
		}
	}
	return warnings, nil
}

// Parse merges one source into c.
func (c *Config) Parse(name string, src []byte) (warnings []string, err error) {
	t, err := parse(name, src)
	if err != nil {
		return nil, err
	}
	var d decoder
	d.decode("", t, reflect.ValueOf(c).Elem())
	if len(d.problems) > 0 {
		return d.warnings, fmt.Errorf("%s", strings.Join(d.problems, "\n"))
	}
	return d.warnings, nil
}

// expand lists the configuration files that path stands for.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || temporary(name) || !(strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json")) {
			continue
		}
		files = append(files, filepath.Join(path, name))
	}
	sort.Strings(files)
	return files, nil
}

// temporary reports whether an editor left the file behind.
func temporary(name string) bool {
	return strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".#") ||
		(strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"))
}
