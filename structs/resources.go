package structs

// Resources is what a task asks for.
type Resources struct {
	CPU         *int               `hcl:"cpu"` // MHz
	Cores       *int               `hcl:"cores"`
	MemoryMB    *int               `hcl:"memory"`
	MemoryMaxMB *int               `hcl:"memory_max"` // -1 is no limit
	DiskMB      *int               `hcl:"disk"`
	Networks    []*NetworkResource `hcl:"network,block"`
	Devices     []*RequestedDevice `hcl:"device,block"`
	NUMA        *NUMAResource      `hcl:"numa,block"`
	SecretsMB   *int               `hcl:"secrets"`
	IOPS        *int               `hcl:"iops"` // ignored; kept for old job files
}

// RequestedDevice asks for devices by "type", "vendor/type" or
// "vendor/type/name".
type RequestedDevice struct {
	Name        string        `hcl:"name,label"`
	Count       *uint64       `hcl:"count"`
	Constraints []*Constraint `hcl:"constraint,block"`
	Affinities  []*Affinity   `hcl:"affinity,block"`
}

// NUMAResource asks for locality of cores and devices: none, prefer, require.
type NUMAResource struct {
	Affinity string   `hcl:"affinity"`
	Devices  []string `hcl:"devices"`
}

// NetworkResource is a group's network, or (in allocated and node resources)
// what was given or is there.
type NetworkResource struct {
	Mode          string     `hcl:"mode"`
	Device        string     `hcl:"device"`
	CIDR          string     `hcl:"cidr"`
	IP            string     `hcl:"ip"`
	DNS           *DNSConfig `hcl:"dns,block"`
	ReservedPorts []Port     `hcl:"reserved_ports,block"`
	DynamicPorts  []Port     `hcl:"port,block"`
	Hostname      string     `hcl:"hostname"`
	MBits         *int       `hcl:"mbits"` // deprecated, ignored
	CNI           *CNIConfig `hcl:"cni,block"`
}

// Port is one labelled port. Value is the static host port, 0 for dynamic; To
// is the port inside the task's network, -1 for the same as the host port.
type Port struct {
	Label           string `hcl:"label,label"`
	Value           int    `hcl:"static"`
	To              int    `hcl:"to"`
	HostNetwork     string `hcl:"host_network"`
	IgnoreCollision bool   `hcl:"ignore_collision"`
}

// DNSConfig is written into the tasks' resolv.conf.
type DNSConfig struct {
	Servers  []string `hcl:"servers"`
	Searches []string `hcl:"searches"`
	Options  []string `hcl:"options"`
}

// CNIConfig holds arguments for CNI plugins.
type CNIConfig struct {
	Args map[string]string `hcl:"args"`
}

// AllocatedResources is what an allocation was given, by task and shared.
type AllocatedResources struct {
	Tasks          map[string]*AllocatedTaskResources
	TaskLifecycles map[string]*TaskLifecycle
	Shared         AllocatedSharedResources
}

// AllocatedTaskResources is one task's share.
type AllocatedTaskResources struct {
	Cpu      AllocatedCpuResources
	Memory   AllocatedMemoryResources
	Networks []*NetworkResource
	Devices  []*AllocatedDeviceResource
}

// AllocatedCpuResources is CPU in MHz and the cores reserved for the task.
type AllocatedCpuResources struct {
	CpuShares     int64
	ReservedCores []uint16
}

// AllocatedMemoryResources is memory in MiB: reserved, and the most allowed.
type AllocatedMemoryResources struct {
	MemoryMB    int64
	MemoryMaxMB int64
}

// AllocatedDeviceResource is the devices given from one device group.
type AllocatedDeviceResource struct {
	Vendor    string
	Type      string
	Name      string
	DeviceIDs []string
}

// AllocatedSharedResources belong to the allocation as a whole.
type AllocatedSharedResources struct {
	DiskMB   int64
	Networks []*NetworkResource
	Ports    []PortMapping
}

// PortMapping is a port that an allocation holds on its node.
type PortMapping struct {
	Label  string
	Value  int
	To     int
	HostIP string
}
