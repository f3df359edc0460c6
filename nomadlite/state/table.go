package state

import (
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// A table is declared once: its noun, key, indexes and what to wake. Reading,
// writing, saving, restoring and hashing are generic over that declaration, so
// a table that is forgotten by one of them cannot exist.

// sep separates the parts of composite keys; it cannot occur in names or ids.
const sep = "\x00"

func joinKey(parts ...string) string { return strings.Join(parts, sep) }

// orderKey makes numbers sort as strings.
func orderKey(n uint64) string { return fmt.Sprintf("%016x", n) }

// versionKey is the key of a job version; versions sort by number.
func versionKey(ns, id string, version uint64) string {
	return joinKey(ns, id, orderKey(version))
}

// rows is one version of a table's content. Published rows are never changed.
type rows[V any] struct {
	primary *btree.BTreeG[entry[V]]
	indexes []*btree.BTreeG[indexEntry]
	deleted uint64 // index of the last deletion
}

type entry[V any] struct {
	key string
	val *V
}

type indexEntry struct{ key, primary string }

func indexLess(a, b indexEntry) bool {
	return a.key < b.key || a.key == b.key && a.primary < b.primary
}

// index is a secondary index: of gives the key under which a row is found, ""
// for rows that it does not hold.
type index[V any] struct {
	name string
	of   func(*V) string
}

// table is the declaration of a table. Its rows in a root are found by id.
type table[V any] struct {
	id      Table
	name    string
	key     func(*V) string
	indexes []index[V]
	space   func(*V) string // the namespace of the row; nil for tables without
	dirty   func(*V) []Key  // woken by a change of the row, beside the table
	note    func(*Txn, *V)  // what else a change of the row is told to, or nil
}

// erased is a table without its type, for the loops over all of them.
type erased interface {
	tableID() Table
	tableName() string
	empty() any
	save(r *root, put func([]byte) error) error
	load(rows any, value []byte) error
	deletedIndex(r *root) uint64
	setDeleted(rows any, index uint64)
	count(rows any) int
}

var tables [tableCount]erased

// declare registers a table; it is called from tables.go alone.
func declare[V any](t table[V]) *table[V] {
	if tables[t.id] != nil {
		panic("table " + t.name + " declared twice")
	}
	tables[t.id] = &t
	return &t
}

// degree of the trees: a write copies a path of nodes, which are small so that
// this costs 2 KB rather than 5.
const degree = 8

func (t *table[V]) tableID() Table    { return t.id }
func (t *table[V]) tableName() string { return t.name }

func (t *table[V]) empty() any {
	opts := btree.Options{NoLocks: true, Degree: degree}
	rs := &rows[V]{primary: btree.NewBTreeGOptions(func(a, b entry[V]) bool { return a.key < b.key }, opts)}
	for range t.indexes {
		rs.indexes = append(rs.indexes, btree.NewBTreeGOptions(indexLess, opts))
	}
	return rs
}

func (t *table[V]) rows(r *root) *rows[V] { return r.tables[t.id].(*rows[V]) }

func (rs *rows[V]) copy() *rows[V] {
	c := &rows[V]{primary: rs.primary.Copy(), deleted: rs.deleted}
	for _, ix := range rs.indexes {
		c.indexes = append(c.indexes, ix.Copy())
	}
	return c
}

// get returns the row with the key, or nil.
func (t *table[V]) get(r *root, key string) *V {
	e, _ := t.rows(r).primary.Get(entry[V]{key: key})
	return e.val
}

// prefix yields the rows whose key begins with p, in key order.
func (t *table[V]) prefix(r *root, p string) iter.Seq[*V] {
	return func(yield func(*V) bool) {
		t.rows(r).primary.Ascend(entry[V]{key: p}, func(e entry[V]) bool {
			return strings.HasPrefix(e.key, p) && yield(e.val)
		})
	}
}

// by yields the rows found under key in the named index, in order of the rest
// of the index key and then of the primary key. A key that ends in sep matches
// whole parts; "" yields the index as a whole.
func (t *table[V]) by(r *root, name, key string) iter.Seq[*V] {
	rs := t.rows(r)
	for i, ix := range t.indexes {
		if ix.name == name {
			return func(yield func(*V) bool) {
				rs.indexes[i].Ascend(indexEntry{key: key}, func(e indexEntry) bool {
					return strings.HasPrefix(e.key, key) && yield(t.get(r, e.primary))
				})
			}
		}
	}
	panic("table " + t.name + " has no index " + name)
}

// set writes a row inside a transaction.
func (t *table[V]) set(x *Txn, v *V) {
	rs := t.own(x)
	key := t.key(v)
	old, had := rs.primary.Set(entry[V]{key: key, val: v})
	for i, ix := range t.indexes {
		now, was := ix.of(v), ""
		if had {
			was = ix.of(old.val)
		}
		if now == was {
			continue
		}
		if was != "" {
			rs.indexes[i].Delete(indexEntry{was, key})
		}
		if now != "" {
			rs.indexes[i].Set(indexEntry{now, key})
		}
	}
	if had {
		x.record(t.id, old.val, v)
	} else {
		x.record(t.id, nil, v)
	}
	t.touch(x, v)
}

// remove deletes a row inside a transaction and returns it, nil when there was
// none.
func (t *table[V]) remove(x *Txn, key string) *V {
	if t.get(x.root, key) == nil {
		return nil
	}
	rs := t.own(x)
	old, _ := rs.primary.Delete(entry[V]{key: key})
	for i, ix := range t.indexes {
		if was := ix.of(old.val); was != "" {
			rs.indexes[i].Delete(indexEntry{was, key})
		}
	}
	rs.deleted = x.index
	x.record(t.id, old.val, nil)
	t.touch(x, old.val)
	return old.val
}

func (t *table[V]) touch(x *Txn, v *V) {
	x.root.changed[t.id] = x.index
	x.mark(Key{kind: kindTable, table: t.id})
	if t.space != nil {
		x.advance(t.id, t.space(v))
	}
	if t.dirty != nil {
		for _, k := range t.dirty(v) {
			x.mark(k)
		}
	}
	if t.note != nil {
		t.note(x, v)
	}
}

// own returns rows that the transaction may change.
func (t *table[V]) own(x *Txn) *rows[V] {
	if !x.owned[t.id] {
		x.root.tables[t.id] = t.rows(x.root).copy()
		x.owned[t.id] = true
	}
	return t.rows(x.root)
}

func (t *table[V]) deletedIndex(r *root) uint64 { return t.rows(r).deleted }

func (t *table[V]) setDeleted(to any, index uint64) { to.(*rows[V]).deleted = index }

func (t *table[V]) count(of any) int { return of.(*rows[V]).primary.Len() }

// save passes every row, encoded, in key order. put must not keep the bytes.
func (t *table[V]) save(r *root, put func([]byte) error) error {
	var b []byte
	var err error
	t.rows(r).primary.Scan(func(e entry[V]) bool {
		if b, err = Append(b[:0], e.val); err == nil {
			err = put(b)
		}
		return err == nil
	})
	return err
}

// load adds a saved row to rows that are being restored.
func (t *table[V]) load(to any, value []byte) error {
	v := new(V)
	if err := Decode(value, v); err != nil {
		return err
	}
	rs := to.(*rows[V])
	key := t.key(v)
	rs.primary.Set(entry[V]{key: key, val: v})
	for i, ix := range t.indexes {
		if k := ix.of(v); k != "" {
			rs.indexes[i].Set(indexEntry{k, key})
		}
	}
	return nil
}
