package structs

import (
	"strconv"
	"time"
)

// Node statuses.
const (
	NodeStatusInit         = "initializing"
	NodeStatusReady        = "ready"
	NodeStatusDown         = "down"
	NodeStatusDisconnected = "disconnected"
)

// Scheduling eligibility of a node.
const (
	NodeEligible   = "eligible"
	NodeIneligible = "ineligible"
)

// Node is a machine as the servers see it.
type Node struct {
	ID string
	// SecretID is known to the node and the servers alone; it never leaves
	// through the API.
	SecretID              string `json:"-" codec:"SecretID"`
	Datacenter            string
	Name                  string
	HTTPAddr              string // advertised host:port of the node's HTTP API
	TLSEnabled            bool
	Attributes            map[string]string
	NodeResources         *NodeResources
	ReservedResources     *NodeReservedResources
	Links                 map[string]string
	Meta                  map[string]string
	NodeClass             string
	NodePool              string
	ComputedClass         string
	CgroupParent          string
	Drain                 bool // DrainStrategy is set
	DrainStrategy         *DrainStrategy
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	StatusUpdatedAt       int64 // unix seconds, by the contract
	Events                []*NodeEvent
	Drivers               map[string]*DriverInfo
	HostVolumes           map[string]*HostVolumeInfo
	HostNetworks          map[string]*HostNetworkInfo
	LastDrain             *DrainMetadata
	NodeMaxAllocs         int
	CreateIndex           uint64
	ModifyIndex           uint64
	// LastAllocUpdateIndex and LastMissedHeartbeatIndex tell a returning node
	// from one whose allocations are up to date.
	LastAllocUpdateIndex     uint64
	LastMissedHeartbeatIndex uint64
}

// Ready reports whether new allocations may be placed on the node.
func (n *Node) Ready() bool {
	return n.Status == NodeStatusReady && n.DrainStrategy == nil && n.SchedulingEligibility == NodeEligible
}

// NodeResources is what a node has.
type NodeResources struct {
	Cpu            NodeCpuResources
	Memory         NodeMemoryResources
	Disk           NodeDiskResources
	Networks       []*NetworkResource
	NodeNetworks   []*NodeNetworkResource
	Devices        []*NodeDeviceResource
	MinDynamicPort int
	MaxDynamicPort int
}

// NodeCpuResources is the node's CPU: total MHz and its cores.
type NodeCpuResources struct {
	CpuShares          int64
	TotalCpuCores      uint16
	ReservableCpuCores []uint16
}

// NodeMemoryResources is the node's memory in MiB.
type NodeMemoryResources struct{ MemoryMB int64 }

// NodeDiskResources is the disk for allocations in MiB.
type NodeDiskResources struct{ DiskMB int64 }

// NodeNetworkResource is one network interface or mode of a node.
type NodeNetworkResource struct {
	Mode       string
	Device     string
	MacAddress string
	Speed      int
	Addresses  []NodeNetworkAddress
}

// NodeNetworkAddress is one address of an interface under a host network's
// alias ("default" when none is configured).
type NodeNetworkAddress struct {
	Alias         string
	Address       string
	Family        string // ipv4 or ipv6
	Gateway       string
	ReservedPorts string
}

// NodeDeviceResource is a group of equal devices.
type NodeDeviceResource struct {
	Vendor     string
	Type       string
	Name       string
	Instances  []*NodeDevice
	Attributes map[string]*Attribute
}

// NodeDevice is one device.
type NodeDevice struct {
	ID                string
	Healthy           bool
	HealthDescription string
	Locality          *NodeDeviceLocality
}

// NodeDeviceLocality places a device on its bus.
type NodeDeviceLocality struct{ PciBusID string }

// NUMADevicesAttribute is the attribute of a node that lists, with commas, the
// buses of the devices near a NUMA node. It is unique to the node.
func NUMADevicesAttribute(id int) string { return "unique.numa.node" + strconv.Itoa(id) + ".devices" }

