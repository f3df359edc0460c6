package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/nomadlite/nomadlite/structs"
)

// TestPackedAllocs: what allocations share travels once, and arrives at each.
func TestPackedAllocs(t *testing.T) {
	a, b := &structs.Job{ID: "a"}, &structs.Job{ID: "b"}
	shared := &structs.AllocatedResources{Shared: structs.AllocatedSharedResources{DiskMB: 10}}
	r := &NodeAllocsResponse{Index: 7, Full: true, Removed: []string{"x"}, Allocs: []*structs.Allocation{
		{ID: "1", Job: a, AllocatedResources: shared, Metrics: &structs.AllocMetric{}}, {ID: "2", Job: b, AllocatedResources: shared}, {ID: "3", Job: a}, {ID: "4"},
	}}
	raw, err := encodeBinary(r.Pack())
	if err != nil {
		t.Fatal(err)
	}
	p := new(PackedAllocs)
	if err := codec.NewDecoderBytes(raw, handle).Decode(p); err != nil {
		t.Fatal(err)
	}
	if len(p.Jobs) != 2 || len(p.Resources) != 1 {
		t.Errorf("%d job versions and %d resources travelled", len(p.Jobs), len(p.Resources))
	}
	got, err := p.Unpack()
	if err != nil {
		t.Fatal(err)
	}
	if got.Allocs[0].Job != got.Allocs[2].Job {
		t.Error("a job version arrived twice")
	}
	r.Allocs[0].Metrics = nil
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	p.JobOf[1] = 9
	if _, err := p.Unpack(); err == nil {
		t.Error("a job that was not sent was found")
	}
}
