package java

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nomadlite/nomadlite/plugins/driver"
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

// behave compiles the program that tasks run.
func behave(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command(command, "-m", "jdk.compiler/com.sun.tools.javac.Main", "-nowarn", "-d", dir, "testdata/Behave.java").CombinedOutput()
	if err != nil {
		t.Fatalf("cannot compile: %v\n%s", err, out)
	}
	class, err := os.ReadFile(filepath.Join(dir, "Behave.class"))
	if err != nil {
		t.Fatal(err)
	}
	return class
}

func TestConformance(t *testing.T) {
	if !Found() || os.Geteuid() != 0 {
		t.Skip("no Java runtime, or no right to make sandboxes")
	}
	class := behave(t)
	drivertest.Run(t, drivertest.Suite{
		Path: os.Args[0], Args: []string{"plugin"}, BadConfig: map[string]any{"allow_caps": []any{"nonsense"}},
		Prepare: func(t testing.TB, _ drivertest.Behaviour, cfg *driver.TaskConfig) {
			if err := os.WriteFile(filepath.Join(cfg.AllocDir, cfg.Name, "local", "Behave.class"), class, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		Task: func(b drivertest.Behaviour) map[string]any {
			return map[string]any{
				"class": "Behave", "class_path": "/local", "jvm_options": []any{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx16m"},
				"args": []any{b.Stdout, b.Stderr, strconv.FormatInt(b.RunFor.Milliseconds(), 10), strconv.Itoa(b.ExitCode), strconv.FormatBool(b.IgnoreStop)},
			}
		},
		EchoCommand: []string{"/bin/echo", "echo"}, IgnoresStop: true, Leaks: drivertest.Cgroups,
	})
}
