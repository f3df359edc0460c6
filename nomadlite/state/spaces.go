package state

import (
	"github.com/tidwall/btree"

	"github.com/nomadlite/nomadlite/structs"
)

// space is the last change of a table in one namespace, deletions included. All
// of them are in one small tree, so that the index of a list of a namespace
// costs one look, however long the list is.
type space struct {
	table     Table
	namespace string
	changed   uint64
}

func newSpaces() *btree.BTreeG[space] {
	return btree.NewBTreeGOptions(func(a, b space) bool {
		return a.table < b.table || a.table == b.table && a.namespace < b.namespace
	}, btree.Options{NoLocks: true, Degree: degree})
}

// NamespaceIndex is the index of the last change of a table in a namespace, a
// deletion included. What happens in other namespaces does not move it. Of a
// namespace in which nothing happened it is the index at which one was deleted
// last, which may have had the name: the index never goes back.
func (s *Snapshot) NamespaceIndex(t Table, namespace string) uint64 {
	if at, ok := s.r.spaces.Get(space{table: t, namespace: namespace}); ok {
		return at.changed
	}
	return namespaces.deletedIndex(s.r)
}

// advance notes a change of a table in a namespace.
func (t *Txn) advance(table Table, namespace string) {
	if t.lastSpace.table == table && t.lastSpace.namespace == namespace && t.lastSpace.changed == t.index {
		return
	}
	t.ownSpaces()
	t.lastSpace = space{table, namespace, t.index}
	t.root.spaces.Set(t.lastSpace)
}

// forgetSpace drops what is known of a namespace that is deleted.
func (t *Txn) forgetSpace(namespace string) {
	t.ownSpaces()
	for table := range tableCount {
		t.root.spaces.Delete(space{table: table, namespace: namespace})
	}
	t.lastSpace = space{}
}

func (t *Txn) ownSpaces() {
	if !t.spacesOwned {
		t.root.spaces, t.spacesOwned = t.root.spaces.Copy(), true
	}
}

// savedSpace is a space as it is saved.
type savedSpace struct {
	Table     string
	Namespace string
	Changed   uint64
}

// allocsName is what saved spaces call the columnar table.
const allocsName = "allocations"

func nameOf(t Table) string {
	if t == TableAllocs {
		return allocsName
	}
	return tables[t].tableName()
}

func (r *root) savedSpaces() (out []savedSpace) {
	r.spaces.Scan(func(s space) bool {
		out = append(out, savedSpace{nameOf(s.table), s.namespace, s.changed})
		return true
	})
	return out
}

// loadSpaces takes the saved spaces.
func (r *root) loadSpaces(saved []savedSpace) error {
	for _, s := range saved {
		id := TableAllocs
		if s.Table != allocsName {
			t := tableNamed(s.Table)
			if t == nil {
				return broken("a change of the unknown table %q; use a newer build", s.Table)
			}
			id = t.tableID()
		}
		r.spaces.Set(space{id, s.Namespace, s.Changed})
	}
	return nil
}

// guessSpaces is for states that were saved without spaces: every namespace may
// have changed when its table did.
func (r *root) guessSpaces() {
	namespaces.rows(r).primary.Scan(func(e entry[structs.Namespace]) bool {
		for id := range tableCount {
			r.spaces.Set(space{id, e.key, r.changed[id]})
		}
		return true
	})
}
