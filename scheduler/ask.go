package scheduler

import (
	"maps"

	"github.com/nomadlite/nomadlite/structs"
)

// groupAsk is what each allocation of a group wants, worked out once a pass.
type groupAsk struct {
	Ask
	ports     portAsk
	special   specialAsk
	memoryMax int64 // 0 when nothing exceeds the reserved memory
	resources *structs.AllocatedResources
}

// newGroupAsk sums up a group; memory_max counts only with oversubscription.
func newGroupAsk(job *structs.Job, g *structs.TaskGroup, oversub bool) *groupAsk {
	a := &groupAsk{Ask: Ask{Job: job, Group: g}}
	r := &structs.AllocatedResources{
		Tasks:          make(map[string]*structs.AllocatedTaskResources, len(g.Tasks)),
		TaskLifecycles: make(map[string]*structs.TaskLifecycle, len(g.Tasks)),
	}
	if g.EphemeralDisk != nil {
		r.Shared.DiskMB = int64(structs.Val(g.EphemeralDisk.SizeMB))
	}
	for _, t := range g.Tasks {
		res := &structs.AllocatedTaskResources{}
		if t.Resources != nil {
			if structs.Val(t.Resources.Cores) <= 0 {
				res.Cpu.CpuShares = int64(structs.Val(t.Resources.CPU))
			}
			res.Memory.MemoryMB = int64(structs.Val(t.Resources.MemoryMB))
			if limit := int64(structs.Val(t.Resources.MemoryMaxMB)); oversub && limit != 0 {
				res.Memory.MemoryMaxMB = limit
				a.memoryMax = max(a.memoryMax, limit)
			}
			a.ports.add(t.Resources.Networks)
		}
		a.special.add(t)
		r.Tasks[t.Name] = res
		r.TaskLifecycles[t.Name] = t.Lifecycle
	}
	a.ports.add(g.Networks)
	a.resources = r
	a.Amount = ResourcesAmount(r)
	return a
}

// on is what an allocation takes of a node: reserved cores count with their
// speed, which differs between nodes.
func (a *groupAsk) on(n *structs.Node) Amount {
	amount := a.Amount
	if a.special.count > 0 {
		amount.CPU += int64(a.special.count) * coreShares(n)
	}
	return amount
}

// resourcesOn is the group's resources on a node with cores of the given speed.
func (a *groupAsk) resourcesOn(shares int64) *structs.AllocatedResources {
	if a.special.count == 0 {
		return a.resources
	}
	r := *a.resources
	r.Tasks = maps.Clone(r.Tasks)
	for _, c := range a.special.cores {
		t := *r.Tasks[c.task]
		t.Cpu.CpuShares = int64(c.count) * shares
		r.Tasks[c.task] = &t
	}
	return &r
}

// ResourcesAmount is what allocated resources count for on a node. Tasks that
// never run together count once: the most of all prestart tasks, of main tasks
// with sidecars and poststart tasks, and of poststop tasks. CPU of reserved
// cores always counts, because the cores stay reserved.
func ResourcesAmount(r *structs.AllocatedResources) Amount {
	if r == nil {
		return Amount{}
	}
	var prestart, main, poststop Amount
	reserved := int64(0)
	for name, t := range r.Tasks {
		if t == nil {
			continue
		}
		amount := Amount{CPU: t.Cpu.CpuShares, MemoryMB: t.Memory.MemoryMB}
		if len(t.Cpu.ReservedCores) > 0 {
			reserved += amount.CPU
			amount.CPU = 0
		}
		switch life := r.TaskLifecycles[name]; {
		case life == nil:
			main = main.plus(amount)
		case life.Hook == structs.LifecycleHookPrestart:
			prestart = prestart.plus(amount)
			if life.Sidecar {
				main = main.plus(amount)
			}
		case life.Hook == structs.LifecycleHookPoststop:
			poststop = poststop.plus(amount)
		default:
			main = main.plus(amount)
		}
	}
	return Amount{
		CPU:      max(prestart.CPU, main.CPU, poststop.CPU) + reserved,
		MemoryMB: max(prestart.MemoryMB, main.MemoryMB, poststop.MemoryMB),
		DiskMB:   r.Shared.DiskMB,
	}
}
