package structs

import (
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// effect is what a changed field does to running allocations; the change tag
// gives it, and nested fields inherit it.
type effect uint8

const (
	effectIgnore effect = iota
	effectInPlace
	effectDestroy
)

func effectOf(field reflect.StructField, inherited effect) effect {
	switch field.Tag.Get("change") {
	case "ignore":
		return effectIgnore
	case "inplace":
		return effectInPlace
	case "destroy":
		return effectDestroy
	}
	return inherited
}

// comparison walks two values of one type side by side. Empty and nil slices
// and maps are equal; numbers in free-form values are equal by value, because
// JSON and msgpack bring them back as other types.
type comparison struct {
	// skip leaves out a field; found is told every difference and returns true
	// to end the walk.
	skip  func(owner reflect.Type, field reflect.StructField) bool
	found func(path string, e effect) (stop bool)
}

// compare returns true when found ended the walk.
func (c *comparison) compare(path string, a, b reflect.Value, e effect) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return c.pointers(path, a, b, e)
	case reflect.Struct:
		return c.structs(path, a, b, e)
	case reflect.Slice:
		return c.slices(path, a, b, e)
	case reflect.Map:
		return c.maps(path, a, b, e)
	case reflect.Interface:
		if !equalFree(a.Interface(), b.Interface()) {
			return c.found(path, e)
		}
		return false
	default:
		if !a.Equal(b) {
			return c.found(path, e)
		}
		return false
	}
}

func (c *comparison) pointers(path string, a, b reflect.Value, e effect) bool {
	if a.IsNil() && b.IsNil() || a.Pointer() == b.Pointer() {
		return false
	}
	if a.IsNil() != b.IsNil() && c.found(path, e) {
		return true
	}
	zero := reflect.Zero(a.Type().Elem())
	if a.IsNil() {
		return a.Type().Elem().Kind() == reflect.Struct && c.compare(path, zero, b.Elem(), e)
	}
	if b.IsNil() {
		return a.Type().Elem().Kind() == reflect.Struct && c.compare(path, a.Elem(), zero, e)
	}
	return c.compare(path, a.Elem(), b.Elem(), e)
}

func (c *comparison) structs(path string, a, b reflect.Value, e effect) bool {
	t := a.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		if c.skip != nil && c.skip(t, field) {
			continue
		}
		if c.compare(join(path, field.Name), a.Field(i), b.Field(i), effectOf(field, e)) {
			return true
		}
	}
	return false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (c *comparison) slices(path string, a, b reflect.Value, e effect) bool {
	if a.Len() != b.Len() && c.found(path, e) {
		return true
	}
	zero := reflect.Zero(a.Type().Elem())
	for i := range max(a.Len(), b.Len()) {
		x, y := zero, zero
		if i < a.Len() {
			x = a.Index(i)
		}
		if i < b.Len() {
			y = b.Index(i)
		}
		if c.compare(path+"["+strconv.Itoa(i)+"]", x, y, e) {
			return true
		}
	}
	return false
}

func (c *comparison) maps(path string, a, b reflect.Value, e effect) bool {
	zero := reflect.Zero(a.Type().Elem())
	for iter := a.MapRange(); iter.Next(); {
		other := b.MapIndex(iter.Key())
		at := path + "[" + iter.Key().String() + "]"
		if !other.IsValid() {
			if c.found(at, e) || c.compare(at, iter.Value(), zero, e) {
				return true
			}
		} else if c.compare(at, iter.Value(), other, e) {
			return true
		}
	}
	for iter := b.MapRange(); iter.Next(); {
		if a.MapIndex(iter.Key()).IsValid() {
			continue
		}
		at := path + "[" + iter.Key().String() + "]"
		if c.found(at, e) || c.compare(at, zero, iter.Value(), e) {
			return true
		}
	}
	return false
}

