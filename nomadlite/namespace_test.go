package nomadlite

import (
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// TestNamespaceIsolation: two jobs of one name in two namespaces; every list
// shows its own, "*" shows both, and what happens in one does not move the
// index of the other.
func TestNamespaceIsolation(t *testing.T) {
	s, _ := startServer(t, "")
	ctx := s.context()
	c := newCrowd(s, 1)
	for _, name := range []string{"one", "two"} {
		if _, err := s.client.Namespaces().Set(ctx, &structs.Namespace{Name: name}, nil); err != nil {
			t.Fatal(err)
		}
		job := rolling("1", 1, &structs.UpdateStrategy{MaxParallel: structs.Ptr(1)})
		job.Namespace = name
		s.register(job)
		v := &structs.Variable{VariableMetadata: structs.VariableMetadata{Namespace: name, Path: "a/b"}, Items: map[string]string{"k": "v"}}
		if _, _, err := s.client.Variables().Set(ctx, v, nil, &api.WriteOptions{Namespace: name}); err != nil {
			t.Fatal(err)
		}
	}
	c.until("placed", func() bool { return c.running("web", -1) == 2 })
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); c.sync() {
		if d := s.store.Snapshot().LatestDeployment("two", "web"); d != nil && d.Status == structs.DeploymentStatusSuccessful {
			break
		}
	}
	lists := []string{"/v1/jobs", "/v1/jobs/statuses", "/v1/allocations", "/v1/evaluations", "/v1/deployments", "/v1/vars",
		"/v1/job/web/allocations", "/v1/job/web/evaluations", "/v1/job/web/deployments"}
	indexes := map[string]uint64{}
	for _, path := range lists {
		for _, ns := range []string{"one", "two", "*"} {
			if ns == "*" && strings.HasPrefix(path, "/v1/job/") {
				continue
			}
			var rows []struct{ Namespace string }
			meta, err := s.client.Get(ctx, path, &rows, &api.QueryOptions{Namespace: ns})
			if err != nil || len(rows) == 0 {
				t.Fatalf("%s in %s: %d rows, %v", path, ns, len(rows), err)
			}
			seen := map[string]bool{}
			for _, r := range rows {
				seen[r.Namespace] = true
			}
			if ns == "*" && (!seen["one"] || !seen["two"]) || ns != "*" && (!seen[ns] || len(seen) != 1) {
				t.Errorf("%s in %s shows %v", path, ns, seen)
			}
			if ns == "one" {
				indexes[path] = meta.LastIndex
			}
		}
	}
	job := rolling("2", 1, &structs.UpdateStrategy{MaxParallel: structs.Ptr(1)})
	job.Namespace = "two"
	s.register(job)
	c.until("updated", func() bool { return s.store.Snapshot().Job("two", "web").Version == 1 && c.running("web", -1) == 2 })
	for _, path := range lists {
		var rows []any
		meta, err := s.client.Get(ctx, path, &rows, &api.QueryOptions{Namespace: "one", WaitIndex: indexes[path], WaitTime: time.Millisecond})
		if err != nil || meta.LastIndex != indexes[path] {
			t.Errorf("%s of one moved from index %d to %d by what happened in two, %v", path, indexes[path], meta.LastIndex, err)
		}
	}
}

// TestNamespaceLimits holds jobs to drivers, network modes and node pools.
func TestNamespaceLimits(t *testing.T) {
	s, _ := startServer(t, "")
	ctx := s.context()
	if _, err := s.client.NodePools().Set(ctx, &structs.NodePool{Name: "big"}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.client.Namespaces().Set(ctx, &structs.Namespace{Name: "tight",
		Capabilities:          &structs.NamespaceCapabilities{DisabledTaskDrivers: []string{"raw_exec"}, EnabledNetworkModes: []string{"bridge", "host"}},
		NodePoolConfiguration: &structs.NamespaceNodePoolConfiguration{Denied: []string{"b*"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*structs.Job)
		want   string
	}{
		"fits":    {func(*structs.Job) {}, ""},
		"driver":  {func(j *structs.Job) { j.TaskGroups[0].Tasks[0].Driver = "raw_exec" }, `uses driver "raw_exec", which namespace "tight" does not allow`},
		"network": {func(j *structs.Job) { j.TaskGroups[0].Networks = []*structs.NetworkResource{{Mode: "none"}} }, `uses network mode "none"`},
		"pool":    {func(j *structs.Job) { j.NodePool = "big" }, `does not allow jobs to use node pool "big"`},
		"no pool": {func(j *structs.Job) { j.NodePool = "small" }, `which does not exist`},
	} {
		job := testJob("web", structs.JobTypeService)
		job.Namespace = "tight"
		tt.change(job)
		_, _, planErr := s.client.Jobs().Plan(ctx, &api.JobPlanRequest{Job: job.Copy()}, nil)
		_, _, err := s.client.Jobs().Register(ctx, &api.JobRegisterRequest{Job: job}, nil)
		for _, got := range []error{planErr, err} {
			if (got == nil) != (tt.want == "") || got != nil && !strings.Contains(got.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, got, tt.want)
			}
		}
	}
	bad := &structs.Namespace{Name: "bad", NodePoolConfiguration: &structs.NamespaceNodePoolConfiguration{Default: "big", Denied: []string{"b*"}}}
	if _, err := s.client.Namespaces().Set(ctx, bad, nil); err == nil || !strings.Contains(err.Error(), "does not allow its own default") {
		t.Errorf("a default that is denied: %v", err)
	}
}
