package jobspec

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// EnvPrefix starts the environment variables that give values.
const EnvPrefix = "NOMAD_VAR_"

// variable is a declared input variable.
type variable struct {
	name        string
	typ         cty.Type // cty.DynamicPseudoType when not given and no default
	description string
	checks      []*validation
	value       cty.Value // cty.NilVal while unset
	from        string    // where the value came from, for messages
	at          hcl.Range // of the declaration
	valueAt     hcl.Range
}

type validation struct {
	condition hcl.Expression
	message   string
	at        hcl.Range
}

// variables by name, and their order of declaration.
type variables struct {
	byName map[string]*variable
	order  []string
}

func (vs *variables) add(v *variable) hcl.Diagnostics {
	if first, dup := vs.byName[v.name]; dup {
		return hcl.Diagnostics{problem(v.at, "Duplicate variable", "Duplicate %s variable definition found. It was first defined at %s.", v.name, first.at)}
	}
	vs.byName[v.name] = v
	vs.order = append(vs.order, v.name)
	return nil
}

var variableSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "description"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
}

// declareVariables reads variable and variables blocks.
func (p *parser) declareVariables(blocks hcl.Blocks) (*variables, hcl.Diagnostics) {
	vs := &variables{byName: map[string]*variable{}}
	var diags hcl.Diagnostics
	for _, b := range blocks {
		switch b.Type {
		case "variables":
			attrs, more := b.Body.JustAttributes()
			diags = append(diags, more...)
			for _, name := range sortedKeys(attrs) {
				v, more := p.eval.value(attrs[name].Expr, p.eval.top())
				diags = append(diags, more...)
				if more.HasErrors() {
					continue
				}
				at := attrs[name].Range
				diags = append(diags, vs.add(&variable{name: name, typ: v.Type(), value: v, from: "default", at: at, valueAt: at})...)
			}
		case "variable":
			v, more := p.declareVariable(b)
			diags = append(diags, more...)
			if v != nil {
				diags = append(diags, vs.add(v)...)
			}
		}
	}
	return vs, diags
}

func (p *parser) declareVariable(b *hcl.Block) (*variable, hcl.Diagnostics) {
	content, diags := b.Body.Content(variableSchema)
	v := &variable{name: b.Labels[0], typ: cty.NilType, at: b.DefRange}
	if !hclsyntax.ValidIdentifier(v.name) {
		return nil, append(diags, problem(b.LabelRanges[0], "Invalid variable name", "The name %q is not an identifier.", v.name))
	}
	if attr := content.Attributes["description"]; attr != nil {
		text, more := attr.Expr.Value(nil)
		diags = append(diags, more...)
		if text, err := convert.Convert(text, cty.String); err == nil && text.IsKnown() && !text.IsNull() {
			v.description = text.AsString()
		}
	}
	if attr := content.Attributes["type"]; attr != nil {
		typ, more := typeexpr.Type(attr.Expr)
		diags = append(diags, more...)
		if more.HasErrors() {
			typ = cty.DynamicPseudoType
		}
		v.typ = typ
	}
	if attr := content.Attributes["default"]; attr != nil {
		diags = append(diags, p.variableDefault(v, attr)...)
	} else if v.typ == cty.NilType {
		v.typ = cty.DynamicPseudoType
	}
	for _, check := range content.Blocks {
		c, more := variableValidation(v.name, check)
		diags = append(diags, more...)
		if c != nil {
			v.checks = append(v.checks, c)
		}
	}
	return v, diags
}

func (p *parser) variableDefault(v *variable, attr *hcl.Attribute) hcl.Diagnostics {
	def, diags := p.eval.value(attr.Expr, p.eval.top())
	if diags.HasErrors() {
		return diags
	}
	if v.typ == cty.NilType {
		v.typ = def.Type()
	} else {
		converted, err := convert.Convert(def, v.typ)
		if err != nil {
			return append(diags, problem(attr.Expr.Range(), "Invalid default value for variable", "This default value is not compatible with the variable's type constraint: %s.", err))
		}
		def = converted
	}
	v.value, v.from, v.valueAt = def, "default", attr.Expr.Range()
	return diags
}

var validationSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{
	{Name: "condition", Required: true}, {Name: "error_message", Required: true},
}}

func variableValidation(name string, b *hcl.Block) (*validation, hcl.Diagnostics) {
	content, diags := b.Body.Content(validationSchema)
	if diags.HasErrors() {
		return nil, diags
	}
	c := &validation{condition: content.Attributes["condition"].Expr, at: content.Attributes["condition"].Expr.Range()}
	own := false
	for _, t := range c.condition.Variables() {
		step, ok := hcl.TraverseAttr{}, false
		if len(t) > 1 {
			step, ok = t[1].(hcl.TraverseAttr)
		}
		if t.RootName() == "var" && ok && step.Name == name {
			own = true
			continue
		}
		return nil, append(diags, problem(t.SourceRange(), "Invalid reference in variable validation", "The condition for variable %q can only refer to the variable itself, using var.%s.", name, name))
	}
	if !own {
		return nil, append(diags, problem(c.at, "Invalid variable validation condition", "The condition for variable %q must refer to var.%s in order to test incoming values.", name, name))
	}
	expr := content.Attributes["error_message"].Expr
	text, more := expr.Value(nil)
	diags = append(diags, more...)
	text, err := convert.Convert(text, cty.String)
	if err != nil || !text.IsKnown() || text.IsNull() || strings.TrimSpace(text.AsString()) == "" {
		return nil, append(diags, problem(expr.Range(), "Invalid validation error message", "An empty string is not a valid nor useful error message."))
	}
	c.message = text.AsString()
	return c, diags
}

// defineVariables checks that every variable has a value that its validations
// accept, and makes them visible as var.
func (e *evaluator) defineVariables(vs *variables) hcl.Diagnostics {
	var diags hcl.Diagnostics
	values := map[string]cty.Value{}
	for _, name := range vs.order {
		v := vs.byName[name]
		if v.value == cty.NilVal {
			diags = append(diags, problem(v.at, fmt.Sprintf("Unset variable %q", name),
				"A used variable must be set or have a default value: set it with -var, -var-file or %s%s.", EnvPrefix, name))
			continue
		}
		values[name] = v.value
	}
	e.root.Variables["var"] = cty.ObjectVal(values)
	for _, name := range vs.order {
		if _, ok := values[name]; ok {
			diags = append(diags, e.validate(vs.byName[name])...)
		}
	}
	return diags
}

func (e *evaluator) validate(v *variable) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if len(v.checks) == 0 {
		return nil
	}
	pure := site{ctx: e.pure()}
	for _, c := range v.checks {
		result, more := e.value(c.condition, pure)
		diags = append(diags, more...)
		if more.HasErrors() {
			continue
		}
		ok, err := convert.Convert(result, cty.Bool)
		switch {
		case err != nil:
			diags = append(diags, problem(c.at, "Invalid variable validation result", "Invalid validation condition result value: %s.", err))
		case ok.IsNull() || !ok.IsKnown():
			diags = append(diags, problem(c.at, "Invalid variable validation result", "Validation condition expression must return either true or false, not null."))
		case ok.False():
			diags = append(diags, problem(v.valueAt, fmt.Sprintf("Invalid value for %s variable", v.from), "%s\n\nThis was checked by the validation rule at %s.", c.message, c.at))
		}
	}
	return diags
}

