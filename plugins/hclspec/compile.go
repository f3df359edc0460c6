package hclspec

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"
)

// maxDepth bounds how deep a plugin's schema may nest.
const maxDepth = 32

// Schema is a schema ready to decode configuration. It never changes and any
// number of goroutines may use it.
type Schema struct {
	spec hcldec.Spec
}

// Compile checks a schema and prepares it. Errors name the place in it.
func Compile(spec *Spec) (*Schema, error) {
	dec, err := convert(spec, "", maxDepth)
	if err != nil {
		return nil, fmt.Errorf("cannot use the plugin's schema: %w", err)
	}
	return &Schema{spec: dec}, nil
}

// convert makes hcldec's form of a schema. key is the key in the enclosing
// object, the name of what has none.
func convert(spec *Spec, key string, depth int) (hcldec.Spec, error) {
	if depth == 0 {
		return nil, fmt.Errorf("it nests more than %d deep", maxDepth)
	}
	switch b := spec.GetBlock().(type) {
	case *hclspecpb.Spec_Object:
		return convertObject(b.Object, depth)
	case *hclspecpb.Spec_Array:
		return convertArray(b.Array, depth)
	case *hclspecpb.Spec_Attr:
		return convertAttr(b.Attr, key)
	case *hclspecpb.Spec_BlockValue:
		return convertBlock(b.BlockValue, key, depth)
	case *hclspecpb.Spec_BlockAttrs:
		return convertBlockAttrs(b.BlockAttrs, key)
	case *hclspecpb.Spec_BlockList:
		return convertBlockList(b.BlockList, key, depth)
	case *hclspecpb.Spec_BlockSet:
		return convertBlockSet(b.BlockSet, key, depth)
	case *hclspecpb.Spec_BlockMap:
		return convertBlockMap(b.BlockMap, key, depth)
	case *hclspecpb.Spec_Default:
		return convertDefault(b.Default, depth)
	case *hclspecpb.Spec_Literal:
		return convertLiteral(b.Literal)
	}
	return nil, fmt.Errorf("%q is empty or of a kind that this build does not know", key)
}

func convertObject(o *hclspecpb.Object, depth int) (hcldec.Spec, error) {
	out := make(hcldec.ObjectSpec, len(o.GetAttributes()))
	for key, attr := range o.GetAttributes() {
		dec, err := convert(attr, key, depth-1)
		if err != nil {
			return nil, err
		}
		out[key] = dec
	}
	return out, nil
}

func convertArray(a *hclspecpb.Array, depth int) (hcldec.Spec, error) {
	out := make(hcldec.TupleSpec, 0, len(a.GetValues()))
	for _, value := range a.GetValues() {
		dec, err := convert(value, "", depth-1)
		if err != nil {
			return nil, err
		}
		out = append(out, dec)
	}
	return out, nil
}

func convertAttr(a *hclspecpb.Attr, key string) (hcldec.Spec, error) {
	name, err := nameOf("attribute", a.GetName(), key)
	if err != nil {
		return nil, err
	}
	typ, err := parseType(name, a.GetType())
	if err != nil {
		return nil, err
	}
	return &hcldec.AttrSpec{Name: name, Type: typ, Required: a.GetRequired()}, nil
}

func convertBlock(b *hclspecpb.Block, key string, depth int) (hcldec.Spec, error) {
	name, nested, err := convertNested(b.GetName(), key, b.GetNested(), depth)
	if err != nil {
		return nil, err
	}
	return &hcldec.BlockSpec{TypeName: name, Required: b.GetRequired(), Nested: nested}, nil
}

func convertBlockAttrs(b *hclspecpb.BlockAttrs, key string) (hcldec.Spec, error) {
	name, err := nameOf("block", b.GetName(), key)
	if err != nil {
		return nil, err
	}
	typ, err := parseType(name, b.GetType())
	if err != nil {
		return nil, err
	}
	return &hcldec.BlockAttrsSpec{TypeName: name, ElementType: typ, Required: b.GetRequired()}, nil
}

func convertBlockList(b *hclspecpb.BlockList, key string, depth int) (hcldec.Spec, error) {
	name, nested, err := convertNested(b.GetName(), key, b.GetNested(), depth)
	if err != nil {
		return nil, err
	}
	least, most, err := itemRange(name, b.GetMinItems(), b.GetMaxItems())
	if err != nil {
		return nil, err
	}
	return &hcldec.BlockListSpec{TypeName: name, MinItems: least, MaxItems: most, Nested: nested}, nil
}

