package structs

import (
	"reflect"
	"testing"
)

// filled sets every plain field of a noun to something that is not zero.
func filled[T any]() *T {
	p := new(T)
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.String:
			f.SetString("text of " + v.Type().Field(i).Name)
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.CanInt():
			f.SetInt(int64(i + 1))
		case f.CanUint():
			f.SetUint(uint64(i + 1))
		case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct:
			f.Set(reflect.New(f.Type().Elem()))
		case f.Kind() == reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case f.Kind() == reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		}
	}
	return p
}

// TestStubsTakeEveryField fills each noun: its stub must carry every field of
// the same name and type.
func TestStubsTakeEveryField(t *testing.T) {
	job, alloc, node, eval := filled[Job](), filled[Allocation](), filled[Node](), filled[Evaluation]()
	for _, pair := range [][2]any{
		{job, job.Stub(&JobSummary{})}, {alloc, alloc.Stub()}, {node, node.Stub()}, {eval, eval.Stub()},
	} {
		noun, stub := reflect.ValueOf(pair[0]).Elem(), reflect.ValueOf(pair[1]).Elem()
		for i := range stub.NumField() {
			name := stub.Type().Field(i).Name
			from := noun.FieldByName(name)
			if !from.IsValid() || from.Type() != stub.Field(i).Type() || name == "Attributes" {
				continue
			}
			if !reflect.DeepEqual(from.Interface(), stub.Field(i).Interface()) {
				t.Errorf("%s.%s: %v, the noun has %v", stub.Type().Name(), name, stub.Field(i), from)
			}
		}
	}
}
