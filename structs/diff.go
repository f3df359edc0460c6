package structs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Types of differences.
const (
	DiffTypeNone    = "None"
	DiffTypeAdded   = "Added"
	DiffTypeDeleted = "Deleted"
	DiffTypeEdited  = "Edited"
)

// JobDiff compares two versions of a job. Type is one of the DiffType
// constants, here and below.
type JobDiff struct {
	Type       string
	ID         string
	Fields     []*FieldDiff
	Objects    []*ObjectDiff
	TaskGroups []*TaskGroupDiff
}

// TaskGroupDiff compares two versions of a group; Updates counts what the
// change does, by "create", "in-place update", ….
type TaskGroupDiff struct {
	Type    string
	Name    string
	Fields  []*FieldDiff
	Objects []*ObjectDiff
	Tasks   []*TaskDiff
	Updates map[string]uint64
}

// TaskDiff compares two versions of a task.
type TaskDiff struct {
	Type        string
	Name        string
	Fields      []*FieldDiff
	Objects     []*ObjectDiff
	Annotations []string
}

// ObjectDiff compares two versions of a block.
type ObjectDiff struct {
	Type    string
	Name    string
	Fields  []*FieldDiff
	Objects []*ObjectDiff
}

// FieldDiff compares two values of a field, as text; durations are numbers of
// nanoseconds.
type FieldDiff struct {
	Type        string
	Name        string
	Old         string
	New         string
	Annotations []string
}

// undiffed are the fields of a job that its diff leaves out: what the servers
// keep, and Update, which the groups show.
var undiffed = map[string]bool{
	"ID": true, "Status": true, "StatusDescription": true, "Version": true, "Stable": true, "CreateIndex": true,
	"ModifyIndex": true, "JobModifyIndex": true, "Update": true, "SubmitTime": true, "NomadTokenID": true,
	"VersionTag": true, "Payload": true, "TaskGroups": true,
}

// DiffJobs compares two canonicalized jobs in the contract's form (reference
// runtime 15): fields by text, blocks as objects, lists of blocks as sets, where
// a changed element shows as Deleted and Added. Unchanged fields of changed
// objects are included with type None. Either job may be nil.
func DiffJobs(before, after *Job) *JobDiff {
	if before == nil && after == nil {
		return &JobDiff{Type: DiffTypeNone}
	}
	d := &JobDiff{}
	a, b := structOf(before), structOf(after)
	var all differ
	all.structs(a, b, func(f reflect.StructField) bool { return undiffed[f.Name] })
	for _, pair := range pairs(groupsOf(before), groupsOf(after), func(g *TaskGroup) string { return g.Name }) {
		d.TaskGroups = append(d.TaskGroups, diffGroups(pair[0], pair[1]))
	}
	changed := all.changed || slices.ContainsFunc(d.TaskGroups, func(g *TaskGroupDiff) bool { return g.Type != DiffTypeNone })
	d.Type = diffType(before != nil, after != nil, changed)
	if before != nil {
		d.ID = before.ID
	} else {
		d.ID = after.ID
	}
	if d.Type != DiffTypeNone {
		d.Fields, d.Objects = all.sorted()
	}
	return d
}

func groupsOf(j *Job) []*TaskGroup {
	if j == nil {
		return nil
	}
	return j.TaskGroups
}

func diffGroups(before, after *TaskGroup) *TaskGroupDiff {
	d := &TaskGroupDiff{}
	var all differ
	all.structs(structOf(before), structOf(after), func(f reflect.StructField) bool {
		return f.Name == "Name" || f.Name == "Tasks" || f.Tag.Get("change") == "ignore"
	})
	var a, b []*Task
	if before != nil {
		d.Name, a = before.Name, before.Tasks
	}
	if after != nil {
		d.Name, b = after.Name, after.Tasks
	}
	for _, pair := range pairs(a, b, func(t *Task) string { return t.Name }) {
		task := diffTasks(pair[0], pair[1])
		all.changed = all.changed || task.Type != DiffTypeNone
		d.Tasks = append(d.Tasks, task)
	}
	d.Type = diffType(before != nil, after != nil, all.changed)
	if d.Type != DiffTypeNone {
		d.Fields, d.Objects = all.sorted()
	}
	return d
}

func diffTasks(before, after *Task) *TaskDiff {
	d := &TaskDiff{}
	if before != nil {
		d.Name = before.Name
	} else {
		d.Name = after.Name
	}
	var all differ
	all.structs(structOf(before), structOf(after), func(f reflect.StructField) bool { return f.Name == "Name" })
	d.Type = diffType(before != nil, after != nil, all.changed)
	if d.Type != DiffTypeNone {
		d.Fields, d.Objects = all.sorted()
	}
	return d
}

