package state

// Changed is everything that one entry changed.
type Changed struct {
	// Cause is what the writer of the entry set as Txn.Cause.
	Cause uint16
	// After is the state with the changes.
	After *Snapshot
	// Rows are the changed rows of all tables but the allocations', in the order
	// of the changes; a row that was written twice occurs twice.
	Rows []RowChange
	// Allocs are the numbers of the changed allocations, possibly repeated.
	Allocs []uint64
	// Replaced is set when a Restore put another state in place; nothing is
	// known then of what changed.
	Replaced bool
}

// RowChange is one write of a row. The values are shared pointers to the
// table's noun, nil before it existed or after it was removed.
type RowChange struct {
	Table         Table
	Before, After any
}

// Observe has f called after every entry, in order. f must not block and must
// not call the store. There is one observer; set it before the first entry.
func (s *Store) Observe(f func(Changed)) { s.observer = f }

// record remembers a write of a row for the observer.
func (t *Txn) record(table Table, before, after any) {
	if t.s.observer != nil {
		t.rowsChanged = append(t.rowsChanged, RowChange{table, before, after})
	}
}

// tell hands what was published to the observer.
func (t *Txn) tell(after *root) {
	if t.s.observer != nil {
		t.s.observer(Changed{Cause: t.Cause, After: &Snapshot{r: after}, Rows: t.rowsChanged, Allocs: t.allocsChanged})
	}
}
