package jobspec

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// Schema is the JSON Schema (draft 2020-12) of a job in the API's JSON form,
// generated from the types. Durations are integers of nanoseconds.
func Schema() ([]byte, error) {
	s := schema{defs: map[string]any{}}
	root := s.of(reflect.TypeFor[structs.Job]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "nomadlite job"
	root["$defs"] = s.defs
	return json.MarshalIndent(root, "", "  ")
}

// schema collects a definition for every struct.
type schema struct{ defs map[string]any }

// of describes a type as encoding/json writes it.
func (s schema) of(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem()))
	case reflect.Struct:
		return s.object(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return nullable(map[string]any{"type": "string", "contentEncoding": "base64"})
		}
		return nullable(map[string]any{"type": "array", "items": s.of(t.Elem())})
	case reflect.Map:
		return nullable(map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())})
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Interface:
		return map[string]any{} // free-form
	}
	return integer(t)
}

func nullable(of map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{of, map[string]any{"type": "null"}}}
}

// integer describes a whole number; only small types have bounds worth saying.
func integer(t reflect.Type) map[string]any {
	def := map[string]any{"type": "integer"}
	if t == durationType {
		def["description"] = "nanoseconds"
	}
	if unsigned := t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64; unsigned {
		def["minimum"] = 0
		if t.Bits() < 64 {
			def["maximum"] = uint64(1)<<t.Bits() - 1
		}
	} else if t.Bits() < 64 {
		def["minimum"], def["maximum"] = -(int64(1) << (t.Bits() - 1)), int64(1)<<(t.Bits()-1)-1
	}
	return def
}

// object is a reference to the definition of a struct, made on first use.
func (s schema) object(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/$defs/" + t.Name()}
	if _, known := s.defs[t.Name()]; known {
		return ref
	}
	properties := map[string]any{}
	s.defs[t.Name()] = map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch name {
		case "-":
			continue
		case "":
			name = f.Name
		}
		properties[name] = s.of(f.Type)
	}
	return ref
}
