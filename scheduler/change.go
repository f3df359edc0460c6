package scheduler

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// change is what a new version of a group does to running allocations.
type change uint8

const (
	changeNone    change = iota
	changeInPlace        // the allocation moves to the version as it runs
	changeDestroy        // it is stopped and placed again
)

// groupChange compares a group in two versions of its job. The reason names
// the first field that makes the change as grave as it is.
func groupChange(oldJob, newJob *structs.Job, name string) (change, string) {
	from, to := findGroup(oldJob, name), findGroup(newJob, name)
	if from == nil || to == nil {
		return changeDestroy, "group " + name
	}
	d := differ{}
	d.tasks(oldJob, newJob, from, to)
	d.fields(reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem(), "", "inplace", map[string]bool{"Tasks": true, "Meta": true})
	if oldJob.Version != newJob.Version || oldJob.JobModifyIndex != newJob.JobModifyIndex || oldJob.CreateIndex != newJob.CreateIndex {
		d.note(changeInPlace, "job version")
	}
	return d.worst, d.reason
}

func findGroup(job *structs.Job, name string) *structs.TaskGroup {
	if job == nil {
		return nil
	}
	for _, g := range job.TaskGroups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// differ finds the gravest change; what a field's change means stands in its
// "change" tag and is inherited by what the field holds.
type differ struct {
	worst  change
	reason string
}

func (d *differ) note(c change, reason string) {
	if c > d.worst {
		d.worst, d.reason = c, reason
	}
}

func (d *differ) tasks(oldJob, newJob *structs.Job, from, to *structs.TaskGroup) {
	if len(from.Tasks) != len(to.Tasks) {
		d.note(changeDestroy, "tasks")
		return
	}
	for _, t := range to.Tasks {
		i := slices.IndexFunc(from.Tasks, func(s *structs.Task) bool { return s.Name == t.Name })
		if i < 0 {
			d.note(changeDestroy, "task "+t.Name)
			return
		}
		s := from.Tasks[i]
		if !maps.Equal(mergedMeta(oldJob, from, s), mergedMeta(newJob, to, t)) {
			d.note(changeDestroy, "task "+t.Name+" meta")
		}
		d.fields(reflect.ValueOf(s).Elem(), reflect.ValueOf(t).Elem(), "task "+t.Name+" ", "inplace", map[string]bool{"Meta": true})
	}
}

// mergedMeta is what the task sees: its own meta over the group's over the job's.
func mergedMeta(j *structs.Job, g *structs.TaskGroup, t *structs.Task) map[string]string {
	merged := make(map[string]string, len(j.Meta)+len(g.Meta)+len(t.Meta))
	maps.Copy(merged, j.Meta)
	maps.Copy(merged, g.Meta)
	maps.Copy(merged, t.Meta)
	return merged
}

func (d *differ) fields(a, b reflect.Value, path, effect string, skip map[string]bool) {
	for i := range a.NumField() {
		field := a.Type().Field(i)
		if skip[field.Name] || d.worst == changeDestroy {
			continue
		}
		tag, ok := field.Tag.Lookup("change")
		if !ok {
			tag = effect
		}
		if tag != "ignore" {
			d.values(a.Field(i), b.Field(i), path+field.Name, tag)
		}
	}
}

func (d *differ) values(a, b reflect.Value, path, effect string) {
	if alike(a, b) {
		return
	}
	if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() && a.Elem().Kind() == reflect.Struct {
		d.fields(a.Elem(), b.Elem(), path+".", effect, nil)
		return
	}
	switch effect {
	case "destroy":
		d.note(changeDestroy, path)
	default:
		d.note(changeInPlace, path)
	}
}

// alike is deep equality that takes nil and empty lists and maps for equal.
func alike(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !alike(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if w := b.MapIndex(k); !w.IsValid() || !alike(a.MapIndex(k), w) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		if a.Elem().Type() != b.Elem().Type() {
			return fmt.Sprint(a.Elem().Interface()) == fmt.Sprint(b.Elem().Interface())
		}
		return alike(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if !alike(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
