package jobspec

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../docs/examples/*.nomad.hcl")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d examples, %v", len(files), err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		job, err := Parse(ParseConfig{Path: file, Source: source, Strict: true})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		job.Canonicalize()
		if warnings, err := job.Validate(structs.Checks{}); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %q", file, err, warnings)
		}
		formatted, err := Format(file, source)
		if err != nil || !bytes.Equal(formatted, source) {
			t.Errorf("%s is not formatted: %v\n%s", file, err, formatted)
		}
	}
}
