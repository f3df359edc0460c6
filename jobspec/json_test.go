package jobspec

import (
	"reflect"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

func TestParseJSON(t *testing.T) {
	for name, test := range map[string]struct{ source, id, err string }{
		"outer":         {`{"Job": {"ID": "a", "TaskGroups": [{"Name": "g", "ShutdownDelay": 5}]}}`, "a", ""},
		"inner":         {`{"ID": "a"}`, "a", ""},
		"BOM":           {"\xef\xbb\xbf{\"ID\": \"a\"}", "a", ""},
		"nothing":       {`{}`, "", "it has no ID"},
		"null":          {`null`, "", "it has no ID"},
		"list":          {`[]`, "", "line 1, column"},
		"text duration": {"{\"ID\": \"a\",\n\"TaskGroups\": [{\"ShutdownDelay\": \"5s\"}]}", "", "line 2, column"},
		"syntax":        {"{\"ID\":\n\"a\",}", "", "line 2, column"},
		"more":          {`{"ID": "a"} x`, "", "more text after its end"},
		"deep":          {strings.Repeat(`{"a":`, 1000), "", "nested"},
	} {
		job, err := ParseJSON([]byte(test.source))
		switch {
		case test.err == "" && (err != nil || job.ID != test.id):
			t.Errorf("%s: %v", name, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || structs.KindOf(err) != structs.Invalid):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubmissionKeepsSourceAndVariables(t *testing.T) {
	got := Submission(ParseConfig{
		Source:   []byte("job \"a\" {}"),
		Env:      []string{"NOMAD_VAR_a=env", "OTHER=x"},
		VarFiles: []VarFile{{Path: "v", Content: []byte("b = 1\n")}},
		Vars:     []string{"c=plain", `d=["x"]`},
	})
	want := &structs.JobSubmission{Source: "job \"a\" {}", Format: "hcl2",
		VariableFlags: map[string]string{"a": "env", "c": "plain"}, Variables: "b = 1\nd = [\"x\"]"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
