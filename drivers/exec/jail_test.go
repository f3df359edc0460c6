package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/sandbox"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// newDriver makes a driver with the given plugin configuration.
func newDriver(t *testing.T, config map[string]any) *sandbox.Driver {
	t.Helper()
	needRoot(t)
	d := sandbox.New(kind, nil, hclog.NewNullLogger())
	if err := d.SetConfig(t.Context(), &base.Config{Msgpack: encode(t, d.ConfigSchema, config)}); err != nil {
		t.Fatal(err)
	}
	return d
}

func encode(t *testing.T, schemaOf func(context.Context) (*hclspec.Spec, error), config map[string]any) []byte {
	t.Helper()
	spec, err := schemaOf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	schema, err := hclspec.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// run runs a shell script as a task and returns what it printed, and how it
// ended. "command" and "args" may be replaced.
func run(t *testing.T, d *sandbox.Driver, user, script string, config map[string]any) (string, error) {
	t.Helper()
	cfg, err := begin(t, d, user, script, config)
	if err != nil {
		return "", err
	}
	result, err := d.WaitTask(t.Context(), cfg.ID)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(cfg.StdoutPath)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Successful() {
		err = fmt.Errorf("exit %+v", result)
	}
	return string(raw), err
}

func begin(t *testing.T, d *sandbox.Driver, user, script string, config map[string]any) (*driver.TaskConfig, error) {
	t.Helper()
	cfg := describe(t, d, user, script, config)
	if _, _, err := d.StartTask(t.Context(), cfg); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil {
			t.Error(err)
		}
	})
	return cfg, nil
}