// pairs matches two lists by name, in the order of names; a missing partner is
// nil.
func pairs[T any](before, after []*T, name func(*T) string) [][2]*T {
	byName := map[string]*[2]*T{}
	for side, list := range [][]*T{before, after} {
		for _, e := range list {
			if e == nil {
				continue
			}
			if byName[name(e)] == nil {
				byName[name(e)] = &[2]*T{}
			}
			byName[name(e)][side] = e
		}
	}
	names := make([]string, 0, len(byName))
	for n := range byName {
		names = append(names, n)
	}
	sort.Strings(names)
	out := make([][2]*T, 0, len(names))
	for _, n := range names {
		out = append(out, *byName[n])
	}
	return out
}

func diffType(before, after, changed bool) string {
	switch {
	case !before && after:
		return DiffTypeAdded
	case before && !after:
		return DiffTypeDeleted
	case changed:
		return DiffTypeEdited
	}
	return DiffTypeNone
}

// structOf is what p points to, or the invalid value for nil.
func structOf[T any](p *T) reflect.Value {
	if p == nil {
		return reflect.Value{}
	}
	return reflect.ValueOf(p).Elem()
}

// differ collects the differences of one object.
type differ struct {
	fields  []*FieldDiff
	objects []*ObjectDiff
	changed bool
}

func (d *differ) sorted() ([]*FieldDiff, []*ObjectDiff) {
	slices.SortStableFunc(d.fields, func(a, b *FieldDiff) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Old, b.Old))
	})
	slices.SortStableFunc(d.objects, func(a, b *ObjectDiff) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(b.Type, a.Type))
	})
	return d.fields, d.objects
}

// field adds one text field; fields that are empty on both sides say nothing.
func (d *differ) field(name, before, after string) {
	if before == "" && after == "" {
		return
	}
	kind := diffType(before != "", after != "", before != after)
	d.fields = append(d.fields, &FieldDiff{Type: kind, Name: name, Old: before, New: after})
	d.changed = d.changed || kind != DiffTypeNone
}

// object adds the differences of two structs, either of which may be invalid.
func (d *differ) object(name string, a, b reflect.Value) {
	if !a.IsValid() && !b.IsValid() {
		return
	}
	var inner differ
	inner.structs(a, b, func(f reflect.StructField) bool { return f.Tag.Get("change") == "ignore" })
	d.add(name, diffType(a.IsValid(), b.IsValid(), inner.changed), &inner)
}

func (d *differ) add(name, kind string, inner *differ) {
	if kind == DiffTypeNone {
		return
	}
	fields, objects := inner.sorted()
	d.objects = append(d.objects, &ObjectDiff{Type: kind, Name: name, Fields: fields, Objects: objects})
	d.changed = true
}

// structs compares two structs of one type, field by field.
func (d *differ) structs(a, b reflect.Value, skip func(reflect.StructField) bool) {
	t := typeOf(a, b)
	for i := range t.NumField() {
		f := t.Field(i)
		if skip(f) {
			continue
		}
		var x, y reflect.Value
		if a.IsValid() {
			x = a.Field(i)
		}
		if b.IsValid() {
			y = b.Field(i)
		}
		d.values(f, x, y)
	}
}

func typeOf(a, b reflect.Value) reflect.Type {
	if a.IsValid() {
		return a.Type()
	}
	return b.Type()
}

func (d *differ) values(f reflect.StructField, a, b reflect.Value) {
	switch t := f.Type; {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		d.object(objectName(f.Name), pointee(a), pointee(b))
	case t.Kind() == reflect.Slice && elementStruct(t) != nil:
		d.blocks(f.Name, a, b)
	case t.Kind() == reflect.Slice:
		d.strings(f.Name, texts(a), texts(b))
	case t.Kind() == reflect.Map && elementStruct(t) != nil:
		for _, key := range keysOf(a, b) {
			d.object(objectName(f.Name), pointee(at(a, key)), pointee(at(b, key)))
		}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Interface:
		d.free(f.Name, a, b)
	case t.Kind() == reflect.Map:
		x, y := map[string]string{}, map[string]string{}
		flatten(f.Name, a, x)
		flatten(f.Name, b, y)
		d.flat(x, y)
	default:
		d.field(f.Name, text(a), text(b))
	}
}

// free compares free-form maps as one object with a field for every leaf.
func (d *differ) free(name string, a, b reflect.Value) {
	if a.IsValid() && b.IsValid() && equalFree(a.Interface(), b.Interface()) {
		return
	}
	x, y := map[string]string{}, map[string]string{}
	for _, side := range []struct {
		from reflect.Value
		to   map[string]string
	}{{a, x}, {b, y}} {
		for _, key := range keysOf(side.from) {
			flatten(key.String(), at(side.from, key), side.to)
		}
	}
	var inner differ
	inner.flat(x, y)
	d.add(objectName(name), diffType(len(x) > 0, len(y) > 0, inner.changed), &inner)
}