func convertBlockSet(b *hclspecpb.BlockSet, key string, depth int) (hcldec.Spec, error) {
	name, nested, err := convertNested(b.GetName(), key, b.GetNested(), depth)
	if err != nil {
		return nil, err
	}
	least, most, err := itemRange(name, b.GetMinItems(), b.GetMaxItems())
	if err != nil {
		return nil, err
	}
	return &hcldec.BlockSetSpec{TypeName: name, MinItems: least, MaxItems: most, Nested: nested}, nil
}

func convertBlockMap(b *hclspecpb.BlockMap, key string, depth int) (hcldec.Spec, error) {
	name, nested, err := convertNested(b.GetName(), key, b.GetNested(), depth)
	if err != nil {
		return nil, err
	}
	if len(b.GetLabels()) == 0 {
		return nil, fmt.Errorf("block map %q needs at least one label", name)
	}
	out := &hcldec.BlockMapSpec{TypeName: name, LabelNames: slices.Clone(b.GetLabels()), Nested: nested}
	if hcldec.ImpliedType(out).HasDynamicTypes() {
		return nil, fmt.Errorf("block map %q holds an attribute of type any: its blocks must all be of one type", name)
	}
	return out, nil
}

// convertNested names a block and converts what is in it.
func convertNested(name, key string, nested *Spec, depth int) (string, hcldec.Spec, error) {
	name, err := nameOf("block", name, key)
	if err != nil {
		return "", nil, err
	}
	if nested == nil {
		return "", nil, fmt.Errorf("block %q does not say what it holds", name)
	}
	dec, err := convert(nested, "", depth-1)
	if err != nil {
		return "", nil, fmt.Errorf("block %q: %w", name, err)
	}
	return name, dec, nil
}

func convertDefault(d *hclspecpb.Default, depth int) (hcldec.Spec, error) {
	if d.GetPrimary() == nil || d.GetDefault() == nil {
		return nil, errors.New("a default needs both of its parts")
	}
	primary, err := convert(d.GetPrimary(), "", depth-1)
	if err != nil {
		return nil, err
	}
	fallback, err := convert(d.GetDefault(), "", depth-1)
	if err != nil {
		return nil, err
	}
	return &hcldec.DefaultSpec{Primary: primary, Default: fallback}, nil
}

func convertLiteral(l *hclspecpb.Literal) (hcldec.Spec, error) {
	expr, diags := hclsyntax.ParseExpression([]byte(l.GetValue()), "literal", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, fmt.Errorf("cannot parse literal %q: %w", l.GetValue(), diags)
	}
	value, diags := expr.Value(&hcl.EvalContext{Functions: functions})
	if diags.HasErrors() {
		return nil, fmt.Errorf("cannot evaluate literal %q: %w", l.GetValue(), diags)
	}
	return &hcldec.LiteralSpec{Value: value}, nil
}

// nameOf is the name or, without one, the key of the enclosing object.
func nameOf(kind, name, key string) (string, error) {
	if name == "" {
		name = key
	}
	if name == "" {
		return "", fmt.Errorf("%s outside of an object has no name", kind)
	}
	return name, nil
}

// parseType reads a type expression.
func parseType(name, text string) (cty.Type, error) {
	expr, diags := hclsyntax.ParseExpression([]byte(text), "type", hcl.InitialPos)
	if diags.HasErrors() {
		return cty.NilType, fmt.Errorf("cannot parse type %q of %q: %w", text, name, diags)
	}
	typ, diags := typeexpr.TypeConstraint(expr)
	if diags.HasErrors() {
		return cty.NilType, fmt.Errorf("cannot read type %q of %q: %w", text, name, diags)
	}
	return typ, nil
}

// itemRange checks a number of blocks.
func itemRange(name string, least, most uint64) (int, int, error) {
	if least > math.MaxInt32 || most > math.MaxInt32 {
		return 0, 0, fmt.Errorf("block %q counts from %d to %d: use numbers below 2^31", name, least, most)
	}
	return int(least), int(most), nil
}
