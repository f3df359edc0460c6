package state

import (
	"iter"

	"github.com/nomadlite/nomadlite/structs"
)

var rootKeys = declare(table[RootKey]{
	id: TableRootKeys, name: "root keys",
	key: func(k *RootKey) string { return k.KeyID },
})

// AddRootKey stores a root key; the one that was active is kept for what it
// encrypted.
func (t *Txn) AddRootKey(c *RootKeyAdd) error {
	if c.Key == nil || c.Key.KeyID == "" {
		return structs.Errorf(structs.Invalid, "cannot add a root key: it is missing")
	}
	if rootKeys.get(t.root, c.Key.KeyID) != nil {
		return nil // added before
	}
	k := *c.Key
	k.CreateIndex, k.ModifyIndex = t.index, t.index
	if k.State != structs.RootKeyPrepublished {
		t.endActiveRootKey(structs.RootKeyInactive)
		k.State = structs.RootKeyActive
	}
	rootKeys.set(t, &k)
	return nil
}

// endActiveRootKey moves the active root key, if there is one, to a state.
func (t *Txn) endActiveRootKey(to string) {
	for k := range rootKeys.prefix(t.root, "") {
		if k.State == structs.RootKeyActive {
			t.setRootKeyState(k, to)
		}
	}
}

func (t *Txn) setRootKeyState(k *RootKey, to string) {
	changed := *k
	changed.State, changed.ModifyIndex = to, t.index
	rootKeys.set(t, &changed)
}

// SetRootKeyState applies a RootKeyState; what is so already is no error.
func (t *Txn) SetRootKeyState(c *RootKeyState) error {
	k := rootKeys.get(t.root, c.KeyID)
	switch {
	case k == nil:
		return structs.Errorf(structs.NotFound, "cannot change root key %q: no such key", c.KeyID)
	case k.State == c.State:
		return nil
	case c.State == structs.RootKeyActive:
		before := structs.RootKeyInactive
		if c.Rekey {
			before = structs.RootKeyRekeying
		}
		t.endActiveRootKey(before)
	case k.State == structs.RootKeyRekeying && c.State == structs.RootKeyInactive:
		if v := t.variableOf(k.KeyID); v != nil {
			return structs.Errorf(structs.Conflict, "cannot end the rekeying of root key %s: it encrypts variable %q", k.KeyID, v.Path)
		}
	default:
		return structs.Errorf(structs.Invalid, "cannot change root key %s from %s to %q", k.KeyID, k.State, c.State)
	}
	t.setRootKeyState(k, c.State)
	return nil
}

// variableOf is a variable that a root key encrypts, nil for none.
func (t *Txn) variableOf(keyID string) *SealedVariable {
	for v := range variables.prefix(t.root, "") {
		if v.KeyID == keyID {
			return v
		}
	}
	return nil
}

// DeleteRootKeys removes root keys; those that are gone are no error.
func (t *Txn) DeleteRootKeys(c *RootKeyDelete) error {
	for _, id := range c.IDs {
		k := rootKeys.get(t.root, id)
		switch {
		case k == nil:
			continue
		case k.State == structs.RootKeyActive:
			return structs.Errorf(structs.Internal, "active root key cannot be deleted - call rotate first")
		case !c.Force && t.variableOf(id) != nil:
			return structs.Errorf(structs.Internal, "root key in use, cannot delete")
		}
		rootKeys.remove(t, id)
	}
	return nil
}

// RekeyVariables applies a VariableRekey.
func (t *Txn) RekeyVariables(c *VariableRekey) error {
	for _, v := range c.Variables {
		if v == nil || rootKeys.get(t.root, v.KeyID) == nil {
			return structs.Errorf(structs.Invalid, "cannot encrypt a variable again: it or its root key is missing")
		}
		old := variables.get(t.root, joinKey(v.Namespace, v.Path))
		if old == nil || old.ModifyIndex != v.ModifyIndex {
			continue // changed meanwhile: it is looked at again
		}
		next := *old
		next.KeyID, next.Sealed = v.KeyID, v.Sealed
		variables.set(t, &next)
	}
	return nil
}

// RootKey returns a root key, or nil.
func (s *Snapshot) RootKey(id string) *RootKey { return rootKeys.get(s.r, id) }

// RootKeys yields all root keys by id.
func (s *Snapshot) RootKeys() iter.Seq[*RootKey] { return rootKeys.prefix(s.r, "") }

// ActiveRootKey returns the root key that encrypts now, nil before the first.
func (s *Snapshot) ActiveRootKey() *RootKey {
	for k := range s.RootKeys() {
		if k.State == structs.RootKeyActive {
			return k
		}
	}
	return nil
}
