package nomadlite

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// TestNodeSpeaksForItself_X10: a node that knows its own secret, and the id of
// another, changes and learns nothing of the other.
func TestNodeSpeaksForItself_X10(t *testing.T) {
	s, allocs := serviceCluster(t)
	victim, of := s.node, allocs[0]
	thief := s.join()
	ctx := s.context()
	if _, _, err := s.client.Variables().Set(ctx, variable("app/db", "password", "hunter2"), nil, nil); err != nil {
		t.Fatal(err)
	}
	before := s.store.Snapshot()
	claim := *victim
	claim.SecretID, claim.Name = thief.SecretID, "taken over"
	for what, try := range map[string]func(id, alloc string) error{
		"register": func(id, _ string) error { claim.ID = id; _, err := s.Register(ctx, &claim); return err },
		"heartbeat": func(id, _ string) error {
			_, err := s.Heartbeat(ctx, api.NodeHeartbeat{NodeID: id, SecretID: thief.SecretID})
			return err
		},
		"read allocs": func(id, _ string) error {
			_, err := s.Allocs(ctx, api.NodeAllocsRequest{NodeID: id, SecretID: thief.SecretID})
			return err
		},
		"update allocs": func(id, alloc string) error { return s.UpdateAllocs(ctx, thiefUpdate(id, thief.SecretID, alloc)) },
		"services": func(id, alloc string) error {
			return s.UpdateServices(ctx, api.NodeServicesRequest{NodeID: id, SecretID: thief.SecretID, Full: true})
		},
		"drain": func(id, _ string) error {
			_, err := s.DrainSelf(ctx, api.NodeSelfDrain{NodeID: id, SecretID: thief.SecretID, Spec: &structs.DrainSpec{Deadline: -1}})
			return err
		},
		"read a variable": func(id, alloc string) error {
			_, err := s.Lookup(ctx, api.WorkloadLookup{NodeID: id, SecretID: thief.SecretID, AllocID: alloc, Task: "t", Kind: api.LookupVariable, Name: "app/db"})
			return err
		},
		"sign": func(id, alloc string) error {
			_, err := s.SignIdentities(ctx, api.IdentityRequest{NodeID: id, SecretID: thief.SecretID, AllocID: alloc, Wanted: []api.IdentityName{{Task: "t", Name: "vault"}}})
			return err
		},
	} {
		if err := try(victim.ID, of.ID); structs.KindOf(err) != structs.Denied {
			t.Errorf("%s as the other node: %v", what, err)
		}
	}
	// In its own name, about what is the other's.
	if _, err := s.SignIdentities(ctx, api.IdentityRequest{NodeID: thief.ID, SecretID: thief.SecretID, AllocID: of.ID, Wanted: []api.IdentityName{{Task: "t", Name: "vault"}}}); err == nil {
		t.Error("signed for the allocation of another node")
	}
	if _, err := s.Lookup(ctx, api.WorkloadLookup{NodeID: thief.ID, SecretID: thief.SecretID, AllocID: of.ID, Task: "t", Kind: api.LookupVariable, Name: "app/db"}); err == nil {
		t.Error("read a variable for the allocation of another node")
	}
	if err := s.UpdateAllocs(ctx, thiefUpdate(thief.ID, thief.SecretID, of.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateServices(ctx, api.NodeServicesRequest{NodeID: thief.ID, SecretID: thief.SecretID, Set: []*structs.ServiceRegistration{registration(of, "web", "passing")}}); err != nil {
		t.Fatal(err)
	}
	after := s.store.Snapshot()
	a := after.Alloc(of.ID)
	if a.ClientStatus != structs.AllocClientStatusRunning || a.ModifyIndex != before.Alloc(of.ID).ModifyIndex {
		t.Errorf("the allocation of the other node is %s at index %d", a.ClientStatus, a.ModifyIndex)
	}
	for sv := range after.ServicesByName("default", "web") {
		t.Errorf("a service was registered for the allocation of another node: %+v", sv)
	}
	n := after.Node(victim.ID)
	if n.Name != victim.Name || n.DrainStrategy != nil || n.ModifyIndex != before.Node(victim.ID).ModifyIndex {
		t.Errorf("the other node was changed: %+v", n)
	}
	for e := range after.Evals() {
		if e.TriggeredBy == structs.EvalTriggerRetryFailedAlloc {
			t.Error("a false report made the servers look at the job")
		}
	}
	var shown map[string]any
	if _, err := s.client.Get(ctx, "/v1/node/"+victim.ID, &shown, nil); err != nil || shown["SecretID"] != "" && shown["SecretID"] != nil {
		t.Errorf("the API shows the secret of a node: %v, %v", shown["SecretID"], err)
	}
}

func thiefUpdate(id, secret, alloc string) api.NodeAllocUpdateRequest {
	return api.NodeAllocUpdateRequest{NodeID: id, SecretID: secret, Updates: []*structs.AllocUpdate{{AllocID: alloc, Revision: 99, ClientStatus: structs.AllocClientStatusFailed}}}
}

// TestIntroduction: with strict enforcement a new node needs a token that is
// for it; one that is known needs none.
func TestIntroduction(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startMember(t, Config{Name: "a", Dev: true, RPCAddr: l.Addr().String(), BootstrapExpect: 1, NumSchedulers: 1,
		Port: wire.NewPort(wire.PortConfig{Listener: l}), Introduction: Introduction{Enforcement: IntroduceStrict}})
	leaderOf(t, []*testServer{s})
	ctx := s.context()
	node := func(name, pool string) *structs.Node {
		return &structs.Node{ID: newID(), SecretID: newID(), Name: name, NodePool: pool, Datacenter: "dc1"}
	}
	token := func(req api.IntroductionRequest) string {
		t.Helper()
		out, err := s.client.Nodes().Introduce(ctx, &req)
		if err != nil {
			t.Fatal(err)
		}
		return out.JWT
	}
	key, err := s.rootKey(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(claims map[string]any) string {
		out, err := key.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	past := time.Now().Add(-time.Hour).Unix()
	for _, tt := range []struct {
		what, token string
		node        *structs.Node
		want        string // "" is admitted
	}{
		{"none", "", node("n1", ""), "it showed no introduction token"},
		{"any name", token(api.IntroductionRequest{}), node("n1", ""), ""},
		{"its name and pool", token(api.IntroductionRequest{NodeName: "n2", NodePool: "gpu"}), node("n2", "gpu"), ""},
		{"another name", token(api.IntroductionRequest{NodeName: "n2"}), node("n3", ""), `is for the node named "n2"`},
		{"another pool", token(api.IntroductionRequest{}), node("n3", "gpu"), `is for node pool "default"`},
		{"nonsense", "x.y.z", node("n3", ""), "it is not a signed token"},
		{"of a task", sign(map[string]any{"nomad_allocation_id": "x"}), node("n3", ""), "its token is no introduction token"},
		{"of another region", sign(map[string]any{"aud": introductionAudience, "nomad_region": "eu"}), node("n3", ""), `for region "eu"`},
		{"expired", sign(map[string]any{"aud": introductionAudience, "nomad_region": "global", "exp": past}), node("n3", ""), "it expired"},
	} {
		_, err := s.Server.register(ctx, tt.node, tt.token)
		if (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v", tt.what, err)
		}
		if err != nil {
			says(t, tt.what, err, tt.want)
			continue
		}
		if _, err := s.Register(ctx, tt.node); err != nil {
			t.Errorf("%s: a known node needs a token: %v", tt.what, err)
		}
	}
	_, err = s.client.Nodes().Introduce(ctx, &api.IntroductionRequest{TTL: time.Hour})
	fails(t, "too long", err, "400 (invalid TTL 1h0m0s: it must be positive and at most max_identity_ttl, 30m0s)")
}
