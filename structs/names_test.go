package structs

import (
	"strings"
	"testing"
)

// TestNames_N46: a task's name is that of its directory, and both names are
// shown to people. Names of directories inside a task's are no harm.
func TestNames_N46(t *testing.T) {
	for name, tt := range map[string]struct {
		name        string
		task, group string // the problem; "" for none
	}{
		"shared":      {"alloc", "is reserved for the shared directory", ""},
		"here":        {".", "is no name of a directory", ""},
		"parent":      {"..", "is no name of a directory", ""},
		"path":        {"a/b", "cannot include slashes", ""},
		"back":        {`a\b`, "cannot include slashes", ""},
		"null":        {"a\x00b", "cannot include null characters", "characters that do not print"},
		"newline":     {"a\nb", "characters that do not print", "characters that do not print"},
		"turned":      {"a\u202ebc", "characters that do not print", "characters that do not print"},
		"long":        {strings.Repeat("x", 201), "has 201 bytes: at most 200", "has 201 bytes: at most 200"},
		"longest":     {strings.Repeat("x", 200), "", ""},
		"right-left":  {"מטלה", "", ""},
		"three dots":  {"...", "", ""},
		"secrets":     {"secrets", "", ""},
		"local":       {"local", "", ""},
		"tmp":         {"tmp", "", ""},
		"logs":        {"logs", "", ""},
		"with spaces": {"a b", "", ""},
	} {
		for _, of := range []struct {
			what string
			want string
			job  *Job
		}{
			{"Task name", tt.task, &Job{ID: "j", TaskGroups: []*TaskGroup{{Name: "g", Tasks: []*Task{{Name: tt.name, Driver: "exec"}}}}}},
			{"Task group name", tt.group, &Job{ID: "j", TaskGroups: []*TaskGroup{{Name: tt.name, Tasks: []*Task{{Name: "t", Driver: "exec"}}}}}},
		} {
			of.job.Canonicalize()
			_, err := of.job.Validate(Checks{})
			switch {
			case of.want == "" && err != nil:
				t.Errorf("%s as a %s: %v", name, of.what, err)
			case of.want != "" && (err == nil || !strings.Contains(err.Error(), of.want)):
				t.Errorf("%s as a %s: %v, want %q", name, of.what, err, of.want)
			}
		}
	}
}
