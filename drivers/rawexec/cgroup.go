package rawexec

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// maxKillRounds bounds the tries to kill a group whose members fork.
const maxKillRounds = 200

// cgroup is the group of one task; the zero value is none. It serves to find
// and kill all processes of the task, whatever sessions they made.
type cgroup struct {
	dir  string // "" for none
	made bool   // by us: removed with the task
}

// unified reports whether cgroups v2 are mounted at the root.
var unified = sync.OnceValue(func() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
})

// base is the writable group below which tasks get theirs: of the unified
// hierarchy, or of v1's freezer, which has no limits of its own.
var groupBase = sync.OnceValue(func() string {
	base := filepath.Join(cgroupRoot, "freezer", "nomad.slice")
	if unified() {
		base = filepath.Join(cgroupRoot, "nomad.slice")
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return ""
	}
	probe, err := os.OpenFile(filepath.Join(base, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return ""
	}
	probe.Close()
	if unified() { // what children need; failures leave them without limits
		_ = os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0)
		_ = os.WriteFile(filepath.Join(base, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0)
	}
	return base
})

// newCgroup makes a group for a task. Without the right to, there is none.
func newCgroup(taskID string) cgroup {
	base := groupBase()
	if base == "" {
		return cgroup{}
	}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '.'
		}
		return r
	}, taskID)
	dir := filepath.Join(base, name+".scope")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return cgroup{}
	}
	return cgroup{dir: dir, made: true}
}

// openCgroup is the group of a recovered task.
func openCgroup(dir string) cgroup {
	if dir == "" || !strings.HasPrefix(filepath.Clean(dir), cgroupRoot+"/") {
		return cgroup{}
	}
	return cgroup{dir: filepath.Clean(dir), made: groupBase() != "" && strings.HasPrefix(filepath.Clean(dir), groupBase()+"/")}
}

// limit writes the task's limits where the hierarchy has them (v2).
func (c cgroup) limit(memory, memoryMax, cpuShares int64) {
	if c.dir == "" || !c.made || !unified() {
		return
	}
	write := func(file, text string) { _ = os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0) }
	switch {
	case memoryMax < 0:
		write("memory.max", "max")
		write("memory.low", strconv.FormatInt(memory, 10))
	case memoryMax > 0:
		write("memory.max", strconv.FormatInt(memoryMax, 10))
		write("memory.low", strconv.FormatInt(memory, 10))
	case memory > 0:
		write("memory.max", strconv.FormatInt(memory, 10))
	}
	if cpuShares > 0 {
		// v1's 2..262144 to v2's 1..10000, as container engines do.
		weight := 1 + (max(min(cpuShares, 262144), 2)-2)*9999/262142
		write("cpu.weight", strconv.FormatInt(weight, 10))
	}
}

// procs lists the members.
func (c cgroup) procs() []int {
	raw, err := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
	if c.dir == "" || err != nil {
		return nil
	}
	var out []int
	for _, f := range strings.Fields(string(raw)) {
		// A thread of ours may be passing through to fork: see enter.
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// kill ends every member.
func (c cgroup) kill() {
	if c.dir == "" {
		return
	}
	if unified() && os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	for range maxKillRounds {
		procs := c.procs()
		if len(procs) == 0 {
			return
		}
		for _, pid := range procs {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // killed members leave the list in their own time
	}
}

// remove deletes the group once its last member is gone.
func (c cgroup) remove() {
	if !c.made {
		return
	}
	for range maxKillRounds {
		err := os.Remove(c.dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		c.kill()
		time.Sleep(time.Millisecond) // zombies hold the group until they are reaped
	}
}

// enter moves the calling thread into a v1 group and returns the way back. The
// thread must be locked: a child that it forks is born in the group.
func (c cgroup) enter() (leave func()) {
	home := ownFreezer() // known before the first thread ever leaves it
	tid := []byte(strconv.Itoa(unix.Gettid()))
	if os.WriteFile(filepath.Join(c.dir, "tasks"), tid, 0) != nil {
		return func() {}
	}
	return func() { _ = os.WriteFile(filepath.Join(home, "tasks"), tid, 0) }
}

// ownFreezer is the v1 freezer group that this process lives in.
var ownFreezer = sync.OnceValue(func() string {
	raw, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] == "freezer" {
			return filepath.Join(cgroupRoot, "freezer", parts[2])
		}
	}
	return filepath.Join(cgroupRoot, "freezer")
})

// oomKilled reports whether the kernel killed a member for its memory (v2).
func (c cgroup) oomKilled() bool {
	raw, err := os.ReadFile(filepath.Join(c.dir, "memory.events"))
	if c.dir == "" || err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}
