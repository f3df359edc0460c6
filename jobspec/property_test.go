package jobspec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nomadlite/nomadlite/structs"
)

// eachGolden calls do with every job file of the goldens.
func eachGolden(t testing.TB, do func(name string, cfg ParseConfig)) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, f := range archive.Files {
			files[f.Name] = string(f.Data)
		}
		for _, f := range archive.Files {
			if name, ok := caseName(f.Name); ok {
				do(filepath.Base(path)+"/"+name, caseConfig(name, f, files))
			}
		}
	}
}

// random reports whether a golden's result differs from run to run.
func random(source []byte) bool {
	return bytes.Contains(source, []byte("uuidv4")) || bytes.Contains(source, []byte("bcrypt"))
}

// TestUnchangedJobPlansAsNoChange sends every job through JSON and back, as
// registering, reading and registering again do.
func TestUnchangedJobPlansAsNoChange(t *testing.T) {
	eachGolden(t, func(name string, cfg ParseConfig) {
		job, err := Parse(cfg)
		if err != nil {
			return
		}
		job.Canonicalize()
		job.ImplyConstraints()
		raw, err := json.Marshal(job)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		again, err := ParseJSON(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		again.Canonicalize()
		again.ImplyConstraints()
		if structs.SpecChanged(job, again) {
			t.Errorf("%s: the specification changed", name)
		}
		if d := structs.DiffJobs(job, again); d.Type != structs.DiffTypeNone {
			t.Errorf("%s: the plan shows a change: %+v", name, d)
		}
		for _, g := range job.TaskGroups {
			if destructive, reasons := structs.UpdateEffect(job, again, g.Name); destructive {
				t.Errorf("%s: destructive: %v", name, reasons)
			}
		}
	})
}

// TestFormatKeepsMeaning formats every file: the result is stable and parses to
// the same job.
func TestFormatKeepsMeaning(t *testing.T) {
	eachGolden(t, func(name string, cfg ParseConfig) {
		if IsJSON(cfg.Source) || random(cfg.Source) {
			return
		}
		formatted, err := Format(cfg.Path, cfg.Source)
		if err != nil {
			return
		}
		again, err := Format(cfg.Path, formatted)
		if err != nil || !bytes.Equal(again, formatted) {
			t.Errorf("%s: formatting is not stable: %v", name, err)
		}
		before, err := Parse(cfg)
		cfg.Source = formatted
		after, err2 := Parse(cfg)
		if (err == nil) != (err2 == nil) {
			t.Errorf("%s: %v became %v", name, err, err2)
		} else if err == nil && render(before) != render(after) {
			t.Errorf("%s: formatting changed the job", name)
		}
	})
}

// TestNullsAnywhere sets every path of every job's JSON to null in turn: no
// step may panic.
func TestNullsAnywhere(t *testing.T) {
	seen := map[string]bool{}
	eachGolden(t, func(name string, cfg ParseConfig) {
		job, err := Parse(cfg)
		if err != nil {
			return
		}
		if !strings.HasPrefix(name, "basics") && (raceEnabled || !strings.HasPrefix(name, "blocks")) { // one goroutine: a part is enough for the detector
			return
		}
		job.Canonicalize()
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(raw, &tree); err != nil {
			t.Fatal(err)
		}
		nullEach(tree, "", seen, func() {
			mutated, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			admit(mutated)
		})
	})
	if len(seen) < 300 && !raceEnabled {
		t.Errorf("only %d paths", len(seen))
	}
}

// nullEach replaces one value at a time, once a path.
func nullEach(v any, path string, seen map[string]bool, try func()) {
	switch v := v.(type) {
	case map[string]any:
		for key, elem := range v {
			at := path + "." + key
			if !seen[at] && elem != nil {
				seen[at] = true
				v[key] = nil
				try()
				v[key] = elem
			}
			nullEach(elem, at, seen, try)
		}
	case []any:
		for i, elem := range v {
			at := path + "[]"
			if !seen[at] {
				seen[at] = true
				v[i] = nil
				try()
				v[i] = elem
			}
			nullEach(elem, at, seen, try)
		}
	}
}

// admit does with a job's JSON what a server does.
func admit(raw []byte) {
	job, err := ParseJSON(raw)
	if err != nil {
		return
	}
	before := job.Copy()
	job.Canonicalize()
	job.ImplyConstraints()
	_, _ = job.Validate(structs.Checks{})
	structs.SpecChanged(before, job)
	structs.DiffJobs(before, job)
	for _, g := range job.TaskGroups {
		structs.UpdateEffect(before, job, g.Name)
	}
}

// FuzzParse_Z01 looks for job files that panic or take too long, in either
// syntax, through everything that a server does with them, and for jobs that
// differ after a way through JSON.
func FuzzParse_Z01(f *testing.F) {
	eachGolden(f, func(_ string, cfg ParseConfig) {
		f.Add(cfg.Source, strings.Join(cfg.Vars, "\n"))
	})
	f.Fuzz(func(t *testing.T, source []byte, vars string) {
		start := time.Now()
		job, err := Parse(ParseConfig{Path: "fuzz.hcl", Source: source, VarContent: vars})
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
		if err != nil {
			return
		}
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatalf("a parsed job has no JSON: %v", err)
		}
		again := &structs.Job{}
		if err := json.Unmarshal(raw, again); err != nil {
			t.Fatalf("the JSON of a parsed job cannot be read: %v", err)
		}
		if structs.SpecChanged(job, again) {
			t.Fatalf("the job changed on its way through JSON: %s", raw)
		}
		admit(raw)
	})
}

