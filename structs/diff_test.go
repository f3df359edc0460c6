package structs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// outline prints what changed, a line each.
func outline(d *JobDiff) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s job\n", d.Type)
	outlineBody(&b, " ", d.Fields, d.Objects)
	for _, g := range d.TaskGroups {
		fmt.Fprintf(&b, " %s group %s %v\n", g.Type, g.Name, g.Updates)
		outlineBody(&b, "  ", g.Fields, g.Objects)
		for _, t := range g.Tasks {
			fmt.Fprintf(&b, "  %s task %s %v\n", t.Type, t.Name, t.Annotations)
			outlineBody(&b, "   ", t.Fields, t.Objects)
		}
	}
	return b.String()
}

func outlineBody(b *strings.Builder, indent string, fields []*FieldDiff, objects []*ObjectDiff) {
	for _, f := range fields {
		if f.Type != DiffTypeNone {
			fmt.Fprintf(b, "%s%s %s %q %q %v\n", indent, f.Type, f.Name, f.Old, f.New, f.Annotations)
		}
	}
	for _, o := range objects {
		fmt.Fprintf(b, "%s%s {%s}\n", indent, o.Type, o.Name)
		outlineBody(b, indent+" ", o.Fields, o.Objects)
	}
}

func TestDiffJobs(t *testing.T) {
	edit := func(j *Job) {
		g, task := j.TaskGroups[0], j.TaskGroups[0].Tasks[0]
		j.Priority, j.Datacenters = 70, []string{"dc1"}
		j.Meta = map[string]string{"k": "v"}
		g.Count = Ptr(3)
		g.Constraints = []*Constraint{{"${attr.a}", "b", "="}}
		g.Networks = []*NetworkResource{{DynamicPorts: []Port{{Label: "http"}}}}
		g.Services[0].Tags = []string{"x"}
		task.Config["args"] = []any{"a", "b"}
		task.Config["labels"] = []any{map[string]any{"k": 1}}
		task.Env = map[string]string{"A": "b"}
		task.Resources = &Resources{MemoryMB: Ptr(64)}
		task.KillTimeout = Ptr(DefaultStagger)
	}
	a, b := canonical(nil), canonical(edit)
	d := DiffJobs(a, b)
	d.Annotate(a, b, &PlanAnnotations{DesiredTGUpdates: map[string]*DesiredUpdates{"g": {Place: 2, DestructiveUpdate: 1}}})
	want := `Edited job
 Added Meta[k] "" "v" []
 Edited Priority "50" "70" []
 Edited {Datacenters}
  Deleted Datacenters "*" "" []
  Added Datacenters "" "dc1" []
 Edited group g map[create:2 create/destroy update:1]
  Edited Count "1" "3" [forces create]
  Added {Constraint}
   Added LTarget "" "${attr.a}" []
   Added Operand "" "=" []
   Added RTarget "" "b" []
  Added {Network}
   Added {Dynamic Port}
    Added IgnoreCollision "" "false" []
    Added Label "" "http" []
    Added To "" "0" []
    Added Value "" "0" []
  Edited {Service}
   Added {Tags}
    Added Tags "" "x" []
  Edited task t [forces create/destroy update]
   Added Env[A] "" "b" []
   Edited KillTimeout "5000000000" "30000000000" []
   Edited {Config}
    Added args[0] "" "a" []
    Added args[1] "" "b" []
    Added labels[0][k] "" "1" []
   Edited {Resources}
    Edited MemoryMB "300" "64" []
`
	got := outline(d)
	// Fields of one name are told apart by their old value only.
	sortLines := func(s string) string {
		lines := strings.Split(s, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if sortLines(got) != sortLines(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDiffOfEqualAndMissingJobs(t *testing.T) {
	a := canonical(nil)
	if d := DiffJobs(a, a.Copy()); d.Type != DiffTypeNone || d.Fields != nil || d.TaskGroups[0].Type != DiffTypeNone {
		t.Errorf("%+v", d)
	}
	d := DiffJobs(nil, a)
	if d.Type != DiffTypeAdded || d.ID != "web" || d.TaskGroups[0].Tasks[0].Type != DiffTypeAdded {
		t.Errorf("%+v", d)
	}
	if d := DiffJobs(a, nil); d.Type != DiffTypeDeleted || d.TaskGroups[0].Type != DiffTypeDeleted {
		t.Errorf("%+v", d)
	}
}
