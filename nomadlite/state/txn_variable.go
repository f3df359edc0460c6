package state

import (
	"iter"

	"github.com/nomadlite/nomadlite/structs"
)

var variables = declare(table[SealedVariable]{
	id: TableVariables, name: "variables",
	key:   func(v *SealedVariable) string { return joinKey(v.Namespace, v.Path) },
	space: func(v *SealedVariable) string { return v.Namespace },
	dirty: func(v *SealedVariable) []Key { return []Key{KeyVariable(v.Namespace, v.Path)} },
})

// SetVariable writes a variable.
func (t *Txn) SetVariable(c *VariableSet) (*VariableResult, error) {
	if c.Variable == nil {
		return nil, structs.Errorf(structs.Invalid, "cannot write a variable: it is missing")
	}
	v := *c.Variable
	if namespaces.get(t.root, v.Namespace) == nil {
		return nil, structs.Errorf(structs.Rejected, "cannot write variable %q: namespace %q does not exist", v.Path, v.Namespace)
	}
	if rootKeys.get(t.root, v.KeyID) == nil {
		return nil, structs.Errorf(structs.Conflict, "cannot write variable %q: its root key %s is gone; write it again", v.Path, v.KeyID)
	}
	old := variables.get(t.root, joinKey(v.Namespace, v.Path))
	if conflict := checkVariable(old, c.Check, c.Index); conflict != nil {
		return conflict, nil
	}
	v.CreateIndex, v.ModifyIndex, v.CreateTime, v.ModifyTime = t.index, t.index, c.Now, c.Now
	if old != nil {
		v.CreateIndex, v.CreateTime = old.CreateIndex, old.CreateTime
	}
	variables.set(t, &v)
	return &VariableResult{Current: &v}, nil
}

// DeleteVariable removes a variable; one that is not there is no error.
func (t *Txn) DeleteVariable(c *VariableDelete) (*VariableResult, error) {
	key := joinKey(c.Namespace, c.Path)
	old := variables.get(t.root, key)
	if conflict := checkVariable(old, c.Check, c.Index); conflict != nil {
		return conflict, nil
	}
	variables.remove(t, key)
	return &VariableResult{}, nil
}

func checkVariable(old *SealedVariable, check bool, index uint64) *VariableResult {
	have := uint64(0)
	if old != nil {
		have = old.ModifyIndex
	}
	if check && have != index {
		return &VariableResult{Conflict: true, Current: old}
	}
	return nil
}

// Variable returns a variable, or nil.
func (s *Snapshot) Variable(ns, path string) *SealedVariable {
	return variables.get(s.r, joinKey(ns, path))
}

// Variables yields the variables of a namespace ("" for all) whose path begins
// with prefix, ordered by namespace and path.
func (s *Snapshot) Variables(ns, prefix string) iter.Seq[*SealedVariable] {
	if ns != "" {
		return variables.prefix(s.r, joinKey(ns, prefix))
	}
	return where(variables.prefix(s.r, ""), func(v *SealedVariable) bool {
		return len(v.Path) >= len(prefix) && v.Path[:len(prefix)] == prefix
	})
}