// describe makes the directories of a task and says what to run.
func describe(t *testing.T, d *sandbox.Driver, user, script string, config map[string]any) *driver.TaskConfig {
	t.Helper()
	dir, err := os.MkdirTemp("", "exectest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, p := range []string{".", "alloc", "alloc/logs", "t/local", "t/secrets", "t/private", "t/tmp"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, p), 0o777), os.Chmod(filepath.Join(dir, p), 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]any{"command": "/bin/sh", "args": []any{"-c", script}}
	for k, v := range config {
		all[k] = v
	}
	out := filepath.Join(dir, "out")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return &driver.TaskConfig{
		ID: fmt.Sprintf("test%d/t/%d", os.Getpid(), time.Now().UnixNano()), Name: "t", AllocDir: dir, User: user, MsgpackConfig: encode(t, d.TaskConfigSchema, all),
		Env: map[string]string{"PATH": "/usr/bin:/bin"}, StdoutPath: out, StderrPath: out,
	}
}

// status is a field of /proc/self/status in a script's output.
func status(out, field string) string {
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestPrivileges_N01_X04: a task is nobody, of no group of ours, with no
// capability and no way to get one; root and what cap_add names get what the
// site allows, and no more.
func TestPrivileges_N01_X04(t *testing.T) {
	const none, defaults, bind = "0000000000000000", "00000000a80405fb", "0000000000000400"
	d := newDriver(t, map[string]any{"allow_root": true})
	for _, tt := range []struct {
		user                    string
		config                  map[string]any
		uid, eff, inh, amb, bnd string
	}{
		{"", nil, "65534", none, none, none, "00000000a80405fb"},
		{"root", nil, "0", defaults, none, none, defaults},
		{"", map[string]any{"cap_add": []any{"NET_BIND_SERVICE"}, "cap_drop": []any{"all"}}, "65534", bind, bind, bind, bind},
		{"root", map[string]any{"cap_drop": []any{"ALL"}}, "0", none, none, none, none},
	} {
		out, err := run(t, d, tt.user, "cat /proc/self/status; id -G", tt.config)
		if err != nil {
			t.Errorf("%q %v: %v: %s", tt.user, tt.config, err, out)
			continue
		}
		for field, v := range map[string]string{"CapEff": tt.eff, "CapPrm": tt.eff, "CapInh": tt.inh, "CapAmb": tt.amb, "CapBnd": tt.bnd, "NoNewPrivs": "1", "Seccomp": "2"} {
			if got := status(out, field); got != v {
				t.Errorf("%q %v: %s is %s, want %s", tt.user, tt.config, field, got, v)
			}
		}
		if uid, _, _ := strings.Cut(status(out, "Uid"), "\t"); uid != tt.uid {
			t.Errorf("%q: uid %s, want %s", tt.user, uid, tt.uid)
		}
		if tt.user == "" && status(out, "Groups") != "65534" && status(out, "Groups") != "" {
			t.Errorf("nobody is of the groups %q", status(out, "Groups"))
		}
	}
}

// TestRefused_N13_X01_X05: what would lead out is refused before anything runs.
func TestRefused_N13_X01_X05(t *testing.T) {
	d := newDriver(t, nil)
	for _, tt := range []struct {
		user   string
		config map[string]any
		want   string
	}{
		{"", map[string]any{"cap_add": []any{"net_raw"}}, "does not allow the following capabilities: net_raw"},
		{"", map[string]any{"work_dir": "/proc/self/fd/7"}, "must not lead through /proc"},
		{"", map[string]any{"work_dir": "/x/../proc/1/root"}, "must not lead through /proc"},
		{"", map[string]any{"work_dir": "relative"}, "must be an absolute path"},
		{"", map[string]any{"pid_mode": "HOST"}, "pid_mode must be"},
		{"", map[string]any{"command": "/no/such/program"}, "no such program"},
		{"", map[string]any{"work_dir": "/no/such/dir"}, "enter its working directory"},
		{"root", nil, "running as uid 0 is disallowed"},
		{"0", nil, "running as uid 0 is disallowed"},
		{"00", nil, "cannot find user"},
	} {
		if _, err := begin(t, d, tt.user, "true", tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %v: %v, want %q", tt.user, tt.config, err, tt.want)
		}
	}
}

// TestIsolation_N12_N47_X01: a task sees its own processes, shared memory,
// files and mounts, and none of ours.
func TestIsolation_N12_N47_X01(t *testing.T) {
	d := newDriver(t, map[string]any{"allow_root": true})
	other, err := begin(t, d, "", "sleep 1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := d.InspectTask(t.Context(), other.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"", "root"} {
		for script, want := range map[string]string{
			"echo $$": "1", `[ $(ls -d /proc/[0-9]* | wc -l) -le 4 ] && echo few`: "few", // itself and its helpers
			"kill -0 " + st.Attributes["pid"] + " 2>/dev/null && echo alive || echo gone":                        "gone",
			"ls /proc/self/fd | tr '\\n' ' '":                                                                    "0 1 2 3 ", // 3 is ls's own
			"ls / | grep -c -E '^(root|home|var|boot)$'":                                                         "0",
			"cat /proc/kcore /proc/keys 2>/dev/null | wc -c":                                                     "0",
			"echo x 2>/dev/null >/proc/sys/kernel/hostname || echo refused":                                      "refused",
			"echo x 2>/dev/null >/etc/passwd || echo refused":                                                    "refused",
			"echo x 2>/dev/null >/alloc/logs/t.stdout.0 || echo refused":                                         "refused",
			"ln -s /etc/passwd /alloc/logs/x 2>/dev/null || echo refused":                                        "refused",
			"echo x >/local/f && echo x >/alloc/f && echo x >/tmp/f && cat /local/f":                             "x",
			"ls -A /private 2>/dev/null | wc -l":                                                                 "0",
			"unshare -U true 2>/dev/null || echo refused":                                                        "refused",
			"mount -t tmpfs x /tmp 2>/dev/null || echo refused":                                                  "refused",
			"mknod /tmp/sda b 8 0 2>/dev/null && head -c1 /tmp/sda >/dev/null 2>&1 && echo read || echo refused": "refused",
			"grep -c docker /proc/self/mountinfo":                                                                "0",
			"pwd":                                                                                                "/",
		} {
			out, _ := run(t, d, user, script, nil)
			if strings.TrimSpace(out) != strings.TrimSpace(want) {
				t.Errorf("%q: %s: %q, want %q", user, script, out, want)
			}
		}
	}
	// A task of the host's process namespace sees others, when its job says so.
	if out, _ := run(t, d, "", "[ -d /proc/"+st.Attributes["pid"]+" ] && echo seen", map[string]any{"pid_mode": "host"}); out != "seen\n" {
		t.Errorf("pid_mode host shows %q", out)
	}
}

// TestMountsAnywhere: what the agent mounts lies where it says, also where the
// host's folders have no place for it, and those stay as they are.
func TestMountsAnywhere(t *testing.T) {
	d := newDriver(t, nil)
	source := t.TempDir()
	if err := os.Chmod(source, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(source, "file")
	if err := os.WriteFile(file, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := describe(t, d, "nobody", `cat /usr/local/made/here/file /etc/made.conf /new/place/file
		test -e /usr/bin/env && echo usr; touch /usr/x /etc/x /usr/local/made/x 2>/dev/null || echo read-only; echo more >>/new/place/file`, nil)
	cfg.Mounts = []*driver.Mount{
		{HostPath: source, TaskPath: "/usr/local/made/here", Readonly: true}, {HostPath: file, TaskPath: "/etc/made.conf", Readonly: true},
		{HostPath: source, TaskPath: "/new/place"},
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.StartTask(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil {
			t.Error(err)
		}
	}()
	if _, err := d.WaitTask(t.Context(), cfg.ID); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(cfg.StdoutPath)
	if want := "content\ncontent\ncontent\nusr\nread-only\n"; err != nil || string(raw) != want {
		t.Errorf("%q, %v; want %q", raw, err, want)
	}
	for _, path := range []string{"/usr/local/made", "/etc/made.conf", "/usr/x"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is on the host", path)
		}
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "content\nmore\n" {
		t.Errorf("the file that may be written: %q, %v", raw, err)
	}
}
