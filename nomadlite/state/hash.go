package state

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Hash sums the content of the state, never its layout: servers that applied
// the same entries have the same hash, restored from a snapshot or not. It
// reads everything.
func (s *Snapshot) Hash() [32]byte {
	h := sha256.New()
	m := s.meta()
	for _, n := range []uint64{m.Index, m.Epoch, m.AllocsDeleted, m.AllocsChanged} {
		hashNumber(h, n)
	}
	h.Write([]byte(m.Cluster))
	for _, sp := range m.Spaces {
		h.Write([]byte(sp.Table + sep + sp.Namespace + sep))
		hashNumber(h, sp.Changed)
	}
	for _, t := range tables {
		if t == nil {
			continue
		}
		h.Write([]byte(t.tableName()))
		hashNumber(h, s.r.changed[t.tableID()])
		hashNumber(h, t.deletedIndex(s.r))
		if err := t.save(s.r, func(row []byte) error { h.Write(row); return nil }); err != nil {
			panic("state: a stored row cannot be encoded: " + err.Error())
		}
	}
	s.hashAllocs(h)
	return [32]byte(h.Sum(nil))
}

func hashNumber(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

func (s *Snapshot) hashAllocs(h hash.Hash) {
	t := s.r.allocs
	hashNumber(h, t.Numbers())
	for i := range t.NodeCount() {
		n := t.NodeOf(i)
		changed, collected := t.NodeSync(i)
		h.Write([]byte(n.ID + sep + n.Name + sep))
		hashNumber(h, changed)
		hashNumber(h, collected)
	}
	for r := range t.Rows() {
		a := t.Alloc(&r)
		hashNumber(h, r.Number)
		hashNumber(h, r.Revision())
		hashNumber(h, a.Job.Version)
		hashNumber(h, a.Job.CreateIndex)
		a.Job = nil
		b, err := Encode(a)
		if err != nil {
			panic("state: an allocation cannot be encoded: " + err.Error())
		}
		h.Write(b)
	}
}
