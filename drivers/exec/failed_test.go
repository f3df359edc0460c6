package exec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// TestFailedStarts_B59: whichever step of a start fails, neither process nor
// group, mount or open file is left, and the task is not known.
func TestFailedStarts_B59(t *testing.T) {
	d := newDriver(t, nil)
	limited := describe(t, d, "", "true", nil) // what is opened once
	limited.Resources = &driver.Resources{MemoryMB: 64, CPUShares: 100}
	if _, _, err := d.StartTask(t.Context(), limited); err != nil {
		t.Fatal(err)
	}
	if err := d.DestroyTask(t.Context(), limited.ID, true); err != nil {
		t.Fatal(err)
	}
	config := func(config map[string]any) func(*driver.TaskConfig) {
		all := map[string]any{"command": "/bin/true"}
		for k, v := range config {
			all[k] = v
		}
		return func(cfg *driver.TaskConfig) { cfg.MsgpackConfig = encode(t, d.TaskConfigSchema, all) }
	}
	before := held(t)
	for name, spoil := range map[string]func(*driver.TaskConfig){
		"config":            func(cfg *driver.TaskConfig) { cfg.MsgpackConfig = []byte{0xc1} },
		"pid mode":          config(map[string]any{"pid_mode": "x"}),
		"capability":        config(map[string]any{"cap_add": []any{"sys_admin"}}),
		"no capability":     config(map[string]any{"cap_drop": []any{"x"}}),
		"working directory": config(map[string]any{"work_dir": "/nowhere"}),
		"relative":          config(map[string]any{"work_dir": "x"}),
		"program":           config(map[string]any{"command": "/nowhere"}),
		"no program":        config(map[string]any{"command": "/local/text"}),
		"folder as program": config(map[string]any{"command": "/usr"}),
		"argument":          config(map[string]any{"args": []any{"a\x00b"}}),
		"arguments":         config(map[string]any{"args": []any{strings.Repeat("x", 1<<20)}}),
		"user":              func(cfg *driver.TaskConfig) { cfg.User = "no-such-user" },
		"denied user":       func(cfg *driver.TaskConfig) { cfg.User = "root" },
		"output":            func(cfg *driver.TaskConfig) { cfg.StdoutPath = cfg.AllocDir + "/no/out" },
		"errors":            func(cfg *driver.TaskConfig) { cfg.StderrPath = cfg.AllocDir + "/no/err" },
		"network": func(cfg *driver.TaskConfig) {
			cfg.NetworkIsolation = &driver.NetworkIsolationSpec{Mode: driver.NetworkGroup, Path: "/nowhere"}
		},
		"no network": func(cfg *driver.TaskConfig) {
			cfg.NetworkIsolation = &driver.NetworkIsolationSpec{Mode: driver.NetworkGroup, Path: "/etc/passwd"}
		},
		"mount": func(cfg *driver.TaskConfig) { cfg.Mounts = []*driver.Mount{{TaskPath: "/x", HostPath: "/nowhere"}} },
		"device": func(cfg *driver.TaskConfig) {
			cfg.Devices = []*driver.Device{{TaskPath: "/dev/x", HostPath: "/nowhere"}}
		},
		"cores": func(cfg *driver.TaskConfig) {
			cfg.Resources = &driver.Resources{Linux: &driver.LinuxResources{CpusetCpus: "4000"}}
		},
		"directory":   func(cfg *driver.TaskConfig) { cfg.AllocDir = "/nowhere" },
		"environment": func(cfg *driver.TaskConfig) { cfg.Env["BIG"] = strings.Repeat("x", 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := describe(t, d, "", "true", nil)
			if err := os.WriteFile(filepath.Join(cfg.AllocDir, "t/local/text"), []byte{0, 1, 2}, 0o755); err != nil {
				t.Fatal(err)
			}
			dir := cfg.AllocDir
			spoil(cfg)
			if _, _, err := d.StartTask(t.Context(), cfg); err == nil {
				_ = d.DestroyTask(context.Background(), cfg.ID, true)
				t.Fatal("the task starts")
			}
			if _, err := d.InspectTask(t.Context(), cfg.ID); err == nil {
				t.Error("the task is known")
			}
			groups, err := filepath.Glob("/sys/fs/cgroup/*/nomad.slice/" + strings.ReplaceAll(cfg.ID, "/", ".") + "*")
			if err != nil || len(groups) > 0 {
				t.Errorf("groups left: %v, %v", groups, err)
			}
			if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
				t.Errorf("mounts left: %v", err)
			}
		})
	}
	deadline := time.Now().Add(10 * time.Second) // threads end in their own time
	for held(t) != before && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
	}
	if after := held(t); after != before {
		t.Errorf("%s after, %s before", after, before)
	}
}

// held tells of this process's open files and children.
func held(t *testing.T) string {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	children := ""
	for _, l := range lists {
		raw, _ := os.ReadFile(l) // of a thread that may have ended
		children += string(raw)
	}
	return fmt.Sprintf("%d files, children %q", len(files), children)
}
