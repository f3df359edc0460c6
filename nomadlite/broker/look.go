package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Place is where an evaluation is in the broker. They are in the order in which
// people want to see them.
type Place uint8

// Places.
const (
	Unacked Place = iota // a worker has it
	Ready                // the next free worker takes it
	Pending              // another evaluation of its job comes first
	Waiting              // for a time
)

var shown = map[place]Place{delivered: Unacked, ready: Ready, behind: Pending, waiting: Waiting}

// Queued is an evaluation in the broker.
type Queued struct {
	Eval       *structs.Evaluation // shared; not to be changed
	Place      Place
	Since      time.Time
	Until      time.Time // of its lease, or of its wait; else zero
	Deliveries int
}

// Look returns how much is queued and the first of it, at most limit: what
// workers have, then what is worked on next as it is now.
func (b *Broker) Look(limit int) (Depths, []Queued) {
	b.mu.Lock()
	depths, all := b.depths(), make([]Queued, 0, len(b.queue.entries))
	for _, n := range b.queue.entries {
		q := Queued{Eval: n.eval, Place: shown[n.place], Since: n.since, Deliveries: n.deliveries}
		switch n.place {
		case delivered:
			q.Until = n.deadline
		case waiting:
			q.Until = n.notBefore
		}
		all = append(all, q)
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y Queued) int {
		return cmp.Or(cmp.Compare(x.Place, y.Place), x.Until.Compare(y.Until), cmp.Compare(y.Eval.Priority, x.Eval.Priority),
			cmp.Compare(x.Eval.CreateIndex, y.Eval.CreateIndex), cmp.Compare(x.Eval.ID, y.Eval.ID))
	})
	return depths, all[:min(limit, len(all))]
}
