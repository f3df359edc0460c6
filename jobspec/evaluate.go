package jobspec

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// site is where an expression stands: the values it sees, and the names that
// are not deferred.
type site struct {
	ctx   *hcl.EvalContext
	names *names
}

// names is a list of names in scope, innermost first; nil is empty.
type names struct {
	name  string
	outer *names
}

func (n *names) with(name string) *names { return &names{name: name, outer: n} }

func (n *names) has(name string) bool {
	for ; n != nil; n = n.outer {
		if n.name == name {
			return true
		}
	}
	return false
}

// evaluator evaluates expressions of one job file. Names that nobody defines
// evaluate to their own source text as ${...}: each such traversal is replaced
// in the syntax tree by a variable that holds the text.
type evaluator struct {
	root     *hcl.EvalContext
	pure     func() *hcl.EvalContext // as root, but without the file functions
	sources  map[string][]byte       // by file name
	deferred map[string]string       // variable by text
	prepared map[hclsyntax.Expression]hclsyntax.Expression
	meter    *meter
}

// deferredPrefix cannot start a name in a source.
const deferredPrefix = "\x00"

func newEvaluator(cfg ParseConfig) *evaluator {
	m := &meter{}
	root := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: functions(cfg, m)}
	pure := func() *hcl.EvalContext {
		cfg.AllowFS = false
		return &hcl.EvalContext{Variables: root.Variables, Functions: functions(cfg, m)}
	}
	return &evaluator{
		root:     root,
		pure:     pure,
		sources:  map[string][]byte{},
		deferred: map[string]string{},
		prepared: map[hclsyntax.Expression]hclsyntax.Expression{},
		meter:    m,
	}
}

// top is the site of expressions outside of any dynamic block.
func (e *evaluator) top() site { return site{ctx: e.root} }

// value evaluates an expression of either syntax and charges for the result.
func (e *evaluator) value(expr hcl.Expression, at site) (v cty.Value, diags hcl.Diagnostics) {
	defer func() {
		if r := recover(); r != nil {
			if _, spent := r.(budgetSpent); !spent {
				panic(r)
			}
			v, diags = cty.DynamicVal, hcl.Diagnostics{e.meter.diagnostic(expr.Range())}
		}
	}()
	if json.IsJSONExpression(expr) {
		raw, diags := expr.Value(nil)
		if diags.HasErrors() {
			return cty.DynamicVal, diags
		}
		return e.jsonValue(raw, expr.Range(), at)
	}
	native, ok := expr.(hclsyntax.Expression)
	if !ok {
		return expr.Value(at.ctx)
	}
	ready, done := e.prepared[native]
	if !done {
		ready = e.prepare(native, at.names, origin{e.sources[expr.Range().Filename], 0})
		if at.names != nil { // it is evaluated again for the next element
			e.prepared[native] = ready
		}
	}
	v, diags = ready.Value(at.ctx)
	if e.meter.reason != "" {
		panic(budgetSpent{}) // a function has caught the panic that said so
	}
	if !diags.HasErrors() {
		e.meter.charge(v)
	}
	return v, diags
}

// jsonValue evaluates the templates in the strings of a JSON value.
func (e *evaluator) jsonValue(v cty.Value, at hcl.Range, s site) (cty.Value, hcl.Diagnostics) {
	switch t := v.Type(); {
	case v.IsNull():
		return v, nil
	case t == cty.String:
		return e.template(v.AsString(), at, s)
	case t.IsTupleType():
		var list []cty.Value
		var diags hcl.Diagnostics
		for it := v.ElementIterator(); it.Next(); {
			_, elem := it.Element()
			elem, more := e.jsonValue(elem, at, s)
			list, diags = append(list, elem), append(diags, more...)
		}
		return cty.TupleVal(list), diags
	case t.IsObjectType():
		attrs := map[string]cty.Value{}
		var diags hcl.Diagnostics
		for it := v.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			name, more := e.template(key.AsString(), at, s)
			diags = append(diags, more...)
			elem, more = e.jsonValue(elem, at, s)
			diags = append(diags, more...)
			if diags.HasErrors() || name.IsNull() || name.Type() != cty.String {
				continue
			}
			attrs[name.AsString()] = elem
		}
		return cty.ObjectVal(attrs), diags
	}
	return v, nil
}

