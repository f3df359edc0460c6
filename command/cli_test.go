package command

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// bench runs command lines against an agent that is played by handlers.
type bench struct {
	t    *testing.T
	addr string
	now  time.Time
}

// newBench serves the given rows; an address of "" has nobody behind it.
func newBench(t *testing.T, rows map[string]api.Handler) *bench {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "NOMAD_") {
			t.Setenv(name, "")
		}
	}
	mux := api.NewMux(api.MuxConfig{Resolve: api.NoACLs})
	for name, h := range rows {
		mux.Bind(name, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return &bench{t: t, addr: s.URL, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// run runs one command line.
func (b *bench) run(stdin string, args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	var out, errs bytes.Buffer
	c := &cli{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, now: func() time.Time { return b.now },
		ctx: b.t.Context(), conf: api.ClientConfig{Address: b.addr}}
	code = dispatch(c, verbs(), args)
	return code, out.String(), errs.String()
}

// answer makes a handler that always answers the same.
func answer(body any) api.Handler {
	return func(context.Context, *api.Request) (*api.Response, error) {
		return &api.Response{Body: body, Index: 1}, nil
	}
}

func TestDispatch(t *testing.T) {
	b := newBench(t, nil)
	for _, tt := range []struct {
		args   string
		code   int
		stdout string // a part of it
		stderr string
	}{
		{"", 127, "", "Usage: nomadlite"},
		{"-help", 0, "Common commands:", ""},
		{"bogus", 127, "", `cannot run "bogus": no such command`},
		{"jbo status", 127, "", "Did you mean \"job\"?\n\nUsage:"},
		{"job statsu", 1, "", "cannot run \"job statsu\": no such command\nDid you mean \"job status\"?\n\nUsage:"},
		{"job", 1, "", "Subcommands:"},
		{"job -help", 0, "Subcommands:", ""},
		{"job bogus", 1, "", "Subcommands:"},
		{"job run -help", 0, "Usage: nomadlite job run", ""},
		{"run -help", 0, "Usage: nomadlite job run", ""},
		{"job run", 1, "", "This command takes"},
		{"job plan", 255, "", "This command takes"},
		{"job stop -bogus", 1, "", "flag provided but not defined: -bogus"},
		{"-version", 0, "omad", ""},
	} {
		code, stdout, stderr := b.run("", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%q: code %d, stdout %.80q, stderr %.80q; want %d, %q, %q", tt.args, code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
}

// TestEveryVerbHasHelp: each verb's help names it and all its options.
func TestEveryVerbHasHelp(t *testing.T) {
	b := newBench(t, nil)
	for _, v := range verbs() {
		code, stdout, stderr := b.run("", append(strings.Fields(v.path), "-help")...)
		if code != 0 || !strings.HasPrefix(stdout, "Usage: nomadlite "+v.path) || stderr != "" {
			t.Errorf("%s -help: code %d, %.60q, %q", v.path, code, stdout, stderr)
		}
		if v.short == "" || strings.HasSuffix(v.short, ".") {
			t.Errorf("%s: short help %q", v.path, v.short)
		}
		if word, _, nested := strings.Cut(v.path, " "); nested && groups[word] == "" {
			t.Errorf("%s: the group %q is not described", v.path, word)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	b := newBench(t, nil)
	b.addr = "http://127.0.0.1:1"
	code, stdout, stderr := b.run("", "job", "status")
	want := `Error querying jobs: Get "http://127.0.0.1:1/v1/jobs": dial tcp 127.0.0.1:1: connect: connection refused` + "\n" +
		"No agent listens at http://127.0.0.1:1. Start one (nomadlite agent -dev), or say where it is: -address or NOMAD_ADDR.\n"
	if code != 1 || stdout != "" || stderr != want {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999 * time.Millisecond: "0s", 7 * time.Second: "7s", 20*time.Minute + 26*time.Second: "20m26s", time.Hour: "1h",
		25 * time.Hour: "1d1h", 40 * 24 * time.Hour: "1mo10d", 400 * 24 * time.Hour: "1y1mo", 3*time.Hour + 59*time.Second: "3h",
	} {
		if got := coarse(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	if got := ago(-time.Minute); got != "in 1m" {
		t.Error(got)
	}
	c := &cli{now: func() time.Time { return time.Unix(100, 0) }}
	if got := c.timestamp(time.Unix(90, 0), false); got != "10s ago" {
		t.Error(got)
	}
	if got := c.timestamp(nanos(0), true); got != "N/A" {
		t.Error(got)
	}
}

func TestTablesAndPairs(t *testing.T) {
	var out bytes.Buffer
	printTable(&out, [][]string{{"ID", "Status", "Name"}, {"1", "running\x1b[31m", ""}, {"ünï", "x", "last"}})
	want := "ID   Status       Name\n1    running[31m\nünï  x            last\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	printPairs(&out, []pair{{"ID", "x"}, {"Long Key", ""}})
	if out.String() != "ID       = x\nLong Key =\n" {
		t.Errorf("%q", out.String())
	}
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 3 << 30: "3 GiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	if shortID("", false) != noID || shortID("0123456789", false) != "01234567" || shortID("0123456789", true) != "0123456789" {
		t.Error("ids are cut wrongly")
	}
}

func TestFormats(t *testing.T) {
	var out bytes.Buffer
	v := map[string]int{"A": 1}
	for _, tt := range []struct {
		f    format
		want string
		fail string
	}{
		{format{json: true}, "{\n    \"A\": 1\n}\n", ""},
		{format{tmpl: "{{.A}}!"}, "1!\n", ""},
		{format{json: true, tmpl: "x"}, "", "Both json and template formatting are not allowed"},
		{format{tmpl: "{{"}, "", "Error formatting the data: cannot parse the template"},
		{format{tmpl: "{{.A.B}}"}, "", "Error formatting the data: "},
	} {
		out.Reset()
		err := tt.f.print(&out, v)
		if out.String() != tt.want || (err == nil) != (tt.fail == "") || err != nil && !strings.HasPrefix(err.Error(), tt.fail) {
			t.Errorf("%+v: %q, %v", tt.f, out.String(), err)
		}
	}
}

func TestFlags(t *testing.T) {
	var s stringsFlag
	var o optionalBool
	var j jobFlag
	if s.Set("a") != nil || s.Set("b") != nil || s.String() != "a,b" {
		t.Error(s)
	}
	if o.set || o.Set("true") != nil || !o.set || !o.val || o.Set("0") != nil || o.val || o.Set("maybe") == nil {
		t.Errorf("%+v", o)
	}
	v := &verb{path: "alloc logs", args: "<allocation>", max: 2}
	if j.Set("true") != nil || !j.set || j.name != "" {
		t.Errorf("%+v", j)
	}
	if _, err := j.args(v, nil); err == nil {
		t.Error("no argument is accepted")
	}
	if j.Set("web") != nil || j.name != "web" {
		t.Errorf("%+v", j)
	}
	if args, err := j.args(v, []string{"task"}); err != nil || strings.Join(args, " ") != "web task" {
		t.Error(args, err)
	}
}

func TestUUIDPrefix(t *testing.T) {
	for arg, want := range map[string]string{"abcd": "abcd", "abc": "ab", "abcdef12-": "abcdef12-", "abcdef12-3": "abcdef12-"} {
		if got, err := uuidPrefix(arg); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", "a", "-", "xyz"} {
		if got, err := uuidPrefix(arg); err == nil {
			t.Errorf("%q is accepted as %q", arg, got)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ended    bool
	}{
		{"plain\n", "plain\n", false}, {"~.", "", true}, {"ls\n~.rest", "", true}, {"a~.\n", "a~.\n", false},
		{"~~.\n", "~.\n", false}, {"~x\n", "~x\n", false}, {"\r~.", "", true},
	} {
		ended := false
		r := &escapeReader{r: strings.NewReader(tt.in), escape: '~', fresh: true, end: func() { ended = true }}
		got, err := io.ReadAll(r)
		if err != nil || ended != tt.ended || !tt.ended && string(got) != tt.want {
			t.Errorf("%q: got %q, ended %v, %v", tt.in, got, ended, err)
		}
	}
}

const oneTask = `job "web" {
  group "g" {
    task "t" {
      driver = "mock_driver"
    }
  }
}
`

func jobPath(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "job.nomad.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPlanExitCodes(t *testing.T) {
	plan := func(u structs.DesiredUpdates) *api.JobPlanResponse {
		return &api.JobPlanResponse{JobModifyIndex: 7, Annotations: &structs.PlanAnnotations{DesiredTGUpdates: map[string]*structs.DesiredUpdates{"g": &u}},
			Diff: &api.JobDiff{Type: "Edited", ID: "web", TaskGroups: []*api.TaskGroupDiff{{Type: "Edited", Name: "g", Updates: map[string]uint64{"create": 1, "in-place update": 2},
				Fields: []*api.FieldDiff{{Type: "Edited", Name: "Count", Old: "2", New: "3", Annotations: []string{"forces create"}}, {Type: "None", Name: "Other", Old: "x", New: "x"}}}}}}
	}
	for _, tt := range []struct {
		name   string
		resp   *api.JobPlanResponse
		err    error
		code   int
		stdout string
		stderr string
	}{
		{"nothing changes", plan(structs.DesiredUpdates{Ignore: 1}), nil, 0, "- All tasks successfully allocated.", ""},
		{"creates", plan(structs.DesiredUpdates{Place: 1}), nil, 1, `+/- Task Group: "g" (1 create, 2 in-place update)` + "\n" + `+/-   Count: "2" => "3" (forces create)`, ""},
		{"refused", nil, structs.Errorf(structs.Rejected, "no"), 255, "", "Error during plan: Unexpected response code: 500 (no)"},
		{"does not fit", &api.JobPlanResponse{FailedTGAllocs: map[string]*structs.AllocMetric{"g": {NodesEvaluated: 1, NodesExhausted: 1, DimensionExhausted: map[string]int{"memory": 1}}}}, nil, 0,
			`- WARNING: Failed to place all allocations.`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, map[string]api.Handler{"job.plan": func(context.Context, *api.Request) (*api.Response, error) {
				return &api.Response{Body: tt.resp}, tt.err
			}})
			code, stdout, stderr := b.run("", "job", "plan", jobPath(t, oneTask))
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("code %d, stdout\n%s\nstderr %q", code, stdout, stderr)
			}
		})
	}
	b := newBench(t, nil)
	code, stdout, stderr := b.run("", "job", "plan", jobPath(t, "job {"))
	if code != 255 || stdout != "" || !strings.Contains(stderr, "Error getting job struct: Error parsing job file from") {
		t.Errorf("a broken file: code %d, %q, %q", code, stdout, stderr)
	}
}

func TestJobArguments(t *testing.T) {
	jobs := []*structs.JobListStub{{ID: "web", Namespace: "default", Type: "service", Status: "running"}, {ID: "web-two", Namespace: "default", Type: "batch", Status: "dead", Stop: true}}
	b := newBench(t, map[string]api.Handler{
		"job.list": func(_ context.Context, r *api.Request) (*api.Response, error) {
			out := having(jobs, r.Query.Prefix, func(j *structs.JobListStub) string { return j.ID })
			return &api.Response{Body: out}, nil
		},
		"job.read": func(_ context.Context, r *api.Request) (*api.Response, error) {
			return &api.Response{Body: &structs.Job{ID: r.Param("id"), Name: "the job", Namespace: "default"}}, nil
		},
	})
	for _, tt := range []struct {
		arg    string
		code   int
		stdout string
		stderr string
	}{
		{"web", 0, `"Name": "the job"`, ""},
		{"web-t", 0, `"ID": "web-two"`, ""},
		{"we", 1, "", "Prefix matched multiple jobs\n\nID"},
		{"none", 1, "", `No job(s) with prefix or ID "none" found`},
	} {
		code, stdout, stderr := b.run("", "job", "inspect", tt.arg)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%s: code %d, %q, %q", tt.arg, code, stdout, stderr)
		}
	}
	code, stdout, _ := b.run("", "job", "status")
	if code != 0 || !strings.Contains(stdout, "dead (stopped)") || strings.Contains(stdout, "Namespace") {
		t.Errorf("code %d\n%s", code, stdout)
	}
	if code, stdout, _ = b.run("", "job", "status", "-namespace=*"); code != 0 || !strings.Contains(stdout, "Namespace") {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

func TestEmptyCluster(t *testing.T) {
	b := newBench(t, map[string]api.Handler{
		"job.list": answer([]*structs.JobListStub{}), "node.list": answer([]*structs.NodeListStub{}),
		"alloc.list": answer([]*structs.AllocListStub{}), "eval.list": answer([]*structs.Evaluation{}),
	})
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"job status", 0, "No running jobs\n", ""},
		{"alloc status ab", 1, "", "No allocation(s) with prefix or id \"ab\" found\n"},
		{"alloc status a", 1, "", "Identifier must contain at least two characters.\n"},
		{"node status ab", 1, "", "No node(s) with prefix or id \"ab\" found\n"},
		{"job stop none", 1, "", "No job(s) with prefix or ID \"none\" found\n"},
	} {
		code, stdout, stderr := b.run("", strings.Fields(tt.args)...)
		if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
			t.Errorf("%s: code %d, %q, %q", tt.args, code, stdout, stderr)
		}
	}
}

func TestRunOutput(t *testing.T) {
	b := newBench(t, nil)
	code, stdout, stderr := b.run(oneTask, "job", "run", "-output", "-")
	if code != 0 || !strings.HasPrefix(stdout, "{\n    \"Job\": {") || stderr != "" {
		t.Errorf("code %d, %.40q, %q", code, stdout, stderr)
	}
	var got *api.JobRegisterRequest
	b = newBench(t, map[string]api.Handler{"job.register": func(_ context.Context, r *api.Request) (*api.Response, error) {
		got = &api.JobRegisterRequest{}
		if err := r.Decode(got); err != nil {
			return nil, err
		}
		return &api.Response{Body: &api.JobRegisterResponse{EvalID: "12345678-0000", Warnings: "1 warning:\n\n* careful"}}, nil
	}})
	code, stdout, stderr = b.run("", "job", "run", "-detach", "-check-index", "7", jobPath(t, oneTask))
	if code != 0 || got == nil || got.Job.ID != "web" || !got.EnforceIndex || got.JobModifyIndex != 7 || got.Submission == nil {
		t.Fatalf("code %d, sent %+v, %q", code, got, stderr)
	}
	for _, want := range []string{"Job Warnings:", "careful", "Job registration successful", "Evaluation ID: 12345678-0000"} {
		if !strings.Contains(stdout+stderr, want) {
			t.Errorf("%q is not in\n%s\n%s", want, stdout, stderr)
		}
	}
}

func TestFinish(t *testing.T) {
	var out bytes.Buffer
	c := &cli{stderr: &out, conf: api.ClientConfig{Address: "http://a:1"}}
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""}, {exitCode(7), 7, ""}, {exitf(2, "x %d", 1), 2, "x 1\n"}, {errors.New("y"), 1, "y\n"}, {exitf(1, "%v", errors.New("z")), 1, "z\n"},
		{exitf(1, "Error: %v", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 1,
			"Error: dial: connection refused\nNo agent listens at http://a:1. Start one (nomadlite agent -dev), or say where it is: -address or NOMAD_ADDR.\n"},
	} {
		out.Reset()
		if code := c.finish(tt.err); code != tt.code || out.String() != tt.text {
			t.Errorf("%v: %d %q", tt.err, code, out.String())
		}
	}
}

// TestAdvice: a verb that cannot talk to the agent says what to change.
func TestAdvice(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix
	for _, tt := range []struct {
		conf api.ClientConfig
		want string
	}{
		{api.ClientConfig{Address: "http://127.0.0.1:1"}, "No agent listens at http://127.0.0.1:1."},
		{api.ClientConfig{Address: "https://" + host(plain.URL, "http://")}, "begins with http://."},
		{api.ClientConfig{Address: "http://" + host(secure.URL, "https://")}, "begins with https://"},
		{api.ClientConfig{Address: secure.URL}, "-ca-cert or NOMAD_CACERT."},
		{api.ClientConfig{Address: secure.URL, TLS: api.TLSConfig{CACert: ca, ServerName: "elsewhere"}}, "-tls-server-name or NOMAD_TLS_SERVER_NAME."},
	} {
		var stdout, stderr bytes.Buffer
		c := &cli{stdout: &stdout, stderr: &stderr, now: time.Now, conf: tt.conf, ctx: t.Context()}
		if code := dispatch(c, verbs(), []string{"job", "status"}); code != 1 || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%+v: exit %d, %q lacks %q", tt.conf, code, stderr.String(), tt.want)
		}
	}
}
