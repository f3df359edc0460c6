package command

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// maxVarSpec bounds what is read of a specification or of a value's file.
const maxVarSpec = 1 << 20

// varPut is the options of `var put`.
type varPut struct {
	check checkIndex
	force bool
	in    string
	out   varFormat
}

// varPutVerb writes a variable.
func varPutVerb() *verb {
	var o varPut
	return &verb{
		path: "var put", args: "<path or @file or -> [<key>=<value>]...", min: 1, max: -1,
		short: "Write a variable",
		long: "Write a variable: its path and items as key=value, or a specification in HCL or\nJSON from @file or from standard input (-); items given beside one add to its own.\n" +
			"A value @file is read from that file, a value - from standard input. A\nspecification that holds a modify_index is written only when the stored variable\nhas that index; -force writes anyway.",
		flags: func(fs *flag.FlagSet) {
			fs.Var(&o.check, "check-index", "Write only when the stored variable has this `index`; 0 is one that does not exist.")
			fs.BoolVar(&o.force, "force", false, "Do not look at the specification's modify index.")
			fs.StringVar(&o.in, "in", "", "The `form` of a specification from standard input: json or hcl.")
			o.out.define(fs)
		},
		run: o.run,
	}
}

func (o *varPut) run(c *cli, args []string) error {
	v, err := o.variable(c.stdin, args)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	check := o.check.value
	if check == nil && v.ModifyIndex != 0 && !o.force {
		check = &v.ModifyIndex
	}
	var w *api.WriteOptions
	if v.Namespace != "" {
		w = &api.WriteOptions{Namespace: v.Namespace}
	}
	stored, _, err := client.Variables().Set(c.ctx, v, check, w)
	var conflict *api.VariableConflict
	if errors.As(err, &conflict) {
		return conflictText(conflict, check, "written")
	}
	if err != nil {
		return exitf(1, "Error creating variable: %v", err)
	}
	if o.out.out == "" && isTerminal(c.stdout) {
		fmt.Fprintf(c.stdout, "Created variable %q with modify index %d\n", stored.Path, stored.ModifyIndex)
		return nil
	}
	return o.out.print(c, stored, "none")
}

// variable reads what shall be written.
func (o *varPut) variable(stdin io.Reader, args []string) (*structs.Variable, error) {
	v := &structs.Variable{}
	first, items, used := args[0], args[1:], false
	switch {
	case strings.HasPrefix(first, "@"):
		text, err := readBounded(first[1:])
		if err != nil {
			return nil, exitf(1, "Error reading the variable specification: %v", err)
		}
		form := "json"
		if strings.HasSuffix(first, ".hcl") || o.in == "hcl" {
			form = "hcl"
		}
		if v, err = parseVariable(text, filepath.Base(first[1:]), form); err != nil {
			return nil, err
		}
	case first == "-":
		text, err := io.ReadAll(io.LimitReader(stdin, maxVarSpec))
		if err != nil {
			return nil, exitf(1, "Error reading standard input: %v", err)
		}
		used = true
		if v, err = parseVariable(text, "stdin", firstOf(o.in, "json")); err != nil {
			return nil, err
		}
	case strings.Contains(first, "="):
		return nil, exitf(1, "The first argument is the variable's path, not an item: %q", first)
	default:
		v.Path = first
	}
	if v.Items == nil {
		v.Items = map[string]string{}
	}
	for i, item := range items {
		key, value, isItem := strings.Cut(item, "=")
		if !isItem && i == 0 && v.Path != first {
			v.Path = item // a path beside a specification
			continue
		}
		if !isItem {
			return nil, exitf(1, "Not an item: %q; write key=value", item)
		}
		value, err := itemValue(value, stdin, &used)
		if err != nil {
			return nil, err
		}
		v.Items[key] = value
	}
	return v, nil
}

// itemValue reads a value from where it points.
func itemValue(value string, stdin io.Reader, used *bool) (string, error) {
	switch {
	case value == "-":
		if *used {
			return "", exitf(1, "Standard input can be read only once")
		}
		*used = true
		text, err := io.ReadAll(io.LimitReader(stdin, maxVarSpec))
		if err != nil {
			return "", exitf(1, "Error reading standard input: %v", err)
		}
		return string(text), nil
	case strings.HasPrefix(value, `\@`):
		return value[1:], nil
	case strings.HasPrefix(value, "@"):
		text, err := readBounded(value[1:])
		if err != nil {
			return "", exitf(1, "Error reading a value: %v", err)
		}
		return string(text), nil
	}
	return value, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxVarSpec))
}

func parseVariable(text []byte, name, form string) (*structs.Variable, error) {
	v := &structs.Variable{}
	switch form {
	case "json":
		if err := json.Unmarshal(text, v); err != nil {
			return nil, exitf(1, "Error parsing the variable specification %s as JSON: %v", name, err)
		}
		return v, nil
	case "hcl":
	default:
		return nil, exitf(1, "cannot read a specification in the form %q: use json or hcl", form)
	}
	file, diags := hclparse.NewParser().ParseHCL(text, name)
	if diags.HasErrors() {
		return nil, exitf(1, "Error parsing the variable specification: %v", diags)
	}
	if err := decodeVarSpec(file.Body, v); err != nil {
		return nil, exitf(1, "Error parsing the variable specification: %v", err)
	}
	return v, nil
}

// decodeVarSpec reads a specification in HCL; items are an attribute or a
// block.
func decodeVarSpec(body hcl.Body, v *structs.Variable) error {
	fields := map[string]any{
		"namespace": &v.Namespace, "path": &v.Path, "create_index": &v.CreateIndex, "modify_index": &v.ModifyIndex,
		"create_time": &v.CreateTime, "modify_time": &v.ModifyTime, "items": &v.Items,
	}
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "items"}}}
	for name := range fields {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	content, diags := body.Content(schema)
	if diags.HasErrors() {
		return diags
	}
	for name, attr := range content.Attributes {
		if diags := gohcl.DecodeExpression(attr.Expr, nil, fields[name]); diags.HasErrors() {
			return diags
		}
	}
	for _, block := range content.Blocks {
		attrs, diags := block.Body.JustAttributes()
		if diags.HasErrors() {
			return diags
		}
		if v.Items == nil {
			v.Items = map[string]string{}
		}
		for name, attr := range attrs {
			var value string
			if diags := gohcl.DecodeExpression(attr.Expr, nil, &value); diags.HasErrors() {
				return diags
			}
			v.Items[name] = value
		}
	}
	return nil
}

// hclString writes a text as an HCL literal.
func hclString(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}