// template evaluates the text of a JSON string.
func (e *evaluator) template(text string, at hcl.Range, s site) (cty.Value, hcl.Diagnostics) {
	if !strings.Contains(text, "${") && !strings.Contains(text, "%{") {
		v := cty.StringVal(text)
		e.meter.charge(v)
		return v, nil
	}
	source := []byte(text)
	if diags := checkSource(append(append([]byte(`"`), source...), '"'), at.Filename, false, maxWhole); diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	start := at.Start
	start.Column++
	expr, diags := hclsyntax.ParseTemplate(source, at.Filename, start)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	v, diags := e.prepare(expr, s.names, origin{source, start.Byte}).Value(s.ctx)
	if !diags.HasErrors() {
		e.meter.charge(v)
	}
	return v, diags
}

// origin is the text that an expression was parsed from; offset is the
// position of its first byte.
type origin struct {
	source []byte
	offset int
}

// prepare rewrites an expression in place before it is evaluated: unknown names
// become their text, and what may grow is metered.
func (e *evaluator) prepare(x hclsyntax.Expression, in *names, from origin) hclsyntax.Expression {
	do := func(x hclsyntax.Expression) hclsyntax.Expression { return e.prepare(x, in, from) }
	switch x := x.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		e.deferUnknown(x, in, from)
	case *hclsyntax.TemplateExpr:
		for i, part := range x.Parts {
			x.Parts[i] = e.metered(do(part))
		}
	case *hclsyntax.TemplateWrapExpr:
		x.Wrapped = do(x.Wrapped)
	case *hclsyntax.TemplateJoinExpr:
		x.Tuple = do(x.Tuple)
	case *hclsyntax.ParenthesesExpr:
		x.Expression = do(x.Expression)
	case *hclsyntax.RelativeTraversalExpr:
		x.Source = do(x.Source)
	case *hclsyntax.FunctionCallExpr:
		for i, arg := range x.Args {
			if x.Name == "convert" && i == 1 {
				continue // a type, not a value
			}
			x.Args[i] = e.metered(do(arg))
		}
	case *hclsyntax.ConditionalExpr:
		x.Condition, x.TrueResult, x.FalseResult = do(x.Condition), do(x.TrueResult), do(x.FalseResult)
	case *hclsyntax.IndexExpr:
		x.Collection, x.Key = do(x.Collection), do(x.Key)
	case *hclsyntax.TupleConsExpr:
		for i, elem := range x.Exprs {
			x.Exprs[i] = do(elem)
		}
	case *hclsyntax.ObjectConsExpr:
		for i := range x.Items {
			x.Items[i].KeyExpr, x.Items[i].ValueExpr = do(x.Items[i].KeyExpr), do(x.Items[i].ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		// A bare name is a literal key, and a bare traversal an error.
		if _, bare := x.Wrapped.(*hclsyntax.ScopeTraversalExpr); !bare || x.ForceNonLiteral {
			x.Wrapped = do(x.Wrapped)
		}
	case *hclsyntax.ForExpr:
		e.prepareFor(x, in, from)
	case *hclsyntax.SplatExpr:
		x.Source, x.Each = do(x.Source), e.metered(do(x.Each))
	case *hclsyntax.BinaryOpExpr:
		x.LHS, x.RHS = e.metered(do(x.LHS)), e.metered(do(x.RHS))
	case *hclsyntax.UnaryOpExpr:
		x.Val = do(x.Val)
	}
	return x
}

func (e *evaluator) prepareFor(x *hclsyntax.ForExpr, in *names, from origin) {
	x.CollExpr = e.metered(e.prepare(x.CollExpr, in, from))
	if x.KeyVar != "" {
		in = in.with(x.KeyVar)
	}
	in = in.with(x.ValVar)
	if x.KeyExpr != nil {
		x.KeyExpr = e.metered(e.prepare(x.KeyExpr, in, from))
	}
	if x.CondExpr != nil {
		x.CondExpr = e.metered(e.prepare(x.CondExpr, in, from))
	}
	x.ValExpr = e.metered(e.prepare(x.ValExpr, in, from))
}

// deferUnknown turns a traversal whose root nobody defines into a variable that
// holds its source text as ${...}.
func (e *evaluator) deferUnknown(x *hclsyntax.ScopeTraversalExpr, in *names, from origin) {
	root := x.Traversal.RootName()
	if root == "var" || root == "local" || strings.HasPrefix(root, deferredPrefix) || in.has(root) {
		return
	}
	text := "${" + sourceText(x.SrcRange, from) + "}"
	name, known := e.deferred[text]
	if !known {
		name = deferredPrefix + strconv.Itoa(len(e.deferred))
		e.deferred[text] = name
		e.root.Variables[name] = cty.StringVal(text)
	}
	x.Traversal = hcl.Traversal{hcl.TraverseRoot{Name: name, SrcRange: x.SrcRange}}
}

// sourceText is the text of a traversal, with the blanks around it when it is
// all that stands between "${" and "}".
func sourceText(r hcl.Range, from origin) string {
	start, end := r.Start.Byte-from.offset, r.End.Byte-from.offset
	if start < 0 || end > len(from.source) || start > end {
		return ""
	}
	const blanks = " \t\r\n"
	before := bytes.TrimRight(from.source[:start], blanks)
	if bytes.HasSuffix(before, []byte("${")) {
		start = len(before)
		after := bytes.TrimLeft(from.source[end:], blanks)
		if bytes.HasPrefix(after, []byte("}")) {
			end = len(from.source) - len(after)
		}
	}
	return string(from.source[start:end])
}

// metered charges for every value of an expression.
func (e *evaluator) metered(x hclsyntax.Expression) hclsyntax.Expression {
	if literal, ok := x.(*hclsyntax.LiteralValueExpr); ok && literal.Val.Type() != cty.Number {
		return x
	}
	return meteredExpr{Expression: x, meter: e.meter}
}

type meteredExpr struct {
	hclsyntax.Expression
	meter *meter
}

// Value implements hcl.Expression.
func (x meteredExpr) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	v, diags := x.Expression.Value(ctx)
	x.meter.charge(v)
	return v, diags
}