// equalFree compares free-form values (driver config and the like).
func equalFree(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && equalNumbers(x, y)
	}
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if emptyFree(va) || emptyFree(vb) {
		return emptyFree(va) && emptyFree(vb)
	}
	if va.Kind() != vb.Kind() {
		return false
	}
	switch va.Kind() {
	case reflect.Slice, reflect.Array:
		if va.Len() != vb.Len() {
			return false
		}
		for i := range va.Len() {
			if !equalFree(va.Index(i).Interface(), vb.Index(i).Interface()) {
				return false
			}
		}
		return true
	case reflect.Map:
		if va.Len() != vb.Len() || va.Type().Key() != vb.Type().Key() {
			return false
		}
		for iter := va.MapRange(); iter.Next(); {
			other := vb.MapIndex(iter.Key())
			if !other.IsValid() || !equalFree(iter.Value().Interface(), other.Interface()) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// emptyFree reports whether v is nil or an empty slice or map.
func emptyFree(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return false
}

// number returns v as an int64, uint64 or float64.
func number(v any) (any, bool) {
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return r.Int(), true
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return int64(r.Uint()), true
	case r.CanUint():
		return r.Uint(), true
	case r.CanFloat():
		return r.Float(), true
	}
	return nil, false
}

// equalNumbers compares integers exactly, and an integer with a float as JSON
// would have rounded it.
func equalNumbers(a, b any) bool {
	if reflect.TypeOf(a) == reflect.TypeOf(b) {
		return a == b
	}
	return asFloat(a) == asFloat(b)
}

func asFloat(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case uint64:
		return float64(n)
	}
	return v.(float64)
}

// SpecChanged reports whether two canonicalized jobs differ in what their
// owner wrote, as opposed to what the servers keep beside it: statuses,
// versions, indexes and times. It decides whether a registration makes a new
// version.
func SpecChanged(a, b *Job) bool {
	if a == nil || b == nil {
		return a != b
	}
	changed := false
	c := comparison{
		skip: serverSide,
		found: func(string, effect) bool {
			changed = true
			return true
		},
	}
	c.compare("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), effectInPlace)
	return changed
}

// serverSide reports whether a field is kept by the servers, not written by
// the job's owner.
func serverSide(_ reflect.Type, field reflect.StructField) bool {
	return field.Tag.Get("change") == "ignore" && strings.HasPrefix(field.Tag.Get("hcl"), "-")
}

// UpdateEffect says what moving an allocation of a group from one version of
// its job to another takes: destructive when it must be replaced, otherwise in
// place. Reasons name the fields that make it destructive, such as
// "Tasks[web].Env[PORT]"; see reference runtime 12. Both jobs are canonical.
// Constraints count as in place: whether the node is still feasible is the
// scheduler's question.
func UpdateEffect(before, after *Job, group string) (destructive bool, reasons []string) {
	if before == after {
		return false, nil
	}
	a, b := before.LookupGroup(group), after.LookupGroup(group)
	if a == nil || b == nil {
		return true, []string{"TaskGroups[" + group + "]"}
	}
	c := comparison{skip: func(owner reflect.Type, field reflect.StructField) bool {
		// Tasks are matched by name and meta is compared merged, below.
		return owner == reflect.TypeFor[TaskGroup]() && (field.Name == "Tasks" || field.Name == "Meta") ||
			owner == reflect.TypeFor[Task]() && field.Name == "Meta"
	}}
	seen := map[string]bool{}
	c.found = func(path string, e effect) bool {
		if e == effectDestroy && !seen[path] {
			seen[path] = true
			reasons = append(reasons, path)
		}
		return false
	}
	c.compare("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), effectInPlace)
	for _, task := range a.Tasks {
		if task == nil {
			continue
		}
		path := "Tasks[" + task.Name + "]"
		other := b.LookupTask(task.Name)
		if other == nil {
			c.found(path, effectDestroy)
			continue
		}
		c.compare(path, reflect.ValueOf(task).Elem(), reflect.ValueOf(other).Elem(), effectInPlace)
		c.compare(path+".Meta", reflect.ValueOf(before.MergedMeta(a, task)), reflect.ValueOf(after.MergedMeta(b, other)), effectDestroy)
	}
	for _, task := range b.Tasks {
		if task != nil && a.LookupTask(task.Name) == nil {
			c.found("Tasks["+task.Name+"]", effectDestroy)
		}
	}
	sort.Strings(reasons)
	return len(reasons) > 0, reasons
}

// LookupGroup returns the group of that name, or nil.
func (j *Job) LookupGroup(name string) *TaskGroup {
	for _, g := range j.TaskGroups {
		if g != nil && g.Name == name {
			return g
		}
	}
	return nil
}

// LookupTask returns the task of that name, or nil.
func (g *TaskGroup) LookupTask(name string) *Task {
	for _, t := range g.Tasks {
		if t != nil && t.Name == name {
			return t
		}
	}
	return nil
}

// MergedMeta is the meta that a task sees: its own over its group's over its
// job's.
func (j *Job) MergedMeta(g *TaskGroup, t *Task) map[string]string {
	merged := make(map[string]string, len(j.Meta)+len(g.Meta)+len(t.Meta))
	for _, m := range []map[string]string{j.Meta, g.Meta, t.Meta} {
		for key, value := range m {
			merged[key] = value
		}
	}
	return merged
}