// flat compares two sets of named texts.
func (d *differ) flat(a, b map[string]string) {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	for name := range names {
		d.field(name, a[name], b[name])
	}
}

// flatten writes every leaf below v under its path: name[key][index].
func flatten(name string, v reflect.Value, into map[string]string) {
	if !v.IsValid() {
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		flatten(name, v.Elem(), into)
	case reflect.Map:
		for _, key := range keysOf(v) {
			flatten(name+"["+key.String()+"]", at(v, key), into)
		}
	case reflect.Slice:
		for i := range v.Len() {
			flatten(name+"["+strconv.Itoa(i)+"]", v.Index(i), into)
		}
	default:
		into[name] = text(v)
	}
}

// strings compares two lists of plain values as sets, shown as one object.
func (d *differ) strings(name string, a, b []string) {
	var inner differ
	for _, s := range a {
		if slices.Contains(b, s) {
			inner.fields = append(inner.fields, &FieldDiff{Type: DiffTypeNone, Name: name, Old: s, New: s})
		} else {
			inner.field(name, s, "")
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			inner.field(name, "", s)
		}
	}
	d.add(name, diffType(len(a) > 0, len(b) > 0, inner.changed || !slices.Equal(a, b)), &inner)
}

// blocks compares two lists of structs: services and checks by name, all others
// as sets.
func (d *differ) blocks(name string, a, b reflect.Value) {
	named := elementStruct(typeOf(a, b)) == reflect.TypeFor[Service]() || elementStruct(typeOf(a, b)) == reflect.TypeFor[ServiceCheck]()
	type side struct{ before, after []reflect.Value }
	byKey := map[string]*side{}
	var order []string
	collect := func(list reflect.Value, add func(*side, reflect.Value)) {
		if !list.IsValid() {
			return
		}
		for i := range list.Len() {
			elem := pointee(list.Index(i))
			if !elem.IsValid() {
				continue
			}
			key := signature(elem)
			if named {
				key = elem.FieldByName("Name").String()
			}
			if byKey[key] == nil {
				byKey[key] = &side{}
				order = append(order, key)
			}
			add(byKey[key], elem)
		}
	}
	collect(a, func(s *side, v reflect.Value) { s.before = append(s.before, v) })
	collect(b, func(s *side, v reflect.Value) { s.after = append(s.after, v) })
	for _, key := range order {
		s := byKey[key]
		for i := range max(len(s.before), len(s.after)) {
			var x, y reflect.Value
			if i < len(s.before) {
				x = s.before[i]
			}
			if i < len(s.after) {
				y = s.after[i]
			}
			d.object(objectName(name), x, y)
		}
	}
}

// signature tells different blocks of a set apart.
func signature(v reflect.Value) string {
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprintf("%#v", v.Interface())
	}
	return string(raw)
}

// objectName is the name of an object made from a field: the singular.
func objectName(field string) string {
	switch field {
	case "ReservedPorts":
		return "Static Port"
	case "DynamicPorts":
		return "Dynamic Port"
	case "Affinities", "Identities":
		return strings.TrimSuffix(field, "ies") + "y"
	case "DNS", "TLS", "SDS":
		return field
	case "LogConfig", "Resources":
		return field
	}
	return strings.TrimSuffix(field, "s")
}

func elementStruct(t reflect.Type) reflect.Type {
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	if e.Kind() == reflect.Struct {
		return e
	}
	return nil
}

// pointee follows a pointer; nil is the invalid value.
func pointee(v reflect.Value) reflect.Value {
	if v.IsValid() && v.Kind() == reflect.Pointer {
		return v.Elem()
	}
	return v
}

func at(m, key reflect.Value) reflect.Value {
	if !m.IsValid() {
		return reflect.Value{}
	}
	return m.MapIndex(key)
}

// keysOf is the sorted union of the keys of maps of strings.
func keysOf(maps ...reflect.Value) []reflect.Value {
	var keys []reflect.Value
	seen := map[string]bool{}
	for _, m := range maps {
		if !m.IsValid() {
			continue
		}
		for _, key := range m.MapKeys() {
			if !seen[key.String()] {
				seen[key.String()] = true
				keys = append(keys, key)
			}
		}
	}
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

func texts(v reflect.Value) []string {
	if !v.IsValid() {
		return nil
	}
	list := make([]string, v.Len())
	for i := range list {
		list[i] = text(v.Index(i))
	}
	return list
}

// text prints a plain value; what is missing or nil is "".
func text(v reflect.Value) string {
	v = pointee(v)
	switch {
	case !v.IsValid():
		return ""
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}
