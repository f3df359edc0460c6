package nomadlite

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// This file makes, replaces and removes root keys. A root key is active only
// when most servers can unwrap it: whoever leads next can read what it
// encrypted.

// keyringWriter changes root keys.
type keyringWriter interface {
	// RotateRootKey makes a new root key the active one, with publish only from
	// that time on. With full, all variables are encrypted again.
	RotateRootKey(ctx context.Context, full bool, publish time.Time) (*structs.RootKeyMeta, uint64, error)
	DeleteRootKey(ctx context.Context, id string, force bool) (index uint64, err error)
}

// rootKey is the key that encrypts and signs now. The first use makes it.
func (s *Server) rootKey(ctx context.Context) (*keyring.Key, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	if k := s.store.Snapshot().ActiveRootKey(); k != nil {
		return s.unwrap(k)
	}
	s.rootKeyMu.Lock()
	defer s.rootKeyMu.Unlock()
	k := s.store.Snapshot().ActiveRootKey()
	if k == nil {
		if _, _, err := s.newRootKey(ctx, false, time.Time{}); err != nil {
			return nil, err
		}
		k = s.store.Snapshot().ActiveRootKey()
	}
	return s.unwrap(k)
}

func (s *Server) unwrap(k *state.RootKey) (*keyring.Key, error) { return s.keys.Key(wrapped(k)) }

func wrapped(k *state.RootKey) *keyring.Wrapped {
	return &keyring.Wrapped{ID: k.KeyID, KEK: k.KEK, Sealed: k.Sealed}
}

// newRootKey adds a root key and makes it active, unless it is published for
// later. The caller holds rootKeyMu.
func (s *Server) newRootKey(ctx context.Context, full bool, publish time.Time) (id string, index uint64, err error) {
	prefer := ""
	if k := s.store.Snapshot().ActiveRootKey(); k != nil {
		prefer = k.KEK
	}
	w, err := s.keys.New(newID(), prefer)
	if err != nil {
		return "", 0, err
	}
	key, err := s.keys.Key(w)
	if err != nil {
		return "", 0, err
	}
	now := time.Now()
	k := &state.RootKey{
		RootKeyMeta: structs.RootKeyMeta{KeyID: w.ID, Algorithm: keyring.Algorithm, State: structs.RootKeyPrepublished, CreateTime: now.UnixNano(), PublishTime: now.UnixNano()},
		KEK:         w.KEK, Sealed: w.Sealed, Public: key.Public().Key,
	}
	if publish.After(now) {
		k.PublishTime = publish.UnixNano()
	}
	if _, index, err = s.apply(ctx, fsm.RootKeyAdd, &state.RootKeyAdd{Key: k}); err != nil || publish.After(now) {
		return w.ID, index, err
	}
	index, err = s.activate(ctx, k, full)
	return w.ID, index, err
}

// activate makes a root key the active one once most servers can unwrap it.
func (s *Server) activate(ctx context.Context, k *state.RootKey, full bool) (index uint64, err error) {
	if err := s.spreadKEK(ctx, k); err != nil {
		return 0, err
	}
	_, index, err = s.apply(ctx, fsm.RootKeyState, &state.RootKeyState{KeyID: k.KeyID, State: structs.RootKeyActive, Rekey: full})
	return index, err
}

// RotateRootKey implements keyringWriter.
func (s *Server) RotateRootKey(ctx context.Context, full bool, publish time.Time) (*structs.RootKeyMeta, uint64, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, 0, err
	}
	s.rootKeyMu.Lock()
	defer s.rootKeyMu.Unlock()
	id, index, err := s.newRootKey(ctx, full, publish)
	if err != nil {
		return nil, 0, err
	}
	k := s.store.Snapshot().RootKey(id)
	if k == nil {
		return nil, 0, structs.Errorf(structs.Conflict, "cannot rotate the root key: the new key %s was removed meanwhile", id)
	}
	s.log.Info("a root key was made", "key", id, "state", k.State, "full", full)
	return &k.RootKeyMeta, index, nil
}

// DeleteRootKey implements keyringWriter.
func (s *Server) DeleteRootKey(ctx context.Context, id string, force bool) (index uint64, err error) {
	if s.store.Snapshot().RootKey(id) == nil {
		return 0, structs.Errorf(structs.Internal, "root key %q not found", id)
	}
	_, index, err = s.apply(ctx, fsm.RootKeyDelete, &state.RootKeyDelete{IDs: []string{id}, Force: force})
	return index, err
}

// keyringRetry is the pause after something about root keys failed.
const keyringRetry = 5 * time.Second

