package docker

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// TestProgress: a pull is told of as it goes on, and its failure is its error.
func TestProgress(t *testing.T) {
	lines := `{"status":"Pulling from x","id":"1"}
{"status":"Already exists","id":"base"}
{"status":"Pulling fs layer","id":"a"}
{"status":"Waiting","id":"b"}
{"status":"Downloading","id":"a","progressDetail":{"current":2000000,"total":5000000}}
{"status":"Pull complete","id":"a"}
{"status":"Downloading","id":"b","progressDetail":{"current":1000000,"total":3000000}}
`
	var told []string
	alive := 0
	req := &pullRequest{tell: func(message string, annotations map[string]string) {
		told = append(told, annotations["image"]+": "+strings.TrimPrefix(message, "Docker image pull progress: "))
	}}
	if err := follow(strings.NewReader(lines), "x:1", req, 0, func() { alive++ }); err != nil || alive != 7 {
		t.Fatalf("%v, %d signs of life", err, alive)
	}
	want := []string{
		"x:1: 0/0 layers pulled, 0 of 0 MB of the rest downloaded", "x:1: 1/1 layers pulled, 0 of 0 MB of the rest downloaded",
		"x:1: 1/2 layers pulled, 0 of 0 MB of the rest downloaded", "x:1: 1/3 layers pulled, 0 of 0 MB of the rest downloaded",
		"x:1: 1/3 layers pulled, 2 of 5 MB of the rest downloaded", "x:1: 2/3 layers pulled, 0 of 0 MB of the rest downloaded",
		"x:1: 2/3 layers pulled, 1 of 3 MB of the rest downloaded",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	told = nil
	if err := follow(strings.NewReader(lines+`{"error":"toomanyrequests"}`), "x:1", req, time.Hour, func() {}); err == nil || err.Error() != "toomanyrequests" || told != nil {
		t.Errorf("%v, told %q", err, told)
	}
	if err := follow(strings.NewReader(`{"status":`), "x:1", req, time.Hour, func() {}); err == nil {
		t.Error("a stream that breaks off is a success")
	}
}
