package jobspec

import (
	"fmt"
	"regexp"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions is the function list of the contract (reference jobspec 1.4), each
// one metered.
func functions(cfg ParseConfig, m *meter) map[string]function.Function {
	table := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc,
		"bcrypt": bcryptFunc(m), "can": tryfunc.CanFunc, "ceil": stdlib.CeilFunc, "chomp": stdlib.ChompFunc,
		"chunklist": stdlib.ChunklistFunc, "cidrhost": cidrHostFunc, "cidrnetmask": cidrNetmaskFunc,
		"cidrsubnet": cidrSubnetFunc, "cidrsubnets": cidrSubnetsFunc, "coalesce": stdlib.CoalesceFunc,
		"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
		"contains": stdlib.ContainsFunc, "convert": typeexpr.ConvertFunc, "csvdecode": stdlib.CSVDecodeFunc,
		"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc,
		"floor": stdlib.FloorFunc, "format": stdlib.FormatFunc, "formatdate": stdlib.FormatDateFunc,
		"formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "index": stdlib.IndexFunc,
		"join": stdlib.JoinFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
		"keys": stdlib.KeysFunc, "length": stdlib.LengthFunc, "log": stdlib.LogFunc, "lookup": stdlib.LookupFunc,
		"lower": stdlib.LowerFunc, "max": stdlib.MaxFunc, "md5": md5Func, "merge": stdlib.MergeFunc,
		"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "range": stdlib.RangeFunc,
		"regex_replace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc, "reverse": stdlib.ReverseFunc,
		"rsadecrypt": rsaDecryptFunc(m), "setintersection": stdlib.SetIntersectionFunc,
		"setproduct": stdlib.SetProductFunc, "setunion": stdlib.SetUnionFunc, "sha1": sha1Func, "sha256": sha256Func,
		"sha512": sha512Func, "signum": stdlib.SignumFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc,
		"split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc, "strrev": stdlib.ReverseFunc,
		"substr": stdlib.SubstrFunc, "timeadd": stdlib.TimeAddFunc, "title": stdlib.TitleFunc,
		"trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc,
		"trimsuffix": stdlib.TrimSuffixFunc, "try": tryfunc.TryFunc, "upper": stdlib.UpperFunc,
		"urlencode": urlEncodeFunc, "uuidv4": uuidV4Func, "uuidv5": uuidV5Func, "values": stdlib.ValuesFunc,
		"yamldecode": yaml.YAMLDecodeFunc, "yamlencode": yaml.YAMLEncodeFunc, "zipmap": stdlib.ZipmapFunc,
	}
	for name, f := range fileFunctions(cfg) {
		table[name] = f
	}
	for name, f := range table {
		if guard := guards[name]; guard != nil {
			table[name] = guarded(f, guard, m)
		}
	}
	return table
}

// guards look at the arguments of functions whose result may be much larger
// than their arguments, before they run: the answer is the size to charge.
var guards = map[string]func(args []cty.Value) (int, error){
	"replace":       func(args []cty.Value) (int, error) { return product(args[0], args[2]), nil },
	"regex_replace": func(args []cty.Value) (int, error) { return product(args[0], args[2]), nil },
	"indent":        func(args []cty.Value) (int, error) { return product(args[0], args[1]), nil },
	"join":          joinSize,
	"setproduct":    setProductSize,
	"format":        func(args []cty.Value) (int, error) { return 0, checkWidths(args[0]) },
	"formatlist":    func(args []cty.Value) (int, error) { return 0, checkWidths(args[0]) },
	"yamldecode":    func(args []cty.Value) (int, error) { return 0, checkAliases(args[0]) },
}

// guarded wraps a function with its guard.
func guarded(f function.Function, guard func([]cty.Value) (int, error), m *meter) function.Function {
	return function.New(&function.Spec{
		Params:   f.Params(),
		VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			for _, arg := range args {
				if !arg.IsWhollyKnown() || arg.IsNull() {
					return f.ReturnTypeForValues(args)
				}
			}
			size, err := guard(args)
			if err != nil {
				return cty.DynamicPseudoType, err
			}
			if m.used+size > budget {
				return cty.DynamicPseudoType, fmt.Errorf("the result would be too large")
			}
			m.used += size
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// product multiplies sizes of text or plain numbers, at most just over budget.
func product(a, b cty.Value) int {
	x, y := size(a), size(b)
	if x > 0 && y > budget/x {
		return budget + 1
	}
	return x * y
}

func size(v cty.Value) int {
	switch {
	case v.Type() == cty.String:
		return len(v.AsString()) + 1
	case v.Type() == cty.Number:
		n, _ := v.AsBigFloat().Int64()
		return int(min(max(n, 0), budget+1))
	}
	return 1
}

func joinSize(args []cty.Value) (int, error) {
	elements := 0
	for _, list := range args[1:] {
		elements += list.LengthInt()
	}
	separator := size(args[0])
	if elements > budget/separator {
		return budget + 1, nil
	}
	return elements * separator, nil
}

func setProductSize(args []cty.Value) (int, error) {
	total := len(args) * elementCost
	for _, list := range args {
		if !list.CanIterateElements() {
			return 0, nil
		}
		n := list.LengthInt()
		if n > 0 && total > budget/n {
			return budget + 1, nil
		}
		total *= n
	}
	return total, nil
}

var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*[0-9]{5}`)

// checkWidths refuses format verbs of absurd width or precision.
func checkWidths(format cty.Value) error {
	if verb := wideVerb.FindString(format.AsString()); verb != "" {
		return fmt.Errorf("the width or precision in %q is too large: at most 9999", verb)
	}
	return nil
}

var yamlAlias = regexp.MustCompile(`[\s\[,:-]\*[^\s]`)

// checkAliases refuses YAML whose aliases could multiply its size.
func checkAliases(text cty.Value) error {
	if n := len(yamlAlias.FindAllStringIndex(text.AsString(), 101)); n > 100 {
		return fmt.Errorf("the YAML text has more than 100 aliases")
	}
	return nil
}
