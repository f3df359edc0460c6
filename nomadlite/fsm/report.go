package fsm

import (
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// Reports of nodes are encoded in kinds, as most allocations of a moment are in
// the same state: what differs is an id, a revision and times, 30 to 40 bytes.

// reportKind is what many reports have in common.
type reportKind struct {
	status, description, deployment string
	health                          int // healthNone…
	tasks                           bool
	shape                           string
}

const (
	healthNone = iota
	healthGood
	healthBad
	healthKinds
)

// reports makes the row of what nodes report.
func reports(name string) command {
	return command{
		name:   name,
		schema: 1,
		limit:  MaxEntry,
		encode: func(head []byte, payload any) ([]byte, error) {
			p, ok := payload.(*state.AllocUpdates)
			if !ok || p == nil {
				return nil, wrongPayload[state.AllocUpdates](name, payload)
			}
			b, err := encodeReports(p.Reports())
			return append(head, b...), err
		},
		apply: func(t *state.Txn, payload []byte) (any, error) {
			list, err := decodeReports(payload)
			if err != nil {
				return nil, &CorruptError{Command: name, Err: err}
			}
			return nil, t.ApplyReports(list)
		},
		decode: func(payload []byte) (any, error) { return decodeReports(payload) },
	}
}

func encodeReports(list []state.NodeReport) ([]byte, error) {
	w, kinds := &writer{}, map[reportKind]int{}
	w.number(uint64(len(list)))
	last, revision := int64(0), uint64(0)
	for i := range list {
		n := &list[i]
		w.id(n.NodeID)
		w.signed(n.Now - last)
		last = n.Now
		w.number(uint64(len(n.Reports)))
		for j := range n.Reports {
			w.report(&n.Reports[j], kinds, n.Now, revision)
			revision = n.Reports[j].Revision
		}
		w.networks(n.Reports)
		w.number(uint64(len(n.Evals)))
		for _, e := range n.Evals {
			w.noun(e)
		}
	}
	return w.b, w.err
}

func decodeReports(b []byte) ([]state.NodeReport, error) {
	r := &reader{b: b}
	d := reportReader{reader: r}
	var list []state.NodeReport
	last := int64(0)
	for range r.count() {
		n := state.NodeReport{NodeID: r.id()}
		last += r.signed()
		n.Now = last
		n.Reports = make([]state.AllocReport, r.below(len(r.b)/reportBytes+1))
		for j := range n.Reports {
			d.report(&n.Reports[j], n.Now)
		}
		r.networks(n.Reports)
		for range r.count() {
			var e *structs.Evaluation
			r.noun(&e)
			n.Evals = append(n.Evals, e)
		}
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, n)
	}
	if len(r.b) > 0 {
		r.fail(errLong)
	}
	return list, r.err
}

// reportBytes is what a report takes at least: an id, a revision and a kind.
const reportBytes = 18

func (w *writer) report(u *state.AllocReport, kinds map[reportKind]int, now int64, revision uint64) {
	w.b = append(w.b, u.ID[:]...)
	w.signed(int64(u.Revision - revision))
	kind := reportKind{status: u.Status, description: u.Description, deployment: u.DeploymentID, tasks: u.Tasks.Set()}
	if u.Healthy != nil {
		if kind.health = healthBad; *u.Healthy {
			kind.health = healthGood
		}
	}
	if kind.tasks {
		kind.shape = u.Tasks.Shape()
	}
	if kindOf(w, kinds, kind) {
		w.text(kind.status)
		w.text(kind.description)
		w.id(kind.deployment)
		w.number(uint64(kind.health))
		w.flag(kind.tasks)
		w.text(kind.shape)
	}
	if kind.tasks {
		w.text(u.Tasks.Times())
	}
	if kind.health != healthNone {
		w.signed(u.DeploymentNow - now)
	}
}

// reportReader reads what writer.report wrote.
type reportReader struct {
	*reader
	kinds    []reportKind
	shapes   []alloctable.Shape // of the kinds
	revision uint64
}

func (r *reportReader) report(u *state.AllocReport, now int64) {
	copy(u.ID[:], r.take(len(u.ID)))
	r.revision += uint64(r.signed())
	u.Revision = r.revision
	k := r.below(len(r.kinds) + 1)
	if k == len(r.kinds) {
		r.kind()
	}
	if r.err != nil {
		return
	}
	kind := &r.kinds[k]
	u.Status, u.Description, u.DeploymentID = kind.status, kind.description, kind.deployment
	if kind.tasks {
		var err error
		if u.Tasks, err = r.shapes[k].Tasks(r.text()); err != nil {
			r.fail(err)
		}
	}
	if kind.health != healthNone {
		u.Healthy = structs.Ptr(kind.health == healthGood)
		u.DeploymentNow = now + r.signed()
	}
}

func (r *reportReader) kind() {
	kind := reportKind{status: r.text(), description: r.text(), deployment: r.id(), health: r.below(healthKinds), tasks: r.flag(), shape: r.text()}
	shape := alloctable.Shape{}
	if kind.tasks {
		var err error
		if shape, err = alloctable.ParseShape(kind.shape); err != nil {
			r.fail(err)
		}
	} else if kind.shape != "" {
		r.fail(errValue)
	}
	r.kinds, r.shapes = append(r.kinds, kind), append(r.shapes, shape)
}

// networks writes the network statuses, which few reports have.
func (w *writer) networks(list []state.AllocReport) {
	n := 0
	for i := range list {
		if list[i].Network != nil {
			n++
		}
	}
	w.number(uint64(n))
	for i := range list {
		if list[i].Network != nil {
			w.number(uint64(i))
			w.noun(list[i].Network)
		}
	}
}

func (r *reader) networks(list []state.AllocReport) {
	for range r.count() {
		i := r.below(len(list))
		if r.err != nil {
			return
		}
		r.noun(&list[i].Network)
	}
}
