// Package base is what all plugins share whatever their type: handshake,
// identity, configuration and typed attributes.
package base

import (
	"context"

	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Plugin types.
const (
	TypeDriver = "driver"
	TypeDevice = "device"
)

// Plugin is what every plugin answers. The methods may be called at once from
// many goroutines.
type Plugin interface {
	// PluginInfo says what the plugin is; it is called before SetConfig.
	PluginInfo(ctx context.Context) (*Info, error)

	// ConfigSchema is the schema of the plugin's configuration; nil when it
	// takes none.
	ConfigSchema(ctx context.Context) (*hclspec.Spec, error)

	// SetConfig hands the configuration over, before any other use. It is
	// called with no Agent part where configuration is only being checked.
	SetConfig(ctx context.Context, config *Config) error
}

// Info identifies a plugin.
type Info struct {
	Type        string   // TypeDriver or TypeDevice
	APIVersions []string // versions of the type's protocol, as "v0.1.0"
	Version     string   // of the plugin itself
	Name        string   // what job files call it
}

// Config is a plugin's configuration.
type Config struct {
	// Msgpack is the plugin block's config, decoded by ConfigSchema: see
	// Config.Decode. Empty where nothing was configured.
	Msgpack []byte

	// APIVersion is the protocol version that the agent chose.
	APIVersion string

	// Agent is what the agent adds for drivers; nil when it has nothing to
	// add.
	Agent *AgentConfig
}

// AgentConfig is what the agent tells a driver of the node: the range of
// dynamic ports, and the cores.
type AgentConfig struct {
	MinPort  uint32
	MaxPort  uint32
	Topology *Topology // nil: unknown
}

// Topology is the node's NUMA layout.
type Topology struct {
	NodeIDs []uint32
	// Distances are rows of len(NodeIDs) relative distances; nil: unknown.
	Distances               [][]uint32
	Cores                   []Core
	OverrideTotalCompute    uint64 // MHz; 0: none
	OverrideWithheldCompute uint64 // MHz; 0: none
}

// Core is one logical core. Speeds are in MHz.
type Core struct {
	SocketID   uint32
	NodeID     uint32
	CoreID     uint32
	Efficiency bool // an efficiency core, not a performance core
	Disabled   bool // not to be given to tasks
	BaseSpeed  uint64
	MaxSpeed   uint64
	GuessSpeed uint64
}
