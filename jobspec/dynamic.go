package jobspec

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

var dynamicSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "for_each", Required: true}, {Name: "iterator"}, {Name: "labels"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "content"}},
}

// expand sorts blocks by type and replaces dynamic ones by what they generate.
func (d *decoder) expand(written hcl.Blocks, schema *hcl.BodySchema, at site) (map[string][]block, hcl.Diagnostics) {
	if len(written) == 0 {
		return nil, nil
	}
	var diags hcl.Diagnostics
	blocks := map[string][]block{}
	for _, b := range written {
		if d.blocks++; d.blocks > maxBlocks {
			return blocks, append(diags, problem(b.DefRange, "Too many blocks", "A job may have up to %d blocks.", maxBlocks))
		}
		if b.Type != "dynamic" {
			blocks[b.Type] = append(blocks[b.Type], block{kind: b.Type, labels: b.Labels, body: b.Body, at: b.DefRange, site: at})
			continue
		}
		header := headerOf(schema, b.Labels[0])
		if header == nil {
			diags = append(diags, problem(b.LabelRanges[0], "Unsupported block type", "Blocks of type %q are not expected here.", b.Labels[0]))
			continue
		}
		made, more := d.generate(b, header, at)
		diags = append(diags, more...)
		blocks[header.Type] = append(blocks[header.Type], made...)
	}
	return blocks, diags
}

func headerOf(schema *hcl.BodySchema, kind string) *hcl.BlockHeaderSchema {
	for i, header := range schema.Blocks {
		if header.Type == kind && kind != "dynamic" {
			return &schema.Blocks[i]
		}
	}
	return nil
}

// generate makes the blocks of one dynamic block.
func (d *decoder) generate(b *hcl.Block, header *hcl.BlockHeaderSchema, at site) ([]block, hcl.Diagnostics) {
	content, diags := b.Body.Content(dynamicSchema)
	if diags.HasErrors() {
		return nil, diags
	}
	if len(content.Blocks) != 1 {
		return nil, append(diags, problem(b.DefRange, "Wrong number of content blocks", "A dynamic block has exactly one content block, not %d.", len(content.Blocks)))
	}
	inside := content.Blocks[0].Body
	if tree, more := native(inside); tree != nil { // once for all elements
		inside = tree
		diags = append(diags, more...)
	}
	iterator, more := iteratorName(content.Attributes["iterator"], header.Type)
	diags = append(diags, more...)
	forEach := content.Attributes["for_each"].Expr
	each, more := d.eval.value(forEach, at)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return nil, diags
	}
	if each.IsNull() || !each.CanIterateElements() {
		return nil, append(diags, problem(forEach.Range(), "Invalid dynamic for_each value", "Cannot use a %s value in for_each. An iterable collection is required.", friendly(each)))
	}
	var made []block
	for it := each.ElementIterator(); it.Next(); {
		if d.blocks++; d.blocks > maxBlocks {
			return made, append(diags, problem(b.DefRange, "Too many blocks", "A job may have up to %d blocks.", maxBlocks))
		}
		key, value := it.Element()
		if each.Type().IsSetType() {
			key = value
		}
		ctx := at.ctx.NewChild()
		ctx.Variables = map[string]cty.Value{iterator: cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		inner := site{ctx: ctx, names: at.names.with(iterator)}
		labels, more := d.labels(content.Attributes["labels"], header, b, inner)
		diags = append(diags, more...)
		if more.HasErrors() {
			return made, diags
		}
		made = append(made, block{kind: header.Type, labels: labels, body: inside, at: b.DefRange, site: inner})
	}
	return made, diags
}

func friendly(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return v.Type().FriendlyName()
}

func iteratorName(attr *hcl.Attribute, def string) (string, hcl.Diagnostics) {
	if attr == nil {
		return def, nil
	}
	name := hcl.ExprAsKeyword(attr.Expr)
	if name == "" {
		return "", hcl.Diagnostics{problem(attr.Expr.Range(), "Invalid expression", "The iterator must be a plain name.")}
	}
	return name, nil
}

// labels evaluates the labels of one generated block.
func (d *decoder) labels(attr *hcl.Attribute, header *hcl.BlockHeaderSchema, b *hcl.Block, at site) ([]string, hcl.Diagnostics) {
	var labels []string
	if attr != nil {
		v, diags := d.eval.value(attr.Expr, at)
		if diags.HasErrors() {
			return nil, diags
		}
		list, err := convert.Convert(v, cty.List(cty.String))
		if err != nil || list.IsNull() {
			return nil, append(diags, problem(attr.Expr.Range(), "Invalid dynamic block label", "Labels must be a list of strings."))
		}
		for it := list.ElementIterator(); it.Next(); {
			_, label := it.Element()
			if label.IsNull() {
				return nil, append(diags, problem(attr.Expr.Range(), "Invalid dynamic block label", "A label cannot be null."))
			}
			labels = append(labels, label.AsString())
		}
	}
	if len(labels) < len(header.LabelNames) {
		return nil, hcl.Diagnostics{problem(b.DefRange, "Insufficient dynamic block labels", "Blocks of type %q have %d label(s): give them in the labels attribute.", header.Type, len(header.LabelNames))}
	}
	if len(labels) > len(header.LabelNames) {
		return nil, hcl.Diagnostics{problem(attr.Expr.Range(), "Extraneous dynamic block label", "Blocks of type %q have %d label(s), not %d.", header.Type, len(header.LabelNames), len(labels))}
	}
	return labels, nil
}
