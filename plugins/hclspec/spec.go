// Package hclspec describes configuration by schemas that travel between
// processes, and turns configuration into the bytes that a plugin decodes.
// Source of facts: the driver protocol, sections 2.5 and 3.
package hclspec

import "github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"

// Spec is a schema as it travels. Build one with the New functions. Where a
// name may be empty, the key in the enclosing NewObject is taken.
type Spec = hclspecpb.Spec

// NewObject is a body: a value with the given attributes.
func NewObject(attributes map[string]*Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_Object{Object: &hclspecpb.Object{Attributes: attributes}}}
}

// NewArray is a tuple of values.
func NewArray(values ...*Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_Array{Array: &hclspecpb.Array{Values: values}}}
}

// NewAttr is an attribute. typ is a type expression, as "list(string)" or
// "any"; one that is not required and not set is null.
func NewAttr(name, typ string, required bool) *Spec {
	return &Spec{Block: &hclspecpb.Spec_Attr{Attr: &hclspecpb.Attr{Name: name, Type: typ, Required: required}}}
}

// NewBlock is a block that occurs at most once.
func NewBlock(name string, required bool, nested *Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_BlockValue{BlockValue: &hclspecpb.Block{Name: name, Required: required, Nested: nested}}}
}

// NewBlockAttrs is a block of any attributes of one type: a map.
func NewBlockAttrs(name, typ string, required bool) *Spec {
	return &Spec{Block: &hclspecpb.Spec_BlockAttrs{BlockAttrs: &hclspecpb.BlockAttrs{Name: name, Type: typ, Required: required}}}
}

// NewBlockList is a list of blocks; maxItems 0 is no limit.
func NewBlockList(name string, minItems, maxItems uint64, nested *Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_BlockList{BlockList: &hclspecpb.BlockList{
		Name: name, MinItems: minItems, MaxItems: maxItems, Nested: nested,
	}}}
}

// NewBlockSet is NewBlockList without order and doubles.
func NewBlockSet(name string, minItems, maxItems uint64, nested *Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_BlockSet{BlockSet: &hclspecpb.BlockSet{
		Name: name, MinItems: minItems, MaxItems: maxItems, Nested: nested,
	}}}
}

// NewBlockMap is a map of blocks by their labels, of which it needs one or
// more.
func NewBlockMap(name string, labels []string, nested *Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_BlockMap{BlockMap: &hclspecpb.BlockMap{Name: name, Labels: labels, Nested: nested}}}
}

// NewLiteral is the value of an HCL expression without variables, as
// `"json-file"` or `true`.
func NewLiteral(expression string) *Spec {
	return &Spec{Block: &hclspecpb.Spec_Literal{Literal: &hclspecpb.Literal{Value: expression}}}
}

// NewDefault is primary, or fallback where primary is null. Both need names of
// their own.
func NewDefault(primary, fallback *Spec) *Spec {
	return &Spec{Block: &hclspecpb.Spec_Default{Default: &hclspecpb.Default{Primary: primary, Default: fallback}}}
}

// NewText is a text with a default, which holds no quotes.
func NewText(name, fallback string) *Spec {
	return NewDefault(NewAttr(name, "string", false), NewLiteral(`"`+fallback+`"`))
}

// NewNumber is a number with a default, an HCL expression.
func NewNumber(name, fallback string) *Spec {
	return NewDefault(NewAttr(name, "number", false), NewLiteral(fallback))
}

// NewFlag is a truth value that is false by default.
func NewFlag(name string) *Spec {
	return NewDefault(NewAttr(name, "bool", false), NewLiteral("false"))
}
