package jobspec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestEveryGoldenMeetsTheSchema validates the JSON of every job, as parsed and
// as canonicalized.
func TestEveryGoldenMeetsTheSchema(t *testing.T) {
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	root := decodeNumbers(t, raw).(map[string]any)
	jobs := 0
	eachGolden(t, func(name string, cfg ParseConfig) {
		job, err := Parse(cfg)
		if err != nil {
			return
		}
		for range 2 {
			raw, err := json.Marshal(job)
			if err != nil {
				t.Fatal(err)
			}
			if err := meets(root, root, decodeNumbers(t, raw), "job"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			job.Canonicalize()
		}
		jobs++
	})
	if jobs < 50 {
		t.Errorf("only %d jobs", jobs)
	}
	for _, bad := range []string{`{"Nme": "x"}`, `{"Priority": "5"}`, `{"Priority": 1.5}`, `{"TaskGroups": [{"Tasks": {}}]}`,
		`{"Spreads": [{"Weight": 1000}]}`, `{"Meta": {"a": 1}}`} {
		if meets(root, root, decodeNumbers(t, []byte(bad)), "job") == nil {
			t.Errorf("accepts %s", bad)
		}
	}
}

func decodeNumbers(t *testing.T, raw []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// meets checks a value against the keywords that Schema uses.
func meets(root, schema map[string]any, v any, path string) error {
	if ref, ok := schema["$ref"].(string); ok {
		def := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		return meets(root, def, v, path)
	}
	if options, ok := schema["anyOf"].([]any); ok {
		var first error
		for _, option := range options {
			err := meets(root, option.(map[string]any), v, path)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return first
	}
	if want, ok := schema["type"].(string); ok && typeOf(v, want) != want {
		return fmt.Errorf("%s: %v is not of type %s", path, v, want)
	}
	switch v := v.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for key, elem := range v {
			inner, known := properties[key].(map[string]any)
			if !known {
				inner, known = schema["additionalProperties"].(map[string]any)
			}
			if !known && schema["type"] != nil {
				return fmt.Errorf("%s: unknown property %s", path, key)
			}
			if err := meets(root, inner, elem, path+"."+key); known && err != nil {
				return err
			}
		}
	case []any:
		items, known := schema["items"].(map[string]any)
		for i, elem := range v {
			if err := meets(root, items, elem, fmt.Sprintf("%s[%d]", path, i)); known && err != nil {
				return err
			}
		}
	case json.Number:
		return inBounds(schema, v, path)
	}
	return nil
}

func inBounds(schema map[string]any, n json.Number, path string) error {
	value, _ := n.Float64()
	if low, ok := schema["minimum"].(json.Number); ok {
		if limit, _ := low.Float64(); value < limit {
			return fmt.Errorf("%s: %s is below %s", path, n, low)
		}
	}
	if high, ok := schema["maximum"].(json.Number); ok {
		if limit, _ := high.Float64(); value > limit {
			return fmt.Errorf("%s: %s is above %s", path, n, high)
		}
	}
	return nil
}

// typeOf is the JSON type of v; whole numbers count as want, if that is a
// number type.
func typeOf(v any, want string) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case json.Number:
		if _, err := v.Int64(); err == nil && want == "integer" || want == "number" {
			return want
		}
	}
	return "number"
}
