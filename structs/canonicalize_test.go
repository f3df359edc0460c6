package structs

import (
	"strings"
	"testing"
)

func minimalJob(kind string) *Job {
	return &Job{ID: "web", Type: kind, TaskGroups: []*TaskGroup{{
		Name:  "g",
		Tasks: []*Task{{Name: "t", Driver: "raw_exec", Config: map[string]any{"command": "/bin/true"}}},
	}}}
}

func TestCanonicalJobIsValid(t *testing.T) {
	for _, kind := range []string{"", JobTypeService, JobTypeBatch, JobTypeSystem, JobTypeSysBatch} {
		j := minimalJob(kind)
		j.Canonicalize()
		if warnings, err := j.Validate(Checks{}); err != nil || len(warnings) > 0 {
			t.Errorf("type %q: %v %v", kind, warnings, err)
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	j := minimalJob("service")
	j.ID, j.Priority, j.Type = "a b", 1000, "weird"
	j.TaskGroups[0].Tasks[0].Driver = ""
	j.Canonicalize()
	_, err := j.Validate(Checks{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"errors occurred:\n\t* ", "contains a space", "Invalid job type", "priority must be", "Task group g validation failed: ", "Missing task driver"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	if !strings.HasSuffix(err.Error(), "\n\n") || KindOf(err) != Rejected {
		t.Errorf("form of %q", err)
	}
}

func TestValidateRefusesWhatTheBuildCannotRun(t *testing.T) {
	j := minimalJob(JobTypeService)
	j.TaskGroups[0].Tasks[0].Templates = []*Template{{EmbeddedTmpl: "x", DestPath: "local/x"}}
	j.TaskGroups[0].Volumes = map[string]*VolumeRequest{"v": {Type: "host", Source: "v"}}
	j.Canonicalize()
	if _, err := j.Validate(Checks{Refused: []string{"artifact"}}); err != nil {
		t.Error(err)
	}
	_, err := j.Validate(Checks{Refused: []string{"template", "volume"}})
	if err == nil || !strings.Contains(err.Error(), "template is not supported") || !strings.Contains(err.Error(), "volume is not supported") {
		t.Error(err)
	}
}

func TestValidateNeedsNoCanonicalization(t *testing.T) {
	for _, j := range []*Job{{}, {TaskGroups: []*TaskGroup{nil, {Tasks: []*Task{nil, {}}}}}, minimalJob(JobTypeBatch)} {
		before := j.Copy()
		_, err := j.Validate(Checks{})
		if (err == nil) != (j.ID == "web") {
			t.Errorf("%+v: %v", j, err)
		}
		if SpecChanged(before, j) {
			t.Error("Validate changed the job")
		}
	}
}

// TestValidateCountsProblems keeps the first problems and counts the others.
func TestValidateCountsProblems(t *testing.T) {
	j := minimalJob(JobTypeService)
	j.Datacenters = make([]string, 2000)
	_, err := j.Validate(Checks{})
	if err == nil || !strings.Contains(err.Error(), "and 1000 more problems: the first 1000 are shown") || strings.Count(err.Error(), "\t* ") != 1001 {
		t.Errorf("%.200v", err)
	}
}
