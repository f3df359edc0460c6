package rootfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// staged is an allocation directory with a stage that holds files.
func staged(t *testing.T, files map[string]string) (*AllocDir, *Stage) {
	t.Helper()
	a := NewAllocDir(t.TempDir(), "id", []TaskDir{{Name: "web"}})
	if err := a.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Destroy() })
	s, err := a.NewStage(Nobody())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		at := filepath.Join(s.Work(), name)
		err := os.MkdirAll(filepath.Dir(at), 0o700)
		if target, link := strings.CutPrefix(text, "->"); link && err == nil {
			err = os.Symlink(target, at)
		} else if err == nil {
			err = os.WriteFile(at, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, s
}

// TestInstall_N04: what was prepared is merged into what is there, with its
// owner and without rights; secrets, which are on another file system, too.
func TestInstall_N04(t *testing.T) {
	a, s := staged(t, map[string]string{"tree/a": "new", "tree/d/b": "b", "tree/d/l": "->b"})
	if err := os.Chmod(filepath.Join(s.Work(), "tree/a"), fs.ModeSetuid|fs.ModeSetgid|0o755); err != nil {
		t.Fatal(err)
	}
	paths := a.Task("web")
	if err := os.MkdirAll(filepath.Join(paths.Local, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a": "old", "d/kept": "kept"} {
		if err := os.WriteFile(filepath.Join(paths.Local, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := Owner{os.Geteuid(), os.Getegid()}
	if os.Geteuid() == 0 {
		own = Owner{1234, 4321}
	}
	if err := s.Install("tree", "web/local", own); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "new", "d/b": "b", "d/l": "b", "d/kept": "kept"} {
		if got, err := os.ReadFile(filepath.Join(paths.Local, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, want)
		}
	}
	info, err := os.Lstat(filepath.Join(paths.Local, "a"))
	if err != nil || info.Mode() != 0o755 || int(info.Sys().(*syscall.Stat_t).Uid) != own.UID {
		t.Errorf("%v %+v (%v)", info.Mode(), info.Sys(), err)
	}
	if err := os.WriteFile(filepath.Join(s.Work(), "file"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Install("file", "web/secrets/deep/file", own); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(paths.Secrets, "deep/file")); err != nil || string(got) != "secret" {
		t.Errorf("%q (%v)", got, err)
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(a.Path(), stagePrefix+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestInstallStaysInside_N10: links that a task, or an archive, left behind
// lead nowhere else.
func TestInstallStaysInside_N10(t *testing.T) {
	outside := t.TempDir()
	for name, c := range map[string]struct {
		link, at string
		from, to string
	}{
		"directory is a link": {outside, "local/x", "tree", "web/local/x"},
		"parent is a link":    {outside, "local/x", "file", "web/local/x/file"},
		"dots":                {"", "", "file", "web/../../file"},
		"a fifo":              {"", "", "fifo", "web/local/fifo"},
	} {
		a, s := staged(t, map[string]string{"tree/a": "x", "file": "x"})
		if err := syscall.Mkfifo(filepath.Join(s.Work(), "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.link != "" {
			if err := os.Symlink(c.link, filepath.Join(a.Task("web").Dir, c.at)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Install(c.from, c.to, Owner{os.Geteuid(), os.Getegid()}); err == nil {
			t.Errorf("%s: it was installed", name)
		}
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Errorf("%s: %v", name, left)
		}
	}
	// The link of a file is replaced, not followed.
	a, s := staged(t, map[string]string{"file": "new"})
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(a.Task("web").Local, "file")
	if err := os.Symlink(canary, at); err != nil {
		t.Fatal(err)
	}
	if err := s.Install("file", "web/local/file", Owner{os.Geteuid(), os.Getegid()}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(canary); string(got) != "old" {
		t.Errorf("the canary says %q", got)
	}
	// What an earlier agent left is swept.
	if err := a.SweepStages(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(a.Path(), stagePrefix+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
