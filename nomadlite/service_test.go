package nomadlite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/structs"
)

// serviceCluster runs a job of three allocations, each running.
func serviceCluster(t *testing.T) (s *testServer, allocs []*structs.Allocation) {
	s, _ = startServer(t, "")
	s.join()
	job := testJob("web", structs.JobTypeService)
	job.TaskGroups[0].Count = structs.Ptr(3)
	job.TaskGroups[0].Tasks[0].Identities = []*structs.WorkloadIdentity{{Name: "vault", Audience: []string{"vault.io"}, TTL: time.Hour}}
	if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: job}, nil); err != nil {
		t.Fatal(err)
	}
	var since uint64
	for len(allocs) < 3 {
		out := s.allocs(since)
		since, allocs = out.Index, append(allocs, out.Allocs...)
	}
	for _, a := range allocs {
		s.report(1, a.ID, structs.AllocClientStatusRunning)
	}
	return s, allocs
}

func registration(a *structs.Allocation, name, health string, tags ...string) *structs.ServiceRegistration {
	return &structs.ServiceRegistration{
		ID: "_nomad-task-" + a.ID + "-group-g-" + name + "-http", ServiceName: name, Namespace: a.Namespace, Datacenter: "dc1",
		JobID: a.JobID, AllocID: a.ID, Tags: tags, Address: "127.0.0.1", Port: 20000, Health: health,
	}
}

// tell registers services as the node does.
func (s *testServer) tell(full bool, set []*structs.ServiceRegistration, remove ...string) {
	s.t.Helper()
	err := s.UpdateServices(s.context(), api.NodeServicesRequest{NodeID: s.node.ID, SecretID: s.node.SecretID, Full: full, Set: set, Remove: remove})
	if err != nil {
		s.t.Fatal(err)
	}
}

