package template

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

func testPass() *pass {
	return &pass{
		data: map[dep]*api.WorkloadData{
			{api.LookupVariable, "nomad/jobs/web"}: {Variable: &structs.Variable{VariableMetadata: structs.VariableMetadata{Path: "nomad/jobs/web"}, Items: map[string]string{"user": "ada", "pass": `a"b`}}},
			{api.LookupVariable, "gone"}:           {},
			{api.LookupVariables, "nomad/"}:        {Variables: []*structs.VariableMetadata{{Path: "nomad/jobs/web"}}},
			{api.LookupService, "db"}: {Services: []*structs.ServiceRegistration{
				{ID: "1", ServiceName: "db", Address: "10.0.0.1", Port: 5432, Tags: []string{"main"}}, {ID: "2", ServiceName: "db", Address: "10.0.0.2", Port: 5433}}},
			{api.LookupServices, ""}: {Services: []*structs.ServiceRegistration{{ServiceName: "db", Tags: []string{"x"}}, {ServiceName: "api"}, {ServiceName: "db", Tags: []string{"x", "y"}}}},
		},
		env: map[string]string{"NOMAD_TASK_NAME": "web"}, used: map[dep]bool{}, missing: map[dep]bool{}, until: time.Now().Add(time.Second),
		file: func(string) (string, error) { return "", errors.New("no such file") },
	}
}

func TestRender(t *testing.T) {
	for text, want := range map[string]string{
		`{{ with nomadVar "nomad/jobs/web" }}{{ .user }}:{{ .pass }}{{ end }}`:                                              `ada:a"b`,
		`{{ range $k, $v := nomadVar "nomad/jobs/web" }}{{ $k }}={{ $v }};{{ end }}`:                                        `pass=a"b;user=ada;`,
		`{{ nomadVar "nomad/jobs/web" | toJSON }}`:                                                                          `{"pass":"a\"b","user":"ada"}`,
		`{{ if nomadVarExists "gone" }}yes{{ else }}no{{ end }}`:                                                            `no`,
		`{{ range nomadVarList "nomad/" }}{{ . }}{{ end }}`:                                                                 `nomad/jobs/web`,
		`{{ range nomadService "db" }}{{ .Address }}:{{ .Port }} {{ end }}`:                                                 `10.0.0.1:5432 10.0.0.2:5433 `,
		`{{ range nomadService "main.db" }}{{ .Address }}{{ end }}`:                                                         `10.0.0.1`,
		`{{ len (nomadService 1 "key" "db") }}`:                                                                             `1`,
		`{{ range nomadServices }}{{ .Name }}{{ .Tags | join "," }} {{ end }}`:                                              `api dbx,y `,
		`{{ env "NOMAD_TASK_NAME" }}{{ env "HOME" }}{{ envOrDefault "X" "d" }}`:                                             `webd`,
		`{{ "a,b" | split "," | join "-" }}{{ "AbC" | toLower }}{{ "x y" | toTitle }}`:                                      `a-babcX Y`,
		`{{ 2 | add 3 }} {{ 7 | subtract 2 }} {{ 3 | multiply 1.5 }} {{ 9 | divide 2 }} {{ 9 | modulo 4 }}`:                 `5 5 4.5 4 1`,
		`{{ "aGk=" | base64Decode }}{{ "hi" | sha256Hex | printf "%.4s" }}`:                                                 `hi8f43`,
		`{{ range loop 3 }}{{ . }}{{ end }}{{ range loop 5 7 }}{{ . }}{{ end }}`:                                            `01256`,
		`{{ scratch.Set "a" 1 }}{{ scratch.Get "a" }}`:                                                                      `1`,
		`{{ (parseJSON "{\"a\":[1,2]}").a | len }}{{ (parseYAML "b: c").b }}`:                                               `2c`,
		`{{ if in (split "," "a,b") "b" }}in{{ end }}{{ "v1.2" | regexReplaceAll "[0-9]+" "x" }}{{ "f" | contains "off" }}`: `invx.xfalse`,
	} {
		p := testPass()
		out, err := p.render(source{text: text})
		if err != nil || string(out) != want || len(p.missing) != 0 {
			t.Errorf("%s: %q, %v, missing %v; want %q", text, out, err, p.missing, want)
		}
	}
}

