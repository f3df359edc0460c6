package alloctable

import (
	"maps"
	"unique"

	"github.com/nomadlite/nomadlite/structs"
)

// Alloc makes the structs value of a row. Parts of it are shared and must not
// be changed.
func (t *Table) Alloc(r *Row) *structs.Allocation {
	b, made := t.BatchOf(r), t.MadeBy(r)
	node := t.NodeOf(r.Node)
	a := &structs.Allocation{
		ID:                 t.ID(r.Number),
		Namespace:          b.Job.Namespace,
		EvalID:             b.EvalID,
		Name:               structs.AllocName(b.Job.ID, made.Group, uint(r.NameIndex)),
		NodeID:             node.ID,
		NodeName:           node.Name,
		JobID:              b.Job.ID,
		Job:                b.Job,
		TaskGroup:          made.Group,
		AllocatedResources: b.Resources,
		Metrics:            b.Metrics,
		DesiredStatus:      desiredNames[r.Desired],
		ClientStatus:       clientNames[r.Client],
		DeploymentID:       b.DeploymentID,
		CreateIndex:        made.CreateIndex,
		ModifyIndex:        r.ModifyIndex,
		AllocModifyIndex:   r.AllocModifyIndex,
		CreateTime:         made.CreateTime,
		ModifyTime:         r.ModifyTime,
	}
	if r.cold == nil {
		return a
	}
	f := r.cold.unpack()
	a.TaskStates = r.taskStates(f.times)
	if r.cold.rare != nil {
		t.addRare(a, r.cold.rare)
	}
	if f.health != healthNone {
		a.DeploymentStatus = f.deployment()
	}
	return a
}

// taskStates are the states that the node last reported, nil for none.
func (r *Row) taskStates(times string) map[string]*structs.TaskState {
	if r.cold.tasks == (unique.Handle[string]{}) {
		return nil
	}
	states, err := unpackTasks(r.cold.tasks.Value(), times)
	if err != nil {
		panic("alloctable: task states that were packed here: " + err.Error())
	}
	return states
}

func (t *Table) addRare(a *structs.Allocation, x *Rare) {
	a.DesiredDescription = x.DesiredDescription
	a.ClientDescription = x.ClientDescription
	a.FollowupEvalID = x.FollowupEvalID
	a.DesiredTransition = x.Transition
	a.DeploymentStatus = x.Deployment
	a.RescheduleTracker = x.Reschedule
	a.NetworkStatus = x.Network
	a.PreviousAllocation = t.link(x.Previous)
	a.NextAllocation = t.link(x.Next)
	a.PreemptedByAllocation = t.link(x.PreemptedBy)
	for _, n := range x.Preempted {
		a.PreemptedAllocations = append(a.PreemptedAllocations, t.link(n))
	}
	if x.Extra != nil {
		a.AllocatedResources = withExtra(a.AllocatedResources, x.Extra)
	}
}

func (t *Table) link(n uint64) string {
	if n == 0 {
		return ""
	}
	return t.ID(n - 1)
}

// withExtra returns resources with the ports, networks, cores and devices of
// one allocation.
func withExtra(r *structs.AllocatedResources, x *structs.PlacementExtra) *structs.AllocatedResources {
	full := structs.AllocatedResources{}
	if r != nil {
		full = *r
	}
	if x.Ports != nil {
		full.Shared.Ports = x.Ports
	}
	if x.Networks != nil {
		full.Shared.Networks = x.Networks
	}
	if len(x.Cores) == 0 && len(x.Devices) == 0 {
		return &full
	}
	full.Tasks = maps.Clone(full.Tasks)
	for name, task := range full.Tasks {
		if task == nil {
			continue
		}
		c := *task
		if cores := x.Cores[name]; cores != nil {
			c.Cpu.ReservedCores = cores
		}
		if devices := x.Devices[name]; devices != nil {
			c.Devices = devices
		}
		full.Tasks[name] = &c
	}
	return &full
}
