package structs

import (
	"strconv"
	"strings"
)

// Annotations of a diff, in the words of the contract.
const (
	annotationCreate        = "forces create"
	annotationDestroy       = "forces destroy"
	annotationInPlace       = "forces in-place update"
	annotationCreateDestroy = "forces create/destroy update"
)

// Annotate says in the diff of two jobs what each change does: to the count of
// a group, to the tasks, and, from a dry run of the scheduler, to how many
// allocations. Plan may be nil.
func (d *JobDiff) Annotate(before, after *Job, plan *PlanAnnotations) {
	for _, g := range d.TaskGroups {
		if plan != nil {
			g.Updates = updatesOf(plan.DesiredTGUpdates[g.Name])
		}
		for _, f := range g.Fields {
			if f.Name == "Count" {
				f.Annotations = countAnnotation(f)
			}
		}
		var reasons []string
		if before != nil && after != nil {
			_, reasons = UpdateEffect(before, after, g.Name)
		}
		for _, t := range g.Tasks {
			t.annotate(g.Type, reasons)
		}
	}
}

func countAnnotation(f *FieldDiff) []string {
	old, _ := strconv.Atoi(f.Old)
	now, _ := strconv.Atoi(f.New)
	switch {
	case now > old:
		return []string{annotationCreate}
	case now < old:
		return []string{annotationDestroy}
	}
	return nil
}

func (d *TaskDiff) annotate(group string, reasons []string) {
	switch {
	case d.Type == DiffTypeNone:
	case group == DiffTypeAdded:
		d.Annotations = []string{annotationCreate}
	case group == DiffTypeDeleted:
		d.Annotations = []string{annotationDestroy}
	case d.Type != DiffTypeEdited || forced(d.Name, reasons):
		d.Annotations = []string{annotationCreateDestroy}
	default:
		d.Annotations = []string{annotationInPlace}
	}
}

// forced reports whether one of the reasons for a replacement is in the task.
func forced(task string, reasons []string) bool {
	for _, r := range reasons {
		if strings.HasPrefix(r, "Tasks["+task+"].") {
			return true
		}
	}
	return false
}

// updatesOf names the counts of a dry run that are not zero.
func updatesOf(u *DesiredUpdates) map[string]uint64 {
	if u == nil {
		return nil
	}
	updates := map[string]uint64{
		"ignore": u.Ignore, "create": u.Place, "migrate": u.Migrate, "destroy": u.Stop,
		"in-place update": u.InPlaceUpdate, "create/destroy update": u.DestructiveUpdate, "canary": u.Canary,
	}
	for name, n := range updates {
		if n == 0 {
			delete(updates, name)
		}
	}
	return updates
}
