package driver

import (
	"fmt"
	"strings"
	"time"
)

// TaskConfig is all that a driver learns of a task.
type TaskConfig struct {
	ID            string // <alloc id>/<task name>/<invocation>; new at each start
	Name          string
	TaskGroupName string
	JobName       string
	JobID         string
	ParentJobID   string // of a dispatched or periodic job's child
	Namespace     string
	AllocID       string
	NodeName      string
	NodeID        string

	// MsgpackConfig is the task's config block, decoded by the driver's
	// schema: see DecodeDriverConfig.
	MsgpackConfig []byte

	Env       map[string]string // the whole environment
	DeviceEnv map[string]string // what devices add
	User      string            // empty: the driver's default
	Resources *Resources
	Mounts    []*Mount
	Devices   []*Device

	AllocDir   string // the allocation's directory on the host
	StdoutPath string // FIFO or /dev/null; the driver opens it for writing
	StderrPath string

	NetworkIsolation *NetworkIsolationSpec // nil: the host's network
	DNS              *DNSConfig            // nil: the host's
}

// Resources is what was allotted to a task.
type Resources struct {
	CPUShares   int64 // MHz
	MemoryMB    int64
	MemoryMaxMB int64 // 0: MemoryMB is the limit
	Networks    []*NetworkResource
	Linux       *LinuxResources
	Ports       []*PortMapping
}

// LinuxResources is the same in the terms of Linux.
type LinuxResources struct {
	CPUPeriod        int64 // microseconds
	CPUQuota         int64 // microseconds
	CPUShares        int64 // MHz
	MemoryLimitBytes int64
	OOMScoreAdj      int64
	CpusetCpus       string  // reserved cores, "0,2-3"; empty: none
	CpusetCgroup     string  // the cgroup made for the task; empty: none
	PercentTicks     float64 // share of the node's usable compute, 0 to 1
}

// NetworkResource is an address with ports, of a task's own network.
type NetworkResource struct {
	Device        string
	CIDR          string
	IP            string
	MBits         int32
	ReservedPorts []NetworkPort
	DynamicPorts  []NetworkPort
}

// NetworkPort is a named port.
type NetworkPort struct {
	Label string
	Value int32
}

// PortMapping is a port of the allocation: Value on the host, To in the
// task's network (0: the same).
type PortMapping struct {
	Label  string
	Value  int32
	To     int32
	HostIP string
}

// Mount is a host path to show inside the task.
type Mount struct {
	TaskPath        string
	HostPath        string
	Readonly        bool
	PropagationMode string
	SELinuxLabel    string
	RequestName     string // the volume request that asked for it
}

// Device is a device file to show inside the task. CgroupPermissions is of
// the letters r, w and m.
type Device struct {
	TaskPath          string
	HostPath          string
	CgroupPermissions string
}

// DNSConfig replaces the task's resolver configuration.
type DNSConfig struct {
	Servers  []string
	Searches []string
	Options  []string
}

// ResolvConf is the text of /etc/resolv.conf for it.
func (d *DNSConfig) ResolvConf() string {
	var out strings.Builder
	if len(d.Searches) > 0 {
		fmt.Fprintf(&out, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&out, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&out, "options %s\n", strings.Join(d.Options, " "))
	}
	return out.String()
}

// NetworkMode is whose network a task uses.
type NetworkMode int32

// The modes, numbered as on the wire.
const (
	NetworkHost  NetworkMode = 0
	NetworkGroup NetworkMode = 1
	NetworkTask  NetworkMode = 2
	NetworkNone  NetworkMode = 3
)

// NetworkIsolationSpec says which network namespace a task joins.
type NetworkIsolationSpec struct {
	Mode   NetworkMode
	Path   string            // the namespace, as /var/run/netns/<alloc id>
	Labels map[string]string // the driver's own
	Hosts  *HostsConfig
}

// HostsConfig is the allocation's line of /etc/hosts.
type HostsConfig struct {
	Hostname string
	Address  string
}

// NetworkOverride is an address of the task that the driver knows better.
type NetworkOverride struct {
	PortMap       map[string]int32
	Addr          string
	AutoAdvertise bool // services advertise Addr unless told otherwise
}