// tendKeyring does what root keys need while this server leads: there is one,
// published ones become active in time, what is to be encrypted again is, old
// ones are replaced and those that nothing needs are removed.
func (s *Server) tendKeyring(ctx context.Context) error {
	w := s.store.Watch(state.KeyTable(state.TableRootKeys))
	defer w.Close()
	for {
		replaced := s.store.Replaced()
		wait := s.cfg.RootKeyGCInterval
		next, err := s.tendOnce(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Warn("cannot tend the keyring; trying again", "error", err)
			wait = keyringRetry
		case next > 0:
			wait = min(wait, next)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-w.C():
		case <-replaced:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// tendOnce looks at all root keys once. next is the time until one has to
// become active, 0 for none.
func (s *Server) tendOnce(ctx context.Context, now time.Time) (next time.Duration, err error) {
	if _, err := s.rootKey(ctx); err != nil {
		return 0, err
	}
	snap := s.store.Snapshot()
	for k := range snap.RootKeys() {
		switch k.State {
		case structs.RootKeyPrepublished:
			due := time.Unix(0, k.PublishTime).Sub(now)
			if due > 0 {
				if next == 0 || due < next {
					next = due
				}
				continue
			}
			if err := s.activateDue(ctx, snap, k); err != nil {
				return 0, err
			}
		case structs.RootKeyRekeying:
			if err := s.rekey(ctx, k); err != nil {
				return 0, err
			}
		}
	}
	if active := snap.ActiveRootKey(); active != nil && now.Sub(time.Unix(0, active.CreateTime)) > s.cfg.RootKeyRotation {
		_, _, err := s.RotateRootKey(ctx, false, time.Time{})
		return next, err
	}
	if old := unneeded(snap, now, s.cfg.RootKeyGCThreshold); len(old) > 0 {
		_, _, err := s.apply(ctx, fsm.RootKeyDelete, &state.RootKeyDelete{IDs: old})
		return next, err
	}
	return next, nil
}

// activateDue makes a published key active. One that a leader made and could
// not finish, and that was overtaken since, never encrypted anything.
func (s *Server) activateDue(ctx context.Context, snap *state.Snapshot, k *state.RootKey) error {
	s.rootKeyMu.Lock()
	defer s.rootKeyMu.Unlock()
	active := snap.ActiveRootKey()
	if active != nil && active.CreateIndex > k.CreateIndex && active.PublishTime >= k.PublishTime {
		_, _, err := s.apply(ctx, fsm.RootKeyDelete, &state.RootKeyDelete{IDs: []string{k.KeyID}})
		return err
	}
	if !s.keys.Has(k.KEK) {
		return nil // it comes with its maker, or is overtaken
	}
	_, err := s.activate(ctx, k, false)
	return err
}

// rekeyBytes bounds the variables of one command.
const rekeyBytes = 512 << 10

// rekey encrypts again what a root key encrypted, by the active one.
func (s *Server) rekey(ctx context.Context, old *state.RootKey) error {
	for {
		key, err := s.rootKey(ctx)
		if err != nil {
			return err
		}
		from, err := s.unwrap(old)
		if err != nil {
			return err
		}
		batch, err := reseal(s.store.Snapshot(), from, key)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		if _, _, err := s.apply(ctx, fsm.VariableRekey, &state.VariableRekey{Variables: batch}); err != nil {
			return err
		}
	}
	_, _, err := s.apply(ctx, fsm.RootKeyState, &state.RootKeyState{KeyID: old.KeyID, State: structs.RootKeyInactive})
	return err
}

// reseal encrypts the next variables of one key by another.
func reseal(snap *state.Snapshot, from, to *keyring.Key) (batch []*state.SealedVariable, err error) {
	size := 0
	for v := range snap.Variables("", "") {
		if v.KeyID != from.ID() {
			continue
		}
		if size += len(v.Sealed); size > rekeyBytes && len(batch) > 0 {
			break
		}
		place := variablePlace(v.Namespace, v.Path)
		text, err := from.Open(v.Sealed, place)
		if err != nil {
			return nil, structs.Errorf(structs.Internal, "cannot decrypt variable %q: %w", v.Path, err)
		}
		next := *v
		next.KeyID = to.ID()
		if next.Sealed, err = to.Seal(text, place); err != nil {
			return nil, err
		}
		batch = append(batch, &next)
	}
	return batch, nil
}

// unneeded are inactive root keys that encrypt nothing, a threshold after the
// active one was made, when no allocation runs that may hold what they signed.
func unneeded(snap *state.Snapshot, now time.Time, threshold time.Duration) []string {
	active := snap.ActiveRootKey()
	if active == nil || now.Sub(time.Unix(0, max(active.CreateTime, active.PublishTime))) < threshold {
		return nil
	}
	candidates := map[string]bool{}
	for k := range snap.RootKeys() {
		if k.State == structs.RootKeyInactive {
			candidates[k.KeyID] = true
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	for v := range snap.Variables("", "") {
		delete(candidates, v.KeyID)
	}
	if len(candidates) == 0 {
		return nil
	}
	for a := range snap.Allocs() {
		if !a.Terminal() && a.CreateTime < max(active.CreateTime, active.PublishTime) {
			return nil
		}
	}
	var out []string
	for id := range candidates {
		out = append(out, id)
	}
	return out
}