// TestRenderSandbox_N03: nothing of the agent, no command and no file outside
// comes into a template.
func TestRenderSandbox_N03(t *testing.T) {
	t.Setenv("CANARY_AGENT_ENV", "secret")
	p := testPass()
	if out, err := p.render(source{text: `{{ env "CANARY_AGENT_ENV" }}`}); err != nil || len(out) != 0 {
		t.Errorf("the agent's environment: %q, %v", out, err)
	}
	for text, want := range map[string]string{
		`{{ plugin "/bin/sh" "-c" "id" }}`:              "it is denied on this node",
		`{{ writeToFile "/etc/x" "a" "b" "0644" "y" }}`: "it is denied on this node",
		`{{ executeTemplate "x" }}`:                     "it is denied on this node",
		`{{ key "a/b" }}`:                               "cannot use key in a template: it needs Consul",
		`{{ secret "a" }}`:                              "it needs Vault",
		`{{ mustEnv "NOPE" }}`:                          `the task has no variable "NOPE"`,
		`{{ nope }}`:                                    `function "nope" not defined`,
		`{{ .x.y`:                                       "unclosed action",
	} {
		if _, err := testPass().render(source{text: text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestRenderLimits: a template that never ends, or prints without end, costs a
// bounded time.
func TestRenderLimits(t *testing.T) {
	for _, text := range []string{
		`{{ range 1000000000000 }}{{ end }}`,
		`{{ range 1000000000000 }}{{ range 1000000 }}{{ end }}{{ end }}`,
		`{{ define "a" }}{{ template "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`,
		`{{ range 1000000000000 }}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{ end }}`,
		`{{ loop 100000000 }}`,
		strings.Repeat("x", maxSource+1),
	} {
		p := testPass()
		p.until = time.Now().Add(200 * time.Millisecond)
		began := time.Now()
		if _, err := p.render(source{text: text}); err == nil {
			t.Errorf("%.60s was rendered", text)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%.60s took %v", text, took)
		}
	}
}

func TestParseEnv(t *testing.T) {
	got, err := parseEnv([]byte("# comment\nA=1\nexport B = two words # not this\nC=\"x\\n\\\"y\\\"\" # no\nD='$raw'\nE=\n\nF=a#b\n"))
	want := map[string]string{"A": "1", "B": "two words", "C": "x\n\"y\"", "D": "$raw", "E": "", "F": "a#b"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"no equals sign", "=x", "A=\"open", "A='open", "A B=c"} {
		if _, err := parseEnv([]byte(bad)); err == nil || strings.Contains(err.Error(), "open") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReaction(t *testing.T) {
	splay := 3 * time.Second
	script := &structs.ChangeScript{Command: "/x"}
	specs := []*structs.Template{
		{ChangeMode: "restart", Splay: &splay}, {ChangeMode: "signal", ChangeSignal: "SIGHUP"}, {ChangeMode: "signal", ChangeSignal: "SIGHUP"},
		{ChangeMode: "script", ChangeScript: script}, {ChangeMode: "noop", Splay: &splay},
	}
	for _, tc := range []struct {
		changed []int
		want    string
	}{
		{[]int{0, 1, 3}, "{true [] 0 3s}"}, {[]int{1, 2}, "{false [SIGHUP] 0 0s}"}, {[]int{1, 3}, "{false [SIGHUP] 1 0s}"}, {[]int{4}, "{false [] 0 0s}"},
	} {
		r := reactionOf(specs, tc.changed)
		if got := fmt.Sprint("{", r.restart, " ", r.signals, " ", len(r.scripts), " ", r.splay, "}"); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.changed, got, tc.want)
		}
	}
}

func TestPerms(t *testing.T) {
	for s, want := range map[string]os.FileMode{"": 0o644, "0600": 0o600, "755": 0o755} {
		if got, err := parsePerms(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"4755", "rwx", "01777", "0888"} {
		if got, err := parsePerms(s); err == nil {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
}

// TestReplaceStaysInside: a link that a task left behind is replaced, not
// followed out.
func TestReplaceStaysInside(t *testing.T) {
	base := t.TempDir()
	dir := rootfs.NewAllocDir(filepath.Join(base, "alloc"), "id", []rootfs.TaskDir{{Name: "web"}})
	if err := dir.Build(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Destroy() }()
	canary := filepath.Join(base, "canary")
	if err := os.WriteFile(canary, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"web/local/f": canary, "web/local/d": base} {
		if err := os.Symlink(target, filepath.Join(dir.Path(), link)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := dir.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Replace("web/local/f", []byte("new"), 0o4640, nil, nil); err != nil || !d.Holds("web/local/f", []byte("new")) {
		t.Errorf("a link to a file: %v", err)
	}
	if err := d.Replace("web/local/d/canary", []byte("new"), 0o644, nil, nil); err == nil {
		t.Error("a link to a folder outside was followed")
	}
	if info, err := os.Lstat(filepath.Join(dir.Path(), "web/local/f")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if b, _ := os.ReadFile(canary); string(b) != "safe" {
		t.Errorf("the canary holds %q", b)
	}
}

// TestTemplateLinks_N34: a task that puts links where its files, or their
// folders, stood does not make the next rendering write, or read, elsewhere.
func TestTemplateLinks_N34(t *testing.T) {
	outside := t.TempDir()
	canary := filepath.Join(outside, "app.conf")
	if err := os.WriteFile(canary, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, target string // of the link
		written      bool   // the file itself is a link, and is replaced
	}{
		"folder":       {"web/local/etc", outside, false},
		"local":        {"web/local", outside, false},
		"task":         {"web", outside, false},
		"file":         {"web/local/etc/app.conf", canary, true},
		"dots":         {"web/local/etc", "../../../../../../../../../../../.." + outside, false},
		"out and back": {"web/local/etc", "../../../" + filepath.Base(outside), false},
	} {
		dir := rootfs.NewAllocDir(t.TempDir(), "id", nil)
		for _, sub := range []string{"web/local/etc", "alloc"} {
			if err := os.MkdirAll(filepath.Join(dir.Path(), sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		task := &alloc.Task{Dir: dir, Spec: &structs.Task{Name: "web"}}
		m := newManager([]*structs.Template{{DestPath: "local/etc/app.conf", Perms: "0644"}}, nil, Config{}.orDefault())
		write := func(text string) error {
			_, err := m.write(task, []rendered{{0, "web/local/etc/app.conf", []byte(text)}})
			return err
		}
		if err := write("first"); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir.Path(), c.path)
		if err := errors.Join(os.RemoveAll(link), os.Symlink(c.target, link)); err != nil {
			t.Fatal(err)
		}
		if err := write("second"); (err == nil) != c.written {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(canary); err != nil || string(got) != "canary" {
			t.Errorf("%s: the canary is %q (%v)", name, got, err)
		}
		open, err := dir.Open()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := read(open, task, "local/etc/app.conf"); err == nil && strings.Contains(text, "canary") {
			t.Errorf("%s: it reads %q", name, text)
		}
		open.Close()
	}
}
