package fsm

import (
	"maps"
	"slices"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// EncodeAll makes the entries of a command, in order: several of a list that
// is too long for one. What follows from the list, such as evaluations, is in
// the last one. Commands that are no lists are one entry or TooLarge.
func EncodeAll(t Type, payload any) ([][]byte, error) {
	one, err := Encode(t, payload)
	if err == nil {
		return [][]byte{one}, nil
	}
	if structs.KindOf(err) != structs.TooLarge {
		return nil, err
	}
	first, rest := halves(payload)
	if first == nil {
		return nil, err
	}
	entries, err := EncodeAll(t, first)
	if err != nil {
		return nil, err
	}
	more, err := EncodeAll(t, rest)
	return append(entries, more...), err
}

// halves cuts a list in two, nil when there is nothing to cut.
func halves(payload any) (first, rest any) {
	switch c := payload.(type) {
	case *state.AllocUpdates:
		return halfUpdates(c)
	case *state.AllocTransition:
		ids := slices.Sorted(maps.Keys(c.Transitions))
		if n := len(ids) / 2; n > 0 {
			a, b := *c, *c
			a.Transitions, a.Evals, b.Transitions = pick(c.Transitions, ids[:n]), nil, pick(c.Transitions, ids[n:])
			return &a, &b
		}
	case *state.EvalUpsert:
		if n := len(c.Evals) / 2; n > 0 {
			return &state.EvalUpsert{Evals: c.Evals[:n]}, &state.EvalUpsert{Evals: c.Evals[n:]}
		}
	case *state.EvalDelete:
		if n := len(c.IDs) / 2; n > 0 {
			return &state.EvalDelete{IDs: c.IDs[:n]}, &state.EvalDelete{IDs: c.IDs[n:]}
		}
	case *state.NodeDelete:
		if n := len(c.IDs) / 2; n > 0 {
			return &state.NodeDelete{IDs: c.IDs[:n]}, &state.NodeDelete{IDs: c.IDs[n:]}
		}
	case *state.ChildrenLaunch:
		if n := len(c.Launches) / 2; n > 0 {
			return &state.ChildrenLaunch{Launches: c.Launches[:n], Now: c.Now}, &state.ChildrenLaunch{Launches: c.Launches[n:], Now: c.Now}
		}
	case *state.DeploymentAllocHealth:
		return halfHealth(c)
	}
	return nil, nil
}

func pick(all map[string]*structs.DesiredTransition, ids []string) map[string]*structs.DesiredTransition {
	some := make(map[string]*structs.DesiredTransition, len(ids))
	for _, id := range ids {
		some[id] = all[id]
	}
	return some
}

func halfHealth(c *state.DeploymentAllocHealth) (first, rest any) {
	n, m := len(c.Healthy)/2, len(c.Unhealthy)/2
	if n+m == 0 {
		return nil, nil
	}
	a := &state.DeploymentAllocHealth{DeploymentID: c.DeploymentID, Healthy: c.Healthy[:n], Unhealthy: c.Unhealthy[:m], Now: c.Now}
	b := *c
	b.Healthy, b.Unhealthy = c.Healthy[n:], c.Unhealthy[m:]
	return a, &b
}

// halfUpdates cuts between nodes, or between the updates of a lone one.
func halfUpdates(c *state.AllocUpdates) (first, rest any) {
	if n := len(c.Nodes) / 2; n > 0 {
		return &state.AllocUpdates{Nodes: c.Nodes[:n]}, &state.AllocUpdates{Nodes: c.Nodes[n:]}
	}
	if len(c.Nodes) == 0 || len(c.Nodes[0].Updates) < 2 {
		return nil, nil
	}
	one := c.Nodes[0]
	n := len(one.Updates) / 2
	a, b := *one, *one
	a.Updates, a.Evals, b.Updates = one.Updates[:n], nil, one.Updates[n:]
	return &state.AllocUpdates{Nodes: []*state.AllocUpdate{&a}}, &state.AllocUpdates{Nodes: []*state.AllocUpdate{&b}}
}
