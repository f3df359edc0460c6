package foreign

import (
	"reflect"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// TestPlanTellsTheClient plans a change with the client: what is different, in
// the words and shapes that it knows, and nothing for the job as it is.
func TestPlanTellsTheClient(t *testing.T) {
	client := newClient(t)
	job := seedJob(0)
	job.TaskGroups[0].Tasks[0].Env = map[string]string{"V": "1"}
	plan, _, err := client.Jobs().Plan(job, true, nil)
	if err != nil || plan.Diff.Type != "Added" || plan.JobModifyIndex != 0 {
		t.Fatalf("a new job: %+v, %v", plan, err)
	}
	registered, _, err := client.Jobs().Register(job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plan, _, err = client.Jobs().Plan(job, true, nil); err != nil || plan.Diff.Type != "None" || plan.JobModifyIndex != registered.JobModifyIndex {
		t.Fatalf("the same job: %+v, %v", plan, err)
	}
	job.TaskGroups[0].Count = ptr(3)
	job.TaskGroups[0].Tasks[0].Env["V"] = "2"
	if plan, _, err = client.Jobs().Plan(job, true, nil); err != nil {
		t.Fatal(err)
	}
	group := plan.Diff.TaskGroups[0]
	count := &api.FieldDiff{Type: "Edited", Name: "Count", Old: "1", New: "3", Annotations: []string{"forces create"}}
	env := &api.FieldDiff{Type: "Edited", Name: "Env[V]", Old: "1", New: "2"}
	if plan.Diff.Type != "Edited" || group.Type != "Edited" || !has(group.Fields, count) {
		t.Errorf("the group: %+v", group)
	}
	if task := group.Tasks[0]; task.Type != "Edited" || !reflect.DeepEqual(task.Annotations, []string{"forces create/destroy update"}) || !has(task.Fields, env) {
		t.Errorf("the task: %+v", task)
	}
	if plan.FailedTGAllocs["g"] == nil || plan.Annotations.DesiredTGUpdates["g"] == nil {
		t.Errorf("the dry run: %+v %+v", plan.FailedTGAllocs, plan.Annotations)
	}
}

func has(fields []*api.FieldDiff, want *api.FieldDiff) bool {
	for _, f := range fields {
		if reflect.DeepEqual(f, want) {
			return true
		}
	}
	return false
}
