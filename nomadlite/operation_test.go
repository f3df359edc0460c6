package nomadlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

func (s *testServer) register(job *structs.Job) *api.JobRegisterResponse {
	s.t.Helper()
	out, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: job}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// fails checks the whole text of an answer that is an error.
func fails(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != "Unexpected response code: "+want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

func TestRegisterRules(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	put := func(req *api.JobRegisterRequest) error {
		_, _, err := jobs.Register(ctx, req, nil)
		return err
	}
	fails(t, "no job", put(&api.JobRegisterRequest{}), "400 (Job must be specified)")
	fails(t, "no id", put(&api.JobRegisterRequest{Job: &structs.Job{}}), "400 (Job ID hasn't been provided)")
	fails(t, "priority", put(&api.JobRegisterRequest{Job: testJob("a", "service"), EvalPriority: 101}), "400 (Eval priority must be between 1 and 100 inclusively)")
	fails(t, "index", put(&api.JobRegisterRequest{Job: testJob("a", "service"), EnforceIndex: true, JobModifyIndex: 7}), "500 (Enforcing job modify index 7: job does not exist)")
	region := testJob("a", "service")
	region.Region = "mars"
	fails(t, "region", put(&api.JobRegisterRequest{Job: region}), "500 (No path to region)")
	empty := put(&api.JobRegisterRequest{Job: &structs.Job{ID: "empty"}})
	if empty == nil || !strings.Contains(empty.Error(), "500 (") || !strings.Contains(empty.Error(), "Missing job task groups") || !strings.HasSuffix(empty.Error(), "\n\n)") {
		t.Errorf("an empty job: %v", empty)
	}
	nowhere := testJob("a", "service")
	nowhere.Namespace = "nowhere"
	if err := put(&api.JobRegisterRequest{Job: nowhere}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("unknown namespace: %v", err)
	}

	unknown := testJob("a", "service")
	unknown.Meta = map[string]string{"scheduler_algorithm": "magic"}
	fails(t, "unknown algorithm", put(&api.JobRegisterRequest{Job: unknown}),
		`400 (cannot schedule job "a" by meta scheduler_algorithm = "magic": no scheduler algorithm "magic": use one of binpack, binpack-exp, spread)`)

	unbuilt := testJob("a", "service")
	unbuilt.TaskGroups[0].Tasks[0].CSIPluginConfig = &structs.TaskCSIPluginConfig{ID: "x"}
	if err := put(&api.JobRegisterRequest{Job: unbuilt}); err == nil || !strings.Contains(err.Error(), "csi_plugin is not supported by this build: remove it from the job") {
		t.Errorf("a block that cannot be run: %v", err)
	}

	first := s.register(testJob("a", "service"))
	fails(t, "exists", put(&api.JobRegisterRequest{Job: testJob("a", "service"), EnforceIndex: true}), "500 (Enforcing job modify index 0: job already exists)")
	fails(t, "type", put(&api.JobRegisterRequest{Job: testJob("a", "batch")}), `500 (cannot update job from type "service" to "batch")`)
	again := s.register(testJob("a", "service"))
	if again.EvalID == "" || again.EvalID == first.EvalID || again.JobModifyIndex != first.JobModifyIndex {
		t.Errorf("an unchanged job: %+v, first %+v", again, first)
	}
	changed := testJob("a", "service")
	changed.Priority = 70
	changed.TaskGroups[0].Count = structs.Ptr(5)
	if _, _, err := jobs.Register(ctx, &api.JobRegisterRequest{Job: changed, EnforceIndex: true, JobModifyIndex: first.JobModifyIndex, PreserveCounts: true}, nil); err != nil {
		t.Fatal(err)
	}
	job, _, err := jobs.Get(ctx, "a", nil)
	if err != nil || job.Version != 1 || job.Priority != 70 || *job.TaskGroups[0].Count != 1 {
		t.Errorf("version %d, priority %d, count %d, %v", job.Version, job.Priority, *job.TaskGroups[0].Count, err)
	}
}

func TestVersionsAndRevert(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	s.register(testJob("a", "service"))
	second := testJob("a", "service")
	second.Meta = map[string]string{"k": "v"}
	s.register(second)
	versions, _, err := jobs.Versions(ctx, "a", true, nil)
	if err != nil || len(versions.Versions) != 2 || versions.Versions[0].Version != 1 || len(versions.Diffs) != 1 || versions.Diffs[0].Type != structs.DiffTypeEdited {
		t.Fatalf("%+v %v", versions, err)
	}
	revert := func(version uint64, enforce *uint64) error {
		_, _, err := jobs.Revert(ctx, &api.JobRevertRequest{JobID: "a", JobVersion: version, EnforcePriorVersion: enforce}, nil)
		return err
	}
	fails(t, "current", revert(1, nil), "500 (can't revert to current version)")
	fails(t, "unknown", revert(9, nil), `500 (job "a" in namespace "default" at version 9 not found)`)
	fails(t, "enforced", revert(0, structs.Ptr(uint64(4))), "500 (Current job has version 1; enforcing version 4)")
	if err := revert(0, structs.Ptr(uint64(1))); err != nil {
		t.Fatal(err)
	}
	job, _, err := jobs.Get(ctx, "a", nil)
	if err != nil || job.Version != 2 || len(job.Meta) != 0 {
		t.Errorf("after the revert: version %d, meta %v, %v", job.Version, job.Meta, err)
	}
	if _, _, err := jobs.Stable(ctx, &api.JobStabilityRequest{JobID: "a", JobVersion: 2, Stable: true}, nil); err != nil {
		t.Error(err)
	}
	if job, _, err = jobs.Get(ctx, "a", nil); err != nil || !job.Stable {
		t.Errorf("stable is %v, %v", job.Stable, err)
	}
}

func TestScale(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	job := testJob("a", "batch")
	job.TaskGroups[0].Scaling = &structs.ScalingPolicy{Min: structs.Ptr(int64(1)), Max: structs.Ptr(int64(3)), Enabled: structs.Ptr(true)}
	s.register(job)
	scale := func(id, group string, count int64) error {
		_, _, err := jobs.Scale(ctx, id, &api.ScalingRequest{Count: &count, Target: map[string]string{"Group": group}}, nil)
		return err
	}
	fails(t, "job", scale("none", "g", 1), `404 (job "none" not found)`)
	fails(t, "group", scale("a", "x", 1), `400 (task group "x" specified for scaling does not exist in job)`)
	fails(t, "minimum", scale("a", "g", 0), "400 (group count was less than scaling policy minimum: 0 < 1)")
	fails(t, "maximum", scale("a", "g", 4), "400 (group count was greater than scaling policy maximum: 4 > 3)")
	if err := scale("a", "g", 3); err != nil {
		t.Fatal(err)
	}
	status, _, err := jobs.ScaleStatus(ctx, "a", nil)
	if err != nil || status.TaskGroups["g"].Desired != 3 {
		t.Errorf("%+v %v", status, err)
	}
}

// TestScalingHistory keeps the newest events of a group: what was scaled, and
// what an autoscaler said.
func TestScalingHistory(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	s.register(testJob("a", "batch"))
	note := func(req *api.ScalingRequest) error {
		req.Target = map[string]string{"Group": "g"}
		_, _, err := jobs.Scale(ctx, "a", req, nil)
		return err
	}
	if err := note(&api.ScalingRequest{Count: structs.Ptr(int64(3)), Message: "up"}); err != nil {
		t.Fatal(err)
	}
	if err := note(&api.ScalingRequest{Error: true, Message: "no metrics", Meta: map[string]any{"source": "prometheus"}}); err != nil {
		t.Fatal(err)
	}
	fails(t, "an error with a count", note(&api.ScalingRequest{Count: structs.Ptr(int64(3)), Error: true}), "400 (scaling action should not contain count if error is true)")
	fails(t, "a long message", note(&api.ScalingRequest{Message: strings.Repeat("x", maxScalingMeta)}), "400 (message and metadata of a scaling event may have up to 8192 bytes, not 8196)")
	events := func() []*structs.ScalingEvent {
		status, _, err := jobs.ScaleStatus(ctx, "a", nil)
		if err != nil {
			t.Fatal(err)
		}
		return status.TaskGroups["g"].Events
	}
	got := events()
	if len(got) != 2 || got[0].Message != "no metrics" || !got[0].Error || got[0].Count != nil || got[0].PreviousCount != 3 || got[0].Meta["source"] != "prometheus" {
		t.Fatalf("%+v", got)
	}
	if e := got[1]; e.Message != "up" || structs.Val(e.Count) != 3 || e.PreviousCount != 1 || len(structs.Val(e.EvalID)) != 36 || e.Time == 0 || e.CreateIndex >= got[0].CreateIndex {
		t.Errorf("%+v", e)
	}
	for i := range structs.TrackedScalingEvents {
		if err := note(&api.ScalingRequest{Message: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := events(); len(got) != structs.TrackedScalingEvents || got[0].Message != "19" || got[19].Message != "0" {
		t.Errorf("%d events: %+v", len(got), got[0])
	}
	if _, _, err := jobs.Stop(ctx, "a", api.StopOptions{Purge: true}, nil); err != nil {
		t.Fatal(err)
	}
	if left := s.store.Snapshot().ScalingEvents("default", "a"); left != nil {
		t.Errorf("a purged job has %v", left)
	}
}

// TestScalingPolicies are the scaling blocks of the jobs that are not stopped.
func TestScalingPolicies(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, scaling := s.context(), s.client.Scaling()
	for _, id := range []string{"a", "b"} {
		job := testJob(id, "batch")
		job.TaskGroups[0].Scaling = &structs.ScalingPolicy{Max: structs.Ptr(int64(3)), Policy: map[string]any{"cooldown": "1m"}, Enabled: structs.Ptr(id == "a")}
		s.register(job)
	}
	s.register(testJob("plain", "batch"))
	all, meta, err := scaling.Policies(ctx, "", "", nil)
	if err != nil || len(all) != 2 || meta.LastIndex == 0 {
		t.Fatalf("%+v %v", all, err)
	}
	one, _, err := scaling.Policies(ctx, "a", "horizontal", nil)
	if err != nil || len(one) != 1 || !one[0].Enabled || one[0].Target["Job"] != "a" || one[0].Target["Group"] != "g" {
		t.Fatalf("%+v %v", one, err)
	}
	p, _, err := scaling.Policy(ctx, one[0].ID, nil)
	if err != nil || structs.Val(p.Max) != 3 || p.Policy["cooldown"] != "1m" || p.Type != "horizontal" || p.Namespace != "default" {
		t.Errorf("%+v %v", p, err)
	}
	_, _, err = scaling.Policy(ctx, newID(), nil)
	fails(t, "policy", err, "404 (policy not found)")
	if _, _, err := s.client.Jobs().Stop(ctx, "a", api.StopOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	if left, _, err := scaling.Policies(ctx, "", "", nil); err != nil || len(left) != 1 || left[0].Target["Job"] != "b" {
		t.Errorf("%+v %v", left, err)
	}
}

func TestDispatch(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	parent := testJob("p", "batch")
	parent.ParameterizedJob = &structs.ParameterizedJobConfig{Payload: "required", MetaRequired: []string{"input"}}
	if out := s.register(parent); out.EvalID != "" {
		t.Errorf("a parameterized job has the evaluation %q", out.EvalID)
	}
	s.register(testJob("plain", "batch"))
	dispatch := func(id, payload string, meta map[string]string) (*api.JobDispatchResponse, error) {
		out, _, err := jobs.Dispatch(ctx, &api.JobDispatchRequest{JobID: id, Payload: []byte(payload), Meta: meta}, &api.WriteOptions{IdempotencyToken: "once"})
		return out, err
	}
	_, err := dispatch("none", "x", nil)
	fails(t, "unknown", err, "500 (parameterized job not found)")
	_, err = dispatch("plain", "x", nil)
	fails(t, "plain", err, `500 (Specified job "plain" is not a parameterized job)`)
	_, err = dispatch("p", "", nil)
	fails(t, "payload", err, "500 (Payload is not provided but required by parameterized job)")
	_, err = dispatch("p", "x", nil)
	fails(t, "meta", err, "500 (Dispatch did not provide required meta keys: [input])")
	_, err = dispatch("p", "x", map[string]string{"input": "a", "b": "c"})
	fails(t, "unknown meta", err, "500 (Dispatch request included unpermitted metadata keys: [b])")
	_, err = dispatch("p", strings.Repeat("x", api.MaxPayload+1), map[string]string{"input": "a"})
	fails(t, "large", err, "413 (Payload exceeds maximum size; 16385 > 16384)")

	out, err := dispatch("p", "x", map[string]string{"input": "a"})
	if err != nil || !strings.HasPrefix(out.DispatchedJobID, "p/dispatch-") || out.EvalID == "" {
		t.Fatalf("%+v %v", out, err)
	}
	child, _, err := jobs.Get(ctx, out.DispatchedJobID, nil)
	if err != nil || child.ParentID != "p" || !child.Dispatched || string(child.Payload) != "x" || child.Meta["input"] != "a" {
		t.Errorf("%+v %v", child, err)
	}
	same, err := dispatch("p", "x", map[string]string{"input": "a"})
	if err != nil || same.DispatchedJobID != out.DispatchedJobID {
		t.Errorf("the same token gives %+v, %v", same, err)
	}
}

func TestPeriodicForce(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	cron := testJob("cron", "batch")
	cron.Periodic = &structs.PeriodicConfig{Enabled: structs.Ptr(true), Spec: "0 0 1 1 *", SpecType: "cron"}
	s.register(cron)
	s.register(testJob("plain", "batch"))
	_, _, err := jobs.PeriodicForce(ctx, "none", nil)
	fails(t, "unknown", err, "500 (job not found)")
	_, _, err = jobs.PeriodicForce(ctx, "plain", nil)
	fails(t, "plain", err, "500 (can't force launch non-periodic job)")
	out, _, err := jobs.PeriodicForce(ctx, "cron", nil)
	if err != nil || out.EvalID == "" {
		t.Fatalf("%+v %v", out, err)
	}
	list, _, err := jobs.List(ctx, &api.QueryOptions{Prefix: "cron/periodic-"})
	if err != nil || len(list) != 1 || list[0].ParentID != "cron" {
		t.Errorf("%+v %v", list, err)
	}
	_, _, err = jobs.Evaluate(ctx, "cron", api.EvalOptions{}, nil)
	fails(t, "evaluate", err, "500 (can't evaluate periodic job)")
	plan, _, err := jobs.Plan(ctx, &api.JobPlanRequest{Job: cron, Diff: true}, nil)
	if err != nil || plan.NextPeriodicLaunch.IsZero() || plan.Diff == nil {
		t.Errorf("%+v %v", plan, err)
	}
}

// TestCronThatNeverFires_B43_B44: a cron without a future, or a broken one, is
// refused in one sentence; one that was hardly meant so is warned of.
func TestCronThatNeverFires_B43_B44(t *testing.T) {
	s, _ := startServer(t, "")
	put := func(spec string) (*api.JobRegisterResponse, error) {
		job := testJob("cron", "batch")
		job.Periodic = &structs.PeriodicConfig{Enabled: structs.Ptr(true), Specs: []string{spec}, SpecType: "cron"}
		out, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: job}, nil)
		return out, err
	}
	_, err := put("0 0 31 2 *")
	fails(t, "no such date", err, `500 (1 error occurred:`+"\n\t"+`* Invalid cron spec "0 0 31 2 *": it never comes true: no such date exists, or all of them are past`+"\n\n"+`)`)
	if _, err := put("a b c"); err == nil || !strings.Contains(err.Error(), `Invalid cron spec "a b c"`) {
		t.Errorf("broken: %v", err)
	}
	out, err := put("* * */4 * * * *")
	if err != nil || !strings.Contains(out.Warnings, "fires more than 60 times an hour") {
		t.Errorf("%+v %v", out, err)
	}
	if out, err = put("0 */4 * * *"); err != nil || strings.Contains(out.Warnings, "fires more") {
		t.Errorf("%+v %v", out, err)
	}
}

// TestDispatchOnceAtATime: calls with one token at the same time make one
// child.
func TestDispatchOnceAtATime(t *testing.T) {
	s, _ := startServer(t, "")
	parent := testJob("p", "batch")
	parent.ParameterizedJob = &structs.ParameterizedJobConfig{Payload: "optional"}
	s.register(parent)
	ids := make(chan string, 8)
	for range cap(ids) {
		go func() {
			out, err := s.DispatchJob(s.context(), "default", "token", &api.JobDispatchRequest{JobID: "p"})
			if err != nil {
				t.Error(err)
				ids <- ""
				return
			}
			ids <- out.DispatchedJobID
		}()
	}
	seen := map[string]bool{}
	for range cap(ids) {
		seen[<-ids] = true
	}
	if len(seen) != 1 {
		t.Errorf("one token made %v", seen)
	}
}

func TestPlan(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	plan := func(job *structs.Job) *api.JobPlanResponse {
		t.Helper()
		out, meta, err := jobs.Plan(ctx, &api.JobPlanRequest{Job: job, Diff: true}, nil)
		if err != nil || meta.LastIndex != 0 {
			t.Fatalf("%v, index %d", err, meta.LastIndex)
		}
		return out
	}
	nowhere := plan(testJob("a", "service"))
	if nowhere.JobModifyIndex != 0 || nowhere.FailedTGAllocs["g"] == nil || nowhere.Diff.Type != structs.DiffTypeAdded {
		t.Errorf("without a node: %+v", nowhere)
	}
	s.join()
	placed := plan(testJob("a", "service"))
	if placed.FailedTGAllocs["g"] != nil || placed.Annotations.DesiredTGUpdates["g"].Place != 1 {
		t.Errorf("with a node: %+v", placed)
	}
	out := s.register(testJob("a", "service"))
	if again := plan(testJob("a", "service")); again.JobModifyIndex != out.JobModifyIndex || again.Diff.Type != structs.DiffTypeNone {
		t.Errorf("registered: %+v, diff %+v", again, again.Diff)
	}
}

func TestStopWithoutJob(t *testing.T) {
	s, _ := startServer(t, "")
	out, meta, err := s.client.Jobs().Stop(s.context(), "none", api.StopOptions{Purge: true}, nil)
	if err != nil || out.EvalID != "" || meta.LastIndex != 0 {
		t.Errorf("%+v %+v %v", out, meta, err)
	}
	s.register(testJob("a", "service"))
	if _, _, err := s.client.Jobs().Stop(s.context(), "a", api.StopOptions{Purge: true}, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.client.Jobs().Get(s.context(), "a", nil)
	fails(t, "purged", err, "404 (job not found)")
}

func TestNodeOperations(t *testing.T) {
	s, _ := startServer(t, "")
	n := s.join()
	ctx, nodes := s.context(), s.client.Nodes()
	if _, _, err := nodes.SetEligibility(ctx, n.ID, false, nil); err != nil {
		t.Fatal(err)
	}
	got, _, err := nodes.Get(ctx, n.ID, nil)
	if err != nil || got.SchedulingEligibility != structs.NodeIneligible || got.SecretID != "" {
		t.Errorf("%+v %v", got, err)
	}
	_, err = s.client.Put(ctx, "/v1/node/"+n.ID+"/eligibility", &api.NodeEligibilityRequest{Eligibility: "maybe"}, nil, nil)
	fails(t, "eligibility", err, `500 (invalid scheduling eligibility "maybe")`)
	_, _, err = nodes.Get(ctx, "abc", nil)
	fails(t, "short id", err, "500 (node lookup failed: index error: UUID must be 36 characters)")
	list, _, err := nodes.List(ctx, &api.QueryOptions{Prefix: n.ID[:8], Params: map[string]string{"resources": "true", "os": "true"}})
	if err != nil || len(list) != 1 || list[0].NodeResources == nil || list[0].Address != "127.0.0.1" {
		t.Errorf("%+v %v", list, err)
	}
	if _, _, err := nodes.Purge(ctx, n.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err = nodes.Get(ctx, n.ID, nil)
	fails(t, "purged", err, "404 (node not found)")
}

func TestClusterReads(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, c := s.context(), s.client
	if err := s.awaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	if leader, err := c.Leader(ctx, nil); err != nil || leader != "127.0.0.1:4647" {
		t.Errorf("leader %q, %v", leader, err)
	}
	if peers, err := c.Peers(ctx, nil); err != nil || len(peers) != 1 {
		t.Errorf("peers %v, %v", peers, err)
	}
	if regions, err := c.Regions(ctx); err != nil || strings.Join(regions, " ") != "global" {
		t.Errorf("regions %v, %v", regions, err)
	}
	raft, err := c.Operator().RaftConfiguration(ctx, nil)
	if err != nil || len(raft.Servers) != 1 || !raft.Servers[0].Leader || raft.Servers[0].Node != "test.global" {
		t.Errorf("%+v %v", raft, err)
	}
	namespaces, _, err := c.Namespaces().List(ctx, nil)
	if err != nil || len(namespaces) != 1 || namespaces[0].Name != "default" {
		t.Errorf("%+v %v", namespaces, err)
	}
	pools, _, err := c.NodePools().List(ctx, nil)
	if err != nil || len(pools) != 2 || pools[0].Name != "all" || pools[1].Name != "default" {
		t.Errorf("%+v %v", pools, err)
	}
	cfg, _, err := c.Operator().SchedulerConfiguration(ctx, nil)
	if err != nil || cfg.SchedulerConfig == nil || cfg.SchedulerConfig.SchedulerAlgorithm != structs.SchedulerAlgorithmBinpack {
		t.Fatalf("%+v %v", cfg, err)
	}
	change := *cfg.SchedulerConfig
	change.RejectJobRegistration = true
	for _, tt := range []struct {
		cas  string
		want bool
	}{{"999999", false}, {"", true}} {
		params := map[string]string{}
		if tt.cas != "" {
			params["cas"] = tt.cas
		}
		out, _, err := c.Operator().SetSchedulerConfiguration(ctx, &change, &api.WriteOptions{Params: params})
		if err != nil || out.Updated != tt.want {
			t.Errorf("cas %q: %+v %v", tt.cas, out, err)
		}
	}
	change.SchedulerAlgorithm = "none such"
	_, _, err = c.Operator().SetSchedulerConfiguration(ctx, &change, nil)
	fails(t, "an unknown algorithm", err, `400 (invalid scheduler algorithm: none such (no scheduler algorithm "none such": use one of binpack, binpack-exp, spread))`)
	_, _, err = c.Jobs().Register(ctx, &api.JobRegisterRequest{Job: testJob("a", "service")}, nil)
	fails(t, "switched off", err, "403 (Job registration, dispatch, and scale are disabled by the scheduler configuration)")
	if err := c.SystemGC(ctx); err != nil {
		t.Error(err)
	}
	if err := c.ReconcileSummaries(ctx); err != nil {
		t.Error(err)
	}
}

func TestSearch(t *testing.T) {
	s, _ := startServer(t, "")
	n := s.join()
	s.register(testJob("web-front", "service"))
	s.register(testJob("web-back", "service"))
	ctx := s.context()
	found, _, err := s.client.Search(ctx, &api.SearchRequest{Prefix: "web", Context: api.ContextAll}, nil)
	if err != nil || strings.Join(found.Matches[api.ContextJobs], " ") != "web-back web-front" {
		t.Errorf("%+v %v", found, err)
	}
	if _, asked := found.Matches[api.ContextNodes]; asked {
		t.Errorf("nodes are among the matches of a prefix that is no hex: %+v", found)
	}
	odd, _, err := s.client.Search(ctx, &api.SearchRequest{Prefix: n.ID[:3], Context: api.ContextNodes}, nil)
	if err != nil || len(odd.Matches[api.ContextNodes]) != 1 {
		t.Errorf("%+v %v", odd, err)
	}
	fuzzy, _, err := s.client.FuzzySearch(ctx, &api.FuzzySearchRequest{Text: "FRONT", Context: api.ContextAll}, nil)
	if err != nil || len(fuzzy.Matches[api.ContextJobs]) != 1 || fuzzy.Matches[api.ContextJobs][0].Scope[1] != "web-front" {
		t.Errorf("%+v %v", fuzzy, err)
	}
	_, _, err = s.client.FuzzySearch(ctx, &api.FuzzySearchRequest{Text: "x"}, nil)
	fails(t, "short", err, "500 (fuzzy search query must be at least 2 characters, got 1)")
	statuses, _, err := s.client.Jobs().Statuses(ctx, &api.JobStatusesRequest{Jobs: []api.NamespacedID{{ID: "web-back", Namespace: "default"}, {ID: "none", Namespace: "default"}}}, nil)
	if err != nil || len(statuses) != 1 || statuses[0].GroupCountSum != 1 {
		t.Errorf("%+v %v", statuses, err)
	}
	_, _, err = s.client.Jobs().Statuses(ctx, &api.JobStatusesRequest{}, nil)
	fails(t, "no jobs", err, "400 (no jobs in request)")
}
