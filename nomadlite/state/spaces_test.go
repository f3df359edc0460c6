package state

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestNamespaceIndex: the index of a namespace moves with what happens in it,
// deletions included, and with nothing else; it never goes back.
func TestNamespaceIndex(t *testing.T) {
	w := newWorld(t)
	index := func(ns string) uint64 { return w.s.Snapshot().NamespaceIndex(TableEvals, ns) }
	put := func(ns, id, status string) {
		must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{{ID: id, Namespace: ns, JobID: "j", Type: structs.JobTypeService, Status: status}}})
	}
	must(w, (*Txn).UpsertNamespaces, &NamespaceUpsert{Namespaces: []*structs.Namespace{{Name: "apps"}}})
	if index("default") != 0 || index("apps") != 0 {
		t.Errorf("%d %d in an empty state", index("default"), index("apps"))
	}
	put("default", "e1", structs.EvalStatusComplete)
	first := w.index
	put("apps", "e2", structs.EvalStatusComplete)
	if index("default") != first || index("apps") != w.index {
		t.Errorf("%d %d, want %d %d", index("default"), index("apps"), first, w.index)
	}
	must(w, (*Txn).Collect, &Collect{Evals: []string{"e1"}})
	if index("default") != w.index || index("apps") != w.index-1 {
		t.Errorf("after a deletion: %d %d at %d", index("default"), index("apps"), w.index)
	}

	saved := new(bytes.Buffer)
	if err := w.s.Snapshot().Save(saved); err != nil {
		t.Fatal(err)
	}
	restored := New(Options{})
	if err := restored.Restore(bytes.NewReader(saved.Bytes())); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"default", "apps", "none"} {
		if got, want := restored.Snapshot().NamespaceIndex(TableEvals, ns), index(ns); got != want {
			t.Errorf("namespace %q: restored as %d, want %d", ns, got, want)
		}
	}

	before := index("apps")
	must(w, (*Txn).DeleteNamespaces, &NamespaceDelete{Names: []string{"apps"}})
	if index("apps") < before {
		t.Errorf("the index went back from %d to %d", before, index("apps"))
	}
}

// TestNamespaceIndexOfFormat2: a state that was saved without changes by
// namespace tells those of its tables.
func TestNamespaceIndexOfFormat2(t *testing.T) {
	w := newWorld(t)
	must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{{ID: "e1", Namespace: "default", JobID: "j", Type: structs.JobTypeService, Status: structs.EvalStatusComplete}}})
	snap := w.s.Snapshot()
	meta := snap.meta()
	meta.Spaces = nil
	payload, err := Encode(meta)
	if err != nil {
		t.Fatal(err)
	}
	saved := new(bytes.Buffer)
	if err := snap.Save(saved); err != nil {
		t.Fatal(err)
	}
	old := saved.Bytes()
	length := binary.LittleEndian.Uint32(old[13:])
	rest := old[12+5+length+4:]
	frame := binary.LittleEndian.AppendUint32([]byte{frameMeta}, uint32(len(payload)))
	frame = append(frame, payload...)
	frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(frame, castagnoli))
	binary.LittleEndian.PutUint16(old[8:], 2)
	in := bytes.NewReader(append(append(append([]byte{}, old[:12]...), frame...), rest...))

	restored := New(Options{})
	if err := restored.Restore(in); err != nil {
		t.Fatal(err)
	}
	got := restored.Snapshot()
	if index := got.NamespaceIndex(TableEvals, "default"); index != snap.TableIndex(TableEvals) || index == 0 {
		t.Errorf("the namespace's index is %d, the table's %d", index, snap.TableIndex(TableEvals))
	}
}
