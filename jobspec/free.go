package jobspec

import (
	"math/big"
	"reflect"
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// freeField decodes a block whose content is the driver's or provider's
// business into a map[string]any.
func (d *decoder) freeField(f field, blocks []block, into reflect.Value) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for i, b := range blocks {
		if i > 0 {
			diags = append(diags, duplicateBlock(f.name, b.at, blocks[0].at))
			continue
		}
		m, more := d.free(b.body, b.site)
		diags = append(diags, more...)
		into.Set(reflect.ValueOf(m))
	}
	return diags
}

// free reads any body: nested blocks become lists of maps, their labels keys of
// maps inside; an attribute with an object written out becomes a list of one
// map. Attributes that are null are left out.
func (d *decoder) free(body hcl.Body, at site) (map[string]any, hcl.Diagnostics) {
	tree, diags := native(body)
	if tree == nil {
		return d.freeAttributes(body, at)
	}
	m := map[string]any{}
	for _, name := range sortedKeys(tree.Attributes) {
		attr := tree.Attributes[name]
		_, literal := attr.Expr.(*hclsyntax.ObjectConsExpr)
		diags = append(diags, d.freeValue(m, name, attr.Expr, literal, at)...)
	}
	for _, b := range tree.Blocks {
		if d.blocks++; d.blocks > maxBlocks {
			return m, append(diags, problem(b.DefRange(), "Too many blocks", "A job may have up to %d blocks.", maxBlocks))
		}
		inner, more := d.free(b.Body, at)
		diags = append(diags, more...)
		for i := len(b.Labels) - 1; i >= 0; i-- {
			inner = map[string]any{b.Labels[i]: []map[string]any{inner}}
		}
		list, _ := m[b.Type].([]map[string]any)
		m[b.Type] = append(list, inner)
	}
	return m, diags
}

// freeAttributes reads a body of the JSON syntax, which cannot tell blocks from
// attributes.
func (d *decoder) freeAttributes(body hcl.Body, at site) (map[string]any, hcl.Diagnostics) {
	m := map[string]any{}
	attrs, diags := body.JustAttributes()
	for _, name := range sortedKeys(attrs) {
		diags = append(diags, d.freeValue(m, name, attrs[name].Expr, true, at)...)
	}
	return m, diags
}

func (d *decoder) freeValue(m map[string]any, name string, expr hcl.Expression, wrap bool, at site) hcl.Diagnostics {
	v, diags := d.eval.value(expr, at)
	if diags.HasErrors() || v.IsNull() {
		return diags
	}
	value := plain(v)
	if object, isMap := value.(map[string]any); isMap && wrap {
		value = []map[string]any{object}
	}
	m[name] = value
	return diags
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// plain turns a value into strings, bools, numbers, []any and map[string]any.
// Whole numbers that fit become int, others float64.
func plain(v cty.Value) any {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	switch t := v.Type(); {
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		n := v.AsBigFloat()
		if i, accuracy := n.Int64(); accuracy == big.Exact {
			return int(i)
		}
		f, _ := n.Float64()
		return f
	case t.IsMapType() || t.IsObjectType():
		m := map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			m[key.AsString()] = plain(elem)
		}
		return m
	case t.IsListType() || t.IsSetType() || t.IsTupleType():
		list := []any{}
		for it := v.ElementIterator(); it.Next(); {
			_, elem := it.Element()
			list = append(list, plain(elem))
		}
		return list
	}
	return nil
}
