// Package events keeps the newest changes of the state for those who follow
// them. A Ring holds what each log entry changed together with the state after
// it; readers make events of that, each encoded once however many follow.
//
// The state machine only appends to the ring: it never waits for a reader. A
// reader that is slower than the ring is long is told of the gap and ends.
// It must not know HTTP.
package events

import (
	"sync"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// DefaultSize is how many entries a ring holds unless it is told otherwise.
const DefaultSize = 100

// Config configures a Ring.
type Config struct {
	// Size is how many entries with events are kept; 0 is DefaultSize.
	Size int
	// Cause names the cause of an entry as the contract does
	// ("JobRegistered"), "" when it has no name.
	Cause func(cause uint16) string
	// Alloc makes of an allocation what events show; nil shows it as it is.
	Alloc func(*structs.Allocation) any
	// AllocStub makes of an allocation what lists show of it; nil shows whole
	// ones to readers of stubs too.
	AllocStub func(*structs.Allocation) any
}

// Ring holds the newest entries. Its methods may be called at any time.
type Ring struct {
	cfg Config

	mu      sync.Mutex    // guards what follows
	entries []*entry      // oldest first
	from    uint64        // the ring is complete after this index
	life    uint64        // counts replacements of the state
	changed chan struct{} // closed by the next entry
	filling chan struct{} // closed when a quarter of the ring is new since it was made
	fresh   int           // entries since filling was made
	readers int
}

// entry is what one log entry changed.
type entry struct {
	index  uint64
	change state.Changed

	once   sync.Once
	events []*Event
}

// New returns a ring over what happens after an index.
func New(cfg Config, index uint64) *Ring {
	if cfg.Size <= 0 {
		cfg.Size = DefaultSize
	}
	return &Ring{cfg: cfg, from: index, changed: make(chan struct{}), filling: make(chan struct{})}
}

// Observe appends what an entry changed; it is the store's observer.
func (r *Ring) Observe(c state.Changed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c.Replaced:
		r.entries, r.from = nil, c.After.Index()
		r.life++
	case !interesting(&c):
		return
	default:
		if len(r.entries) >= r.cfg.Size {
			r.from = r.entries[0].index
			r.entries[0] = nil
			r.entries = r.entries[1:]
		}
		r.entries = append(r.entries, &entry{index: c.After.Index(), change: c})
	}
	close(r.changed)
	r.changed = make(chan struct{})
	if r.fresh++; r.fresh >= max(1, r.cfg.Size/4) || c.Replaced {
		close(r.filling)
		r.filling, r.fresh = make(chan struct{}), 0
	}
}

// interesting reports whether any topic is about a change.
func interesting(c *state.Changed) bool {
	if len(c.Allocs) > 0 {
		return true
	}
	for _, row := range c.Rows {
		if topics[row.Table].name != "" {
			return true
		}
	}
	return false
}

// maxRead bounds how many entries a reader takes at once.
const maxRead = 64

// read returns the entries after an index, at most maxRead; with none, a
// channel that is closed when there are. gap is set when some are gone, or the
// state was replaced since the ring's life.
func (r *Ring) read(after, life uint64) (entries []*entry, wait <-chan struct{}, gap bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.from || life != r.life {
		return nil, nil, true
	}
	n := len(r.entries)
	for n > 0 && r.entries[n-1].index > after {
		n--
	}
	entries = r.entries[n:min(len(r.entries), n+maxRead)]
	return entries[:len(entries):len(entries)], r.changed, false
}

// fill is closed before more than a quarter of the ring is overwritten: who
// pauses goes on then.
func (r *Ring) fill() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.filling
}

// newest is the index from which a reader misses nothing that comes in this
// life of the ring.
func (r *Ring) newest() (index, life uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 {
		return r.entries[n-1].index, r.life
	}
	return r.from, r.life
}

// oldest is the index after which the ring is complete.
func (r *Ring) oldest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from
}

func (r *Ring) count(n int) {
	r.mu.Lock()
	r.readers += n
	r.mu.Unlock()
	r.Tell()
}

// Tell tells the measure of the readers; a nil ring has none.
func (r *Ring) Tell() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	metrics.SetGauge([]string{"nomad", "event_stream", "subscribers"}, float32(r.readers))
}

// list makes the events of an entry, the first time it is called.
func (r *Ring) list(e *entry) []*Event {
	e.once.Do(func() { e.events = r.events(&e.change) })
	return e.events
}
