package nomadlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// places are where servers may be, for ever the same.
type places []string

// Servers implements Members.
func (p places) Servers() ([]string, <-chan struct{}) { return p, nil }

// Gossips implements Members.
func (p places) Gossips(string) bool { return false }

// startServers starts servers of one cluster, each with a server port on
// loopback and everything in memory, and waits for a leader.
func startServers(t *testing.T, n int) []*testServer {
	t.Helper()
	return startServersWith(t, n, func(*Config) {})
}

// startServersWith is startServers with a change of each configuration.
func startServersWith(t *testing.T, n int, change func(*Config)) []*testServer {
	t.Helper()
	var all []*testServer
	var at places
	var ports []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports, at = append(ports, l), append(at, l.Addr().String())
	}
	for i, l := range ports {
		cfg := Config{
			Name: string(rune('a' + i)), Dev: true, RPCAddr: at[i], BootstrapExpect: n, Members: at, NumSchedulers: 1,
			Port: wire.NewPort(wire.PortConfig{Listener: l}),
		}
		change(&cfg)
		all = append(all, startMember(t, cfg))
	}
	leaderOf(t, all)
	return all
}

// startMember starts one server of a cluster; the test ends it.
func startMember(t *testing.T, cfg Config) *testServer {
	t.Helper()
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := api.NewMux(api.MuxConfig{Resolve: api.NoACLs, Elsewhere: srv.Elsewhere, Leader: func() (bool, time.Duration) { return srv.LeaderKnown(), 0 }})
	srv.Bind(mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	web := httptest.NewServer(mux)
	client, err := api.NewClient(api.ClientConfig{Address: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
		web.CloseClientConnections()
		web.Close()
	})
	return &testServer{Server: srv, t: t, client: client}
}

// eventually waits for a condition, without a promise how soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// leaderOf waits until one of the servers is the established leader.
func leaderOf(t *testing.T, all []*testServer) *testServer {
	t.Helper()
	var leader *testServer
	eventually(t, "a leader", func() bool {
		for _, s := range all {
			if s.leading.Load().now {
				leader = s
				return true
			}
		}
		return false
	})
	return leader
}

// crash ends a server's part in the cluster without a word to the others.
func (s *testServer) crash() {
	s.t.Helper()
	if err := s.raft.Shutdown().Error(); err != nil {
		s.t.Error(err)
	}
}

// rest are the servers but one.
func rest(all []*testServer, one *testServer) []*testServer {
	return slices.DeleteFunc(slices.Clone(all), func(s *testServer) bool { return s == one })
}

// TestKeyringSurvivesItsLeader: each server can unwrap what any leader wrapped,
// without TLS too. A variable that was written, and a token that was signed,
// before the leader crashed are read and verified after it, and after each
// rotation and change of leader that follows.
func TestKeyringSurvivesItsLeader(t *testing.T) {
	all := startServers(t, 3)
	leader := leaderOf(t, all)
	if _, _, err := leader.client.Variables().Set(leader.context(), variable("app/db", "password", "hunter2"), nil, nil); err != nil {
		t.Fatal(err)
	}
	token := leader.signOne()
	if _, err := leader.client.Keyring().Rotate(leader.context(), true, time.Time{}); err != nil {
		t.Fatal(err)
	}
	second := leader.signOne()
	leader.crash()
	left := rest(all, leader)
	next := leaderOf(t, left)
	for _, s := range left {
		if v, _, err := s.client.Variables().Get(s.context(), "app/db", nil); err != nil || v.Items["password"] != "hunter2" {
			t.Errorf("the variable after the leader crashed: %+v, %v", v, err)
		}
		keys, err := s.publicKeys()
		if err != nil || len(keys) != 2 {
			t.Errorf("%d public keys, %v", len(keys), err)
		}
		for _, one := range []string{token, second} {
			if _, err := keyring.Verify(one, keys, time.Now()); err != nil {
				t.Errorf("a token of the crashed leader: %v", err)
			}
		}
	}
	if _, err := next.client.Keyring().Rotate(next.context(), false, time.Time{}); err != nil {
		t.Errorf("rotation by the next leader: %v", err)
	}
	if _, _, err := next.client.Variables().Set(next.context(), variable("app/db", "password", "correct horse"), nil, nil); err != nil {
		t.Error(err)
	}
	eventually(t, "both can unwrap all root keys", func() bool { return len(left[0].locked())+len(left[1].locked()) == 0 })
}

// signOne runs a job with an identity and signs that.
func (s *testServer) signOne() string {
	s.t.Helper()
	if s.node == nil {
		s.join()
	}
	job := testJob("web"+newID(), structs.JobTypeService)
	job.TaskGroups[0].Tasks[0].Identities = []*structs.WorkloadIdentity{{Name: "vault", Audience: []string{"vault.io"}, TTL: time.Hour}}
	if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: job}, nil); err != nil {
		s.t.Fatal(err)
	}
	id := ""
	for since := uint64(0); id == ""; {
		out := s.allocs(since)
		since = out.Index
		for _, a := range out.Allocs {
			if a.JobID == job.ID {
				id = a.ID
			}
		}
	}
	out, err := s.SignIdentities(s.context(), api.IdentityRequest{NodeID: s.node.ID, SecretID: s.node.SecretID, AllocID: id, Wanted: []api.IdentityName{{Task: "t", Name: "vault"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return out.Tokens[0].JWT
}

// TestKEKGoesToPeersAlone: who is no Raft peer gets no key, and nothing is
// taken that does not unwrap a root key.
func TestKEKGoesToPeersAlone(t *testing.T) {
	all := startServers(t, 3)
	leader := leaderOf(t, all)
	if _, err := leader.rootKey(leader.context()); err != nil {
		t.Fatal(err)
	}
	k := leader.store.Snapshot().ActiveRootKey()
	_, err := leader.giveKEKs(leader.context(), &api.KEKWanted{ServerID: newID(), RootKeys: []string{k.KeyID}})
	says(t, "a stranger", err, "is no Raft peer")
	other := rest(all, leader)[0]
	if _, err := other.hand(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peers have the key", func() bool { return other.keys.Has(k.KEK) })
	bogus := *k
	bogus.KeyID, bogus.KEK = newID(), "000000000000"
	if _, _, err := leader.apply(leader.context(), fsm.RootKeyAdd, &state.RootKeyAdd{Key: &bogus}); err != nil {
		t.Fatal(err)
	}
	_, err = other.takeKEK(other.context(), &api.KEKGift{RootKey: bogus.KeyID, Index: leader.store.Snapshot().Index(), Sealed: []byte("x")})
	says(t, "a forged gift", err, "it is not the one that was asked for")
	if other.keys.Has(bogus.KEK) {
		t.Error("a forged key was kept")
	}
}

// TestRaftFiles: what a stopped server keeps is shown, without secrets, and
// amounts to the state that it had; a running server's files are refused.
func TestRaftFiles(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	s.join()
	s.register(testJob("web", structs.JobTypeService))
	if _, _, err := s.client.Variables().Set(s.context(), variable("app/db", "password", "hunter2"), nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRaftFiles(dir); err == nil || !strings.Contains(err.Error(), "the server must be stopped first") {
		t.Errorf("files of a running server: %v", err)
	}
	stop()
	want := s.store.Snapshot()
	files, err := OpenRaftFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	sum, err := files.Summary()
	if err != nil || sum.LastIndex < want.Index() || sum.LastTerm == 0 || sum.Size == 0 {
		t.Errorf("summary %+v, %v", sum, err)
	}
	var text strings.Builder
	seen := map[string]bool{}
	err = files.Entries(func(e *RaftEntry) error {
		seen[e.Command] = true
		b, err := json.Marshal(e)
		text.Write(b)
		return err
	})
	if err != nil || !seen["JobRegister"] || !seen["PlanApply"] || !seen["VariableSet"] {
		t.Errorf("entries %v, %v", seen, err)
	}
	if strings.Contains(text.String(), s.node.SecretID) || strings.Contains(text.String(), "cannot read it") || !strings.Contains(text.String(), s.node.ID) {
		t.Error("the entries show a secret, or too little")
	}
	if got, err := files.State(0); err != nil || got.Hash() != want.Hash() {
		t.Errorf("the state is another: %v", err)
	}
	if got, err := files.State(3); err != nil || got.Index() > 3 {
		t.Errorf("the state at index 3: %v", err)
	}
	if _, err := OpenRaftFiles(t.TempDir()); err == nil {
		t.Error("an empty folder was opened")
	}
}

// TestHandOver: while leadership is handed over, and again and again, nothing
// that is being written is left open: it is done here, or not at all and tried
// elsewhere.
func TestHandOver(t *testing.T) {
	all := startServers(t, 3)
	leaderOf(t, all)
	var writers sync.WaitGroup
	stop := make(chan struct{})
	open := make(chan uint64, 1000) // terms in which a write was left open
	for i := range 4 {
		writers.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				for _, s := range all {
					term := s.raft.CurrentTerm()
					if _, _, err := s.SetVariable(context.Background(), variable(fmt.Sprintf("app/%d/%d", i, n%10), "k", "v"), nil); errors.Is(err, errLost) {
						open <- term
					}
				}
			}
		})
	}
	planned := map[uint64]bool{}
	for tries := 0; len(planned) < 4 && tries < 40; tries++ {
		leader := leaderOf(t, all)
		term := leader.raft.CurrentTerm()
		to := rest(all, leader)[0]
		if _, err := leader.TransferLeadership(context.Background(), to.ID(), ""); err == nil {
			planned[term] = true
			eventually(t, "another term", func() bool { return leaderOf(t, all).raft.CurrentTerm() > term })
		}
	}
	close(stop)
	writers.Wait()
	close(open)
	for term := range open {
		if planned[term] { // others ended for want of time
			t.Errorf("a write of term %d was left open", term)
		}
	}
}
