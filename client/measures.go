package client

import (
	"context"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/client/fingerprint"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// Measures says what a node tells of itself, under the contract's names
// (agent-config.md 8.1).
type Measures struct {
	Node        bool // the host and the sums of allocations
	Allocations bool // what each task uses; labels grow with allocations
	Interval    time.Duration
}

// tellMeasures tells the measures until ctx ends.
func (c *Client) tellMeasures(ctx context.Context) error {
	if !c.cfg.Measures.Node && !c.cfg.Measures.Allocations {
		return nil
	}
	tick := time.NewTicker(max(c.cfg.Measures.Interval, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		runs := c.all()
		if c.cfg.Measures.Node {
			c.measureNode(runs)
		}
		if c.cfg.Measures.Allocations {
			for _, r := range runs {
				c.measureAlloc(ctx, r)
			}
		}
	}
}

func nodeLabels(n *structs.Node) []metrics.Label {
	class := n.NodeClass
	if class == "" {
		class = "none"
	}
	return []metrics.Label{{Name: "node_id", Value: n.ID}, {Name: "datacenter", Value: n.Datacenter}, {Name: "node_class", Value: class}, {Name: "node_pool", Value: n.NodePool},
		{Name: "node_status", Value: n.Status}, {Name: "node_scheduling_eligibility", Value: orEligible(n.SchedulingEligibility)}}
}

func orEligible(s string) string {
	if s == "" {
		return structs.NodeEligible
	}
	return s
}

// gauges sets several gauges that share a prefix and their labels.
func gauges(labels []metrics.Label, prefix []string, values map[string]float64) {
	for name, v := range values {
		metrics.SetGaugeWithLabels(append(prefix[:len(prefix):len(prefix)], name), float32(v), labels)
	}
}

// measureNode tells what the node has given away, what runs, and what the host
// uses.
func (c *Client) measureNode(runs []*run) {
	node := c.Node()
	labels := nodeLabels(node)
	var used share
	var maxMemory, disk int64
	states, tasks := map[string]float64{"pending": 0, "running": 0, "terminal": 0, "migrating": 0}, map[string]float64{"pending": 0, "running": 0, "dead": 0}
	for _, r := range runs {
		u := r.runner.Status()
		switch {
		case r.over():
			states["terminal"]++
		case u.ClientStatus == structs.AllocClientStatusRunning:
			states["running"]++
		default:
			states["pending"]++
		}
		for _, t := range u.TaskStates {
			tasks[t.State]++
		}
		if r.over() {
			continue
		}
		c.mu.Lock()
		a := r.alloc
		c.mu.Unlock()
		one := usage(a)
		used.cpu, used.memory = used.cpu+one.cpu, used.memory+one.memory
		if a.AllocatedResources != nil {
			disk += a.AllocatedResources.Shared.DiskMB
			for _, t := range a.AllocatedResources.Tasks {
				maxMemory += max(t.Memory.MemoryMB, t.Memory.MemoryMaxMB)
			}
		}
	}
	c.mu.Lock()
	free, queued := c.capacity(), len(c.queue)
	c.mu.Unlock()
	states["blocked"] = float64(queued)
	gauges(labels, []string{"client", "allocations"}, states)
	gauges(labels, []string{"client", "tasks"}, tasks)
	gauges(labels, []string{"client", "allocated"}, map[string]float64{"cpu": float64(used.cpu), "memory": float64(used.memory), "max_memory": float64(maxMemory), "disk": float64(disk)})
	gauges(labels, []string{"client", "unallocated"}, map[string]float64{"cpu": float64(free.cpu - used.cpu), "memory": float64(free.memory - used.memory), "disk": float64(diskOf(node) - disk)})
	gauges(labels, []string{"client", "reports"}, map[string]float64{"queue_depth": float64(c.reports.depth())})
	measureHost(c.cfg.AllocDir, labels)
}

func diskOf(n *structs.Node) int64 {
	if n.NodeResources == nil {
		return 0
	}
	return n.NodeResources.Disk.DiskMB
}

func measureHost(allocDir string, labels []metrics.Label) {
	host, err := fingerprint.HostStats(allocDir)
	if err != nil {
		return // the route client.stats tells the error
	}
	gauges(labels, []string{"client"}, map[string]float64{"uptime": float64(host.Uptime)})
	if m := host.Memory; m != nil {
		gauges(labels, []string{"client", "host", "memory"}, map[string]float64{"available": float64(m.Available), "free": float64(m.Free), "total": float64(m.Total), "used": float64(m.Used)})
	}
	for _, cpu := range host.CPU {
		of := append(labels[:len(labels):len(labels)], metrics.Label{Name: "cpu", Value: cpu.CPU})
		gauges(of, []string{"client", "host", "cpu"}, map[string]float64{"idle": cpu.Idle, "system": cpu.System, "user": cpu.User,
			"total": cpu.TotalPercent, "total_percent": cpu.TotalPercent, "total_ticks": cpu.TotalTicks})
	}
	for _, d := range host.DiskStats {
		of := append(labels[:len(labels):len(labels)], metrics.Label{Name: "disk", Value: d.Device})
		gauges(of, []string{"client", "host", "disk"}, map[string]float64{"available": float64(d.Available), "size": float64(d.Size), "used": float64(d.Used),
			"used_percent": d.UsedPercent, "inodes_percent": d.InodesUsedPercent})
	}
}

// measureAlloc tells what the tasks of one allocation use.
func (c *Client) measureAlloc(ctx context.Context, r *run) {
	if r.over() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stats, err := r.runner.Stats(ctx, "")
	if err != nil {
		return // nothing runs, or the driver is about to be started again
	}
	c.mu.Lock()
	a := r.alloc
	c.mu.Unlock()
	for task, s := range stats {
		labels := append(allocLabels(a), metrics.Label{Name: "task", Value: task}, metrics.Label{Name: "alloc_id", Value: a.ID})
		tellUsage(labels, s)
		if a.AllocatedResources == nil || a.AllocatedResources.Tasks[task] == nil {
			continue
		}
		t := a.AllocatedResources.Tasks[task]
		gauges(labels, []string{"client", "allocs", "cpu"}, map[string]float64{"allocated": float64(t.Cpu.CpuShares)})
		gauges(labels, []string{"client", "allocs", "memory"}, map[string]float64{"allocated": float64(t.Memory.MemoryMB << 20), "max_allocated": float64(t.Memory.MemoryMaxMB << 20)})
	}
}

func tellUsage(labels []metrics.Label, s *plugin.TaskStats) {
	if cpu := s.Usage.CPU; cpu != nil {
		gauges(labels, []string{"client", "allocs", "cpu"}, map[string]float64{"total_percent": cpu.Percent, "system": cpu.SystemMode, "user": cpu.UserMode,
			"total_ticks": cpu.TotalTicks, "throttled_periods": float64(cpu.ThrottledPeriods), "throttled_time": float64(cpu.ThrottledTime)})
	}
	if m := s.Usage.Memory; m != nil {
		gauges(labels, []string{"client", "allocs", "memory"}, map[string]float64{"rss": float64(m.RSS), "cache": float64(m.Cache), "swap": float64(m.Swap), "usage": float64(m.Usage),
			"max_usage": float64(m.MaxUsage), "kernel_usage": float64(m.KernelUsage), "kernel_max_usage": float64(m.KernelMaxUsage)})
	}
}

// allocLabels name the job of an allocation; a child counts under its parent.
func allocLabels(a *structs.Allocation) []metrics.Label {
	job := a.JobID
	if a.Job != nil && a.Job.ParentID != "" {
		job = a.Job.ParentID
	}
	return []metrics.Label{{Name: "job", Value: job}, {Name: "namespace", Value: a.Namespace}, {Name: "task_group", Value: a.TaskGroup}}
}

// counted is a report function that also counts changes of an allocation's
// status, and restarts of its tasks.
func (c *Client) counted(a *structs.Allocation, report func(*structs.AllocUpdate)) func(*structs.AllocUpdate) {
	if !c.cfg.Measures.Allocations {
		return report
	}
	status, restarts := "", uint64(0)
	return func(u *structs.AllocUpdate) {
		if u.ClientStatus != status && u.ClientStatus != structs.AllocClientStatusPending {
			metrics.IncrCounterWithLabels([]string{"client", "allocs", u.ClientStatus}, 1, allocLabels(a))
		}
		status = u.ClientStatus
		total := uint64(0)
		for _, t := range u.TaskStates {
			total += t.Restarts
		}
		if total > restarts {
			metrics.IncrCounterWithLabels([]string{"client", "allocs", "restart"}, float32(total-restarts), allocLabels(a))
		}
		restarts = total
		report(u)
	}
}
