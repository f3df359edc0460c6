package fsm

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

func testResources() *structs.AllocatedResources {
	return &structs.AllocatedResources{Tasks: map[string]*structs.AllocatedTaskResources{
		"main": {Cpu: structs.AllocatedCpuResources{CpuShares: 100}, Memory: structs.AllocatedMemoryResources{MemoryMB: 64}},
	}}
}

func drawID(r *rapid.T) string {
	if rapid.Bool().Draw(r, "uuid") {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "raw")
		return formatUUID(raw)
	}
	return rapid.SampledFrom([]string{"", "e1", "ABCDEF00-0000-0000-0000-000000000000", "not-a-uuid"}).Draw(r, "id")
}

func drawPlacements(r *rapid.T) []structs.Placement {
	list := make([]structs.Placement, rapid.IntRange(0, 40).Draw(r, "placements"))
	for i := range list {
		p := structs.Placement{Node: uint32(rapid.IntRange(0, 3).Draw(r, "node")), NameIndex: uint32(i)}
		switch rapid.IntRange(0, 9).Draw(r, "kind") {
		case 0:
			p.Node, p.NameIndex = rapid.Uint32().Draw(r, "any node"), rapid.Uint32().Draw(r, "any name")
		case 1:
			p.Canary = true
		case 2:
			p.PreviousAlloc = formatUUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "previous"))
		case 3:
			p.Extra = &structs.PlacementExtra{Ports: []structs.PortMapping{{Label: "http", Value: 20000 + i, HostIP: "10.0.0.1"}}, Cores: map[string][]uint16{"main": {1, 2}}}
		}
		list[i] = p
	}
	return list
}

func drawPlan(r *rapid.T) *structs.Plan {
	p := &structs.Plan{
		Epoch: rapid.Uint64().Draw(r, "epoch"), EvalID: drawID(r), Namespace: "default", JobID: "job", JobVersion: 3,
		JobModifyIndex: 12, SnapshotIndex: 99, AllAtOnce: rapid.Bool().Draw(r, "all"), Now: rapid.Int64().Draw(r, "now"),
	}
	for range rapid.IntRange(0, 3).Draw(r, "groups") {
		p.Groups = append(p.Groups, &structs.PlanGroup{Group: "web", DeploymentID: drawID(r), Older: rapid.SampledFrom([]uint64{0, 0, 1, 3}).Draw(r, "older"), Resources: testResources(),
			Metrics: &structs.AllocMetric{NodesEvaluated: 4, NodesAvailable: map[string]int{"dc1": 4}}, Placements: drawPlacements(r)})
	}
	shared := testResources()
	for range rapid.IntRange(0, 5).Draw(r, "changes") {
		p.Stops = append(p.Stops, structs.AllocStop{AllocID: drawID(r), DesiredStatus: "stop",
			DesiredDescription: rapid.SampledFrom([]string{"", "not needed"}).Draw(r, "why"), FollowupEvalID: drawID(r)})
		p.InPlace = append(p.InPlace, structs.AllocInPlace{AllocID: drawID(r), JobVersion: 3, DeploymentID: drawID(r),
			Resources: rapid.SampledFrom([]*structs.AllocatedResources{nil, shared}).Draw(r, "resources")})
		p.Preemptions = append(p.Preemptions, structs.AllocPreemption{AllocID: drawID(r), Group: "web", NameIndex: 5})
	}
	if rapid.Bool().Draw(r, "outcome") {
		p.Deployment = &structs.Deployment{ID: "d", TaskGroups: map[string]*structs.DeploymentState{"web": {DesiredTotal: 3}}}
		p.DeploymentUpdates = []*structs.DeploymentStatusUpdate{{DeploymentID: "d0", Status: structs.DeploymentStatusCancelled}}
		p.Eval = &structs.Evaluation{ID: p.EvalID, Status: structs.EvalStatusComplete, QueuedAllocations: map[string]int{"web": 0}}
		p.NewEvals = []*structs.Evaluation{{ID: "blocked", Status: structs.EvalStatusBlocked}}
	}
	return p
}

// TestPlanRoundTrip proves that a plan survives its encoding, and that equal
// plans are equal bytes.
func TestPlanRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := drawPlan(r)
		b, err := encodePlan(p)
		if err != nil {
			r.Fatal(err)
		}
		got, err := decodePlan(b)
		if err != nil {
			r.Fatal(err)
		}
		for _, g := range append(p.Groups, got.Groups...) {
			if len(g.Placements) == 0 {
				g.Placements = nil
			}
		}
		if d := cmp.Diff(p, got); d != "" {
			r.Fatalf("(-want +got):\n%s", d)
		}
		again, err := encodePlan(got)
		if err != nil || !bytes.Equal(b, again) {
			r.Fatalf("encoded again it differs (%v)", err)
		}
		if len(b) > 0 {
			cut := rapid.IntRange(0, len(b)-1).Draw(r, "cut")
			if _, err := decodePlan(b[:cut]); err == nil {
				r.Fatalf("a plan cut at %d of %d bytes was read", cut, len(b))
			}
		}
	})
}

// TestPlanOfOlderIsStrict: a plan that says that a group is of an older version
// has one; equal plans are equal bytes.
func TestPlanOfOlderIsStrict(t *testing.T) {
	b, err := encodePlan(&structs.Plan{EvalID: "e", Groups: []*structs.PlanGroup{{Group: "web", Older: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] = 0
	if p, err := decodePlan(b); err == nil {
		t.Errorf("a list of older versions without any was read: %+v", p.Groups[0])
	}
}

// TestPlanSize holds the size of the common cases.
func TestPlanSize(t *testing.T) {
	size := func(node func(i int) int) float64 {
		list := make([]structs.Placement, 1000)
		for i := range list {
			list[i] = structs.Placement{Node: uint32(node(i)), NameIndex: uint32(i)}
		}
		with, _ := encodePlan(&structs.Plan{Groups: []*structs.PlanGroup{{Placements: list}}})
		without, _ := encodePlan(&structs.Plan{Groups: []*structs.PlanGroup{{}}})
		return float64(len(with)-len(without)) / float64(len(list))
	}
	for _, c := range []struct {
		name string
		node func(int) int
		most float64
	}{
		{"40 on each of 25 nodes", func(i int) int { return i / 40 }, 0.2},
		{"1,000 nodes of 10,000 in order", func(i int) int { return i * 10 }, 1.1},
		{"1,000 nodes of 10,000 in no order", func(i int) int { return i * 7919 % 10_000 }, 3},
	} {
		if got := size(c.node); got > c.most {
			t.Errorf("%s: %.2f bytes a placement, want at most %.1f", c.name, got, c.most)
		}
	}
}
