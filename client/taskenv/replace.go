package taskenv

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// nodeNames are the node's fields, attributes and meta by the names that job
// files use.
func nodeNames(in Input) map[string]string {
	n := in.Node
	names := make(map[string]string, len(n.Attributes)+len(n.Meta)+6)
	names["node.unique.id"] = n.ID
	names["node.unique.name"] = n.Name
	names["node.datacenter"] = n.Datacenter
	names["node.region"] = in.Alloc.Job.Region
	names["node.class"] = n.NodeClass
	names["node.pool"] = n.NodePool
	for key, value := range n.Attributes {
		names["attr."+key] = value
	}
	for key, value := range n.Meta {
		names["meta."+key] = value
	}
	return names
}

var token = regexp.MustCompile(`\$\{[A-Za-z0-9_\-.]+\}`)

// Replace replaces each ${name} by the variable of that name, else by the
// node's field, attribute or meta. A name that is neither stays as it is;
// what is put in is not looked at again.
func (e *Env) Replace(s string) string {
	if !strings.Contains(s, "${") {
		return s
	}
	return token.ReplaceAllStringFunc(s, func(found string) string {
		name := found[2 : len(found)-1]
		if value, ok := e.vars[clean(name)]; ok {
			return value
		}
		if value, ok := e.node[name]; ok {
			return value
		}
		return found
	})
}

// Variables are the names that a driver's config may use in HCL expressions:
// each variable by its name, all of them in env["name"], and node, attr and
// meta as objects. A dot in a name nests. Where one name is both a value and
// an object (cpu.numcores, cpu.numcores.performance) the value is kept; a name
// that cannot be written with dots (a..b) is left out.
func (e *Env) Variables() map[string]cty.Value {
	root := tree{}
	for _, name := range slices.Sorted(maps.Keys(e.node)) {
		root.put(name, e.node[name])
		if !strings.HasPrefix(name, "node.") {
			root.put("node."+name, e.node[name])
		}
	}
	for _, name := range []string{"attr", "meta"} {
		root.object(name)
	}
	node := root.object("node")
	node.object("attr")
	node.object("meta")
	all := make(map[string]cty.Value, len(e.vars))
	for _, name := range slices.Sorted(maps.Keys(e.vars)) {
		all[name] = cty.StringVal(e.vars[name])
		head, _, _ := strings.Cut(name, ".")
		if !reserved[head] {
			root.put(name, e.vars[name])
		}
	}
	vars := root.values()
	vars["env"] = cty.MapValEmpty(cty.String)
	if len(all) > 0 {
		vars["env"] = cty.MapVal(all)
	}
	return vars
}

// reserved are the roots that no variable of the environment takes over.
var reserved = map[string]bool{"env": true, "node": true, "attr": true, "meta": true}

// tree is an object under construction; an entry is a string or a tree.
type tree map[string]any

// put sets the dotted name, unless part of it is taken or empty.
func (t tree) put(name, value string) {
	parts := strings.Split(name, ".")
	if slices.Contains(parts, "") {
		return
	}
	last := len(parts) - 1
	for at, i := t, 0; ; i++ {
		next, taken := at[parts[i]]
		if i == last {
			if !taken {
				at[parts[i]] = value
			}
			return
		}
		if !taken {
			next = tree{}
			at[parts[i]] = next
		}
		below, ok := next.(tree)
		if !ok {
			return
		}
		at = below
	}
}

// object is the object of that name, made when missing. The name is reserved,
// so no value has it.
func (t tree) object(name string) tree {
	below, ok := t[name].(tree)
	if !ok {
		below = tree{}
		t[name] = below
	}
	return below
}

func (t tree) values() map[string]cty.Value {
	out := make(map[string]cty.Value, len(t))
	for name, v := range t {
		switch v := v.(type) {
		case tree:
			out[name] = cty.ObjectVal(v.values())
		case string:
			out[name] = cty.StringVal(v)
		}
	}
	return out
}
