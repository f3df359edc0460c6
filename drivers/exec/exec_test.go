package exec

import (
	"os"
	"testing"

	"github.com/nomadlite/nomadlite/plugins/drivertest"
)

// TestMain serves the driver where the suite starts this binary as a plugin.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "plugin" {
		Serve()
		return
	}
	os.Exit(m.Run())
}

// needRoot skips what only root can do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("jails are made by root")
	}
}

func TestConformance(t *testing.T) {
	needRoot(t)
	drivertest.Run(t, drivertest.Suite{
		Path: os.Args[0], Args: []string{"plugin"}, BadConfig: map[string]any{"default_pid_mode": "nonsense"},
		Task: func(b drivertest.Behaviour) map[string]any {
			return map[string]any{"command": "/bin/sh", "args": []any{"-c", b.Script()}}
		},
		Leaks: drivertest.Cgroups,
		Shell: true, // without a keeper nobody learns the exit of orphans
	})
}
