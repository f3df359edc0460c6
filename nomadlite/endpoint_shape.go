package nomadlite

import (
	"maps"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// The types in this file add to nouns what the contract's clients read and the
// nouns do not store: legacy fields of allocations and the flat fields of task
// events (http-api.md 99.10, 99.12). Everything else is served as it is.

// alloc is an allocation as it is read.
type alloc struct {
	*structs.Allocation
	TaskStates      map[string]*taskState
	Resources       *legacyResources
	SharedResources *legacyResources
	TaskResources   map[string]*legacyResources
	SigningKeyID    string
}

// allocStub is an allocation as it is listed.
type allocStub struct {
	*structs.AllocListStub
	TaskStates map[string]*taskState
}

// taskState is a task's state with events for reading.
type taskState struct {
	*structs.TaskState
	Events []*taskEvent
}

// taskEvent is a task's event with its text and the deprecated flat fields,
// which repeat the details.
type taskEvent struct {
	*structs.TaskEvent
	DisplayMessage   string
	Details          map[string]string
	FailsTask        bool
	RestartReason    string
	SetupError       string
	DriverError      string
	DriverMessage    string
	ExitCode         int
	Signal           int
	KillReason       string
	KillTimeout      time.Duration
	KillError        string
	StartDelay       int64
	DownloadError    string
	ValidationError  string
	DiskLimit        int64
	DiskSize         int64
	FailedSibling    string
	VaultError       string
	TaskSignalReason string
	TaskSignal       string
	GenericSource    string
}

// legacyResources is what an allocation was given, in the older form.
type legacyResources struct {
	CPU         int64
	Cores       int
	MemoryMB    int64
	MemoryMaxMB int64
	DiskMB      int64
	IOPS        int
	Networks    []*structs.NetworkResource
	Devices     []*structs.RequestedDevice
}

func showAlloc(a *structs.Allocation) *alloc {
	out := &alloc{Allocation: a, TaskStates: showTaskStates(a.TaskStates), TaskResources: map[string]*legacyResources{}}
	given := a.AllocatedResources
	if given == nil {
		return out
	}
	out.SharedResources = &legacyResources{DiskMB: given.Shared.DiskMB, Networks: given.Shared.Networks}
	out.Resources = &legacyResources{DiskMB: given.Shared.DiskMB, Networks: given.Shared.Networks}
	for name, t := range given.Tasks {
		one := &legacyResources{
			CPU: t.Cpu.CpuShares, Cores: len(t.Cpu.ReservedCores),
			MemoryMB: t.Memory.MemoryMB, MemoryMaxMB: t.Memory.MemoryMaxMB, Networks: t.Networks,
		}
		out.TaskResources[name] = one
		out.Resources.CPU += one.CPU
		out.Resources.Cores += one.Cores
		out.Resources.MemoryMB += one.MemoryMB
		out.Resources.MemoryMaxMB += one.MemoryMaxMB
	}
	return out
}

// showAllocStub lists an allocation without its resources.
func showAllocStub(a *structs.Allocation) *allocStub {
	stub := a.Stub()
	stub.AllocatedResources = nil
	return &allocStub{AllocListStub: stub, TaskStates: showTaskStates(a.TaskStates)}
}

func showTaskStates(states map[string]*structs.TaskState) map[string]*taskState {
	if states == nil {
		return nil
	}
	out := make(map[string]*taskState, len(states))
	for name, s := range states {
		if s == nil {
			continue
		}
		shown := &taskState{TaskState: s, Events: make([]*taskEvent, 0, len(s.Events))}
		for _, e := range s.Events {
			shown.Events = append(shown.Events, showTaskEvent(e))
		}
		out[name] = shown
	}
	return out
}

func showTaskEvent(e *structs.TaskEvent) *taskEvent {
	d := maps.Clone(e.Details)
	if d == nil {
		d = map[string]string{}
	}
	timeout, _ := time.ParseDuration(d["kill_timeout"])
	return &taskEvent{
		TaskEvent: e, DisplayMessage: e.Display(), Details: d,
		FailsTask:     d["fails_task"] == "true",
		RestartReason: d["restart_reason"],
		SetupError:    d["setup_error"], DriverError: d["driver_error"], DriverMessage: d["driver_message"],
		ExitCode: int(number(d["exit_code"])), Signal: int(number(d["signal"])),
		KillReason: d["kill_reason"], KillTimeout: timeout, KillError: d["kill_error"],
		StartDelay: number(d["start_delay"]), DownloadError: d["download_error"],
		ValidationError: d["validation_error"], DiskLimit: number(d["disk_limit"]), DiskSize: number(d["disk_size"]),
		FailedSibling: d["failed_sibling"], VaultError: d["vault_renewal_error"],
		TaskSignalReason: d["task_signal_reason"], TaskSignal: d["task_signal"],
	}
}

// number reads a detail, 0 when it is none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
