package driver

import (
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// cpuFields and memoryFields are the names of measured fields by wire number.
var (
	cpuFields = map[driverpb.CPUUsage_Fields]string{
		driverpb.CPUUsage_SYSTEM_MODE:       MeasuredSystemMode,
		driverpb.CPUUsage_USER_MODE:         MeasuredUserMode,
		driverpb.CPUUsage_TOTAL_TICKS:       MeasuredTotalTicks,
		driverpb.CPUUsage_THROTTLED_PERIODS: MeasuredThrottledPeriods,
		driverpb.CPUUsage_THROTTLED_TIME:    MeasuredThrottledTime,
		driverpb.CPUUsage_PERCENT:           MeasuredPercent,
	}
	memoryFields = map[driverpb.MemoryUsage_Fields]string{
		driverpb.MemoryUsage_RSS:              MeasuredRSS,
		driverpb.MemoryUsage_CACHE:            MeasuredCache,
		driverpb.MemoryUsage_MAX_USAGE:        MeasuredMaxUsage,
		driverpb.MemoryUsage_KERNEL_USAGE:     MeasuredKernelUsage,
		driverpb.MemoryUsage_KERNEL_MAX_USAGE: MeasuredKernelMaxUsage,
		driverpb.MemoryUsage_USAGE:            MeasuredUsage,
		driverpb.MemoryUsage_SWAP:             MeasuredSwap,
	}
	cpuNumbers    = invert(cpuFields)
	memoryNumbers = invert(memoryFields)
)

func invert[K, V comparable](m map[K]V) map[V]K {
	out := make(map[V]K, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

// pick looks names up in a table and drops those that it lacks.
func pick[A comparable, B any](in []A, table map[A]B) []B {
	var out []B
	for _, a := range in {
		if b, ok := table[a]; ok {
			out = append(out, b)
		}
	}
	return out
}

func statsToProto(s *TaskStats) *driverpb.TaskStats {
	out := &driverpb.TaskStats{
		Id:               s.ID,
		Timestamp:        timeToProto(s.Time),
		AggResourceUsage: usageToProto(s.Usage),
	}
	if len(s.ByPID) > 0 {
		out.ResourceUsageByPid = make(map[string]*driverpb.TaskResourceUsage, len(s.ByPID))
		for pid, u := range s.ByPID {
			out.ResourceUsageByPid[pid] = usageToProto(u)
		}
	}
	return out
}

func statsFromProto(p *driverpb.TaskStats) *TaskStats {
	out := &TaskStats{
		ID:    p.GetId(),
		Time:  timeFromProto(p.GetTimestamp()),
		Usage: usageFromProto(p.GetAggResourceUsage()),
	}
	if len(p.GetResourceUsageByPid()) > 0 {
		out.ByPID = make(map[string]*ResourceUsage, len(p.GetResourceUsageByPid()))
		for pid, u := range p.GetResourceUsageByPid() {
			out.ByPID[pid] = usageFromProto(u)
		}
	}
	return out
}

func usageToProto(u *ResourceUsage) *driverpb.TaskResourceUsage {
	out := &driverpb.TaskResourceUsage{}
	if u == nil {
		return out
	}
	if c := u.CPU; c != nil {
		out.Cpu = &driverpb.CPUUsage{
			SystemMode:       c.SystemMode,
			UserMode:         c.UserMode,
			TotalTicks:       c.TotalTicks,
			ThrottledPeriods: c.ThrottledPeriods,
			ThrottledTime:    c.ThrottledTime,
			Percent:          c.Percent,
			MeasuredFields:   pick(c.Measured, cpuNumbers),
		}
	}
	if m := u.Memory; m != nil {
		out.Memory = &driverpb.MemoryUsage{
			Rss:            m.RSS,
			Cache:          m.Cache,
			MaxUsage:       m.MaxUsage,
			KernelUsage:    m.KernelUsage,
			KernelMaxUsage: m.KernelMaxUsage,
			Usage:          m.Usage,
			Swap:           m.Swap,
			MeasuredFields: pick(m.Measured, memoryNumbers),
		}
	}
	return out
}

// usageFromProto fills both parts, so that readers need not look for nil.
func usageFromProto(p *driverpb.TaskResourceUsage) *ResourceUsage {
	c, m := p.GetCpu(), p.GetMemory()
	return &ResourceUsage{
		CPU: &CPUStats{
			SystemMode:       c.GetSystemMode(),
			UserMode:         c.GetUserMode(),
			TotalTicks:       c.GetTotalTicks(),
			ThrottledPeriods: c.GetThrottledPeriods(),
			ThrottledTime:    c.GetThrottledTime(),
			Percent:          c.GetPercent(),
			Measured:         pick(c.GetMeasuredFields(), cpuFields),
		},
		Memory: &MemoryStats{
			RSS:            m.GetRss(),
			Cache:          m.GetCache(),
			Swap:           m.GetSwap(),
			Usage:          m.GetUsage(),
			MaxUsage:       m.GetMaxUsage(),
			KernelUsage:    m.GetKernelUsage(),
			KernelMaxUsage: m.GetKernelMaxUsage(),
			Measured:       pick(m.GetMeasuredFields(), memoryFields),
		},
	}
}
