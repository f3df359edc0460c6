package alloctable

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// BenchmarkAddBatch adds the batch of a new job in an entry of its own, to a
// table that has 50,000 of them.
func BenchmarkAddBatch(b *testing.B) {
	const there = 50_000
	t := New([16]byte{1})
	add := func(i int) {
		e := t.Edit(uint64(i + 1))
		e.AddBatch(Batch{Job: &structs.Job{Namespace: "default", ID: fmt.Sprint("job-", i)}, Group: "a", Resources: testResources(1),
			EvalID: scattered("eval", i), DeploymentID: scattered("deployment", i), CreateIndex: uint64(i)})
		t = e.Done()
	}
	for i := range there {
		add(i)
	}
	b.ReportAllocs()
	for n := there; b.Loop(); n++ {
		add(n)
	}
}

// scattered is an id that sorts anywhere, as UUIDs do.
func scattered(of string, i int) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, of, i)))[:36]
}
