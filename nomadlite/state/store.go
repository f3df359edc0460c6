package state

import (
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
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

	observer func(Changed) // nil for none, set before the first entry

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
	keyed   bool // the key of allocation ids is set
	// changed is the index of the last change by table, deletions included.
	changed [tableCount]uint64
	tables  [tableCount]any
	// spaces is the same by table and namespace.
	spaces *btree.BTreeG[space]

	allocs        *alloctable.Table
	allocsDeleted uint64
	// changes are appended to in place, beyond the length that older roots
	// know; they are complete after the index changesFrom.
	changes     []NodeChange
	changesFrom uint64
	// evalChanges and evalChangesFrom are the same of evaluations.
	evalChanges     []EvalChange
	evalChangesFrom uint64
}

func newRoot(opts Options) *root {
	r := &root{spaces: newSpaces(), allocs: alloctable.New(opts.AllocKey), keyed: opts.AllocKey != [16]byte{}}
	for i, t := range tables {
		if t != nil {
			r.tables[i] = t.empty()
		}
	}
	return r
}

// New returns a store with what always exists: the default namespace and the
// node pools "all" and "default".
func New(opts Options) *Store {
	s := &Store{opts: opts, hub: newHub(), replaced: make(chan struct{})}
	s.root.Store(newRoot(opts))
	t := s.Begin(0)
	namespaces.set(t, &structs.Namespace{Name: structs.DefaultNamespace, Description: "Default shared namespace"})
	nodePools.set(t, &structs.NodePool{Name: structs.NodePoolAll, Description: "Node pool with all nodes in the cluster."})
	nodePools.set(t, &structs.NodePool{Name: structs.NodePoolDefault, Description: "Default node pool."})
	t.Commit()
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
