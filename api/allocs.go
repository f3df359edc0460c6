package api

import (
	"strconv"
	"time"
)

// AllocStopResponse answers a stop of an allocation.
type AllocStopResponse struct {
	EvalID string
	Index  uint64
}

// AllocRestartRequest restarts tasks: one by name, with AllTasks every task,
// otherwise those that run.
type AllocRestartRequest struct {
	TaskName string
	AllTasks bool
}

// AllocSignalRequest signals one task, or all when Task is empty.
type AllocSignalRequest struct {
	Task   string
	Signal string
}

// GenericResponse is the body of writes that answer nothing of their own.
type GenericResponse struct {
	Index uint64
}

// AllocFileInfo describes a file in an allocation's directory.
type AllocFileInfo struct {
	Name        string
	IsDir       bool
	Size        int64
	FileMode    string // as "drwxrwxrwx"
	ModTime     time.Time
	ContentType string `json:",omitempty"` // stat only
}

// AllocResourceUsage is what an allocation uses. Timestamps are unix
// nanoseconds.
type AllocResourceUsage struct {
	ResourceUsage *ResourceUsage
	Tasks         map[string]*TaskResourceUsage
	Timestamp     int64
}

// TaskResourceUsage is what a task uses, as a whole and by process id.
type TaskResourceUsage struct {
	ResourceUsage *ResourceUsage
	Timestamp     int64
	Pids          map[string]*ResourceUsage
}

// ResourceUsage is CPU, memory and devices in use.
type ResourceUsage struct {
	MemoryStats *MemoryStats
	CpuStats    *CpuStats
	DeviceStats []*DeviceGroupStats
}

// MemoryStats is memory in bytes; Measured names the fields that mean
// something.
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

// CpuStats is CPU time as percentages and MHz (TotalTicks); Measured names
// the fields that mean something.
type CpuStats struct {
	SystemMode       float64
	UserMode         float64
	TotalTicks       float64
	ThrottledPeriods uint64
	ThrottledTime    uint64
	Percent          float64
	Measured         []string
}

// DeviceGroupStats is the use of the devices of one group, by device id.
type DeviceGroupStats struct {
	Vendor        string
	Type          string
	Name          string
	InstanceStats map[string]*DeviceStats
}

// DeviceStats is how busy a device is: one figure that says most, and all of
// them.
type DeviceStats struct {
	Summary   *StatValue
	Stats     *StatObject
	Timestamp time.Time
}

// StatObject is a tree of figures.
type StatObject struct {
	Nested     map[string]*StatObject
	Attributes map[string]*StatValue
}

// StatValue is a figure: a number, a share of a number (with a denominator), a
// text or a truth value.
type StatValue struct {
	FloatNumeratorVal   *float64 `json:",omitempty"`
	FloatDenominatorVal *float64 `json:",omitempty"`
	IntNumeratorVal     *int64   `json:",omitempty"`
	IntDenominatorVal   *int64   `json:",omitempty"`
	StringVal           *string  `json:",omitempty"`
	BoolVal             *bool    `json:",omitempty"`
	Unit                string   `json:",omitempty"`
	Desc                string   `json:",omitempty"`
}

// Text is the figure as people read it: "3 / 8 GiB"; "" for none.
func (v *StatValue) Text() string {
	if v == nil {
		return ""
	}
	var out string
	switch {
	case v.BoolVal != nil:
		out = strconv.FormatBool(*v.BoolVal)
	case v.StringVal != nil:
		out = *v.StringVal
	case v.FloatNumeratorVal != nil:
		out = strconv.FormatFloat(*v.FloatNumeratorVal, 'f', -1, 64)
		if v.FloatDenominatorVal != nil {
			out += " / " + strconv.FormatFloat(*v.FloatDenominatorVal, 'f', -1, 64)
		}
	case v.IntNumeratorVal != nil:
		out = strconv.FormatInt(*v.IntNumeratorVal, 10)
		if v.IntDenominatorVal != nil {
			out += " / " + strconv.FormatInt(*v.IntDenominatorVal, 10)
		}
	}
	if v.Unit != "" {
		out += " " + v.Unit
	}
	return out
}

// HostStats is what a node's host uses. Timestamp is unix nanoseconds, Uptime
// seconds.
type HostStats struct {
	Memory           *HostMemoryStats
	CPU              []*HostCPUStats
	DiskStats        []*HostDiskStats
	AllocDirStats    *HostDiskStats
	DeviceStats      []*DeviceGroupStats
	Uptime           uint64
	Timestamp        int64
	CPUTicksConsumed float64
}

// HostMemoryStats is the host's memory in bytes.
type HostMemoryStats struct {
	Total     uint64
	Available uint64
	Used      uint64
	Free      uint64
}

// HostCPUStats is the share of time of one CPU, in percent.
type HostCPUStats struct {
	CPU          string
	User         float64
	System       float64
	Idle         float64
	TotalPercent float64
	TotalTicks   float64
}

// HostDiskStats is the use of one file system, in bytes and percent.
type HostDiskStats struct {
	Device            string
	Mountpoint        string
	Size              uint64
	Used              uint64
	Available         uint64
	UsedPercent       float64
	InodesUsedPercent float64
}
