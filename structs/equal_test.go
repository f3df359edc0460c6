package structs

import (
	"reflect"
	"testing"
)

func canonical(edit func(*Job)) *Job {
	j := minimalJob(JobTypeService)
	j.TaskGroups[0].Services = []*Service{{Name: "web", Provider: "nomad"}}
	if edit != nil {
		edit(j)
	}
	j.Canonicalize()
	return j
}

func TestUpdateEffect(t *testing.T) {
	group := func(j *Job) *TaskGroup { return j.TaskGroups[0] }
	task := func(j *Job) *Task { return j.TaskGroups[0].Tasks[0] }
	for name, test := range map[string]struct {
		edit    func(*Job)
		changed bool
		reasons []string
	}{
		"nothing":            {nil, false, nil},
		"empty map":          {func(j *Job) { j.Meta = map[string]string{} }, false, nil},
		"server side":        {func(j *Job) { j.Version, j.Status, j.ModifyIndex = 3, "running", 9 }, false, nil},
		"count":              {func(j *Job) { group(j).Count = Ptr(5) }, true, nil},
		"stop":               {func(j *Job) { j.Stop = true }, true, nil},
		"constraint":         {func(j *Job) { group(j).Constraints = []*Constraint{{"${attr.a}", "b", "="}} }, true, nil},
		"kill timeout":       {func(j *Job) { task(j).KillTimeout = Ptr(DefaultStagger) }, true, nil},
		"log size":           {func(j *Job) { task(j).LogConfig = &LogConfig{MaxFiles: Ptr(3)} }, true, nil},
		"logs disabled":      {func(j *Job) { task(j).LogConfig = &LogConfig{Disabled: Ptr(true)} }, true, []string{"Tasks[t].LogConfig.Disabled"}},
		"service tag":        {func(j *Job) { group(j).Services[0].Tags = []string{"x"} }, true, nil},
		"service added":      {func(j *Job) { group(j).Services = append(group(j).Services, &Service{Name: "b", Provider: "nomad"}) }, true, nil},
		"service connect":    {func(j *Job) { group(j).Services[0].Connect = &ConsulConnect{Native: true} }, true, []string{"Services[0].Connect", "Services[0].Connect.Native"}},
		"driver":             {func(j *Job) { task(j).Driver = "exec" }, true, []string{"Tasks[t].Driver"}},
		"config":             {func(j *Job) { task(j).Config["args"] = []any{"a"} }, true, []string{"Tasks[t].Config[args]"}},
		"env":                {func(j *Job) { task(j).Env = map[string]string{"A": "b"} }, true, []string{"Tasks[t].Env[A]"}},
		"job meta":           {func(j *Job) { j.Meta = map[string]string{"k": "v"} }, true, []string{"Tasks[t].Meta[k]"}},
		"memory":             {func(j *Job) { task(j).Resources = &Resources{MemoryMB: Ptr(64)} }, true, []string{"Tasks[t].Resources.MemoryMB"}},
		"disk":               {func(j *Job) { group(j).EphemeralDisk = &EphemeralDisk{SizeMB: Ptr(500)} }, true, []string{"EphemeralDisk.SizeMB"}},
		"restart attempts":   {func(j *Job) { group(j).RestartPolicy = &RestartPolicy{Attempts: Ptr(9)} }, true, nil},
		"task renamed":       {func(j *Job) { task(j).Name = "u" }, true, []string{"Tasks[t]", "Tasks[u]"}},
		"render templates":   {func(j *Job) { group(j).RestartPolicy = &RestartPolicy{RenderTemplates: Ptr(true)} }, true, []string{"RestartPolicy.RenderTemplates", "Tasks[t].RestartPolicy.RenderTemplates"}},
		"group is not there": {func(j *Job) { group(j).Name = "h" }, true, []string{"TaskGroups[g]"}},
	} {
		a, b := canonical(nil), canonical(test.edit)
		if got := SpecChanged(a, b); got != test.changed {
			t.Errorf("%s: changed %v", name, got)
		}
		destructive, reasons := UpdateEffect(a, b, "g")
		if destructive != (len(test.reasons) > 0) || !reflect.DeepEqual(reasons, test.reasons) {
			t.Errorf("%s: %v %q", name, destructive, reasons)
		}
	}
}

func TestEqualFreeIgnoresNumberTypes(t *testing.T) {
	a := map[string]any{"n": 5, "l": []any{int64(1), "x"}, "e": []string{}}
	b := map[string]any{"n": 5.0, "l": []any{uint8(1), "x"}, "e": nil}
	if !equalFree(a, b) || equalFree(a, map[string]any{"n": 6}) {
		t.Error("wrong")
	}
}
