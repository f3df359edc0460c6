// Package template renders the templates of tasks: Go templates with the
// contract's functions over variables and services of the cluster, kept up
// while the task runs. A template sees the task's environment and its own
// files, nothing else of the host.
package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of one render.
const (
	maxSource = 1 << 20
	maxOutput = 8 << 20
	maxTime   = 5 * time.Second
	maxDeps   = 256
)

// dep is data that a template asked for.
type dep struct{ kind, name string }

func (d dep) String() string {
	short := map[string]string{api.LookupVariable: "nomad.var.get", api.LookupVariables: "nomad.var.list", api.LookupService: "nomad.service", api.LookupServices: "nomad.services"}
	return short[d.kind] + "(" + d.name + ")"
}

// pass is one render: what it asked for, and what it has not got.
type pass struct {
	data    map[dep]*api.WorkloadData
	env     map[string]string
	file    func(name string) (string, error)
	until   time.Time
	denies  func(function string) bool // by the node's configuration; nil denies nothing more
	used    map[dep]bool
	missing map[dep]bool
}

// source is a template as a render takes it.
type source struct {
	text, left, right string
	strict            bool // error_on_missing_key
}

var errTime = fmt.Errorf("rendering took longer than %v", maxTime)

// render executes a template. The output counts only when nothing is missing.
func (p *pass) render(s source) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the template failed inside: %v", v)
		}
	}()
	if len(s.text) > maxSource {
		return nil, fmt.Errorf("the template is %d bytes, at most %d are allowed", len(s.text), maxSource)
	}
	t := template.New("template").Delims(s.left, s.right).Funcs(p.functions())
	if s.strict {
		t = t.Option("missingkey=error")
	} else {
		t = t.Option("missingkey=zero")
	}
	if t, err = t.Parse(s.text); err != nil {
		return nil, err
	}
	for _, part := range t.Templates() {
		if part.Tree != nil {
			p.guard(part.Tree.Root)
		}
	}
	w := &bounded{pass: p}
	if err := t.Execute(w, nil); err != nil {
		return nil, err
	}
	return w.b.Bytes(), nil
}

// tick is called in each turn of a template, so that none runs for ever.
func (p *pass) tick() (string, error) {
	if time.Now().After(p.until) {
		return "", errTime
	}
	return "", nil
}

// guard puts a tick at the head of every list that may be repeated.
func (p *pass) guard(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			p.guard(n.List)
			p.guard(n.ElseList)
		case *parse.IfNode:
			p.guard(n.List)
			p.guard(n.ElseList)
		case *parse.WithNode:
			p.guard(n.List)
			p.guard(n.ElseList)
		}
	}
	l.Nodes = append([]parse.Node{tickNode()}, l.Nodes...)
}

// tickName is what guard has templates call.
const tickName = "__tick"

func tickNode() parse.Node {
	trees, err := parse.Parse("tick", "{{"+tickName+"}}", "", "", map[string]any{tickName: tickNode})
	if err != nil {
		panic(err) // a constant text
	}
	return trees["tick"].Root.Nodes[0]
}

// bounded is a buffer with a limit.
type bounded struct {
	pass *pass
	b    bytes.Buffer
}

// Write implements io.Writer.
func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("the output is longer than %d bytes", maxOutput)
	}
	if _, err := w.pass.tick(); err != nil {
		return 0, err
	}
	return w.b.Write(p)
}

// get returns data, or notes that it is missing.
func (p *pass) get(kind, name string) (*api.WorkloadData, error) {
	d := dep{kind, name}
	if !p.used[d] && len(p.used) >= maxDeps {
		return nil, fmt.Errorf("the template asks for more than %d things", maxDeps)
	}
	p.used[d] = true
	v := p.data[d]
	if v == nil {
		p.missing[d] = true
		return &api.WorkloadData{}, nil
	}
	return v, nil
}

// Item is one item of a variable; it prints as its value.
type Item struct {
	Key, Value string
	parent     *Items
}

// String is the value.
func (i Item) String() string { return i.Value }

// Parent is the variable.
func (i Item) Parent() *structs.VariableMetadata { return &i.parent.meta }

// MarshalJSON writes the value.
func (i Item) MarshalJSON() ([]byte, error) { return json.Marshal(i.Value) }

// Items are the items of a variable by key.
type Items struct {
	meta structs.VariableMetadata
}

// Path prints as the path of a variable.
type Path struct{ structs.VariableMetadata }

// String is the path.
func (p Path) String() string { return p.Path }

