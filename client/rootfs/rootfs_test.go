package rootfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func build(t *testing.T) *AllocDir {
	t.Helper()
	a := NewAllocDir(t.TempDir(), "11111111-2222-3333-4444-555555555555", []TaskDir{{Name: "web"}, {Name: "side car", SecretsMB: 3}})
	if err := a.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestBuildModes(t *testing.T) {
	a := build(t)
	for dir, mode := range map[string]os.FileMode{
		"alloc": 0o777, "alloc/logs": 0o777, "alloc/data": 0o777, "alloc/tmp": 0o777,
		"web": 0o777, "web/local": 0o777, "web/secrets": 0o777, "web/tmp": 0o777 | os.ModeSticky, "side car/local": 0o777,
	} {
		info, err := os.Lstat(filepath.Join(a.Path(), dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() &^ os.ModeDir; got != mode {
			t.Errorf("%s has mode %v, want %v", dir, got, mode)
		}
	}
	if err := a.Build(); err != nil {
		t.Errorf("built again: %v", err)
	}
}

func TestBuildRefusesNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "alloc", "a/b", "../x", "a\x00b"} {
		if err := NewAllocDir(t.TempDir(), "id", []TaskDir{{Name: name}}).Build(); err == nil {
			t.Errorf("task %q was built", name)
		}
	}
}

func TestPathsStayInside(t *testing.T) {
	a := build(t)
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(a.Path(), "web/local")
	for link, target := range map[string]string{
		"abs": canary, "up": "../../../../../../etc/passwd", "dir": filepath.Dir(canary), "secret": "../secrets/token", "inside": "file",
	} {
		if err := os.Symlink(target, filepath.Join(local, link)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(a.Path(), name), []byte("in"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("web/local/file")
	write("web/secrets/token")
	if err := syscall.Mkfifo(filepath.Join(local, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, tc := range []struct {
		name string
		want error // nil is success, errAny is any error
	}{
		{"web/local/file", nil}, {"/web/local/file", nil}, {"web//local/./file", nil}, {"web/local/inside", nil},
		{"../x", ErrEscapes}, {"/../../etc/passwd", ErrEscapes}, {"web/../../x", ErrEscapes}, {"a\x00", ErrEscapes},
		{"web/local/abs", ErrEscapes}, {"web/local/up", ErrEscapes}, {"web/local/dir/canary", ErrEscapes},
		{"web/secrets/token", ErrSecret}, {"web/local/../secrets/token", ErrSecret}, {"web/local/secret", ErrSecret}, {"web/./secrets//token", ErrSecret},
		{"web/local/fifo", errAny}, {"web/local/none", os.ErrNotExist},
	} {
		f, err := d.Open(tc.name)
		if f != nil {
			data, _ := io.ReadAll(f)
			if string(data) != "in" {
				t.Errorf("%q holds %q", tc.name, data)
			}
			f.Close()
		}
		if (tc.want == nil) != (err == nil) || (tc.want != nil && tc.want != errAny && !errors.Is(err, tc.want)) {
			t.Errorf("Open(%q) = %v, want %v", tc.name, err, tc.want)
		}
	}
	if entries, err := d.ReadDir("/"); err != nil || len(entries) != 3 {
		t.Errorf("ReadDir: %v, %v", entries, err)
	}
}

var errAny = errors.New("any")
