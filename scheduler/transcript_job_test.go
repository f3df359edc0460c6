package scheduler

import (
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// group adds a second group to a job that was just registered.
func (tr *transcript) group(job string, args []string) {
	j := tr.jobs[job].Copy()
	g := testGroup(args[0])
	tr.settings(&structs.Job{}, g, args[1:])
	j.TaskGroups = append(j.TaskGroups, g)
	j.Canonicalize()
	tr.jobs[job] = j
}

func testGroup(name string) *structs.TaskGroup {
	return &structs.TaskGroup{Name: name, Tasks: []*structs.Task{{Name: "t", Driver: "raw_exec",
		Config: map[string]any{"command": "sleep"}, Resources: &structs.Resources{CPU: structs.Ptr(500), MemoryMB: structs.Ptr(256)}}}}
}

func (tr *transcript) settings(j *structs.Job, g *structs.TaskGroup, args []string) {
	task := g.Tasks[0]
	for _, arg := range args {
		key, v, _ := strings.Cut(arg, "=")
		switch key {
		case "type":
		case "count":
			g.Count = structs.Ptr(tr.number(v))
		case "cpu":
			task.Resources.CPU = structs.Ptr(tr.number(v))
		case "mem":
			task.Resources.MemoryMB = structs.Ptr(tr.number(v))
		case "mem_max":
			task.Resources.MemoryMaxMB = structs.Ptr(tr.number(v))
		case "cores":
			task.Resources.Cores = structs.Ptr(tr.number(v))
		case "disk":
			g.EphemeralDisk = &structs.EphemeralDisk{SizeMB: structs.Ptr(tr.number(v))}
		case "sticky":
			g.EphemeralDisk = &structs.EphemeralDisk{Sticky: true}
		case "numa":
			affinity, device, _ := strings.Cut(v, ":")
			task.Resources.NUMA = &structs.NUMAResource{Affinity: affinity}
			if device != "" {
				task.Resources.NUMA.Devices = []string{device}
			}
		case "gpu":
			task.Resources.Devices = []*structs.RequestedDevice{{Name: "gpu", Count: structs.Ptr(uint64(tr.number(v)))}}
		case "driver":
			task.Driver = v
		case "env":
			task.Env = map[string]string{"V": v}
		case "algorithm": // that the job selects
			j.Meta = map[string]string{MetaAlgorithm: v}
		case "meta":
			j.Meta = map[string]string{"v": v}
		case "priority":
			j.Priority = tr.number(v)
		case "dc":
			j.Datacenters = strings.Split(v, ",")
		case "pool":
			j.NodePool = v
		case "all_at_once":
			j.AllAtOnce = true
		case "constraint", "affinity":
			tr.placement(j, key, v)
		case "group_constraint":
			holder := &structs.Job{}
			tr.placement(holder, "constraint", v)
			g.Constraints = append(g.Constraints, holder.Constraints...)
		case "spread":
			j.Spreads = append(j.Spreads, tr.spread(v))
		case "static", "dynamic", "host_network":
			tr.port(g, key, v)
		case "mode":
			g.Networks = append(g.Networks, &structs.NetworkResource{Mode: v})
		case "volume":
			source, mode, _ := strings.Cut(v, ":")
			req := &structs.VolumeRequest{Name: source, Type: "host", Source: source}
			switch mode {
			case "ro":
				req.ReadOnly = true
			case "reader":
				req.ReadOnly, req.AccessMode = true, accessReader
			case "exclusive":
				req.AccessMode = accessSingleWriter
			case "multi":
				req.AccessMode = "single-node-multi-writer"
			case "per_alloc":
				req.PerAlloc = true
			}
			g.Volumes = map[string]*structs.VolumeRequest{source: req}
		case "update":
			g.Update = tr.updateBlock(v)
		case "reschedule":
			g.ReschedulePolicy = tr.rescheduleBlock(v)
		case "disconnect":
			g.Disconnect = tr.disconnectBlock(v)
		case "prestart":
			pre := *task
			pre.Name, pre.Lifecycle = "pre", &structs.TaskLifecycle{Hook: structs.LifecycleHookPrestart}
			pre.Resources = &structs.Resources{CPU: structs.Ptr(tr.number(v)), MemoryMB: structs.Ptr(10)}
			g.Tasks = append(g.Tasks, &pre)
		default:
			tr.t.Fatalf("unknown job setting %q", arg)
		}
	}
}

// placement reads "left operand right [weight]".
func (tr *transcript) placement(j *structs.Job, kind, v string) {
	words := strings.SplitN(v, " ", 3)
	for len(words) < 3 {
		words = append(words, "")
	}
	if kind == "constraint" {
		if words[0] == structs.ConstraintDistinctHosts {
			words = []string{"", words[0], words[1]}
		}
		j.Constraints = append(j.Constraints, &structs.Constraint{LTarget: words[0], Operand: words[1], RTarget: words[2]})
		return
	}
	right, weight, _ := strings.Cut(words[2], " weight ")
	a := &structs.Affinity{LTarget: words[0], Operand: words[1], RTarget: right}
	if weight != "" {
		a.Weight = structs.Ptr(int8(tr.number(weight)))
	}
	j.Affinities = append(j.Affinities, a)
}

// spread reads "attribute [value:percent ...]".
func (tr *transcript) spread(v string) *structs.Spread {
	words := strings.Fields(v)
	s := &structs.Spread{Attribute: words[0], Weight: structs.Ptr(int8(50))}
	for _, w := range words[1:] {
		name, percent, _ := strings.Cut(w, ":")
		s.SpreadTarget = append(s.SpreadTarget, &structs.SpreadTarget{Value: name, Percent: uint8(tr.number(percent))})
	}
	return s
}

func (tr *transcript) port(g *structs.TaskGroup, kind, v string) {
	if len(g.Networks) == 0 {
		g.Networks = []*structs.NetworkResource{{Mode: "host"}}
	}
	net := g.Networks[0]
	switch kind {
	case "static":
		net.ReservedPorts = append(net.ReservedPorts, structs.Port{Label: "p" + v, Value: tr.number(v)})
	case "dynamic":
		net.DynamicPorts = append(net.DynamicPorts, structs.Port{Label: v})
	case "host_network":
		net.DynamicPorts = append(net.DynamicPorts, structs.Port{Label: v, HostNetwork: v})
	}
}

// pairs reads "key:value,key:value".
func pairs(v string) map[string]string {
	m := map[string]string{}
	for part := range strings.SplitSeq(v, ",") {
		key, val, _ := strings.Cut(part, ":")
		m[key] = val
	}
	return m
}

func (tr *transcript) duration(s string) *time.Duration {
	d, err := time.ParseDuration(s)
	tr.check(err)
	return &d
}

func (tr *transcript) updateBlock(v string) *structs.UpdateStrategy {
	u := &structs.UpdateStrategy{}
	for key, val := range pairs(v) {
		switch key {
		case "max_parallel":
			u.MaxParallel = structs.Ptr(tr.number(val))
		case "canary":
			u.Canary = structs.Ptr(tr.number(val))
		case "auto_promote":
			u.AutoPromote = structs.Ptr(true)
		case "auto_revert":
			u.AutoRevert = structs.Ptr(true)
		case "progress_deadline":
			u.ProgressDeadline = tr.duration(val)
		default:
			tr.t.Fatalf("unknown update setting %q", key)
		}
	}
	return u
}

func (tr *transcript) rescheduleBlock(v string) *structs.ReschedulePolicy {
	p := &structs.ReschedulePolicy{}
	for key, val := range pairs(v) {
		switch key {
		case "attempts":
			p.Attempts, p.Unlimited = structs.Ptr(tr.number(val)), structs.Ptr(false)
		case "unlimited":
			p.Attempts, p.Unlimited = structs.Ptr(0), structs.Ptr(true)
		case "interval":
			p.Interval = tr.duration(val)
		case "delay":
			p.Delay = tr.duration(val)
		case "max_delay":
			p.MaxDelay = tr.duration(val)
		case "function":
			p.DelayFunction = structs.Ptr(val)
		default:
			tr.t.Fatalf("unknown reschedule setting %q", key)
		}
	}
	return p
}

func (tr *transcript) disconnectBlock(v string) *structs.DisconnectStrategy {
	d := &structs.DisconnectStrategy{}
	for key, val := range pairs(v) {
		switch key {
		case "lost_after":
			d.LostAfter = tr.duration(val)
		case "stop_after":
			d.StopOnClientAfter = tr.duration(val)
		case "replace":
			d.Replace = structs.Ptr(val == "true")
		case "reconcile":
			d.Reconcile = structs.Ptr(val)
		default:
			tr.t.Fatalf("unknown disconnect setting %q", key)
		}
	}
	return d
}
