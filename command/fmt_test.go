package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFmt(t *testing.T) {
	const ugly, pretty = "job \"a\" {\n type=\"batch\"\n   priority   = 50\n}\n", "job \"a\" {\n  type     = \"batch\"\n  priority = 50\n}\n"
	b := newBench(t, nil)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		return path
	}
	content := func(path string) string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	one, below, other := write("one.nomad.hcl", ugly), write("sub/two.hcl", ugly), write("notes.txt", ugly)

	if code, out, _ := b.run("", "fmt", "-check", dir); code != 1 || out != one+"\n" || content(one) != ugly {
		t.Errorf("-check: %d %q", code, out)
	}
	if code, out, _ := b.run("", "fmt", "-write=false", "-list=false", one); code != 0 || out != pretty || content(one) != ugly {
		t.Errorf("-write=false: %d %q", code, out)
	}
	if code, out, _ := b.run("", "fmt", "-recursive", dir); code != 0 || out != one+"\n"+below+"\n" {
		t.Errorf("-recursive: %d %q", code, out)
	}
	if content(one) != pretty || content(below) != pretty || content(other) != ugly {
		t.Errorf("%q %q %q", content(one), content(below), content(other))
	}
	if info, err := os.Stat(one); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode changed: %v %v", info.Mode(), err)
	}
	if code, out, _ := b.run("", "fmt", "-check", "-recursive", dir); code != 0 || out != "" {
		t.Errorf("again: %d %q", code, out)
	}
	if code, out, _ := b.run(ugly, "fmt", "-"); code != 0 || out != pretty {
		t.Errorf("the input: %d %q", code, out)
	}
	broken := write("broken.hcl", "job {")
	if code, _, errs := b.run("", "fmt", broken, one); code != 1 || !strings.Contains(errs, "broken.hcl:1,") || content(broken) != "job {" {
		t.Errorf("broken: %d %q", code, errs)
	}
	if code, _, errs := b.run("", "fmt", filepath.Join(dir, "nothing")); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("missing: %d %q", code, errs)
	}
}

func TestJobSchema(t *testing.T) {
	code, out, _ := newBench(t, nil).run("", "job", "schema")
	var schema struct {
		Schema string `json:"$schema"`
	}
	if err := json.Unmarshal([]byte(out), &schema); code != 0 || err != nil || !strings.Contains(schema.Schema, "2020-12") {
		t.Errorf("%d %v %+v", code, err, schema)
	}
}
