package executor

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// ticksPerSecond is USER_HZ, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// maxStatsPids bounds how many processes of a task are told apart.
const maxStatsPids = 100

// sample is the CPU time of a task's processes at one moment.
type sample struct {
	at   time.Time
	used map[int]cpuTime
}

// cpuTime is in ticks.
type cpuTime struct{ user, system uint64 }

// TaskStats implements driver.Observer. Nothing is measured between calls.
func (r *Runtime) TaskStats(ctx context.Context, id string, interval time.Duration, send func(*driver.TaskStats) error) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	measure := func() (*driver.TaskStats, error) { return t.measure(time.Now()), nil }
	return base.StreamStats(ctx, interval, t.done, measure, send)
}

// measure reads what the task's processes use; CPU is the mean since the last
// call, or since the start.
func (t *task) measure(now time.Time) *driver.TaskStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	prev := t.last
	if prev == nil {
		prev = &sample{at: time.Unix(0, t.state.StartedAt)}
	}
	next := &sample{at: now, used: map[int]cpuTime{}}
	stats := &driver.TaskStats{ID: t.config.ID, Time: now, ByPID: map[string]*driver.ResourceUsage{}}
	total := newUsage()
	elapsed := max(now.Sub(prev.at).Seconds(), 0.001)
	for _, pid := range t.members() {
		used, rss, ok := readUsage(pid)
		if !ok {
			continue
		}
		next.used[pid] = used
		u := newUsage()
		before := prev.used[pid]
		u.CPU.UserMode = 100 * float64(used.user-min(before.user, used.user)) / ticksPerSecond / elapsed
		u.CPU.SystemMode = 100 * float64(used.system-min(before.system, used.system)) / ticksPerSecond / elapsed
		u.CPU.Percent = u.CPU.UserMode + u.CPU.SystemMode
		u.CPU.TotalTicks = u.CPU.Percent / 100 * coreMHz()
		u.Memory.RSS, u.Memory.Usage = rss, rss
		add(total, u)
		if len(stats.ByPID) < maxStatsPids {
			stats.ByPID[strconv.Itoa(pid)] = u
		}
	}
	t.last = next
	addGroup(total, t.cgroup.Usage())
	stats.Usage = total
	return stats
}

func newUsage() *driver.ResourceUsage {
	return &driver.ResourceUsage{
		CPU: &driver.CPUStats{Measured: []string{
			driver.MeasuredSystemMode, driver.MeasuredUserMode, driver.MeasuredTotalTicks, driver.MeasuredPercent,
		}},
		Memory: &driver.MemoryStats{Measured: []string{driver.MeasuredRSS, driver.MeasuredUsage}},
	}
}

func add(total, u *driver.ResourceUsage) {
	total.CPU.UserMode += u.CPU.UserMode
	total.CPU.SystemMode += u.CPU.SystemMode
	total.CPU.Percent += u.CPU.Percent
	total.CPU.TotalTicks += u.CPU.TotalTicks
	total.Memory.RSS += u.Memory.RSS
	total.Memory.Usage += u.Memory.Usage
}

// addGroup adds what only the task's cgroup knows.
func addGroup(total *driver.ResourceUsage, u cgroup.Usage) {
	if u.HasMemory {
		m := total.Memory
		m.RSS, m.Cache, m.Swap, m.Usage, m.MaxUsage, m.KernelUsage = u.RSS, u.Cache, u.Swap, u.Usage, u.MaxUsage, u.Kernel
		m.Measured = []string{
			driver.MeasuredRSS, driver.MeasuredCache, driver.MeasuredSwap, driver.MeasuredUsage, driver.MeasuredMaxUsage, driver.MeasuredKernelUsage,
		}
	}
	if u.HasCPU {
		total.CPU.ThrottledPeriods, total.CPU.ThrottledTime = u.ThrottledPeriods, u.ThrottledTime
		total.CPU.Measured = append(total.CPU.Measured, driver.MeasuredThrottledPeriods, driver.MeasuredThrottledTime)
	}
}

// readUsage reads the CPU time and the resident bytes of a process.
func readUsage(pid int) (cpuTime, uint64, bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return cpuTime{}, 0, false
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 22 {
		return cpuTime{}, 0, false
	}
	user, _ := strconv.ParseUint(f[11], 10, 64)
	system, _ := strconv.ParseUint(f[12], 10, 64)
	pages, _ := strconv.ParseUint(f[21], 10, 64)
	return cpuTime{user, system}, pages * uint64(os.Getpagesize()), true
}

// coreMHz is the clock of one core as the node's fingerprint counts it.
var coreMHz = sync.OnceValue(func() float64 {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if key, val, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "cpu MHz" {
			mhz, _ := strconv.ParseFloat(strings.TrimSpace(val), 64)
			return mhz
		}
	}
	return 0
})
