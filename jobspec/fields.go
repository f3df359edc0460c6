package jobspec

import (
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// kind is how a field is written in a job file.
type kind string

const (
	kindAttr  kind = "attr"
	kindBlock kind = "block"
	kindLabel kind = "label"
	kindMap   kind = "map"
	kindFree  kind = "free"
)

// field is one field of a noun, from its hcl tag.
type field struct {
	index    int
	name     string
	kind     kind
	required bool
	typ      reflect.Type
}

// layout is the fields of a noun and the HCL schema made of them.
type layout struct {
	fields []field
	labels []field
	schema hcl.BodySchema
	byName map[string]field

	// What the schema has, by name: arguments, those that must be given, and
	// how many labels a block has.
	attrs    map[string]bool
	known    map[string]bool // arguments and blocks
	required []string
	blocks   map[string]int
}

var layouts sync.Map // reflect.Type → *layout

// layoutOf reads the tags of a struct type once.
func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	l := &layout{byName: map[string]field{}}
	for i := range t.NumField() {
		f, ok := fieldOf(t.Field(i), i)
		if !ok {
			continue
		}
		l.byName[f.name] = f
		if f.kind == kindLabel {
			l.labels = append(l.labels, f)
			continue
		}
		l.fields = append(l.fields, f)
	}
	for _, f := range l.fields {
		if f.kind == kindAttr || f.kind == kindMap {
			l.schema.Attributes = append(l.schema.Attributes, hcl.AttributeSchema{Name: f.name, Required: f.required})
		}
		if f.kind != kindAttr {
			l.schema.Blocks = append(l.schema.Blocks, hcl.BlockHeaderSchema{Type: f.name, LabelNames: f.labelNames()})
		}
	}
	if h := hooks[t]; h != nil {
		h.extend(&l.schema)
	}
	if len(l.schema.Blocks) > 0 {
		l.schema.Blocks = append(l.schema.Blocks, hcl.BlockHeaderSchema{Type: "dynamic", LabelNames: []string{"type"}})
	}
	l.index()
	layouts.Store(t, l)
	return l
}

func (l *layout) index() {
	l.attrs, l.blocks, l.known = map[string]bool{}, map[string]int{}, known(&l.schema)
	for _, a := range l.schema.Attributes {
		l.attrs[a.Name] = true
		if a.Required {
			l.required = append(l.required, a.Name)
		}
	}
	for _, b := range l.schema.Blocks {
		l.blocks[b.Type] = len(b.LabelNames)
	}
}

func fieldOf(sf reflect.StructField, index int) (field, bool) {
	parts := strings.Split(sf.Tag.Get("hcl"), ",")
	if parts[0] == "" || parts[0] == "-" {
		return field{}, false
	}
	f := field{index: index, name: parts[0], kind: kindAttr, typ: sf.Type}
	for _, option := range parts[1:] {
		if option == "required" {
			f.required = true
		} else {
			f.kind = kind(option)
		}
	}
	return f, true
}

// element is the struct type that a block field holds.
func (f field) element() reflect.Type {
	t := f.typ
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func (f field) labelNames() []string {
	if f.kind != kindBlock {
		return nil
	}
	var labels []string
	t := f.element()
	for i := range t.NumField() {
		if inner, ok := fieldOf(t.Field(i), i); ok && inner.kind == kindLabel {
			labels = append(labels, inner.name)
		}
	}
	return labels
}

var durationType = reflect.TypeFor[time.Duration]()
