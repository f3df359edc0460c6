package mock

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
		Path: os.Args[0], Args: []string{"plugin"}, BadConfig: map[string]any{"fs_isolation": "nonsense"},
		Task: func(b drivertest.Behaviour) map[string]any {
			return map[string]any{
				"run_for": b.RunFor.String(), "exit_code": b.ExitCode, "stdout_string": b.Stdout, "stderr_string": b.Stderr,
				"exec_command": []any{map[string]any{"run_for": "10ms", "stdout_string": "echo"}},
			}
		},
		EchoCommand: []string{"anything"}, RecoversExit: true, Replays: true,
	})
}
