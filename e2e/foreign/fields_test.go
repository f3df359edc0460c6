package foreign

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomadlite/nomadlite/structs"
)

// TestFieldsAreThoseOfTheClient walks the client's job and ours side by side:
// every field is there, under the same name in JSON, and is written in a job
// file under the same name and as the same thing.
func TestFieldsAreThoseOfTheClient(t *testing.T) {
	seen := map[reflect.Type]bool{}
	fields := 0
	var walk func(theirs, ours reflect.Type)
	walk = func(theirs, ours reflect.Type) {
		if seen[theirs] {
			return
		}
		seen[theirs] = true
		for i := range theirs.NumField() {
			f := theirs.Field(i)
			if f.Tag.Get("json") == "-" || f.Name == "ExtraKeysHCL" {
				continue
			}
			fields++
			where := theirs.Name() + "." + f.Name
			o, ok := ours.FieldByName(f.Name)
			if !ok {
				t.Errorf("%s is missing", where)
				continue
			}
			if a, b := written(f.Tag.Get("hcl")), written(o.Tag.Get("hcl")); a != b && elsewhere[where] == "" {
				t.Errorf("%s is written %q in a job file, here %q", where, a, b)
			}
			inner, mine := element(f.Type), element(o.Type)
			if inner.Kind() != mine.Kind() {
				t.Errorf("%s is a %s, here a %s", where, inner.Kind(), mine.Kind())
			} else if inner.Kind() == reflect.Struct {
				walk(inner, mine)
			}
		}
		for i := range ours.NumField() {
			if _, ok := theirs.FieldByName(ours.Field(i).Name); !ok {
				t.Errorf("%s.%s is unknown to the client", ours.Name(), ours.Field(i).Name)
			}
		}
	}
	walk(reflect.TypeFor[api.Job](), reflect.TypeFor[structs.Job]())
	if fields < 350 {
		t.Errorf("only %d fields", fields)
	}
}

// elsewhere are fields whose tags differ, with the reason.
var elsewhere = map[string]string{
	"Job.ConsulNamespace": "the client has no tag; job files may set it here",
	"Job.VaultNamespace":  "as ConsulNamespace",
}

// written makes the two ways of tagging comparable: the name, and whether it is
// a label, a block or an argument.
func written(tag string) string {
	name, kind, _ := strings.Cut(tag, ",")
	kind, _, _ = strings.Cut(kind, ",")
	switch {
	case name == "-" || tag == "":
		return ""
	case kind == "label":
		return "label" // the client names not all of them
	case kind == "map" || kind == "free":
		kind = "block"
	case kind == "optional" || kind == "required":
		kind = ""
	}
	return name + "," + kind
}

// element is what a pointer, list or map finally holds; bytes are a text.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// leaf is a field that holds a value, by the way to it from the job.
type leaf struct {
	path  string // as "TaskGroups.Tasks.Leader"
	name  string // as "Task.Leader"
	steps []int
	typ   reflect.Type
}

// leaves lists every field below the client's job.
func leaves() []leaf {
	var all []leaf
	var walk func(t reflect.Type, path string, steps []int)
	walk = func(t reflect.Type, path string, steps []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || f.Name == "ExtraKeysHCL" {
				continue
			}
			at := append(append([]int(nil), steps...), i)
			if inner := element(f.Type); inner.Kind() == reflect.Struct {
				walk(inner, path+f.Name+".", at)
				continue
			}
			all = append(all, leaf{path + f.Name, t.Name() + "." + f.Name, at, f.Type})
		}
	}
	walk(reflect.TypeFor[api.Job](), "", nil)
	return all
}

// follow goes to a leaf of a job. With make it makes what is missing on the
// way; without, it returns the invalid value when something is.
func follow(job reflect.Value, l leaf, create bool) reflect.Value {
	v := job
	for _, step := range l.steps {
		for v.Kind() != reflect.Struct {
			if v = into(v, create); !v.IsValid() {
				return v
			}
		}
		v = v.Field(step)
	}
	return v
}

// into enters a pointer, the first element of a list or the one of a map.
func into(v reflect.Value, create bool) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			if !create {
				return reflect.Value{}
			}
			v.Set(seeded(v.Type().Elem()).Addr())
		}
		return v.Elem()
	case reflect.Slice:
		if v.Len() == 0 {
			if !create {
				return reflect.Value{}
			}
			elem := reflect.New(v.Type().Elem()).Elem()
			if elem.Kind() == reflect.Struct {
				elem = seeded(elem.Type())
			}
			v.Set(reflect.Append(v, elem))
		}
		return v.Index(0)
	}
	key := reflect.ValueOf("k")
	if v.IsNil() {
		if !create {
			return reflect.Value{}
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		elem.Set(seeded(elem.Type().Elem()).Addr())
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	}
	return v.MapIndex(key)
}

// seeded is a struct of the type with what makes it valid.
func seeded(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	if seed := seeds[t]; seed != nil {
		v.Set(reflect.ValueOf(seed))
	}
	return v
}

