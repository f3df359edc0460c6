package nomadlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// TestMeasuresAreBounded makes the measures of many jobs and children: labels
// stay few, and nothing is left out of the sums.
func TestMeasuresAreBounded(t *testing.T) {
	s, _ := startServer(t, "")
	const limit, jobs, children = 20, 30, 10
	for i := range jobs {
		s.register(testJob(fmt.Sprintf("job-%d", i), "service"))
	}
	parent := testJob("parent", "batch")
	parent.ParameterizedJob = &structs.ParameterizedJobConfig{}
	s.register(parent)
	for range children {
		if _, _, err := s.client.Jobs().Dispatch(s.context(), &api.JobDispatchRequest{JobID: "parent"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	told, series := map[string]float32{}, 0
	for _, g := range stateGauges(s.store.Snapshot(), limit) {
		key := strings.Join(g.key, ".")
		told[key] += g.value
		if g.key[0] == "job_summary" {
			series++
		}
		for _, l := range g.labels {
			if strings.Contains(l.Value, "dispatch-") {
				t.Fatalf("a child has labels of its own: %s %v", key, g.labels)
			}
		}
	}
	if series > 7*(limit+1) {
		t.Errorf("%d series of job_summary", series)
	}
	if n := told["job_status.pending"] + told["job_status.running"]; n != jobs+children+1 {
		t.Errorf("%v jobs are counted", n)
	}
	for _, name := range []string{"state.snapshotIndex", "job_status.dead", "deployment.active", "node_status.ready", "job_summary.lost", "drain.nodes", "periodic.tracked"} {
		if _, ok := told[name]; !ok {
			t.Errorf("%s is not told", name)
		}
	}
}
