package scheduler

import "github.com/nomadlite/nomadlite/structs"

// groupAsk is what each allocation of a group wants, worked out once a pass.
type groupAsk struct {
	Ask
	ports     portAsk
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
			res.Cpu.CpuShares = int64(structs.Val(t.Resources.CPU))
			res.Memory.MemoryMB = int64(structs.Val(t.Resources.MemoryMB))
			if limit := int64(structs.Val(t.Resources.MemoryMaxMB)); oversub && limit != 0 {
				res.Memory.MemoryMaxMB = limit
				a.memoryMax = max(a.memoryMax, limit)
			}
			a.ports.add(t.Resources.Networks)
		}
		r.Tasks[t.Name] = res
		r.TaskLifecycles[t.Name] = t.Lifecycle
	}
	a.ports.add(g.Networks)
	a.resources = r
	a.Amount = ResourcesAmount(r)
	return a
}

// ResourcesAmount is what allocated resources count for on a node. Tasks that
// never run together count once: the most of all prestart tasks, of main tasks
// with sidecars and poststart tasks, and of poststop tasks.
func ResourcesAmount(r *structs.AllocatedResources) Amount {
	if r == nil {
		return Amount{}
	}
	var prestart, main, poststop Amount
	for name, t := range r.Tasks {
		if t == nil {
			continue
		}
		amount := Amount{CPU: t.Cpu.CpuShares, MemoryMB: t.Memory.MemoryMB}
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
		CPU:      max(prestart.CPU, main.CPU, poststop.CPU),
		MemoryMB: max(prestart.MemoryMB, main.MemoryMB, poststop.MemoryMB),
		DiskMB:   r.Shared.DiskMB,
	}
}