// Attribute is a typed value with an optional unit; exactly one value is set.
type Attribute struct {
	FloatVal  *float64 `json:"Float,omitempty"`
	IntVal    *int64   `json:"Int,omitempty"`
	StringVal *string  `json:"String,omitempty"`
	BoolVal   *bool    `json:"Bool,omitempty"`
	Unit      string   `json:",omitempty"`
}

// NodeReservedResources is withheld from scheduling.
type NodeReservedResources struct {
	Cpu      NodeReservedCpuResources
	Memory   NodeReservedMemoryResources
	Disk     NodeReservedDiskResources
	Networks NodeReservedNetworkResources
}

// NodeReservedCpuResources is withheld CPU.
type NodeReservedCpuResources struct {
	CpuShares        int64
	ReservedCpuCores []uint16
}

// NodeReservedMemoryResources is withheld memory in MiB.
type NodeReservedMemoryResources struct{ MemoryMB int64 }

// NodeReservedDiskResources is withheld disk in MiB.
type NodeReservedDiskResources struct{ DiskMB int64 }

// NodeReservedNetworkResources is withheld ports, as "22,80,8500-8600".
type NodeReservedNetworkResources struct{ ReservedHostPorts string }

// DriverInfo is the health of a task driver on a node.
type DriverInfo struct {
	Attributes        map[string]string
	Detected          bool
	Healthy           bool
	HealthDescription string
	UpdateTime        time.Time
}

// HostVolumeInfo is a volume that a node offers.
type HostVolumeInfo struct {
	Path     string
	ReadOnly bool
	ID       string // dynamic host volumes only
}

// HostNetworkInfo is a named host network of a node.
type HostNetworkInfo struct {
	Name          string
	CIDR          string
	Interface     string
	ReservedPorts string
}

// Subsystems of node events.
const (
	NodeEventSubsystemDrain     = "Drain"
	NodeEventSubsystemDriver    = "Driver"
	NodeEventSubsystemHeartbeat = "Heartbeat"
	NodeEventSubsystemCluster   = "Cluster"
	NodeEventSubsystemScheduler = "Scheduler"
	NodeEventSubsystemStorage   = "Storage"
)

// MaxNodeEvents is how many events a node keeps.
const MaxNodeEvents = 10

// NodeEvent is something that happened to a node.
type NodeEvent struct {
	Message     string
	Subsystem   string
	Details     map[string]string
	Timestamp   time.Time
	CreateIndex uint64
}

// DrainSpec is a drain as asked for. A deadline of 0 waits without end, a
// negative one forces at once.
type DrainSpec struct {
	Deadline         time.Duration
	IgnoreSystemJobs bool
}

// DrainStrategy is a drain in progress.
type DrainStrategy struct {
	DrainSpec
	ForceDeadline time.Time
	StartedAt     time.Time
}

// DrainMetadata records the last drain of a node.
type DrainMetadata struct {
	StartedAt  time.Time
	UpdatedAt  time.Time
	Status     string // draining, complete, canceled
	AccessorID string
	Meta       map[string]string
}

// NodeListStub is a node as lists show it.
type NodeListStub struct {
	Address               string
	ID                    string
	Attributes            map[string]string `json:",omitempty"`
	Datacenter            string
	Name                  string
	NodeClass             string
	NodePool              string
	Version               string
	Drain                 bool
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	Drivers               map[string]*DriverInfo
	HostVolumes           map[string]*HostVolumeInfo
	NodeResources         *NodeResources         `json:",omitempty"`
	ReservedResources     *NodeReservedResources `json:",omitempty"`
	LastDrain             *DrainMetadata
	CreateIndex           uint64
	ModifyIndex           uint64
}

// NodePool groups nodes; "all" and "default" always exist.
type NodePool struct {
	Name                   string
	Description            string
	Meta                   map[string]string
	SchedulerConfiguration *NodePoolSchedulerConfiguration
	CreateIndex            uint64
	ModifyIndex            uint64
}

// NodePoolSchedulerConfiguration overrides the scheduler's settings in a pool.
type NodePoolSchedulerConfiguration struct {
	SchedulerAlgorithm            string
	MemoryOversubscriptionEnabled *bool
}
