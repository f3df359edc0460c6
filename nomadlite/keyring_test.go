package nomadlite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// keyStates are the root keys by id.
func (s *testServer) keyStates(t *testing.T) map[string]string {
	t.Helper()
	keys, err := s.client.Keyring().List(s.context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, k := range keys {
		out[k.KeyID] = k.State
	}
	return out
}

// awaitKeys waits until the root keys satisfy a condition.
func (s *testServer) awaitKeys(t *testing.T, what string, ok func(map[string]string) bool) {
	t.Helper()
	w := s.store.Watch(state.KeyTable(state.TableRootKeys))
	defer w.Close()
	for !ok(s.keyStates(t)) {
		select {
		case <-w.C():
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the keys are %v", what, s.keyStates(t))
		}
	}
}

// TestRootKeyRotation: a leader has a root key at once; rotation leaves what was
// written readable, full rotation encrypts it again, a published key becomes
// active in its time, and only what nothing needs is removed.
func TestRootKeyRotation(t *testing.T) {
	s, _ := startServer(t, "")
	keys, vars, ctx := s.client.Keyring(), s.client.Variables(), s.context()
	s.awaitKeys(t, "the first key", func(k map[string]string) bool { return len(k) == 1 })
	first := s.store.Snapshot().ActiveRootKey().KeyID
	for i := range 20 {
		if _, _, err := vars.Set(ctx, variable(fmt.Sprintf("app/%d", i), "k", strings.Repeat("x", 40<<10)), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	before, _, err := vars.Get(ctx, "app/7", nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keys.Rotate(ctx, false, time.Time{})
	if err != nil || second.State != structs.RootKeyActive {
		t.Fatalf("%+v, %v", second, err)
	}
	if got := s.keyStates(t); got[first] != structs.RootKeyInactive || len(got) != 2 {
		t.Errorf("after a rotation: %v", got)
	}
	fails(t, "remove the active key", keys.Delete(ctx, second.KeyID, false), "500 (active root key cannot be deleted - call rotate first)")
	fails(t, "remove a key in use", keys.Delete(ctx, first, false), "500 (root key in use, cannot delete)")
	third, err := keys.Rotate(ctx, true, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitKeys(t, "all is encrypted again", func(k map[string]string) bool { return k[second.KeyID] == structs.RootKeyInactive })
	if _, err := keys.Rotate(ctx, true, time.Time{}); err != nil { // the first key's variables follow
		t.Fatal(err)
	}
	s.awaitKeys(t, "all is encrypted again", func(k map[string]string) bool { return k[third.KeyID] == structs.RootKeyInactive })
	after, _, err := vars.Get(ctx, "app/7", nil)
	if err != nil || after.Items["k"] != before.Items["k"] || after.ModifyIndex != before.ModifyIndex {
		t.Errorf("a variable after full rotations: %v, index %d, was %d", err, after.ModifyIndex, before.ModifyIndex)
	}
	publish := time.Now().Add(time.Hour)
	later, err := keys.Rotate(ctx, false, publish)
	if err != nil || later.State != structs.RootKeyPrepublished || later.PublishTime != publish.UnixNano() {
		t.Errorf("%+v, %v", later, err)
	}
	if public, err := s.publicKeys(); err != nil || len(public) != 5 {
		t.Errorf("verifiers know %d keys, %v", len(public), err)
	}
	if next, err := s.tendOnce(context.Background(), time.Now()); err != nil || next <= 0 || next > time.Hour {
		t.Errorf("the next publication is in %v, %v", next, err)
	}
	if _, err := s.tendOnce(context.Background(), publish.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.awaitKeys(t, "the published key is active", func(k map[string]string) bool { return k[later.KeyID] == structs.RootKeyActive })
	_, err = s.client.Put(ctx, "/v1/operator/keyring/rotate?full=true&publish_time=1", nil, nil, nil)
	fails(t, "full and published", err, "400 (keyring cannot be prepublished and full rotated at the same time)")
	_, err = s.client.Delete(ctx, "/v1/operator/keyring/key/"+second.KeyID+"?force=x", nil, nil)
	fails(t, "a bad force", err, "422 (invalid force parameter)")
}

// TestUnneededRootKeys: what encrypts a variable, and what may have signed for
// an allocation that runs, stays.
func TestUnneededRootKeys(t *testing.T) {
	store, index := state.New(state.Options{}), uint64(0)
	do := func(f func(*state.Txn) error) {
		t.Helper()
		index++
		txn := store.Begin(index)
		if err := f(txn); err != nil {
			t.Fatal(err)
		}
		txn.Commit()
	}
	now := time.Now()
	for i, age := range []time.Duration{50 * time.Hour, 40 * time.Hour, 30 * time.Hour} {
		do(func(txn *state.Txn) error {
			return txn.AddRootKey(&state.RootKeyAdd{Key: &state.RootKey{RootKeyMeta: structs.RootKeyMeta{KeyID: fmt.Sprint(i), CreateTime: now.Add(-age).UnixNano()}}})
		})
	}
	do(func(txn *state.Txn) error {
		_, err := txn.SetVariable(&state.VariableSet{Variable: &state.SealedVariable{VariableMetadata: structs.VariableMetadata{Namespace: "default", Path: "a"}, KeyID: "1"}})
		return err
	})
	if got := unneeded(store.Snapshot(), now, time.Hour); len(got) != 1 || got[0] != "0" {
		t.Errorf("unneeded %v, want the one without variables", got)
	}
	if got := unneeded(store.Snapshot(), now, 31*time.Hour); got != nil {
		t.Errorf("unneeded %v before the threshold", got)
	}
	do(func(txn *state.Txn) error {
		return txn.DeleteRootKeys(&state.RootKeyDelete{IDs: []string{"0", "gone"}})
	})
	if got := unneeded(store.Snapshot(), now, time.Hour); got != nil {
		t.Errorf("unneeded %v, but all are in use", got)
	}
}

// TestForeignRootKey: a server does not take part in a root key that it cannot
// unwrap, and says so.
func TestForeignRootKey(t *testing.T) {
	s, _ := startServer(t, "")
	s.awaitKeys(t, "the first key", func(k map[string]string) bool { return len(k) == 1 })
	lost := &state.RootKey{RootKeyMeta: structs.RootKeyMeta{KeyID: newID(), State: structs.RootKeyPrepublished}, KEK: "nobody has it"}
	if _, _, err := s.apply(s.context(), fsm.RootKeyAdd, &state.RootKeyAdd{Key: lost}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tendOnce(s.context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := s.keyStates(t); got[lost.KeyID] != structs.RootKeyPrepublished {
		t.Errorf("keys %v", got)
	}
	if _, err := s.client.Keyring().Rotate(s.context(), false, time.Time{}); err != nil {
		t.Fatal(err)
	}
	// It was overtaken by a key that came after it.
	s.awaitKeys(t, "the lost key is removed", func(k map[string]string) bool { return k[lost.KeyID] == "" })
}