// says checks that an error holds a text.
func says(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func TestServices(t *testing.T) {
	s, allocs := serviceCluster(t)
	ctx, services := s.context(), s.client.Services()
	if list, _, err := services.List(ctx, nil); err != nil || len(list) != 0 {
		t.Errorf("before: %v, %v", list, err)
	}
	s.tell(false, []*structs.ServiceRegistration{
		registration(allocs[0], "web", "healthy", "a"), registration(allocs[1], "web", "unhealthy", "a", "b"),
		registration(allocs[2], "web", "pending"), registration(allocs[2], "admin", "healthy"),
	})
	list, _, err := services.List(ctx, nil)
	if text, _ := json.Marshal(list); err != nil || string(text) != `[{"Namespace":"default","Services":[{"ServiceName":"admin","Tags":[]},{"ServiceName":"web","Tags":["a","b"]}]}]` {
		t.Errorf("list: %s, %v", text, err)
	}
	get := func(params map[string]string, filter string) (ids []string, index uint64) {
		t.Helper()
		found, meta, err := services.Get(s.context(), "web", &api.QueryOptions{Params: params, Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			ids = append(ids, f.AllocID)
		}
		return ids, meta.LastIndex
	}
	all, index := get(nil, "")
	if len(all) != 3 {
		t.Errorf("instances: %v", all)
	}
	if ids, _ := get(map[string]string{"healthy": "true"}, ""); !slices.Equal(ids, []string{allocs[0].ID}) {
		t.Errorf("healthy ones: %v", ids)
	}
	if ids, _ := get(nil, `"b" in Tags`); !slices.Equal(ids, []string{allocs[1].ID}) {
		t.Errorf("filtered: %v", ids)
	}
	_, _, err = services.Get(ctx, "web", &api.QueryOptions{Params: map[string]string{"choose": "x"}})
	fails(t, "choose", err, "400 (failed to choose services: Parameter for choose must be in form '<number>|<key>')")
	if found, _, err := s.client.Services().Get(ctx, "none", nil); err != nil || len(found) != 0 {
		t.Errorf("unknown: %v, %v", found, err)
	}

	s.tell(false, []*structs.ServiceRegistration{registration(allocs[0], "web", "healthy", "a")})
	if _, again := get(nil, ""); again != index {
		t.Errorf("telling the same again moved the index from %d to %d", index, again)
	}
	var jobs, mine []*structs.ServiceRegistration
	if _, err := s.client.Get(ctx, "/v1/job/web/services", &jobs, nil); err != nil || len(jobs) != 4 {
		t.Errorf("of the job: %v, %v", jobs, err)
	}
	if _, err := s.client.Get(ctx, "/v1/allocation/"+allocs[2].ID+"/services", &mine, nil); err != nil || len(mine) != 2 {
		t.Errorf("of an allocation: %v, %v", mine, err)
	}
	if _, err := services.Delete(ctx, "admin", mine[0].ID, nil); err != nil {
		t.Error(err)
	}
	_, err = services.Delete(ctx, "admin", mine[0].ID, nil)
	fails(t, "delete again", err, "500 (service registration not found)")

	s.report(2, allocs[0].ID, structs.AllocClientStatusComplete) // an end takes its services along
	s.tell(false, []*structs.ServiceRegistration{registration(allocs[0], "web", "healthy")})
	if ids, _ := get(nil, ""); len(ids) != 2 || slices.Contains(ids, allocs[0].ID) {
		t.Errorf("after an end: %v", ids)
	}
	s.tell(true, []*structs.ServiceRegistration{registration(allocs[1], "web", "healthy")})
	if ids, _ := get(nil, ""); !slices.Equal(ids, []string{allocs[1].ID}) {
		t.Errorf("after a full list: %v", ids)
	}
	beat := api.NodeHeartbeat{NodeID: s.node.ID, SecretID: s.node.SecretID}
	if resp, err := s.Heartbeat(ctx, beat); err != nil || resp.Services != 1 {
		t.Errorf("heartbeat: %+v, %v", resp, err)
	}
	if _, err := s.missed(ctx, s.node.ID); err != nil {
		t.Fatal(err)
	}
	if ids, _ := get(nil, ""); len(ids) != 0 {
		t.Errorf("of a lost node: %v", ids)
	}
	if resp, err := s.Heartbeat(ctx, beat); err != nil || resp.Services != 0 { // the node learns that it has to tell
		t.Errorf("heartbeat of a node that came back: %+v, %v", resp, err)
	}
}

// TestServicesOfOthers: a node cannot register for what it does not run.
func TestServicesOfOthers(t *testing.T) {
	s, allocs := serviceCluster(t)
	s.tell(false, []*structs.ServiceRegistration{registration(allocs[0], "web", "healthy")})
	victim := s.node
	s.join()
	s.tell(false, []*structs.ServiceRegistration{registration(allocs[0], "web", "unhealthy"), registration(allocs[1], "evil", "healthy")}, registration(allocs[0], "web", "").ID)
	err := s.UpdateServices(s.context(), api.NodeServicesRequest{NodeID: victim.ID, SecretID: s.node.SecretID, Full: true})
	says(t, "a wrong secret", err, "registered with another secret")
	found, _, err := s.client.Services().Get(s.context(), "web", nil)
	if err != nil || len(found) != 1 || found[0].Health != "healthy" || found[0].NodeID != victim.ID {
		t.Errorf("%v, %v", found, err)
	}
	if list, _, err := s.client.Services().List(s.context(), nil); err != nil || len(list) != 1 || len(list[0].Services) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestChoose: the same key gets the same instances, and an instance that goes
// moves no key but its own.
func TestChoose(t *testing.T) {
	var all []*structs.ServiceRegistration
	for i := range 10 {
		all = append(all, &structs.ServiceRegistration{ID: fmt.Sprintf("_nomad-task-%d", i)})
	}
	used := map[string]bool{}
	for k := range 100 {
		key := fmt.Sprint("client-", k)
		first := structs.ChooseServices(slices.Clone(all), 1, key)[0].ID
		used[first] = true
		for gone := range all {
			left := slices.Delete(slices.Clone(all), gone, gone+1)
			if got := structs.ChooseServices(left, 1, key)[0].ID; got != first && all[gone].ID != first {
				t.Fatalf("key %s moved from %s to %s though %s went", key, first, got, all[gone].ID)
			}
		}
	}
	if len(used) != len(all) {
		t.Errorf("100 keys use %d of 10 instances", len(used))
	}
	if n := len(structs.ChooseServices(all, 20, "x")); n != 10 {
		t.Errorf("20 of 10 are %d", n)
	}
}

func TestIdentities(t *testing.T) {
	s, allocs := serviceCluster(t)
	ask := func(a *structs.Allocation, names ...api.IdentityName) (*api.IdentityResponse, error) {
		return s.SignIdentities(s.context(), api.IdentityRequest{NodeID: s.node.ID, SecretID: s.node.SecretID, AllocID: a.ID, Wanted: names})
	}
	resp, err := ask(allocs[0], api.IdentityName{Task: "t", Name: "default"}, api.IdentityName{Task: "t", Name: "vault"})
	if err != nil || len(resp.Tokens) != 2 || !resp.Tokens[0].Expires.IsZero() || resp.Tokens[1].Expires.IsZero() {
		t.Fatalf("%+v, %v", resp, err)
	}
	keys, err := s.publicKeys()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := keyring.Verify(resp.Tokens[1].JWT, keys, time.Now())
	if err != nil || claims["sub"] != "global:default:web:g:t:vault" || claims["nomad_allocation_id"] != allocs[0].ID || claims["nomad_task"] != "t" || fmt.Sprint(claims["aud"]) != "[vault.io]" {
		t.Errorf("%v, %v", claims, err)
	}
	var set keySet
	if _, err := s.client.Get(s.context(), "/.well-known/jwks.json", &set, nil); err != nil || len(set.Keys) != 1 || set.Keys[0].Kty != "OKP" || set.Keys[0].Kid != keys[0].ID {
		t.Errorf("%+v, %v", set, err)
	}
	_, err = s.client.Get(s.context(), "/.well-known/openid-configuration", &set, nil)
	fails(t, "no issuer", err, "404 (OIDC Discovery endpoint disabled)")
	if a, task, err := s.VerifyIdentity(resp.Tokens[0].JWT); err != nil || a.ID != allocs[0].ID || task != "t" {
		t.Errorf("%v, %q, %v", a, task, err)
	}
	_, err = ask(allocs[0], api.IdentityName{Task: "t", Name: "root"})
	says(t, "undeclared", err, `cannot sign identity "root" of task "t": the job does not declare it`)
	s.report(2, allocs[0].ID, structs.AllocClientStatusComplete)
	_, err = ask(allocs[0], api.IdentityName{Task: "t", Name: "default"})
	says(t, "ended", err, "has ended")
	if _, _, err := s.VerifyIdentity(resp.Tokens[0].JWT); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("the token of an ended allocation: %v", err)
	}
}

func TestLookup(t *testing.T) {
	s, allocs := serviceCluster(t)
	look := func(kind, name string, since uint64) *api.WorkloadData {
		t.Helper()
		out, err := s.Lookup(s.context(), api.WorkloadLookup{NodeID: s.node.ID, SecretID: s.node.SecretID, AllocID: allocs[0].ID, Task: "t", Kind: kind, Name: name, Since: since, Wait: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := look(api.LookupVariable, "nomad/jobs/web", 0)
	if first.Variable != nil {
		t.Errorf("%+v", first)
	}
	got := make(chan *api.WorkloadData, 1)
	go func() { got <- look(api.LookupVariable, "nomad/jobs/web", first.Index) }()
	if _, _, err := s.client.Variables().Set(s.context(), variable("nomad/jobs/web", "user", "ada"), nil, nil); err != nil {
		t.Fatal(err)
	}
	if d := <-got; d.Variable == nil || d.Variable.Items["user"] != "ada" {
		t.Errorf("after the change: %+v", d)
	}
	if d := look(api.LookupVariables, "nomad/", 0); len(d.Variables) != 1 {
		t.Errorf("%+v", d)
	}
	s.tell(false, []*structs.ServiceRegistration{registration(allocs[1], "web", "healthy")})
	if d := look(api.LookupService, "web", 0); len(d.Services) != 1 {
		t.Errorf("%+v", d)
	}
	_, err := s.Lookup(s.context(), api.WorkloadLookup{NodeID: s.node.ID, SecretID: s.node.SecretID, AllocID: newID(), Kind: api.LookupVariable, Name: "nomad/jobs/web"})
	says(t, "an allocation that is not there", err, "is not on node")
}

// TestServicesComeBack_B14: a node that was taken for lost has no services; when
// it is heard again it learns so, and what it tells then is there again.
func TestServicesComeBack_B14(t *testing.T) {
	s, allocs := serviceCluster(t)
	ctx := s.context()
	set := []*structs.ServiceRegistration{registration(allocs[0], "web", "healthy"), registration(allocs[1], "web", "healthy")}
	s.tell(true, set)
	count := func() (n int) {
		for range s.store.Snapshot().ServicesByName("default", "web") {
			n++
		}
		return n
	}
	if count() != 2 {
		t.Fatalf("%d services", count())
	}
	// Nobody gives the node's work up meanwhile.
	paused := *s.store.Snapshot().SchedulerConfig()
	paused.PauseEvalBroker = true
	if _, _, err := s.SetSchedulerConfig(ctx, &paused, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.missed(ctx, s.node.ID); err != nil {
		t.Fatal(err)
	}
	if n := s.store.Snapshot().Node(s.node.ID); n.Status != structs.NodeStatusDown || count() != 0 {
		t.Fatalf("a lost node is %s and has %d services", n.Status, count())
	}
	out, err := s.Heartbeat(ctx, api.NodeHeartbeat{NodeID: s.node.ID, SecretID: s.node.SecretID})
	if err != nil || out.Services != 0 {
		t.Fatalf("the node learns of %d services, %v", out.Services, err)
	}
	s.tell(true, set)
	if n := s.store.Snapshot().Node(s.node.ID); n.Status != structs.NodeStatusReady || count() != 2 {
		t.Errorf("the node is %s and has %d services", n.Status, count())
	}
}