// assignVariables gives values, from the weakest source to the strongest.
func (p *parser) assignVariables(vs *variables) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, entry := range p.cfg.Env {
		name, raw, ok := strings.Cut(entry, "=")
		if name, isVar := strings.CutPrefix(name, EnvPrefix); ok && isVar {
			if v := vs.byName[name]; v != nil {
				diags = append(diags, p.assign(v, raw, "environment", fmt.Sprintf("<value for var.%s from env>", name))...)
			}
		}
	}
	files := p.cfg.VarFiles
	if p.cfg.VarContent != "" {
		files = append(files[:len(files):len(files)], VarFile{Path: "input.vars", Content: []byte(p.cfg.VarContent)})
	}
	for _, f := range files {
		diags = append(diags, p.assignFile(vs, f)...)
	}
	for _, arg := range p.cfg.Vars {
		name, raw, ok := strings.Cut(arg, "=")
		file := fmt.Sprintf("<value for var.%s from arguments>", name)
		if !ok {
			diags = append(diags, problem(hcl.Range{Filename: file}, "Invalid -var option", "The value %q is not valid: write -var name=value.", arg))
			continue
		}
		v := vs.byName[name]
		if v == nil {
			diags = append(diags, p.undeclared(name, "A -var option", hcl.Range{Filename: file})...)
			continue
		}
		diags = append(diags, p.assign(v, raw, "-var", file)...)
	}
	return diags
}

func (p *parser) undeclared(name, source string, at hcl.Range) hcl.Diagnostics {
	detail := fmt.Sprintf("%s was set for %q, but the job file declares no variable of that name. Add a variable block or remove the value.", source, name)
	if p.cfg.Strict {
		return hcl.Diagnostics{problem(at, "Undefined variable", "%s", detail)}
	}
	if p.cfg.Warn != nil {
		p.cfg.Warn("Undefined variable: " + detail)
	}
	return nil
}

// assign parses a value given as text: raw for strings, numbers and untyped
// variables, an expression for all other types.
func (p *parser) assign(v *variable, raw, from, file string) hcl.Diagnostics {
	at := hcl.Range{Filename: file}
	value := cty.StringVal(raw)
	if v.typ != cty.String && v.typ != cty.Number && v.typ != cty.DynamicPseudoType {
		if diags := checkSource([]byte(raw), file, false, maxWhole); diags.HasErrors() {
			return diags
		}
		expr, diags := hclsyntax.ParseExpression([]byte(raw), file, hcl.InitialPos)
		if diags.HasErrors() {
			return diags
		}
		value, diags = expr.Value(nil)
		if diags.HasErrors() {
			return diags
		}
	}
	return v.set(value, from, at)
}

func (v *variable) set(value cty.Value, from string, at hcl.Range) hcl.Diagnostics {
	converted, err := convert.Convert(value, v.typ)
	if err != nil {
		return hcl.Diagnostics{problem(at, fmt.Sprintf("Invalid value for %s variable", from), "The value for %s is not compatible with the variable's type constraint: %s.", v.name, err)}
	}
	v.value, v.from, v.valueAt = converted, from, at
	return nil
}

func (p *parser) assignFile(vs *variables, f VarFile) hcl.Diagnostics {
	content := withoutBOM(f.Content)
	body, diags := parseBody(content, f.Path, IsJSON(content) || strings.HasSuffix(f.Path, ".json"), wholeSize)
	if diags.HasErrors() {
		return diags
	}
	tree, more := native(body)
	if diags = append(diags, more...); diags.HasErrors() {
		return diags
	}
	if tree != nil {
		body = tree
		for _, b := range tree.Blocks {
			if b.Type == "variable" {
				diags = append(diags, problem(b.DefRange(), "Variable declaration in a .var file", "A file of values assigns variables: write %s = <value>.", strings.Join(b.Labels, " ")))
			}
		}
		if diags.HasErrors() {
			return diags
		}
	}
	attrs, diags := body.JustAttributes()
	for _, name := range sortedKeys(attrs) {
		attr := attrs[name]
		v := vs.byName[name]
		if v == nil {
			diags = append(diags, p.undeclared(name, "A value in "+f.Path, attr.Range)...)
			continue
		}
		var value cty.Value
		var more hcl.Diagnostics
		if json.IsJSONExpression(attr.Expr) {
			value, more = attr.Expr.Value(nil)
		} else {
			value, more = attr.Expr.Value(&hcl.EvalContext{})
		}
		diags = append(diags, more...)
		if !more.HasErrors() {
			diags = append(diags, v.set(value, "varfile", attr.Expr.Range())...)
		}
	}
	return diags
}
