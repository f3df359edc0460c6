package fsm

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

func drawReports(r *rapid.T) *state.AllocUpdates {
	c := &state.AllocUpdates{}
	for range rapid.IntRange(0, 3).Draw(r, "nodes") {
		n := &state.AllocUpdate{NodeID: drawID(r), Now: rapid.Int64().Draw(r, "now")}
		for range rapid.IntRange(0, 12).Draw(r, "updates") {
			u := &structs.AllocUpdate{AllocID: formatUUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "id")), Revision: rapid.Uint64().Draw(r, "revision"),
				ClientStatus: rapid.SampledFrom([]string{"running", "failed"}).Draw(r, "status")}
			switch rapid.IntRange(0, 4).Draw(r, "kind") {
			case 0:
				u.ClientDescription = rapid.SampledFrom([]string{"so", "because"}).Draw(r, "description")
			case 1:
				u.NetworkStatus = &structs.AllocNetworkStatus{Address: "10.0.0.1"}
			case 2:
				u.DeploymentID, u.DeploymentHealthy, u.DeploymentTime = drawID(r), structs.Ptr(rapid.Bool().Draw(r, "healthy")), rapid.Int64().Draw(r, "at")
			}
			if rapid.Bool().Draw(r, "tasks") {
				at := time.Unix(0, rapid.Int64().Draw(r, "began")).UTC()
				u.TaskStates = map[string]*structs.TaskState{"main": {State: "running", StartedAt: &at, Restarts: uint64(rapid.IntRange(0, 1).Draw(r, "restarts")),
					Events: []*structs.TaskEvent{{Type: "Started", Time: at.UnixNano(), Details: map[string]string{"k": "v"}}}}, "side": {State: "pending"}}
			}
			n.Updates = append(n.Updates, u)
		}
		if rapid.Bool().Draw(r, "evals") {
			n.Evals = []*structs.Evaluation{{ID: "e", Status: structs.EvalStatusPending}}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// TestReportsRoundTrip proves that what nodes report survives its encoding,
// cut short or not.
func TestReportsRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawReports(r).Reports()
		b, err := encodeReports(want)
		if err != nil {
			r.Fatal(err)
		}
		got, err := decodeReports(b)
		if err != nil {
			r.Fatal(err)
		}
		same := cmp.Comparer(func(a, b alloctable.Tasks) bool {
			return a.Set() == b.Set() && (!a.Set() || a.Shape() == b.Shape() && a.Times() == b.Times())
		})
		if d := cmp.Diff(want, got, same); d != "" {
			r.Fatalf("(-want +got):\n%s", d)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(r, "cut")
		if _, err := decodeReports(b[:cut]); err == nil {
			r.Fatalf("reports cut at %d of %d bytes were read", cut, len(b))
		}
	})
}

// TestReportSize holds the size of the common case: many allocations of one job
// began to run.
func TestReportSize(t *testing.T) {
	const count = 1000
	c, now := &state.AllocUpdates{}, time.Now()
	for i := range count {
		at := now.Add(time.Duration(i) * time.Millisecond)
		n := &state.AllocUpdate{NodeID: fmt.Sprintf("00000000-0000-0000-0000-%012x", i/10), Now: at.UnixNano()}
		if i%10 > 0 {
			n = c.Nodes[len(c.Nodes)-1]
		} else {
			c.Nodes = append(c.Nodes, n)
		}
		n.Updates = append(n.Updates, &structs.AllocUpdate{AllocID: fmt.Sprintf("00000000-0000-0000-0000-%012x", i), Revision: uint64(at.UnixNano()), ClientStatus: "running",
			TaskStates:        map[string]*structs.TaskState{"main": {State: "running", StartedAt: &at}},
			DeploymentHealthy: structs.Ptr(true), DeploymentID: "00000000-0000-0000-0000-000000000001", DeploymentTime: at.UnixNano()})
	}
	b, err := encodeReports(c.Reports())
	if err != nil || len(b) > 45*count {
		t.Errorf("%d reports take %d bytes (%v)", count, len(b), err)
	}
}

func BenchmarkReports(b *testing.B) {
	c, now := &state.AllocUpdates{}, time.Now()
	n := &state.AllocUpdate{NodeID: "00000000-0000-0000-0000-000000000001", Now: now.UnixNano()}
	c.Nodes = append(c.Nodes, n)
	for i := range 1000 {
		n.Updates = append(n.Updates, &structs.AllocUpdate{AllocID: fmt.Sprintf("00000000-0000-0000-0000-%012x", i), Revision: uint64(now.UnixNano()), ClientStatus: "running",
			TaskStates: map[string]*structs.TaskState{"main": {State: "running", StartedAt: &now}}})
	}
	b.ReportAllocs()
	for i := 0; i < b.N; i += 1000 {
		body, err := encodeReports(c.Reports())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := decodeReports(body); err != nil {
			b.Fatal(err)
		}
	}
}
