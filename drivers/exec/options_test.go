package exec

import (
	"os"
	"strings"
	"testing"
)

// TestOptions: what each option of the plugin and of the task changes of what
// a task sees, or why it is refused.
func TestOptions(t *testing.T) {
	host := func(ns string) string {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		return link + "\n"
	}
	const readIPC, readPID = "readlink /proc/self/ns/ipc", "readlink /proc/self/ns/pid"
	list := func(items ...any) []any { return items }
	for _, tt := range []struct {
		name         string
		plugin, task map[string]any
		script       string
		want         string // of the output; with a ! not this
		refused      string
	}{
		{"private by default", nil, nil, readIPC, "!" + host("ipc"), ""},
		{"default_ipc_mode", map[string]any{"default_ipc_mode": "host"}, nil, readIPC, host("ipc"), ""},
		{"ipc_mode", nil, map[string]any{"ipc_mode": "host"}, readIPC, host("ipc"), ""},
		{"ipc_mode before the default", map[string]any{"default_ipc_mode": "host"}, map[string]any{"ipc_mode": "private"}, readIPC, "!" + host("ipc"), ""},
		{"default_pid_mode", map[string]any{"default_pid_mode": "host"}, nil, readPID, host("pid"), ""},
		{"pid_mode before the default", map[string]any{"default_pid_mode": "host"}, map[string]any{"pid_mode": "private"}, readPID, "!" + host("pid"), ""},
		{"allow_caps", map[string]any{"allow_caps": list("CAP_NET_RAW", "chown")}, map[string]any{"cap_add": list("net_raw")},
			"grep CapBnd /proc/self/status", "CapBnd:\t0000000000002001\n", ""},
		{"beyond allow_caps", map[string]any{"allow_caps": list("net_raw")}, map[string]any{"cap_add": list("chown")}, "true", "", "does not allow the following capabilities: chown"},
		{"denied_host_uids", map[string]any{"denied_host_uids": "65534"}, nil, "true", "", "running as uid 65534 is disallowed"},
		{"denied_host_gids", map[string]any{"denied_host_gids": "65000-65535"}, nil, "true", "", "running as gid 65534 is disallowed"},
		{"chroot_env", map[string]any{"chroot_env": list(map[string]any{
			"/usr": "/usr", "/bin": "/bin", "/lib": "/lib", "/lib64": "/lib64", "/etc/passwd": "/config/passwd",
		})}, nil, "ls /etc 2>/dev/null; ls /config; grep -c ^nobody /config/passwd", "passwd\n1\n", ""},
		{"no_pivot_root", map[string]any{"no_pivot_root": true}, nil, "ls / | grep -c -E '^(root|home|var|boot)$'; ls -d /local", "0\n/local\n", ""},
		{"work_dir", nil, map[string]any{"work_dir": "/local"}, "pwd", "/local\n", ""},
		{"args", nil, map[string]any{"command": "/bin/echo", "args": list("a", "b c")}, "", "a b c\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(t, tt.plugin)
			if tt.refused != "" {
				if _, err := begin(t, d, "", tt.script, tt.task); err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%v, want %q", err, tt.refused)
				}
				return
			}
			out, _ := run(t, d, "", tt.script, tt.task)
			if not, negative := strings.CutPrefix(tt.want, "!"); negative && out == not || !negative && out != tt.want {
				t.Errorf("%q, want %q", out, tt.want)
			}
		})
	}
}
