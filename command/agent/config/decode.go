package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// maxFileSize bounds a configuration file.
const maxFileSize = 4 << 20

// value is one configured value with the place it stands at. v is a string,
// float64, bool, nil, []value or *table.
type value struct {
	v  any
	at string // "file:line,column", or the file for JSON
}

// table is a block, an object or a whole file: values by key, every
// occurrence of a repeated block in order.
type table struct {
	keys map[string][]value
}

func (t *table) add(key string, v value) { t.keys[key] = append(t.keys[key], v) }

// parse reads one HCL or JSON configuration source into a table.
func parse(name string, src []byte) (*table, error) {
	if len(src) > maxFileSize {
		return nil, fmt.Errorf("cannot load %s: %d bytes, at most %d are allowed", name, len(src), maxFileSize)
	}
	trimmed := strings.TrimSpace(string(src))
	if strings.HasPrefix(trimmed, "{") {
		return parseJSON(name, trimmed)
	}
	file, diags := hclsyntax.ParseConfig(quotedKeysToObjects(name, src), name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diagError(diags)
	}
	return bodyTable(file.Body.(*hclsyntax.Body))
}

func parseJSON(name, src string) (*table, error) {
	dec := json.NewDecoder(strings.NewReader(src))
	var raw map[string]any
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("cannot parse %s as JSON: %w", name, err)
	}
	return jsonValue(name, raw).v.(*table), nil
}

func jsonValue(at string, raw any) value {
	switch x := raw.(type) {
	case map[string]any:
		t := &table{keys: map[string][]value{}}
		for k, v := range x {
			t.add(k, jsonValue(at, v))
		}
		return value{t, at}
	case []any:
		list := make([]value, len(x))
		for i, e := range x {
			list[i] = jsonValue(at, e)
		}
		return value{list, at}
	default:
		return value{x, at}
	}
}

// quotedKeysToObjects lets a block hold quoted names, as in
//
//	options { "driver.allowlist" = "raw_exec" }
//
// which HCL allows in objects alone: such a block gets a "=" before its brace.
func quotedKeysToObjects(name string, src []byte) []byte {
	tokens, diags := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		return src
	}
	var cuts []int
	for i := 0; i+1 < len(tokens); i++ {
		if tokens[i].Type == hclsyntax.TokenIdent && tokens[i+1].Type == hclsyntax.TokenOBrace && hasQuotedKey(tokens[i+2:]) {
			cuts = append(cuts, tokens[i+1].Range.Start.Byte)
		}
	}
	for i := len(cuts) - 1; i >= 0; i-- {
		src = append(src[:cuts[i]:cuts[i]], append([]byte("= "), src[cuts[i]:]...)...)
	}
	return src
}

// hasQuotedKey reports whether the block that starts before tokens holds a
// quoted name at its own depth.
func hasQuotedKey(tokens hclsyntax.Tokens) bool {
	depth, fresh := 0, true
	for i, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack:
			if depth--; depth < 0 {
				return false
			}
		case hclsyntax.TokenOQuote:
			if depth == 0 && fresh && i+3 < len(tokens) && tokens[i+2].Type == hclsyntax.TokenCQuote && tokens[i+3].Type == hclsyntax.TokenEqual {
				return true
			}
		}
		fresh = t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenComma || t.Type == hclsyntax.TokenComment || (fresh && i == 0)
	}
	return false
}

func bodyTable(body *hclsyntax.Body) (*table, error) {
	t := &table{keys: map[string][]value{}}
	names := make([]string, 0, len(body.Attributes))
	for name := range body.Attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		attr := body.Attributes[name]
		v, diags := attr.Expr.Value(&hcl.EvalContext{Functions: map[string]function.Function{}})
		if diags.HasErrors() {
			return nil, diagError(diags)
		}
		plain, err := ctyValue(v, place(attr.SrcRange))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", place(attr.SrcRange), name, err)
		}
		t.add(name, plain)
	}
	for _, block := range body.Blocks {
		inner, err := bodyTable(block.Body)
		if err != nil {
			return nil, err
		}
		v := value{inner, place(block.TypeRange)}
		for i := len(block.Labels) - 1; i >= 0; i-- {
			v = value{&table{keys: map[string][]value{block.Labels[i]: {v}}}, v.at}
		}
		t.add(block.Type, v)
	}
	return t, nil
}

func ctyValue(v cty.Value, at string) (value, error) {
	raw, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return value{}, err
	}
	var plain any
	if err := json.Unmarshal(raw, &plain); err != nil {
		return value{}, err
	}
	return jsonValue(at, plain), nil
}

func place(r hcl.Range) string {
	return fmt.Sprintf("%s:%d,%d", r.Filename, r.Start.Line, r.Start.Column)
}

func diagError(diags hcl.Diagnostics) error {
	var lines []string
	for _, d := range diags {
		at := "<nil>"
		if d.Subject != nil {
			at = place(*d.Subject)
		}
		lines = append(lines, fmt.Sprintf("%s: %s; %s", at, d.Summary, d.Detail))
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}

// decoder fills a struct by its hcl tags. What a source does not mention keeps
// its value, so that decoding files in order merges them.
type decoder struct {
	warnings []string
	problems []string
}

func (d *decoder) problem(at, format string, args ...any) {
	d.problems = append(d.problems, at+": "+fmt.Sprintf(format, args...))
}

// decode fills the struct that dst points to from t. path names t in messages.
func (d *decoder) decode(path string, t *table, dst reflect.Value) {
	fields := map[string]reflect.StructField{}
	for f := range dst.Type().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("hcl"), ","); name != "" && name != "-" {
			fields[name] = f
		}
	}
	keys := make([]string, 0, len(t.keys))
	for k := range t.keys {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, key := range keys {
		at := t.keys[key][0].at
		full := strings.TrimPrefix(path+"."+key, ".")
		f, ok := fields[key]
		switch {
		case ok:
			for _, v := range t.keys[key] {
				d.set(full, v, dst.FieldByIndex(f.Index), f.Tag.Get("hcl"))
			}
		case harmless[full]:
			d.warnings = append(d.warnings, fmt.Sprintf("%s: %s is accepted and has no effect in nomadlite", at, full))
		case notBuilt[full]:
			d.problem(at, "%s is not supported by this build of nomadlite; remove it", full)
		default:
			d.problem(at, "unexpected keys %s", full)
		}
	}
}