// variable reads a variable of the task's namespace.
func (p *pass) variable(path string) (map[string]Item, error) {
	d, err := p.get(api.LookupVariable, path)
	if err != nil {
		return nil, err
	}
	if d.Variable == nil {
		p.missing[dep{api.LookupVariable, path}] = true
		return map[string]Item{}, nil
	}
	parent := &Items{meta: d.Variable.VariableMetadata}
	out := make(map[string]Item, len(d.Variable.Items))
	for k, v := range d.Variable.Items {
		out[k] = Item{k, v, parent}
	}
	return out, nil
}

// service lists the instances of a service, "[tag.]name".
func (p *pass) service(args ...any) ([]*structs.ServiceRegistration, error) {
	count, key := 0, ""
	if len(args) == 3 {
		n, _, err := number(args[0])
		if err != nil || n < 1 {
			return nil, errors.New("nomadService takes a name, or a number, a key and a name")
		}
		count, key, args = int(n), fmt.Sprint(args[1]), args[2:]
	}
	if len(args) != 1 {
		return nil, errors.New("nomadService takes a name, or a number, a key and a name")
	}
	name := fmt.Sprint(args[0])
	if at := strings.IndexByte(name, '@'); at >= 0 {
		return nil, fmt.Errorf("cannot find service %q: only this region is known here, leave out %q", name, name[at:])
	}
	tag, plainName, tagged := strings.Cut(name, ".")
	if !tagged {
		plainName = name
	}
	d, err := p.get(api.LookupService, plainName)
	if err != nil {
		return nil, err
	}
	out := []*structs.ServiceRegistration{}
	for _, s := range d.Services {
		if !tagged || slices.Contains(s.Tags, tag) {
			out = append(out, s)
		}
	}
	if count > 0 {
		out = structs.ChooseServices(out, count, key)
	}
	return out, nil
}

// named is a service in the list of all.
type named struct {
	Name string
	Tags []string
}

func (p *pass) services() ([]*named, error) {
	d, err := p.get(api.LookupServices, "")
	if err != nil {
		return nil, err
	}
	byName := map[string]*named{}
	var out []*named
	for _, s := range d.Services {
		n := byName[s.ServiceName]
		if n == nil {
			n = &named{Name: s.ServiceName, Tags: []string{}}
			byName[s.ServiceName] = n
			out = append(out, n)
		}
		for _, tag := range s.Tags {
			if !slices.Contains(n.Tags, tag) {
				n.Tags = append(n.Tags, tag)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// functions are all that a template may call.
func (p *pass) functions() template.FuncMap {
	f := template.FuncMap{tickName: p.tick}
	for name, fn := range plain {
		f[name] = fn
	}
	for _, name := range consulFunctions {
		f[name] = refusing(name, "it needs Consul, which this build does not speak; use nomadVar and nomadService")
	}
	for _, name := range vaultFunctions {
		f[name] = refusing(name, "it needs Vault, which this build does not speak; use nomadVar")
	}
	for _, name := range denied {
		f[name] = refusing(name, "it is denied on this node")
	}
	f["env"] = func(name string) string { return p.env[name] }
	f["mustEnv"] = func(name string) (string, error) {
		v, ok := p.env[name]
		if !ok {
			return "", fmt.Errorf("the task has no variable %q in its environment", name)
		}
		return v, nil
	}
	f["envOrDefault"] = func(name, def string) string {
		if v, ok := p.env[name]; ok && v != "" {
			return v
		}
		return def
	}
	f["file"] = p.file
	f["nomadVar"] = p.variable
	f["nomadVarExists"] = func(path string) (bool, error) {
		d, err := p.get(api.LookupVariable, path)
		return err == nil && d.Variable != nil, err
	}
	list := func(prefix ...string) ([]Path, error) {
		d, err := p.get(api.LookupVariables, strings.Join(prefix, ""))
		if err != nil {
			return nil, err
		}
		out := []Path{}
		for _, v := range d.Variables {
			out = append(out, Path{*v})
		}
		return out, nil
	}
	f["nomadVarList"], f["nomadVarListSafe"] = list, list
	f["nomadService"] = p.service
	f["nomadServices"] = p.services
	f["scratch"] = newScratch()
	for name := range f {
		if name != tickName && p.denies != nil && p.denies(name) {
			f[name] = refusing(name, "it is denied on this node")
		}
	}
	return f
}

// Scratch is a notebook of one render.
type Scratch struct{ m map[string]any }

func newScratch() func() *Scratch {
	s := &Scratch{m: map[string]any{}}
	return func() *Scratch { return s }
}

// Key reports whether a key is set.
func (s *Scratch) Key(k string) bool { _, ok := s.m[k]; return ok }

// Get returns a value.
func (s *Scratch) Get(k string) any { return s.m[k] }

// Set sets a value.
func (s *Scratch) Set(k string, v any) string { s.m[k] = v; return "" }

// SetX sets a value that is not set.
func (s *Scratch) SetX(k string, v any) string {
	if !s.Key(k) {
		s.m[k] = v
	}
	return ""
}
