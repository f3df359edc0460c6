package worker

import (
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// What parts of a plan take in a log entry, in bytes, from above.
const (
	stopBytes      = 64 // two ids and the number of a kind
	inPlaceBytes   = 64
	preemptBytes   = 32 // and the name of the group
	placementBytes = 8
	previousBytes  = 24
	headBytes      = 256 // of a group or a kind, beside its texts
	// partBytes leaves room for the head of the plan.
	partBytes = fsm.MaxPlan - 4096
)

// split cuts a plan into parts that fit into log entries. What is stopped
// without a replacement and what is changed in place comes first, with the
// deployment; a stop travels with the placement that replaces the allocation,
// and the last part has the evaluation's outcome. A plan that wants all or
// nothing stays whole.
func split(plan *structs.Plan) []*structs.Plan {
	if plan.AllAtOnce || small(plan) {
		return []*structs.Plan{plan}
	}
	s := newSplitter(plan)
	for i := range plan.Stops {
		if stop := &plan.Stops[i]; !s.replaced[stop.AllocID] {
			s.room(0, stopSize(stop))
			s.last().Stops = append(s.last().Stops, *stop)
		}
	}
	resources := map[*structs.AllocatedResources]bool{nil: true}
	for i := range plan.InPlace {
		u := &plan.InPlace[i]
		size := inPlaceBytes + len(u.Description)
		if !resources[u.Resources] {
			resources[u.Resources] = true
			size += headBytes + encoded(u.Resources)
		}
		s.room(0, size)
		s.last().InPlace = append(s.last().InPlace, *u)
	}
	for _, g := range plan.Groups {
		s.group(g)
	}
	if len(s.parts) == 1 {
		return []*structs.Plan{plan}
	}
	first, last := s.parts[0], s.last()
	first.Deployment, first.DeploymentUpdates = plan.Deployment, plan.DeploymentUpdates
	last.Eval, last.NewEvals = plan.Eval, plan.NewEvals
	return s.parts
}

// small reports whether a plan certainly fits: most do.
func small(plan *structs.Plan) bool {
	items := len(plan.Stops) + len(plan.InPlace) + len(plan.Preemptions)
	bytes := 0
	for _, g := range plan.Groups {
		items += len(g.Placements)
		for i := range g.Placements {
			bytes += extraBytes(g.Placements[i].Extra)
		}
	}
	return items <= 512 && bytes <= fsm.MaxPlan/4 && len(plan.Groups) <= 8
}

// extraBytes is what a placement's own part takes in the log, from above.
func extraBytes(x *structs.PlacementExtra) int {
	if x == nil {
		return 0
	}
	if len(x.Networks) > 0 || x.Reschedule != nil {
		return encoded(x)
	}
	n := headBytes
	for _, p := range x.Ports {
		n += headBytes + len(p.Label) + len(p.HostIP)
	}
	for task, cores := range x.Cores {
		n += len(task) + 8*len(cores)
	}
	for task, devices := range x.Devices {
		n += len(task)
		for _, d := range devices {
			if d == nil {
				continue
			}
			n += headBytes + len(d.Vendor) + len(d.Type) + len(d.Name)
			for _, id := range d.DeviceIDs {
				n += 8 + len(id)
			}
		}
	}
	for _, v := range x.Volumes {
		n += headBytes + len(v.Source)
	}
	return n
}

// splitter fills parts one after another.
type splitter struct {
	plan     *structs.Plan
	parts    []*structs.Plan
	placed   int // placements in the last part
	bytes    int // of the lists in the last part
	replaced map[string]bool
	stops    map[string]*structs.AllocStop // of what is replaced
	preempts map[placeKey][]structs.AllocPreemption
}

// placeKey names a placement within a plan; system jobs have one name on all
// nodes.
type placeKey struct {
	group string
	index uint32
	node  uint32
}

func newSplitter(plan *structs.Plan) *splitter {
	s := &splitter{plan: plan, replaced: map[string]bool{}, stops: map[string]*structs.AllocStop{}, preempts: map[placeKey][]structs.AllocPreemption{}}
	for _, g := range plan.Groups {
		for i := range g.Placements {
			if id := g.Placements[i].PreviousAlloc; id != "" {
				s.replaced[id] = true
			}
		}
	}
	for i := range plan.Stops {
		if s.replaced[plan.Stops[i].AllocID] {
			s.stops[plan.Stops[i].AllocID] = &plan.Stops[i]
		}
	}
	for _, v := range plan.Preemptions {
		k := placeKey{v.Group, v.NameIndex, v.Node}
		s.preempts[k] = append(s.preempts[k], v)
	}
	s.begin()
	return s
}

func (s *splitter) last() *structs.Plan { return s.parts[len(s.parts)-1] }

// begin starts a part: the head of the plan and nothing in it.
func (s *splitter) begin() {
	p := *s.plan
	p.Groups, p.Stops, p.InPlace, p.Preemptions = nil, nil, nil, nil
	p.Deployment, p.DeploymentUpdates, p.Eval, p.NewEvals, p.Annotations = nil, nil, nil, nil, nil
	s.parts = append(s.parts, &p)
	s.placed, s.bytes = 0, 0
}

// room makes room for placements and bytes, in another part when the last one
// is full. It reports whether it began one.
func (s *splitter) room(placements, bytes int) (began bool) {
	if s.bytes > 0 && (s.placed+placements > fsm.MaxPlacements || s.bytes+bytes > partBytes) {
		s.begin()
		began = true
	}
	s.placed += placements
	s.bytes += bytes
	return began
}

// group adds the placements of a group, each with what depends on it.
func (s *splitter) group(g *structs.PlanGroup) {
	head := headBytes + len(g.Group) + encoded(g.Resources) + encoded(g.Metrics)
	from := 0
	for i := range g.Placements {
		size, stop, preempts := s.weigh(g.Group, &g.Placements[i])
		if i == from {
			size += head
		}
		if s.room(1, size) && i > from {
			s.parts[len(s.parts)-2].Groups = append(s.parts[len(s.parts)-2].Groups, piece(g, from, i))
			from = i
			s.bytes += head
		}
		if stop != nil {
			s.last().Stops = append(s.last().Stops, *stop)
		}
		s.last().Preemptions = append(s.last().Preemptions, preempts...)
	}
	if from < len(g.Placements) {
		s.last().Groups = append(s.last().Groups, piece(g, from, len(g.Placements)))
	}
}

func piece(g *structs.PlanGroup, from, to int) *structs.PlanGroup {
	p := *g
	p.Placements = g.Placements[from:to]
	return &p
}

// weigh finds what travels with a placement, and what all that takes.
func (s *splitter) weigh(group string, p *structs.Placement) (size int, stop *structs.AllocStop, preempts []structs.AllocPreemption) {
	size = placementBytes
	if p.PreviousAlloc != "" {
		size += previousBytes
		if stop = s.stops[p.PreviousAlloc]; stop != nil {
			size += stopSize(stop)
		}
	}
	if p.Extra != nil {
		size += extraBytes(p.Extra)
	}
	preempts = s.preempts[placeKey{group, p.NameIndex, p.Node}]
	return size + len(preempts)*(preemptBytes+len(group)), stop, preempts
}

func stopSize(s *structs.AllocStop) int { return stopBytes + len(s.DesiredDescription) }

// encoded is the size of a noun in the log. What cannot be encoded takes
// nothing: encoding the plan says so.
func encoded(v any) int {
	b, _ := state.Encode(v)
	return len(b)
}