// set stores v in dst, which is a field with the given hcl tag.
func (d *decoder) set(path string, v value, dst reflect.Value, tag string) {
	if v.v == nil {
		return
	}
	switch dst.Type() {
	case reflect.TypeFor[time.Duration]():
		d.setDuration(path, v, dst)
		return
	}
	switch dst.Kind() {
	case reflect.Pointer:
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		d.set(path, v, dst.Elem(), tag)
	case reflect.Struct:
		for _, t := range tables(v) {
			d.decode(path, t, dst)
		}
		if len(tables(v)) == 0 {
			d.problem(v.at, "%s must be a block, not %s", path, describe(v))
		}
	case reflect.Map:
		d.setMap(path, v, dst)
	case reflect.Slice:
		d.setSlice(path, v, dst)
	default:
		d.setScalar(path, v, dst)
	}
}

// tables lists the tables that v stands for: itself, or a list of them.
func tables(v value) []*table {
	switch x := v.v.(type) {
	case *table:
		return []*table{x}
	case []value:
		var out []*table
		for _, e := range x {
			out = append(out, tables(e)...)
		}
		return out
	}
	return nil
}

func (d *decoder) setMap(path string, v value, dst reflect.Value) {
	ts := tables(v)
	if len(ts) == 0 {
		d.problem(v.at, "%s must be a block, not %s", path, describe(v))
		return
	}
	if dst.IsNil() {
		dst.Set(reflect.MakeMap(dst.Type()))
	}
	for _, t := range ts {
		for key, vals := range t.keys {
			elem := reflect.New(dst.Type().Elem()).Elem()
			if old := dst.MapIndex(reflect.ValueOf(key)); old.IsValid() {
				elem.Set(old)
			}
			for _, e := range vals {
				if elem.Kind() == reflect.Interface {
					elem.Set(reflect.ValueOf(free(e)))
				} else {
					d.set(path+"."+key, e, elem, "")
				}
			}
			dst.SetMapIndex(reflect.ValueOf(key), elem)
		}
	}
}

// free is v as plain Go data, for content that only a plugin understands.
func free(v value) any {
	switch x := v.v.(type) {
	case *table:
		m := map[string]any{}
		for k, vals := range x.keys {
			if _, block := vals[0].v.(*table); block {
				list := make([]any, len(vals))
				for i, e := range vals {
					list[i] = free(e)
				}
				m[k] = list
				continue
			}
			m[k] = free(vals[len(vals)-1])
		}
		return m
	case []value:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = free(e)
		}
		return list
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return int64(x)
		}
		return x
	default:
		return x
	}
}

// setSlice appends: lists of later files extend those of earlier ones.
func (d *decoder) setSlice(path string, v value, dst reflect.Value) {
	list, ok := v.v.([]value)
	if !ok {
		d.problem(v.at, "%s must be a list, not %s", path, describe(v))
		return
	}
	for _, e := range list {
		elem := reflect.New(dst.Type().Elem()).Elem()
		d.set(path, e, elem, "")
		dst.Set(reflect.Append(dst, elem))
	}
}

func (d *decoder) setDuration(path string, v value, dst reflect.Value) {
	s, ok := v.v.(string)
	if !ok {
		d.problem(v.at, `%s must be a duration like "30s", not %s`, path, describe(v))
		return
	}
	dur, err := time.ParseDuration(s)
	if err != nil {
		d.problem(v.at, `%s must be a duration like "30s", not %q`, path, s)
		return
	}
	dst.SetInt(int64(dur))
}

func (d *decoder) setScalar(path string, v value, dst reflect.Value) {
	switch dst.Kind() {
	case reflect.String:
		switch x := v.v.(type) {
		case string:
			dst.SetString(x)
			return
		case float64, bool:
			dst.SetString(fmt.Sprint(x))
			return
		}
	case reflect.Bool:
		switch x := v.v.(type) {
		case bool:
			dst.SetBool(x)
			return
		case string:
			if x == "true" || x == "false" {
				dst.SetBool(x == "true")
				return
			}
		}
	case reflect.Int, reflect.Int64:
		if n, ok := number(v); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			dst.SetInt(int64(n))
			return
		}
	case reflect.Float64:
		if n, ok := number(v); ok {
			dst.SetFloat(n)
			return
		}
	}
	d.problem(v.at, "%s must be a %s, not %s", path, kindName(dst.Kind()), describe(v))
}

func number(v value) (float64, bool) {
	switch x := v.v.(type) {
	case float64:
		return x, true
	case string:
		var n json.Number = json.Number(x)
		f, err := n.Float64()
		return f, err == nil
	}
	return 0, false
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	}
	return k.String()
}

func describe(v value) string {
	switch x := v.v.(type) {
	case *table:
		return "a block"
	case []value:
		return "a list"
	case string:
		return fmt.Sprintf("%q", x)
	default:
		return fmt.Sprint(x)
	}
}
