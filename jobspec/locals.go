package jobspec

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// collectLocals gathers the attributes of all locals blocks.
func collectLocals(blocks hcl.Blocks) (hcl.Attributes, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	all := hcl.Attributes{}
	for _, b := range blocks {
		attrs, more := b.Body.JustAttributes()
		diags = append(diags, more...)
		for _, name := range sortedKeys(attrs) {
			if first, dup := all[name]; dup {
				diags = append(diags, problem(attrs[name].NameRange, "Duplicate value in locals", "Duplicate %s definition found. It was first defined at %s.", name, first.NameRange))
				continue
			}
			all[name] = attrs[name]
		}
	}
	return all, diags
}

// localGraph evaluates locals in the order of their references.
type localGraph struct {
	eval   *evaluator
	attrs  hcl.Attributes
	state  map[string]localState
	values map[string]cty.Value
	diags  hcl.Diagnostics
}

type localState uint8

const (
	localWaiting localState = iota
	localOpen               // being evaluated
	localDone
)

// defineLocals evaluates locals, which may refer to each other in any order.
func (e *evaluator) defineLocals(attrs hcl.Attributes) hcl.Diagnostics {
	g := &localGraph{eval: e, attrs: attrs, state: map[string]localState{}, values: map[string]cty.Value{}}
	for _, name := range sortedKeys(attrs) {
		g.define(name, 0)
	}
	e.root.Variables["local"] = cty.ObjectVal(g.values)
	return g.diags
}

// maxLocalChain bounds how long a chain of locals may be.
const maxLocalChain = 1000

// define evaluates one local after those it refers to.
func (g *localGraph) define(name string, chain int) {
	attr := g.attrs[name]
	if attr == nil || g.state[name] == localDone {
		return
	}
	if g.state[name] == localOpen || chain > maxLocalChain {
		g.values[name] = cty.DynamicVal // what depends on it is not worth an error of its own
		g.diags = append(g.diags, problem(attr.Range, "Cycle in locals", "The value of local.%s refers to itself, through other locals or directly.", name))
		return
	}
	g.state[name] = localOpen
	needs, whole := localReferences(attr.Expr)
	if whole {
		needs = sortedKeys(g.attrs)
	}
	seen := map[string]cty.Value{}
	for _, need := range needs {
		if whole && g.state[need] == localOpen {
			continue
		}
		g.define(need, chain+1)
		if v, ok := g.values[need]; ok {
			seen[need] = v
		}
	}
	g.state[name] = localDone
	g.eval.root.Variables["local"] = cty.ObjectVal(seen)
	v, diags := g.eval.value(attr.Expr, g.eval.top())
	g.diags = append(g.diags, diags...)
	if diags.HasErrors() {
		v = cty.DynamicVal
	}
	g.values[name] = v
}

// localReferences lists the locals that an expression names; whole is true
// when it uses the object of all locals.
func localReferences(expr hcl.Expression) (names []string, whole bool) {
	for _, t := range expr.Variables() {
		if t.RootName() != "local" {
			continue
		}
		if len(t) < 2 {
			whole = true
			continue
		}
		switch step := t[1].(type) {
		case hcl.TraverseAttr:
			names = append(names, step.Name)
		case hcl.TraverseIndex:
			if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
				names = append(names, step.Key.AsString())
			}
		}
	}
	return names, whole
}