// budget is how much all evaluations of a file may produce: a unit is a byte of
// text, an element counts as several. It takes well under a second to spend.
const budget = 30 << 20

const elementCost = 400

// maxExponent bounds numbers, whose decimal text would otherwise fill memory.
const maxExponent = 4096

// budgetSpent is panicked with to leave nested for expressions, which go on
// after errors, and recovered in evaluator.value.
type budgetSpent struct{}

// meter counts the work of evaluations.
type meter struct {
	used     int
	reason   string
	reported bool
}

// charge counts a value, and stops the evaluation when the budget is spent.
func (m *meter) charge(v cty.Value) {
	m.spend(elementCost)
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() {
		return
	}
	switch t := v.Type(); {
	case t == cty.String:
		m.spend(len(v.AsString()))
	case t == cty.Number:
		if n := v.AsBigFloat(); n.IsInf() || n.MantExp(nil) > maxExponent || n.MantExp(nil) < -maxExponent {
			m.stop("a number is infinite or has too many digits")
		}
	case t.IsCollectionType() || t.IsTupleType() || t.IsObjectType():
		for it := v.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			if t.IsMapType() || t.IsObjectType() {
				m.spend(len(key.AsString()))
			}
			m.charge(elem)
		}
	}
}

// spend counts units of work.
func (m *meter) spend(units int) {
	if units > budget {
		units = budget
	}
	m.used += max(0, units)
	if m.used > budget || m.reason != "" {
		m.stop("its expressions produce too much; generate less, or pass the content by a file")
	}
}

func (m *meter) stop(reason string) {
	if m.reason == "" {
		m.reason = reason
	}
	panic(budgetSpent{})
}

func (m *meter) diagnostic(at hcl.Range) *hcl.Diagnostic {
	m.reported = true
	return problem(at, "Expression is too large", "This file cannot be evaluated: %s.", m.reason)
}

// diagnostics reports a spent budget that a try or can function has hidden.
func (m *meter) diagnostics() hcl.Diagnostics {
	if m.reason == "" || m.reported {
		return nil
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Expression is too large",
		Detail: fmt.Sprintf("This file cannot be evaluated: %s.", m.reason)}}
}
