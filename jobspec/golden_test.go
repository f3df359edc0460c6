package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nomadlite/nomadlite/structs"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// TestGoldens parses every case of testdata/*.txtar. A case is a file NAME.hcl
// or NAME.json, with options in NAME.vars (a file of values), NAME.args (one
// -var a line), NAME.env and NAME.flags (lax, nofs, api, canonical, server). What
// is expected stands in NAME.want: the job's JSON without nulls and zeros, or the
// errors; with "canonical", the canonicalized job's JSON and its warnings, or
// its validation errors, with "server" those of a server with limits. With "api"
// the source is the API's JSON.
func TestGoldens(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, path, archive)
		})
	}
}

func golden(t *testing.T, path string, archive *txtar.Archive) {
	files := map[string]string{}
	for _, f := range archive.Files {
		if files[f.Name] != "" {
			t.Fatalf("%s: %s twice", path, f.Name)
		}
		files[f.Name] = string(f.Data)
	}
	var out []txtar.File
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".want") {
			continue
		}
		out = append(out, f)
		name, isCase := caseName(f.Name)
		if !isCase {
			continue
		}
		got := runCase(name, f, files)
		if want := files[name+".want"]; !*update && got != want {
			t.Errorf("%s:\n--- got\n%s--- want\n%s", name, got, want)
		}
		out = append(out, txtar.File{Name: name + ".want", Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: out}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func caseName(file string) (string, bool) {
	for _, suffix := range []string{".hcl", ".json"} {
		if name, ok := strings.CutSuffix(file, suffix); ok {
			return name, true
		}
	}
	return "", false
}

func caseConfig(name string, f txtar.File, files map[string]string) ParseConfig {
	flags := files[name+".flags"]
	cfg := ParseConfig{
		Path:       f.Name,
		Source:     f.Data,
		Strict:     !strings.Contains(flags, "lax"),
		AllowFS:    !strings.Contains(flags, "nofs"),
		BaseDir:    "testdata/files",
		VarContent: "",
		Env:        lines(files[name+".env"]),
		Vars:       lines(files[name+".args"]),
	}
	if vars, ok := files[name+".vars"]; ok {
		cfg.VarFiles = []VarFile{{Path: name + ".vars", Content: []byte(vars)}}
	}
	return cfg
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func runCase(name string, f txtar.File, files map[string]string) string {
	var warnings []string
	cfg := caseConfig(name, f, files)
	cfg.Warn = func(text string) { warnings = append(warnings, text) }
	flags := files[name+".flags"]
	job, err := parseCase(cfg, flags)
	if err != nil {
		return err.Error() + "\n"
	}
	if !strings.Contains(flags, "canonical") {
		out := render(job)
		for _, text := range warnings {
			out += text + "\n"
		}
		return out
	}
	job.Canonicalize()
	checks := structs.Checks{}
	if strings.Contains(flags, "server") {
		checks = serverChecks
	}
	more, err := job.Validate(checks)
	out := ""
	if err == nil {
		out = render(job)
	}
	if text := structs.FormatWarnings(append(warnings, more...)); text != "" {
		out += text + "\n"
	}
	if err != nil {
		out += err.Error()
	}
	return out
}

func parseCase(cfg ParseConfig, flags string) (*structs.Job, error) {
	if strings.Contains(flags, "api") {
		return ParseJSON(cfg.Source)
	}
	return Parse(cfg)
}

// serverChecks are those of a server that allows little and runs little.
var serverChecks = structs.Checks{
	Cron:     func(string) error { return errors.New("it never comes true") },
	Version:  func(constraint string) error { return fmt.Errorf("malformed constraint: %s", constraint) },
	Semver:   func(constraint string) error { return fmt.Errorf("malformed constraint: %s", constraint) },
	Refused:  []string{"artifact", "vault", "csi", "identity"},
	MaxCount: 5,
}

// render is a job's JSON without nulls, zeros and empty values.
func render(job *structs.Job) string {
	raw, err := json.Marshal(job)
	if err != nil {
		return "cannot marshal: " + err.Error() + "\n"
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(pruned(v, false)); err != nil {
		return err.Error()
	}
	return b.String()
}

// pruned drops what says nothing; below Config everything is kept.
func pruned(v any, all bool) any {
	switch v := v.(type) {
	case map[string]any:
		for key, elem := range v {
			elem = pruned(elem, all || key == "Config" || key == "Env" || key == "Meta")
			v[key] = elem
			if !all && void(elem) {
				delete(v, key)
			}
		}
	case []any:
		for i, elem := range v {
			v[i] = pruned(elem, all)
		}
	}
	return v
}

func void(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
