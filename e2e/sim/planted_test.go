package sim

import (
	"iter"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// seenAllocs are the allocations of a state as the checks see them. What the
// state machine refuses to do wrong is planted here: a state with a fault.
func (c *cluster) seenAllocs(snap *state.Snapshot) iter.Seq[*structs.Allocation] {
	fault := faults[c.bugs.fault]
	if fault == nil {
		return snap.Allocs()
	}
	return func(yield func(*structs.Allocation) bool) {
		for a := range snap.Allocs() {
			b := a.Copy()
			if fault(c, b); !yield(b) {
				return
			}
		}
	}
}

// faults of a state, by the invariant that they break.
var faults = map[string]func(*cluster, *structs.Allocation){
	"I-02": func(_ *cluster, a *structs.Allocation) { a.Name = "one name for all" },
	"I-03": func(_ *cluster, a *structs.Allocation) {
		for _, t := range a.AllocatedResources.Tasks {
			t.Cpu.CpuShares *= 9
		}
	},
	"I-04": func(_ *cluster, a *structs.Allocation) {
		a.AllocatedResources.Shared.Ports = []structs.PortMapping{{Label: "http", Value: 80}}
	},
	"I-09": func(c *cluster, a *structs.Allocation) {
		if len(c.log)%2 == 0 {
			a.DesiredStatus = structs.AllocDesiredStatusRun
		}
	},
	"I-14": func(c *cluster, a *structs.Allocation) { a.ModifyIndex -= uint64(len(c.log) % 2) },
	"I-15": func(_ *cluster, a *structs.Allocation) { a.ClientStatus = structs.AllocClientStatusPending },
	"I-19": func(_ *cluster, a *structs.Allocation) { a.PreemptedByAllocation = "" },
	"I-20": func(_ *cluster, a *structs.Allocation) { a.Job = nil },
}

// TestPlantedBugs: each bug is found within a few seeds, by the invariant that
// it breaks.
func TestPlantedBugs(t *testing.T) {
	planted := map[string]struct {
		bugs bugs
		by   string // what must find it, "" for any
	}{
		"a leader lacks what was acknowledged":  {bugs{loseAcked: true}, ""},
		"a follower leaves an entry out":        {bugs{skipEntry: true}, "I-16"},
		"a restored server leaves an entry out": {bugs{staleRestore: true}, ""},
		"nobody wakes what waits":               {bugs{deafWaker: true}, ""},
		"nodes forget the numbers of reports":   {bugs{forgetAck: true}, ""},
		"nobody moves deployments on":           {bugs{noDeployments: true}, "I-07"},
		"system jobs do not hear of nodes":      {bugs{deafSystem: true}, "I-08"},
		"a tick is launched twice":              {bugs{doubleLaunch: true}, "I-12"},
		"nodes are given up that were heard":    {bugs{hasty: true}, "I-17"},
		"nobody moves drains on":                {bugs{noDrains: true}, "I-18"},
		"nobody paces drains":                   {bugs{hurriedDrains: true}, "I-18"},
		"an evaluation is delivered twice":      {bugs{twice: true}, "I-06"},
	}
	for by := range faults {
		planted["a state that breaks "+by] = struct {
			bugs bugs
			by   string
		}{bugs{fault: by}, by}
	}
	for name, p := range planted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := ""
			for seed := uint64(1); seed <= 30; seed++ {
				if found, _ = runSeed(seed, p.bugs); found != "" && strings.Contains(found, p.by) {
					t.Logf("seed %d: %s", seed, found)
					return
				}
			}
			t.Errorf("30 seeds did not find it, the last one: %q", found)
		})
	}
}
