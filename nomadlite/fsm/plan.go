package fsm

import (
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// A plan is encoded in columns: the allocations of a group differ in little, so
// that a placement takes one or two bytes (the distance to the node before)
// and whatever is usual takes none. What is rare is a list of positions.

// maxPlacements bounds the placements of a decoded plan, all groups together:
// runs could make any number out of a few bytes.
const maxPlacements = 1 << 18

func encodePlan(p *structs.Plan) ([]byte, error) {
	total := 0
	for _, g := range p.Groups {
		total += len(g.Placements)
	}
	if !p.AllAtOnce && total > MaxPlacements || total > maxPlacements {
		return nil, structs.Errorf(structs.TooLarge, "cannot write the plan of job %q to the log: it has %d placements, the limit is %d", p.JobID, total, MaxPlacements)
	}
	w := &writer{}
	w.number(p.Epoch)
	w.id(p.EvalID)
	w.text(p.Namespace)
	w.text(p.JobID)
	w.number(p.JobVersion)
	w.number(p.JobModifyIndex)
	w.number(p.SnapshotIndex)
	older := slices.ContainsFunc(p.Groups, func(g *structs.PlanGroup) bool { return g.Older > 0 })
	w.number(planFlags(p.AllAtOnce, older))
	w.signed(p.Now)
	w.number(uint64(len(p.Groups)))
	for _, g := range p.Groups {
		w.group(g)
	}
	w.stops(p.Stops)
	w.inPlace(p.InPlace)
	w.number(uint64(len(p.Preemptions)))
	for i := range p.Preemptions {
		u := &p.Preemptions[i]
		w.id(u.AllocID)
		w.text(u.Group)
		w.number(uint64(u.NameIndex))
	}
	if !p.AllAtOnce && len(w.b) > MaxPlan {
		return nil, structs.Errorf(structs.TooLarge, "cannot write the plan of job %q to the log: its lists take %d bytes, the limit is %d", p.JobID, len(w.b), MaxPlan)
	}
	w.noun(p.Deployment)
	w.noun(p.DeploymentUpdates)
	w.noun(p.Eval)
	w.noun(p.NewEvals)
	if older {
		for _, g := range p.Groups { // rare, and so at the end
			w.number(g.Older)
		}
	}
	return w.b, w.err
}

// planFlags is the number that stands for what holds of a whole plan: 1 for all at
// once, 2 when some group is of an older version, listed at the end.
func planFlags(allAtOnce, older bool) (n uint64) {
	if allAtOnce {
		n |= 1
	}
	if older {
		n |= 2
	}
	return n
}

func decodePlan(b []byte) (*structs.Plan, error) {
	r := &reader{b: b}
	p := &structs.Plan{
		Epoch: r.number(), EvalID: r.id(), Namespace: r.text(), JobID: r.text(), JobVersion: r.number(),
		JobModifyIndex: r.number(), SnapshotIndex: r.number(),
	}
	flags := r.below(4)
	p.AllAtOnce, p.Now = flags&1 != 0, r.signed()
	left := maxPlacements
	for range r.count() {
		g := r.group(left)
		left -= len(g.Placements)
		p.Groups = append(p.Groups, g)
	}
	p.Stops = r.stops()
	p.InPlace = r.inPlace()
	for range r.count() {
		p.Preemptions = append(p.Preemptions, structs.AllocPreemption{AllocID: r.id(), Group: r.text(), NameIndex: r.uint32()})
	}
	r.noun(&p.Deployment)
	r.noun(&p.DeploymentUpdates)
	r.noun(&p.Eval)
	r.noun(&p.NewEvals)
	if flags&2 != 0 {
		some := false
		for _, g := range p.Groups {
			g.Older = r.number()
			some = some || g.Older > 0
		}
		if !some {
			r.fail(errValue)
		}
	}
	for _, u := range p.DeploymentUpdates {
		if u == nil {
			r.fail(errValue)
		}
	}
	if len(r.b) > 0 {
		r.fail(errLong)
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

func (w *writer) flag(b bool) {
	if b {
		w.number(1)
	} else {
		w.number(0)
	}
}

func (r *reader) flag() bool { return r.below(2) == 1 }

func (r *reader) uint32() uint32 { return uint32(r.below(1 << 32)) }

func (w *writer) group(g *structs.PlanGroup) {
	w.text(g.Group)
	w.id(g.DeploymentID)
	w.noun(g.Resources)
	w.noun(g.Metrics)
	w.number(uint64(len(g.Placements)))
	w.nodes(g.Placements)
	w.names(g.Placements)
	w.sparse(g.Placements, func(p *structs.Placement) bool { return p.Canary }, func(*structs.Placement) {})
	w.sparse(g.Placements, func(p *structs.Placement) bool { return p.PreviousAlloc != "" }, func(p *structs.Placement) { w.id(p.PreviousAlloc) })
	w.sparse(g.Placements, func(p *structs.Placement) bool { return p.Extra != nil }, func(p *structs.Placement) { w.noun(p.Extra) })
}

// group reads a group of at most limit placements.
func (r *reader) group(limit int) *structs.PlanGroup {
	g := &structs.PlanGroup{Group: r.text(), DeploymentID: r.id()}
	r.noun(&g.Resources)
	r.noun(&g.Metrics)
	g.Placements = make([]structs.Placement, r.below(limit+1))
	r.nodes(g.Placements)
	r.names(g.Placements)
	r.sparse(g.Placements, func(p *structs.Placement) { p.Canary = true })
	r.sparse(g.Placements, func(p *structs.Placement) {
		if p.PreviousAlloc = r.id(); p.PreviousAlloc == "" {
			r.fail(errValue)
		}
	})
	r.sparse(g.Placements, func(p *structs.Placement) {
		if r.noun(&p.Extra); p.Extra == nil {
			r.fail(errValue)
		}
	})
	if r.err != nil {
		return &structs.PlanGroup{}
	}
	return g
}

// nodes writes the node column as runs: the distance to the node before, and
// how often it repeats when it does.
func (w *writer) nodes(list []structs.Placement) {
	last := int64(0)
	for i := 0; i < len(list); {
		n := i + 1
		for n < len(list) && list[n].Node == list[i].Node {
			n++
		}
		delta := int64(list[i].Node) - last
		last = int64(list[i].Node)
		zigzag := uint64(delta<<1) ^ uint64(delta>>63)
		if n-i == 1 {
			w.number(zigzag << 1)
		} else {
			w.number(zigzag<<1 | 1)
			w.number(uint64(n - i))
		}
		i = n
	}
}

func (r *reader) nodes(list []structs.Placement) {
	last := int64(0)
	for i := 0; i < len(list) && r.err == nil; {
		v := r.number()
		run := 1
		if v&1 == 1 {
			run = r.below(len(list) - i + 1)
		}
		zigzag := v >> 1
		last += int64(zigzag>>1) ^ -int64(zigzag&1)
		if run == 0 || last < 0 || last > 1<<32-1 {
			r.fail(errValue)
			return
		}
		for range run {
			list[i].Node = uint32(last)
			i++
		}
	}
}

// names writes the name indexes as runs of consecutive numbers.
func (w *writer) names(list []structs.Placement) {
	next := int64(0)
	for i := 0; i < len(list); {
		n := i + 1
		for n < len(list) && list[n].NameIndex == list[n-1].NameIndex+1 && list[n].NameIndex != 0 {
			n++
		}
		w.signed(int64(list[i].NameIndex) - next)
		w.number(uint64(n - i))
		next = int64(list[n-1].NameIndex) + 1
		i = n
	}
}

func (r *reader) names(list []structs.Placement) {
	next := int64(0)
	for i := 0; i < len(list) && r.err == nil; {
		next += r.signed()
		run := r.below(len(list) - i + 1)
		if run == 0 || next < 0 || next+int64(run) > 1<<32 {
			r.fail(errValue)
			return
		}
		for range run {
			list[i].NameIndex = uint32(next)
			next++
			i++
		}
	}
}

// sparse writes the placements that have something, each by its distance to
// the one before.
func (w *writer) sparse(list []structs.Placement, has func(*structs.Placement) bool, write func(*structs.Placement)) {
	n := 0
	for i := range list {
		if has(&list[i]) {
			n++
		}
	}
	w.number(uint64(n))
	last := -1
	for i := range list {
		if has(&list[i]) {
			w.number(uint64(i - last - 1))
			last = i
			write(&list[i])
		}
	}
}

func (r *reader) sparse(list []structs.Placement, read func(*structs.Placement)) {
	at := 0
	for range r.count() {
		at += r.below(maxPlacements)
		if at >= len(list) {
			r.fail(errValue)
		}
		if r.err != nil {
			return
		}
		read(&list[at])
		at++
	}
}

// kindOf writes the number of what many entries of a list have in common, and
// reports whether it is new: then what it is follows, this once.
func kindOf[K comparable](w *writer, kinds map[K]int, kind K) (isNew bool) {
	k, seen := kinds[kind]
	if !seen {
		k = len(kinds)
		kinds[kind] = k
	}
	w.number(uint64(k))
	return !seen
}

// stopKind is what many stops of a plan have in common.
type stopKind struct{ desired, description, client string }

func (w *writer) stops(list []structs.AllocStop) {
	kinds := make(map[stopKind]int)
	w.number(uint64(len(list)))
	for i := range list {
		s := &list[i]
		w.id(s.AllocID)
		w.id(s.FollowupEvalID)
		kind := stopKind{s.DesiredStatus, s.DesiredDescription, s.ClientStatus}
		if kindOf(w, kinds, kind) {
			w.text(kind.desired)
			w.text(kind.description)
			w.text(kind.client)
		}
	}
}

func (r *reader) stops() []structs.AllocStop {
	var kinds []stopKind
	var list []structs.AllocStop
	for range r.count() {
		s := structs.AllocStop{AllocID: r.id(), FollowupEvalID: r.id()}
		k := r.below(len(kinds) + 1)
		if k == len(kinds) {
			kinds = append(kinds, stopKind{r.text(), r.text(), r.text()})
		}
		s.DesiredStatus, s.DesiredDescription, s.ClientStatus = kinds[k].desired, kinds[k].description, kinds[k].client
		list = append(list, s)
		if r.err != nil {
			return nil
		}
	}
	return list
}

// inPlaceKind is what many in-place changes of a plan have in common.
// Resources are shared when they are the same value in memory.
type inPlaceKind struct {
	version                         uint64
	deployment, client, description string
	resources                       *structs.AllocatedResources
}

func (w *writer) inPlace(list []structs.AllocInPlace) {
	kinds := make(map[inPlaceKind]int)
	w.number(uint64(len(list)))
	for i := range list {
		u := &list[i]
		w.id(u.AllocID)
		w.id(u.FollowupEvalID)
		kind := inPlaceKind{u.JobVersion, u.DeploymentID, u.ClientStatus, u.Description, u.Resources}
		if kindOf(w, kinds, kind) {
			w.number(kind.version)
			w.id(kind.deployment)
			w.text(kind.client)
			w.text(kind.description)
			w.noun(kind.resources)
		}
	}
}

func (r *reader) inPlace() []structs.AllocInPlace {
	var kinds []inPlaceKind
	var list []structs.AllocInPlace
	for range r.count() {
		u := structs.AllocInPlace{AllocID: r.id(), FollowupEvalID: r.id()}
		k := r.below(len(kinds) + 1)
		if k == len(kinds) {
			kind := inPlaceKind{version: r.number(), deployment: r.id(), client: r.text(), description: r.text()}
			r.noun(&kind.resources)
			kinds = append(kinds, kind)
		}
		kind := &kinds[k]
		u.JobVersion, u.DeploymentID, u.ClientStatus, u.Description, u.Resources = kind.version, kind.deployment, kind.client, kind.description, kind.resources
		list = append(list, u)
		if r.err != nil {
			return nil
		}
	}
	return list
}
