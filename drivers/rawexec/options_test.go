package rawexec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/drivers/cgroup"
)

// TestCgroupOverride: a task is in the group that its config names instead of
// one of ours, and that group outlives it.
func TestCgroupOverride(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes groups")
	}
	name := "nomadlite-test-" + strconv.Itoa(os.Getpid())
	option, value, at := "cgroup_v1_override", any([]any{map[string]any{"freezer": "/" + name}}), filepath.Join("/sys/fs/cgroup/freezer", name)
	if cgroup.Unified() {
		option, value, at = "cgroup_v2_override", name, filepath.Join("/sys/fs/cgroup", name)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(at)
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "grep -c /"+name+"$ /proc/self/cgroup", option, value)
	start(t, d, cfg)
	if _, err := d.WaitTask(t.Context(), cfg.ID); err != nil {
		t.Fatal(err)
	}
	if got := output(t, cfg); got != "1\n" {
		t.Errorf("its groups with the name: %q", got)
	}
	if err := d.DestroyTask(t.Context(), cfg.ID, true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Errorf("the operator's group: %v", err)
	}
	both := newTask(t, "true", "cgroup_v1_override", []any{map[string]any{"freezer": "/" + name}}, "cgroup_v2_override", name)
	if _, _, err := d.StartTask(t.Context(), both); err == nil || !strings.Contains(err.Error(), "only one of") {
		t.Errorf("both: %v", err)
	}
}

// TestDeniedGroups: a user of a denied group is refused.
func TestDeniedGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs tasks as others")
	}
	d := newDriver(t, map[string]any{"enabled": true, "denied_host_gids": "60000-65535"})
	cfg := newTask(t, "true")
	cfg.User = "nobody"
	if _, _, err := d.StartTask(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "running as gid 65534 is disallowed") {
		t.Errorf("%v", err)
	}
}