// TaskState is where a task stands for its driver.
type TaskState int32

// The states, numbered as on the wire.
const (
	TaskUnknown TaskState = 0
	TaskRunning TaskState = 1
	TaskExited  TaskState = 2
)

// TaskHandle finds a task again after a restart of the agent or the driver.
// The agent keeps it; DriverState is the driver's own (see SetDriverState).
type TaskHandle struct {
	Version     int32
	Config      *TaskConfig
	State       TaskState
	DriverState []byte
}

// ExitResult is how a task or command ended. Err is the driver's trouble in
// learning it, not the task's failure; the other fields mean nothing then.
type ExitResult struct {
	ExitCode  int32 // 128+signal where a signal ended it
	Signal    int32
	OOMKilled bool
	Err       error
}

// Successful reports whether the task ended with code 0 and by no signal.
func (r *ExitResult) Successful() bool {
	return r.Err == nil && r.ExitCode == 0 && r.Signal == 0
}

// TaskStatus is what InspectTask tells. Result is nil while the task runs.
type TaskStatus struct {
	ID          string
	Name        string
	State       TaskState
	StartedAt   time.Time
	CompletedAt time.Time
	Result      *ExitResult
	Attributes  map[string]string // the driver's own
	Network     *NetworkOverride
}

// TaskEvent is a message about a task, shown among its events.
type TaskEvent struct {
	TaskID      string
	AllocID     string
	TaskName    string
	Time        time.Time
	Message     string
	Annotations map[string]string
}

// TaskStats is what a task uses, in total and by process id.
type TaskStats struct {
	ID    string
	Time  time.Time
	Usage *ResourceUsage
	ByPID map[string]*ResourceUsage
}

// ResourceUsage is CPU and memory in use.
type ResourceUsage struct {
	CPU    *CPUStats
	Memory *MemoryStats
}

// CPUStats is CPU time in percent of one core (modes, Percent), MHz
// (TotalTicks) and nanoseconds (ThrottledTime). Measured names the fields that
// mean something, in the texts of the HTTP API: the Measured constants.
type CPUStats struct {
	SystemMode       float64
	UserMode         float64
	TotalTicks       float64
	ThrottledPeriods uint64
	ThrottledTime    uint64
	Percent          float64
	Measured         []string
}

// MemoryStats is memory in bytes. Measured is as in CPUStats.
type MemoryStats struct {
	RSS            uint64
	Cache          uint64
	Swap           uint64
	Usage          uint64
	MaxUsage       uint64
	KernelUsage    uint64
	KernelMaxUsage uint64
	Measured       []string
}

// Names of measured fields.
const (
	MeasuredSystemMode       = "System Mode"
	MeasuredUserMode         = "User Mode"
	MeasuredTotalTicks       = "Total Ticks"
	MeasuredThrottledPeriods = "Throttled Periods"
	MeasuredThrottledTime    = "Throttled Time"
	MeasuredPercent          = "Percent"

	MeasuredRSS            = "RSS"
	MeasuredCache          = "Cache"
	MeasuredSwap           = "Swap"
	MeasuredUsage          = "Usage"
	MeasuredMaxUsage       = "Max Usage"
	MeasuredKernelUsage    = "Kernel Usage"
	MeasuredKernelMaxUsage = "Kernel Max Usage"
)

// ExecRequest is a command to run beside a task. TTY asks for a terminal.
type ExecRequest struct {
	Command []string
	TTY     bool
}

// ExecResult is the outcome of a command that has ended.
type ExecResult struct {
	Stdout []byte
	Stderr []byte
	Exit   *ExitResult
}

// ExecInput is one message to a command: bytes, the end of its input, or the
// size of its terminal.
type ExecInput struct {
	Stdin      []byte
	CloseStdin bool
	Resize     *TerminalSize // nil: unchanged
}

// TerminalSize is in characters.
type TerminalSize struct {
	Height int32
	Width  int32
}

// ExecOutput is one message from a command: bytes, the end of a stream, or
// the end of the command. Exited comes last, with Result.
type ExecOutput struct {
	Stdout      []byte
	CloseStdout bool
	Stderr      []byte
	CloseStderr bool
	Exited      bool
	Result      *ExitResult
}
