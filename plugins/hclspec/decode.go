package hclspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
)

// functions are those of the contract for literals and task config.
var functions = map[string]function.Function{
	"abs":        stdlib.AbsoluteFunc,
	"coalesce":   stdlib.CoalesceFunc,
	"concat":     stdlib.ConcatFunc,
	"hasindex":   stdlib.HasIndexFunc,
	"int":        stdlib.IntFunc,
	"jsondecode": stdlib.JSONDecodeFunc,
	"jsonencode": stdlib.JSONEncodeFunc,
	"length":     stdlib.LengthFunc,
	"lower":      stdlib.LowerFunc,
	"max":        stdlib.MaxFunc,
	"min":        stdlib.MinFunc,
	"reverse":    stdlib.ReverseFunc,
	"strlen":     stdlib.StrlenFunc,
	"substr":     stdlib.SubstrFunc,
	"upper":      stdlib.UpperFunc,
}

// Error is configuration that does not fit its schema. Problems are sentences
// for the user, in the order of the source; there is at least one.
type Error struct {
	Problems []string
}

// Error is all problems, one a line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Decode evaluates a config block of a job (JSON values: string, number, bool,
// nil, []any, map[string]any) with the given variables and returns the msgpack
// that a plugin decodes. Strings are HCL templates. What does not fit is an
// *Error with every problem.
func (s *Schema) Decode(config map[string]any, variables map[string]cty.Value) ([]byte, error) {
	value, err := s.Value(config, variables)
	if err != nil {
		return nil, err
	}
	data, err := ctymsgpack.Marshal(value, value.Type())
	if err != nil {
		return nil, fmt.Errorf("cannot encode the config as msgpack: %w", err)
	}
	return data, nil
}

// Value is Decode before the encoding.
func (s *Schema) Value(config map[string]any, variables map[string]cty.Value) (value cty.Value, err error) {
	if config == nil {
		config = map[string]any{} // defaults apply
	}
	if err := checkSize(config, maxNesting); err != nil {
		return cty.NilVal, err
	}
	source, err := json.Marshal(config)
	if err != nil {
		return cty.NilVal, fmt.Errorf("cannot read the config: %w", err)
	}
	// Schema, config and functions all come from outside, and hcldec answers
	// some combinations (blocks of differing types in one list) by panicking.
	defer func() {
		if r := recover(); r != nil {
			value, err = cty.NilVal, &Error{Problems: []string{fmt.Sprintf("the config does not fit the driver's schema: %v", r)}}
		}
	}()
	file, diags := hcljson.Parse(source, "config")
	if diags.HasErrors() {
		return cty.NilVal, problems(diags)
	}
	value, diags = hcldec.Decode(file.Body, s.spec, &hcl.EvalContext{Variables: variables, Functions: functions})
	if diags.HasErrors() {
		return cty.NilVal, problems(diags)
	}
	if !value.IsWhollyKnown() {
		return cty.NilVal, errors.New("cannot use a config with values that are not known yet")
	}
	return value, nil
}

// problems are the errors among diagnostics, in the contract's words.
func problems(diags hcl.Diagnostics) error {
	out := &Error{}
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		summary := d.Summary
		if summary == "Extraneous JSON object property" {
			summary = "Invalid label" // the contract's text
		}
		text := summary
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		out.Problems = append(out.Problems, text)
	}
	return out
}
