package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrNoProcess is a process that does not exist any more.
var ErrNoProcess = errors.New("no such process")

// Identify finds the start time of a live (or not yet reaped) process.
func Identify(pid int) (Process, error) {
	fields, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	return Process{Pid: pid, StartTime: start}, nil
}

// Alive reports whether this very process still runs; a zombie does not.
func (p Process) Alive() bool {
	fields, err := stat(p.Pid)
	return err == nil && fields[0] != "Z" && fields[0] != "X" && fields[19] == strconv.FormatUint(p.StartTime, 10)
}

// stat reads the fields of /proc/PID/stat that follow the name, from the state
// (field 3) on.
func stat(pid int) ([]string, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil, ErrNoProcess
	}
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("cannot read /proc/%d/stat: %q", pid, raw)
	}
	return fields, nil
}

// BootID changes with every boot of the host.
var BootID = sync.OnceValue(func() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(raw))
})

// ExitOf turns a wait status into an Exit.
func ExitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Known: true, Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return Exit{Known: true, Code: ws.ExitStatus()}
}
