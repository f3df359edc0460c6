package rawexec

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

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Suite{
		Path: os.Args[0], Args: []string{"plugin"}, Config: map[string]any{"enabled": true}, BadConfig: map[string]any{"denied_host_uids": "x"},
		Task: func(b drivertest.Behaviour) map[string]any {
			return map[string]any{"command": "/bin/sh", "args": []any{"-c", b.Script()}}
		},
		Leaks: drivertest.Cgroups,
		Shell: true, // without a keeper nobody learns the exit of orphans
	})
}
