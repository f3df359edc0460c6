package jobspec

import (
	"reflect"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomadlite/nomadlite/structs"
)

// hook is what the job file offers for one noun beyond its tagged fields.
type hook struct {
	attrs  []string
	blocks []hcl.BlockHeaderSchema
	// before sets values that the file may overwrite; after reads the extra
	// attributes and blocks and fills in parse-time defaults.
	before func(noun any)
	after  func(in *extras, noun any) hcl.Diagnostics
}

func (h *hook) extend(schema *hcl.BodySchema) {
	for _, name := range h.attrs {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	for _, b := range h.blocks {
		if known := headerOf(schema, b.Type); known != nil {
			known.LabelNames = b.LabelNames
			continue
		}
		schema.Blocks = append(schema.Blocks, b)
	}
}

// extras is what a hook finds in a body.
type extras struct {
	decoder *decoder
	attrs   hcl.Attributes
	blocks  map[string][]block
	site    site
}

// text stores an attribute as a string and reports whether it was given.
func (in *extras) text(name string, into *string, diags *hcl.Diagnostics) bool {
	attr := in.attrs[name]
	if attr == nil {
		return false
	}
	v, more := in.decoder.eval.value(attr.Expr, in.site)
	*diags = append(*diags, more...)
	if more.HasErrors() || v.IsNull() {
		return false
	}
	*diags = append(*diags, store(v, reflect.ValueOf(into).Elem(), attr.Expr)...)
	return true
}

// decodeAll decodes all extra blocks of a type.
func decodeAll[T any](in *extras, kind string, diags *hcl.Diagnostics) []*T {
	var list []*T
	for _, b := range in.blocks[kind] {
		noun := new(T)
		*diags = append(*diags, in.decoder.block(b, reflect.ValueOf(noun).Elem())...)
		list = append(list, noun)
	}
	return list
}

// decodeOne decodes an extra block that may stand once; nil when it is absent.
func decodeOne[T any](in *extras, kind string, diags *hcl.Diagnostics) *T {
	all := in.blocks[kind]
	for _, b := range all[min(1, len(all)):] {
		*diags = append(*diags, duplicateBlock(kind, b.at, all[0].at))
	}
	list := decodeAll[T](in, kind, diags)
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// hooks by noun; filled in init because decoding refers back to it.
var hooks = map[reflect.Type]*hook{}

// on registers a typed hook.
func on[T any](h hook, after func(in *extras, noun *T) hcl.Diagnostics) {
	if after != nil {
		h.after = func(in *extras, noun any) hcl.Diagnostics { return after(in, noun.(*T)) }
	}
	hooks[reflect.TypeFor[T]()] = &h
}

func init() {
	named := []string{"name"}
	on(hook{blocks: []hcl.BlockHeaderSchema{{Type: "task", LabelNames: named}, {Type: "vault"}, {Type: "secret", LabelNames: named}}}, afterJob)
	on(hook{blocks: []hcl.BlockHeaderSchema{{Type: "vault"}, {Type: "secret", LabelNames: named}}}, afterGroup)
	on(hook{blocks: []hcl.BlockHeaderSchema{{Type: "scaling", LabelNames: named}}}, afterTask)
	on(hook{attrs: []string{"version", "semver", "regexp", "set_contains", "set_contains_all", "set_contains_any",
		"is_set", "is_not_set", "distinct_hosts", "distinct_property"}}, afterConstraint)
	on(hook{attrs: []string{"version", "semver", "regexp", "set_contains", "set_contains_all", "set_contains_any"}}, afterAffinity)
	on(hook{}, afterNetwork)
	on(hook{}, func(_ *extras, p *structs.PeriodicConfig) hcl.Diagnostics {
		if p.Spec != "" || len(p.Specs) > 0 {
			p.SpecType = "cron"
		}
		return nil
	})
	on(hook{before: func(noun any) {
		t := noun.(*structs.Template)
		t.ChangeMode, t.Perms, t.Splay = "restart", "0644", structs.Ptr(5*time.Second)
	}}, (func(*extras, *structs.Template) hcl.Diagnostics)(nil))
	on(hook{before: func(noun any) {
		s := noun.(*structs.ChangeScript)
		s.Args, s.Timeout = []string{}, structs.Ptr(5*time.Second)
	}}, (func(*extras, *structs.ChangeScript) hcl.Diagnostics)(nil))
	on(hook{before: func(noun any) {
		v := noun.(*structs.Vault)
		v.Env, v.DisableFile, v.ChangeMode = structs.Ptr(true), structs.Ptr(false), "restart"
	}}, (func(*extras, *structs.Vault) hcl.Diagnostics)(nil))
	on(hook{before: func(noun any) {
		w := noun.(*structs.ServiceWeights)
		w.Passing, w.Warning = 1, 1
	}}, (func(*extras, *structs.ServiceWeights) hcl.Diagnostics)(nil))
}

// afterJob applies the job-level shorthands: tasks become groups of their own,
// placed first; vault and secrets go to every task.
func afterJob(in *extras, j *structs.Job) hcl.Diagnostics {
	var diags hcl.Diagnostics
	var bare []*structs.TaskGroup
	for _, t := range decodeAll[structs.Task](in, "task", &diags) {
		bare = append(bare, &structs.TaskGroup{Name: t.Name, Tasks: []*structs.Task{t}})
	}
	if len(bare) > 0 {
		j.TaskGroups = append(bare, j.TaskGroups...)
	}
	vault := decodeOne[structs.Vault](in, "vault", &diags)
	secrets := decodeAll[structs.Secret](in, "secret", &diags)
	for _, g := range j.TaskGroups {
		giveVault(g.Tasks, vault)
		for _, t := range g.Tasks {
			t.Secrets = append(t.Secrets, copies(secrets)...)
		}
	}
	return diags
}

// afterGroup gives the group's vault and secrets to tasks that have none, and
// asks for what a group's scaling block must have.
func afterGroup(in *extras, g *structs.TaskGroup) hcl.Diagnostics {
	var diags hcl.Diagnostics
	giveVault(g.Tasks, decodeOne[structs.Vault](in, "vault", &diags))
	secrets := decodeAll[structs.Secret](in, "secret", &diags)
	for _, t := range g.Tasks {
		if len(t.Secrets) == 0 {
			t.Secrets = copies(secrets)
		}
	}
	if g.Scaling != nil && g.Scaling.Max == nil {
		diags = append(diags, problem(in.blocks["scaling"][0].body.MissingItemRange(), "Missing required argument",
			"The argument %q is required, but no definition was found.", "max"))
	}
	return diags
}

func giveVault(tasks []*structs.Task, vault *structs.Vault) {
	for _, t := range tasks {
		if t.Vault == nil && vault != nil {
			own := *vault
			t.Vault = &own
		}
	}
}

func copies(secrets []*structs.Secret) []*structs.Secret {
	var list []*structs.Secret
	for _, s := range secrets {
		own := *s
		list = append(list, &own)
	}
	return list
}

// afterTask moves the default identity to its place and names the types of
// scaling policies.
func afterTask(in *extras, t *structs.Task) hcl.Diagnostics {
	for i, id := range t.Identities {
		if id.Name == "" || id.Name == structs.DefaultIdentityName {
			t.Identity = id
			t.Identities = append(t.Identities[:i:i], t.Identities[i+1:]...)
			break
		}
	}
	if len(t.Identities) == 0 {
		t.Identities = nil
	}
	var diags hcl.Diagnostics
	types := map[string]string{"cpu": structs.ScalingTypeVerticalCPU, "mem": structs.ScalingTypeVerticalMem}
	for i, b := range in.blocks["scaling"] {
		if i >= len(t.ScalingPolicies) {
			break
		}
		kind, known := types[b.labels[0]]
		if !known {
			diags = append(diags, problem(b.at, "Invalid scaling policy name", "A task's scaling block is named %q or %q, not %q.", "cpu", "mem", b.labels[0]))
		}
		t.ScalingPolicies[i].Type = kind
	}
	return diags
}

// afterConstraint folds the shorthand attributes into the three fields.
// set_contains_all, set_contains_any, is_set and is_not_set are accepted and
// ignored, by the contract.
func afterConstraint(in *extras, c *structs.Constraint) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, operand := range []string{"version", "semver", "regexp", "set_contains"} {
		if in.text(operand, &c.RTarget, &diags) {
			c.Operand = operand
		}
	}
	var distinct string
	if in.text(structs.ConstraintDistinctHosts, &distinct, &diags) {
		on, err := strconv.ParseBool(distinct)
		if err != nil {
			expr := in.attrs[structs.ConstraintDistinctHosts].Expr
			diags = append(diags, unsuitable(expr, "Unsuitable value: a bool is required")...)
		}
		c.Operand, c.RTarget = structs.ConstraintDistinctHosts, strconv.FormatBool(on)
	}
	if in.text(structs.ConstraintDistinctProperty, &c.LTarget, &diags) {
		c.Operand = structs.ConstraintDistinctProperty
	}
	if c.Operand == "" {
		c.Operand = "="
	}
	return diags
}

func afterAffinity(in *extras, a *structs.Affinity) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, operand := range []string{"version", "semver", "regexp", "set_contains", "set_contains_all", "set_contains_any"} {
		if in.text(operand, &a.RTarget, &diags) {
			a.Operand = operand
		}
	}
	if a.Operand == "" {
		a.Operand = "="
	}
	return diags
}

// afterNetwork sorts ports: those with a static number are reserved.
func afterNetwork(_ *extras, n *structs.NetworkResource) hcl.Diagnostics {
	var dynamic []structs.Port
	for _, p := range n.DynamicPorts {
		if p.Value > 0 {
			n.ReservedPorts = append(n.ReservedPorts, p)
		} else {
			dynamic = append(dynamic, p)
		}
	}
	n.DynamicPorts = dynamic
	return nil
}
