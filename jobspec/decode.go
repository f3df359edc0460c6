package jobspec

import (
	"reflect"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomadlite/nomadlite/structs"
)

// decoder fills nouns from bodies, led by their hcl tags.
type decoder struct {
	eval   *evaluator
	blocks int // made so far, dynamic ones included
}

// block is a block to decode: a written one, or one made by a dynamic block.
type block struct {
	kind   string
	labels []string
	body   hcl.Body
	at     hcl.Range
	site   site
}

func (d *decoder) job(b *hcl.Block, into *structs.Job) hcl.Diagnostics {
	into.ID = b.Labels[0]
	into.Name = b.Labels[0]
	return d.body(b.Body, d.eval.top(), reflect.ValueOf(into).Elem())
}

// body decodes a body into the struct v.
func (d *decoder) body(body hcl.Body, at site, v reflect.Value) hcl.Diagnostics {
	l := layoutOf(v.Type())
	attrs, written, diags := contentOf(body, l)
	blocks, more := d.expand(written, &l.schema, at)
	diags = append(diags, more...)
	h := hooks[v.Type()]
	if h != nil && h.before != nil {
		h.before(v.Addr().Interface())
	}
	for _, f := range l.fields {
		diags = append(diags, d.field(f, attrs[f.name], blocks[f.name], at, v.Field(f.index))...)
	}
	if h != nil && h.after != nil {
		in := &extras{decoder: d, attrs: attrs, blocks: blocks, site: at}
		diags = append(diags, h.after(in, v.Addr().Interface())...)
	}
	return diags
}

func (d *decoder) field(f field, attr *hcl.Attribute, blocks []block, at site, into reflect.Value) hcl.Diagnostics {
	switch f.kind {
	case kindBlock:
		return d.blockField(f, blocks, into)
	case kindMap:
		return d.mapField(f, attr, blocks, at, into)
	case kindFree:
		return d.freeField(f, blocks, into)
	}
	if attr == nil {
		return nil
	}
	v, diags := d.eval.value(attr.Expr, at)
	if diags.HasErrors() {
		return diags
	}
	return append(diags, store(v, into, attr.Expr)...)
}

// blockField decodes blocks into a *T, []T, []*T or map[string]*T by label.
func (d *decoder) blockField(f field, blocks []block, into reflect.Value) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if f.typ.Kind() != reflect.Slice && f.typ.Kind() != reflect.Map && len(blocks) > 1 {
		for _, b := range blocks[1:] {
			diags = append(diags, duplicateBlock(f.name, b.at, blocks[0].at))
		}
		blocks = blocks[:1]
	}
	for _, b := range blocks {
		if len(diags) > maxProblems {
			return diags
		}
		elem := reflect.New(f.element())
		diags = append(diags, d.block(b, elem.Elem())...)
		switch f.typ.Kind() {
		case reflect.Pointer:
			into.Set(elem)
		case reflect.Map:
			if into.IsNil() {
				into.Set(reflect.MakeMap(f.typ))
			}
			into.SetMapIndex(reflect.ValueOf(b.labels[0]), elem)
		case reflect.Slice:
			if f.typ.Elem().Kind() != reflect.Pointer {
				elem = elem.Elem()
			}
			into.Set(reflect.Append(into, elem))
		}
	}
	return diags
}

// block decodes one block's labels and body.
func (d *decoder) block(b block, v reflect.Value) hcl.Diagnostics {
	for i, label := range layoutOf(v.Type()).labels {
		if i < len(b.labels) {
			v.Field(label.index).SetString(b.labels[i])
		}
	}
	return d.body(b.body, b.site, v)
}

// mapField decodes a map that is written as an attribute or as a block.
func (d *decoder) mapField(f field, attr *hcl.Attribute, blocks []block, at site, into reflect.Value) hcl.Diagnostics {
	var diags hcl.Diagnostics
	var first *hcl.Range
	if attr != nil {
		first = &attr.NameRange
	}
	for _, b := range blocks {
		if first != nil {
			diags = append(diags, duplicateBlock(f.name, b.at, *first))
			continue
		}
		first = &b.at
		attrs, more := b.body.JustAttributes()
		diags = append(diags, more...)
		values := map[string]cty.Value{}
		for _, name := range sortedKeys(attrs) {
			a := attrs[name]
			v, more := d.eval.value(a.Expr, b.site)
			diags = append(diags, more...)
			if !more.HasErrors() {
				diags = append(diags, storeElement(v, into.Type().Elem(), a.Expr, values, name)...)
			}
		}
		diags = append(diags, storeMap(values, into)...)
	}
	if attr == nil || diags.HasErrors() {
		return diags
	}
	v, more := d.eval.value(attr.Expr, at)
	diags = append(diags, more...)
	if more.HasErrors() {
		return diags
	}
	return append(diags, store(v, into, attr.Expr)...)
}
