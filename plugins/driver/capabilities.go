package driver

import "github.com/nomadlite/nomadlite/plugins/base"

// FSIsolation is what a task sees of the host's files.
type FSIsolation int32

// The isolations, numbered as on the wire.
const (
	FSIsolationNone   FSIsolation = 0 // host paths
	FSIsolationChroot FSIsolation = 1 // a root built by the agent in the task directory
	FSIsolationImage  FSIsolation = 2 // a root of the driver's, with the task's directories mounted
	FSIsolationUnveil FSIsolation = 3 // host paths, restricted by the driver
)

// MountConfigs says whether a driver can mount volumes into tasks.
type MountConfigs int32

// The answers, numbered as on the wire.
const (
	MountConfigsAny  MountConfigs = 0
	MountConfigsNone MountConfigs = 1
)

// Capabilities is what a driver can do. The zero value can do the least.
type Capabilities struct {
	SendSignals          bool // Signaler
	Exec                 bool // Executor
	FSIsolation          FSIsolation
	NetworkModes         []NetworkMode
	MustCreateNetwork    bool // NetworkManager
	MountConfigs         MountConfigs
	DisableLogCollection bool // the driver ships logs itself
	DynamicWorkloadUsers bool // the agent may pick an unused uid
}

// Health is a driver's fitness to run tasks.
type Health int32

// The healths, numbered as on the wire.
const (
	HealthUndetected Health = 0 // not on this node
	HealthUnhealthy  Health = 1 // here, but out of order
	HealthHealthy    Health = 2
)

// Fingerprint is what a driver finds on its node. Attribute names begin with
// "driver.<name>"; an empty string deletes one. Err is a failure to look.
type Fingerprint struct {
	Attributes        map[string]base.Attribute
	Health            Health
	HealthDescription string
	Err               error
}
