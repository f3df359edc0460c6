package worker

import "github.com/nomadlite/nomadlite/structs"

// split cuts a plan into parts of at most MaxPlacements placements. The first
// has the deployment and the changes that no placement depends on, a stop
// travels with the placement that replaces the allocation, and the last part
// has the evaluation's outcome. A plan that wants all or nothing stays whole.
func split(plan *structs.Plan) []*structs.Plan {
	total := 0
	for _, g := range plan.Groups {
		total += len(g.Placements)
	}
	if plan.AllAtOnce || total <= MaxPlacements {
		return []*structs.Plan{plan}
	}
	replaced := map[string]int{} // the part that replaces an allocation
	preempts := map[placeKey]int{}
	var parts []*structs.Plan
	room := 0
	for _, g := range plan.Groups {
		for rest := g.Placements; len(rest) > 0; {
			if room == 0 {
				parts = append(parts, part(plan))
				room = MaxPlacements
			}
			n := min(room, len(rest))
			piece := *g
			piece.Placements = rest[:n]
			for i := range piece.Placements {
				replaced[piece.Placements[i].PreviousAlloc] = len(parts) - 1
				preempts[placeKey{g.Group, piece.Placements[i].NameIndex}] = len(parts) - 1
			}
			parts[len(parts)-1].Groups = append(parts[len(parts)-1].Groups, &piece)
			rest, room = rest[n:], room-n
		}
	}
	for _, s := range plan.Stops {
		at := parts[replaced[s.AllocID]]
		at.Stops = append(at.Stops, s)
	}
	for _, v := range plan.Preemptions {
		at := parts[preempts[placeKey{v.Group, v.NameIndex}]]
		at.Preemptions = append(at.Preemptions, v)
	}
	first, last := parts[0], parts[len(parts)-1]
	first.InPlace = plan.InPlace
	first.Deployment, first.DeploymentUpdates = plan.Deployment, plan.DeploymentUpdates
	last.Eval, last.NewEvals = plan.Eval, plan.NewEvals
	return parts
}

// placeKey names a placement within a plan.
type placeKey struct {
	group string
	index uint32
}

// part is a plan with the head of another and nothing in it.
func part(plan *structs.Plan) *structs.Plan {
	p := *plan
	p.Groups, p.Stops, p.InPlace, p.Preemptions = nil, nil, nil, nil
	p.Deployment, p.DeploymentUpdates, p.Eval, p.NewEvals, p.Annotations = nil, nil, nil, nil, nil
	return &p
}
