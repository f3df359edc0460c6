package state

import (
	"sync"
	"sync/atomic"
)

// Options configures a Store.
type Options struct {
	// AllocKey is the AES key of allocation ids when it is known from the
	// start, in tests and simulations. Otherwise the first Epoch brings it.
	AllocKey [16]byte
}

// Store is the state of a region. One goroutine, the state machine's, writes;
// any number read snapshots.
type Store struct {
	opts Options
	hub  *hub
	root atomic.Pointer[root]

	writer sync.Mutex // held from Begin to Commit or Abort, and by Restore
	txns   uint64     // counts transactions, guarded by writer

	mu       sync.Mutex
	replaced chan struct{} // guarded by mu
}

// root is one version of everything. A published root never changes.
type root struct {
	index   uint64
	epoch   uint64
	cluster string
	// changed is the index of the last change by table, deletions included.
	changed [tableCount]uint64
	tables  [tableCount]any
}

// New returns a store with what always exists: the default namespace and the
// node pools "all" and "default".
func New(opts Options) *Store {
	s := &Store{opts: opts, hub: newHub(), replaced: make(chan struct{})}
	s.root.Store(newRoot(opts))
	return s
}

// Snapshot returns the newest committed state, at the cost of one load. It is
// immutable and may be kept as long as it is useful.
func (s *Store) Snapshot() *Snapshot { return &Snapshot{r: s.root.Load()} }

// Replaced returns a channel that is closed when Restore replaces the state;
// whatever was derived from it must then be built again.
func (s *Store) Replaced() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}
