package structs

import (
	"reflect"
	"strings"
	"testing"
)

// TestEveryJobFieldHasTags walks everything that a job file can hold: each
// field says how it is written, and what a change of it does is said by it or
// by something around it.
func TestEveryJobFieldHasTags(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(typ reflect.Type, covered bool)
	walk = func(typ reflect.Type, covered bool) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			written, ok := f.Tag.Lookup("hcl")
			if !ok {
				t.Errorf("%s.%s has no hcl tag", typ.Name(), f.Name)
			}
			effect, ok := f.Tag.Lookup("change")
			switch {
			case ok && effect != "ignore" && effect != "inplace" && effect != "destroy":
				t.Errorf("%s.%s: unknown change %q", typ.Name(), f.Name, effect)
			case !ok && !covered && f.Name != "TaskGroups" && f.Name != "Tasks":
				t.Errorf("%s.%s has no change tag", typ.Name(), f.Name)
			}
			_, kind, _ := strings.Cut(written, ",")
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if inner.Kind() != reflect.Struct || written == "-" && f.Name != "Identity" {
				continue
			}
			if kind != "block" && written != "-" {
				t.Errorf("%s.%s is a struct but its kind is %q", typ.Name(), f.Name, kind)
			}
			walk(inner, ok || covered)
		}
	}
	walk(reflect.TypeFor[Job](), false)
}
