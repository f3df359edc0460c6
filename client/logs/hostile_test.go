package logs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLogFilesAreNotLinks_N47: a task that puts links, FIFOs or folders where
// its log goes gets nothing of the host written, at the start or when the log
// rotates.
func TestLogFilesAreNotLinks_N47(t *testing.T) {
	for name, plant := range map[string]func(path, canary string) error{
		"link":      func(path, canary string) error { return os.Symlink(canary, path) },
		"dangling":  func(path, canary string) error { return os.Symlink(canary+"-new", path) },
		"fifo":      func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"directory": func(path, _ string) error { return os.Mkdir(path, 0o755) },
	} {
		for _, at := range []string{"web.stdout.0", "web.stdout.1"} {
			t.Run(name+" at "+at, func(t *testing.T) {
				dir, outside := t.TempDir(), t.TempDir()
				canary := filepath.Join(outside, "canary")
				if err := os.WriteFile(canary, []byte("host"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := plant(filepath.Join(dir, at), canary); err != nil {
					t.Fatal(err)
				}
				r, err := NewRotator(RotatorConfig{Dir: dir, Base: "web.stdout", MaxFiles: 3, MaxBytes: 10})
				if err == nil {
					_, err = r.Write([]byte(strings.Repeat("line\n", 5)))
					r.Close()
				}
				if text, _ := os.ReadFile(canary); string(text) != "host" {
					t.Errorf("the host's file holds %q", text)
				}
				if entries, _ := os.ReadDir(outside); len(entries) != 1 {
					t.Errorf("the host's folder holds %v", entries)
				}
				if err == nil && name != "directory" {
					t.Log("the log went on beside it")
				}
			})
		}
	}
}