// valueOf is a value for the leaf that no default has: from the table, or made
// from its number.
func valueOf(l leaf, n int) any {
	if v, ok := values[l.path]; ok {
		return v
	}
	if v, ok := values[l.name]; ok {
		return v
	}
	t := l.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return true
	case reflect.String:
		return fmt.Sprintf("v%d", n)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return []string{fmt.Sprintf("v%d", n), "w"}
		}
		list := reflect.MakeSlice(t, 1, 1)
		list.Index(0).SetUint(uint64(n % 250))
		return list.Interface()
	case reflect.Map:
		switch t.Elem().Kind() {
		case reflect.Slice:
			return map[string][]string{"K": {fmt.Sprintf("v%d", n)}}
		case reflect.Interface:
			return map[string]any{"k": fmt.Sprintf("v%d", n), "list": []any{"a", true, nil}, "map": []any{map[string]any{"x": "y"}}}
		}
		return map[string]string{"k": fmt.Sprintf("v%d", n)}
	}
	if t == reflect.TypeFor[time.Duration]() {
		return time.Duration(n+7) * time.Second
	}
	return reflect.ValueOf(n%50 + 11).Convert(t).Interface()
}

// set stores a value in a field or behind its pointer.
func set(field reflect.Value, value any) {
	v := reflect.ValueOf(value)
	if field.Kind() == reflect.Pointer {
		p := reflect.New(field.Type().Elem())
		p.Elem().Set(v.Convert(p.Type().Elem()))
		field.Set(p)
		return
	}
	field.Set(v.Convert(field.Type()))
}

// TestEveryFieldSurvives sets one field of a job after the other to a value
// that no default has, registers the job with the client and reads it back: the
// value is unchanged. Fields for which that cannot hold are listed, with the
// reason or the words by which the job is refused.
func TestEveryFieldSurvives(t *testing.T) {
	client := newClient(t)
	used := map[string]bool{}
	survived := 0
	for n, l := range leaves() {
		job := seedJob(n)
		value := valueOf(l, n)
		for _, c := range companions {
			if strings.HasPrefix(l.path, c.prefix) {
				c.add(job)
			}
		}
		set(follow(reflect.ValueOf(job).Elem(), l, true), value)
		reason := exception(l.path, used)
		got, err := registerAndRead(client, job)
		switch {
		case err != nil && reason == "":
			t.Errorf("%s = %v: %.250s", l.path, value, strings.Join(strings.Fields(err.Error()), " "))
		case err != nil:
			if !strings.Contains(err.Error(), reason) {
				t.Errorf("%s = %v: refused without %q: %v", l.path, value, reason, err)
			}
		case same(follow(reflect.ValueOf(got).Elem(), l, false), value):
			survived++
		case reason == "":
			t.Errorf("%s = %v came back as %v", l.path, value, follow(reflect.ValueOf(got).Elem(), l, false))
		}
	}
	for _, path := range sortedKeys(exceptions) {
		if !used[path] {
			t.Errorf("the exception for %s is about no field", path)
		}
	}
	if survived < 320 {
		t.Errorf("only %d fields survive", survived)
	}
}

// TestEveryFieldTravels sends each field through our types as JSON, those of
// blocks that this build refuses too.
func TestEveryFieldTravels(t *testing.T) {
	for n, l := range leaves() {
		job, value := seedJob(n), valueOf(l, n)
		set(follow(reflect.ValueOf(job).Elem(), l, true), value)
		var ours structs.Job
		recode(t, job, &ours)
		got := &api.Job{}
		recode(t, &ours, got)
		if back := follow(reflect.ValueOf(got).Elem(), l, false); !same(back, value) {
			t.Errorf("%s = %v came back as %v", l.path, value, back)
		}
	}
}

func recode(t *testing.T, from, to any) {
	t.Helper()
	raw, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		t.Fatal(err)
	}
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// exception finds the entry for a path or for what it is inside of.
func exception(path string, used map[string]bool) string {
	for at := path; ; at = at[:strings.LastIndexByte(at, '.')] {
		if reason, ok := exceptions[at]; ok {
			used[at] = true
			return reason
		}
		if !strings.Contains(at, ".") {
			return ""
		}
	}
}

func registerAndRead(client *api.Client, job *api.Job) (*api.Job, error) {
	if _, _, err := client.Jobs().Register(job, nil); err != nil {
		return nil, err
	}
	q := &api.QueryOptions{}
	if job.Namespace != nil {
		q.Namespace = *job.Namespace
	}
	got, _, err := client.Jobs().Info(*job.ID, q)
	if err == nil {
		_, _, err = client.Jobs().Deregister(*job.ID, true, nil)
	}
	return got, err
}

func same(got reflect.Value, want any) bool {
	for got.IsValid() && got.Kind() == reflect.Pointer {
		got = got.Elem()
	}
	if !got.IsValid() {
		return false
	}
	return reflect.DeepEqual(got.Interface(), reflect.ValueOf(want).Convert(got.Type()).Interface())
}
