package docker

import (
	"runtime"
	"strings"
	"testing"
)

// TestPlatform: an image of another system is refused, one of another machine
// is told of.
func TestPlatform(t *testing.T) {
	for _, tt := range []struct{ os, arch, refused, told string }{
		{"linux", runtime.GOARCH, "", ""},
		{"", "", "", ""},
		{"windows", runtime.GOARCH, "is for windows", ""},
		{"linux", "s390x", "", "is for s390x and this node is " + runtime.GOARCH},
	} {
		told := ""
		err := checkPlatform("i", tt.os, tt.arch, func(message string, _ map[string]string) { told = message })
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%+v: %v", tt, err)
		}
		if !strings.Contains(told, tt.told) || told != "" && tt.told == "" {
			t.Errorf("%+v: told %q", tt, told)
		}
	}
}
