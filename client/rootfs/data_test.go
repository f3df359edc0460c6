package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

// pair builds the directories of an allocation and of the one after it.
func pair(t *testing.T) (from, to *AllocDir) {
	t.Helper()
	base := t.TempDir()
	for id, dir := range map[string]**AllocDir{"old": &from, "new": &to} {
		*dir = NewAllocDir(base, id, []TaskDir{{Name: "web"}, {Name: "db"}})
		if err := (*dir).Build(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*dir).Destroy() })
	}
	return from, to
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestMoveData(t *testing.T) {
	from, to := pair(t)
	put(t, from.Path()+"/alloc/data/kept", "data")
	put(t, from.Path()+"/web/local/kept", "web")
	put(t, from.Path()+"/web/secrets/left", "secret")
	put(t, from.Path()+"/alloc/logs/left", "log")
	if err := MoveData(from, to, []string{"web", "new task"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"alloc/data/kept": true, "web/local/kept": true, "web/secrets/left": false, "alloc/logs/left": false} {
		if _, err := os.Stat(filepath.Join(to.Path(), path)); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := MoveData(NewAllocDir(t.TempDir(), "gone", nil), to, []string{"web"}); err != nil {
		t.Errorf("an allocation that is gone: %v", err)
	}
}

// TestMoveDataFollowsNoLinks_N35: a task that replaced its folders by links to
// the host gets nothing of the host into the next allocation.
func TestMoveDataFollowsNoLinks_N35(t *testing.T) {
	from, to := pair(t)
	host := t.TempDir()
	put(t, host+"/canary", "host")
	for _, path := range []string{"/alloc/data", "/web/local", "/db"} {
		if err := removeMounted(from, path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(host, from.Path()+path); err != nil {
			t.Fatal(err)
		}
	}
	if err := MoveData(from, to, []string{"web", "db"}); err == nil {
		t.Error("a task's folder that is a link was accepted")
	}
	if err := MoveData(from, to, []string{"web"}); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/alloc/data/canary", "/web/local/canary", "/db/local/canary"} {
		if _, err := os.Lstat(to.Path() + path); err == nil {
			t.Errorf("%s came from the host", path)
		}
	}
	if _, err := os.Stat(host + "/canary"); err != nil {
		t.Error("the host's file is gone")
	}
}

// removeMounted removes a folder with what is mounted in it.
func removeMounted(a *AllocDir, path string) error {
	for _, name := range []string{secretsName, privateName} {
		_ = unmount(filepath.Join(a.Path(), path, name))
	}
	return os.RemoveAll(a.Path() + path)
}
