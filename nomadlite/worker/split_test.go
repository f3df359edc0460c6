package worker

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/structs"
)

func drawLongPlan(r *rapid.T) *structs.Plan {
	id := func(kind, i int) string { return fmt.Sprintf("%08x-0000-0000-0000-%012x", kind, i) }
	p := &structs.Plan{EvalID: id(9, 9), JobID: "web", Namespace: "default", Deployment: &structs.Deployment{ID: id(8, 8)},
		Eval: &structs.Evaluation{ID: id(9, 9)}, NewEvals: []*structs.Evaluation{{ID: id(9, 10)}}}
	ports := rapid.IntRange(0, 30).Draw(r, "ports")
	for gi := range rapid.IntRange(0, 2).Draw(r, "groups") {
		g := &structs.PlanGroup{Group: fmt.Sprint("group", gi), Resources: &structs.AllocatedResources{}, Metrics: &structs.AllocMetric{
			ConstraintFiltered: map[string]int{strings.Repeat("x", rapid.IntRange(0, 9000).Draw(r, "metric")): 1}}}
		for i := range rapid.IntRange(0, 2500).Draw(r, "placements") {
			pl := structs.Placement{Node: uint32(i * 7), NameIndex: uint32(i)}
			if i%3 == 0 {
				pl.PreviousAlloc = id(gi, i)
				p.Stops = append(p.Stops, structs.AllocStop{AllocID: pl.PreviousAlloc, DesiredStatus: "stop", DesiredDescription: "old version"})
			}
			if i%5 == 0 && ports > 0 {
				pl.Extra = &structs.PlacementExtra{}
				for n := range ports {
					pl.Extra.Ports = append(pl.Extra.Ports, structs.PortMapping{Label: fmt.Sprint("port", n), Value: 20000 + n, HostIP: "192.168.100.100"})
				}
			}
			if i%700 == 0 {
				p.Preemptions = append(p.Preemptions, structs.AllocPreemption{AllocID: id(100+gi, i), Group: g.Group, NameIndex: uint32(i), Node: pl.Node})
			}
			g.Placements = append(g.Placements, pl)
		}
		p.Groups = append(p.Groups, g)
	}
	for i := range rapid.IntRange(0, 6_000).Draw(r, "stops") {
		p.Stops = append(p.Stops, structs.AllocStop{AllocID: id(50, i), DesiredStatus: "stop", DesiredDescription: "not needed", FollowupEvalID: id(51, i)})
	}
	for i := range rapid.IntRange(0, 4_000).Draw(r, "in place") {
		p.InPlace = append(p.InPlace, structs.AllocInPlace{AllocID: id(52, i), Resources: &structs.AllocatedResources{}})
	}
	return p
}

// TestPartsFit_B84 draws plans of any length: every part is an entry within its
// limits, nothing is lost or doubled, what belongs together stays together, and
// the outcome comes last.
func TestPartsFit_B84(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		plan := drawLongPlan(r)
		parts := split(plan)
		where := map[string]int{} // what was seen, by the part that has it
		once := func(part int, what ...any) {
			key := fmt.Sprint(what...)
			if at, twice := where[key]; twice {
				r.Fatalf("%s is in part %d and in part %d", key, at, part)
			}
			where[key] = part
		}
		for i, p := range parts {
			if _, err := fsm.Encode(fsm.PlanApply, p); err != nil {
				r.Fatalf("part %d of %d: %v", i, len(parts), err)
			}
			if (p.Deployment != nil) != (i == 0) || (p.Eval != nil && p.NewEvals != nil) != (i == len(parts)-1) {
				r.Fatalf("part %d of %d has the deployment: %v, the outcome: %v", i, len(parts), p.Deployment != nil, p.Eval != nil)
			}
			for _, s := range p.Stops {
				once(i, "stop ", s.AllocID)
			}
			for _, u := range p.InPlace {
				once(i, "in place ", u.AllocID)
			}
			for _, v := range p.Preemptions {
				once(i, "preempt ", v.Group, v.NameIndex)
			}
			for _, g := range p.Groups {
				for _, pl := range g.Placements {
					once(i, "place ", g.Group, pl.NameIndex)
				}
			}
		}
		want := len(plan.Stops) + len(plan.InPlace) + len(plan.Preemptions)
		for _, g := range plan.Groups {
			want += len(g.Placements)
			for _, pl := range g.Placements {
				at := where[fmt.Sprint("place ", g.Group, pl.NameIndex)]
				if s, ok := where[fmt.Sprint("stop ", pl.PreviousAlloc)]; ok && s != at {
					r.Fatalf("%s is stopped in part %d and replaced in part %d", pl.PreviousAlloc, s, at)
				}
				if v, ok := where[fmt.Sprint("preempt ", g.Group, pl.NameIndex)]; ok && v != at {
					r.Fatalf("placement %d preempts in part %d and is in part %d", pl.NameIndex, v, at)
				}
			}
		}
		if len(where) != want {
			r.Fatalf("%d of %d changes are in the parts", len(where), want)
		}
	})
}
