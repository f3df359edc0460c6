package cgroup

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
)

// Usage is what a group has used: memory in bytes, CPU in nanoseconds since it
// was made. Fields whose controller the group does not have are zero.
type Usage struct {
	HasMemory, HasCPU bool

	RSS, Cache, Swap, Usage, MaxUsage, Kernel uint64

	User, System, ThrottledPeriods, ThrottledTime uint64
}

// Usage measures the group; a group without controllers has nothing to tell.
func (g *Group) Usage() Usage {
	if !g.Owned() {
		return Usage{}
	}
	options := &cgroups.StatsOptions{Controllers: cgroups.Memory | cgroups.CPU}
	var stats *cgroups.Stats
	var err error
	if g.h.unified {
		stats, err = g.manager2().Stats(options)
	} else if len(g.paths) > 1 {
		var m *fs.Manager
		if m, err = g.manager1(&cgroups.Resources{}); err == nil {
			stats, err = m.Stats(options)
		}
	}
	if err != nil || stats == nil {
		return Usage{}
	}
	return g.usageOf(stats)
}

func (g *Group) usageOf(stats *cgroups.Stats) Usage {
	m, c := stats.MemoryStats, stats.CpuStats
	u := Usage{
		HasMemory: m.Usage.Usage > 0 || m.Usage.Limit > 0,
		Cache:     m.Cache, Swap: m.SwapUsage.Usage, Usage: m.Usage.Usage, MaxUsage: m.Usage.MaxUsage, Kernel: m.KernelUsage.Usage,
		ThrottledPeriods: c.ThrottlingData.ThrottledPeriods, ThrottledTime: c.ThrottlingData.ThrottledTime,
	}
	if g.h.unified {
		u.HasCPU = c.CpuUsage.TotalUsage > 0
		u.User, u.System = c.CpuUsage.UsageInUsermode, c.CpuUsage.UsageInKernelmode
		u.RSS, u.Kernel = m.Stats["anon"], m.Stats["kernel_stack"]+m.Stats["slab"]
		return u
	}
	u.RSS = m.Stats["rss"]
	if m.SwapUsage.Usage > m.Usage.Usage { // version 1 counts both together
		u.Swap = m.SwapUsage.Usage - m.Usage.Usage
	} else {
		u.Swap = 0
	}
	return u
}

// OOMKills counts the members that the kernel killed for the group's memory.
func (g *Group) OOMKills() uint64 {
	if !g.Owned() {
		return 0
	}
	var n uint64
	var err error
	if g.h.unified {
		n, err = fs2.OOMKillCount(g.dir)
	} else if dir := g.paths["memory"]; dir != "" {
		n, err = fs.OOMKillCount(dir)
	}
	if err != nil {
		return 0
	}
	return n
}