// FuzzParseJSON_Z02 looks for JSON jobs that panic, or whose defaults are not
// settled after they were filled in once.
func FuzzParseJSON_Z02(f *testing.F) {
	eachGolden(f, func(_ string, cfg ParseConfig) {
		if job, err := Parse(cfg); err == nil {
			raw, _ := json.Marshal(job)
			f.Add(raw)
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		admit(raw)
		job, err := ParseJSON(raw)
		if err != nil {
			return
		}
		job.Canonicalize()
		once := job.Copy()
		job.Canonicalize()
		if structs.SpecChanged(once, job) {
			t.Errorf("defaults are not settled: %s", raw)
		}
	})
}

// BenchmarkJob parses, canonicalizes and validates a file of 100 lines.
func BenchmarkJob(b *testing.B) {
	source := manyTasks(10)
	b.SetBytes(int64(len(source)))
	for b.Loop() {
		whole(b, source)
	}
}

// BenchmarkLargeJob does the same with 1 MiB.
func BenchmarkLargeJob(b *testing.B) {
	source := manyTasks(5000)
	b.SetBytes(int64(len(source)))
	for b.Loop() {
		whole(b, source)
	}
}

func whole(b *testing.B, source []byte) {
	job, err := Parse(ParseConfig{Path: "x.hcl", Source: source})
	if err != nil {
		b.Fatal(err)
	}
	job.Canonicalize()
	if _, err := job.Validate(structs.Checks{}); err != nil {
		b.Fatal(err)
	}
}

// manyTasks is a job file of ten lines a task.
func manyTasks(n int) []byte {
	var s bytes.Buffer
	s.WriteString("job \"many\" {\n  group \"g\" {\n    ephemeral_disk {\n      size = 9000\n    }\n")
	for i := range n {
		fmt.Fprintf(&s, "    task \"t%d\" {\n      driver = \"raw_exec\"\n      config {\n        command = \"/bin/sh\"\n        args    = [\"-c\", \"echo ${NOMAD_PORT_http} | sed -e s/a/b/ -e s/c/d/; exec sleep 1000\"]\n      }\n      env {\n        A = \"%d\"\n      }\n    }\n", i, i)
	}
	s.WriteString("  }\n}\n")
	return s.Bytes()
}
