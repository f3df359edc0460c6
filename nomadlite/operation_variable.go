package nomadlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// variableWriter changes variables and reads their items.
type variableWriter interface {
	// SetVariable writes a variable, with check only when its ModifyIndex is
	// *check (0 for none). A conflict is no error: the answer is what is stored,
	// nil for nothing.
	SetVariable(ctx context.Context, v *structs.Variable, check *uint64) (stored *structs.Variable, conflict bool, err error)
	DeleteVariable(ctx context.Context, ns, path string, check *uint64) (stored *structs.Variable, conflict bool, index uint64, err error)
	OpenVariable(snap *state.Snapshot, v *state.SealedVariable) (*structs.Variable, error)
}

// variablePlace is what a sealed variable is bound to.
func variablePlace(ns, path string) string { return "variable " + ns + "\x00" + path }

// SetVariable implements variableWriter.
func (s *Server) SetVariable(ctx context.Context, v *structs.Variable, check *uint64) (*structs.Variable, bool, error) {
	key, err := s.rootKey(ctx)
	if err != nil {
		return nil, false, err
	}
	text, err := json.Marshal(v.Items)
	if err != nil {
		return nil, false, err
	}
	sealed, err := key.Seal(text, variablePlace(v.Namespace, v.Path))
	if err != nil {
		return nil, false, err
	}
	value, _, err := s.apply(ctx, fsm.VariableSet, &state.VariableSet{
		Variable: &state.SealedVariable{VariableMetadata: v.VariableMetadata, KeyID: key.ID(), Sealed: sealed},
		Check:    check != nil, Index: structs.Val(check), Now: time.Now().UnixNano(),
	})
	if err != nil {
		return nil, false, err
	}
	return s.variableResult(value)
}

// DeleteVariable implements variableWriter.
func (s *Server) DeleteVariable(ctx context.Context, ns, path string, check *uint64) (*structs.Variable, bool, uint64, error) {
	value, index, err := s.apply(ctx, fsm.VariableDelete, &state.VariableDelete{Namespace: ns, Path: path, Check: check != nil, Index: structs.Val(check)})
	if err != nil {
		return nil, false, 0, err
	}
	stored, conflict, err := s.variableResult(value)
	return stored, conflict, index, err
}

func (s *Server) variableResult(value any) (*structs.Variable, bool, error) {
	result, ok := value.(*state.VariableResult)
	if !ok {
		return nil, false, structs.Errorf(structs.Internal, "cannot change the variable: the command has no result")
	}
	if result.Current == nil {
		return nil, result.Conflict, nil
	}
	stored, err := s.OpenVariable(s.store.Snapshot(), result.Current)
	return stored, result.Conflict, err
}

// OpenVariable decrypts a variable of a snapshot.
func (s *Server) OpenVariable(snap *state.Snapshot, v *state.SealedVariable) (*structs.Variable, error) {
	root := snap.RootKey(v.KeyID)
	if root == nil {
		return nil, structs.Errorf(structs.Internal, "cannot read variable %q: its root key %s is gone", v.Path, v.KeyID)
	}
	key, err := s.unwrap(root)
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot read variable %q: %w", v.Path, err)
	}
	text, err := key.Open(v.Sealed, variablePlace(v.Namespace, v.Path))
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot decrypt variable %q: %w", v.Path, err)
	}
	out := &structs.Variable{VariableMetadata: v.VariableMetadata}
	if err := json.Unmarshal(text, &out.Items); err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot read the items of variable %q: %w", v.Path, err)
	}
	return out, nil
}
