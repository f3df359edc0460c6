package rootfs

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func dataDir(t *testing.T) *AllocDir {
	t.Helper()
	a := NewAllocDir(t.TempDir(), "id", []TaskDir{{Name: "web"}})
	if err := a.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Destroy() })
	return a
}

func TestDataTravels(t *testing.T) {
	from, to := dataDir(t), dataDir(t)
	local := from.Task("web").Local
	data := filepath.Join(from.Path(), "alloc/data")
	for name, text := range map[string]string{local + "/deep/a": "one", data + "/b": "two", from.Task("web").Dir + "/other": "stays"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{local + "/in": "deep/a", local + "/out": "/etc/passwd", local + "/up": "../../../x"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := WriteData(&b, from, []string{"web"}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	if err := ReadData(bytes.NewReader(whole), to, []string{"web"}, 1<<20); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{to.Task("web").Local + "/deep/a": "one", to.Path() + "/alloc/data/b": "two", to.Task("web").Local + "/in": "one"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q (%v)", name, got, err)
		}
	}
	for _, name := range []string{"out", "up", "../other"} {
		if _, err := os.Lstat(filepath.Join(to.Task("web").Local, name)); err == nil {
			t.Errorf("%s came along", name)
		}
	}
	info, err := os.Stat(to.Task("web").Local + "/deep/a")
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("%v (%v)", info, err)
	}
	for cut := 0; cut < len(whole)-1024; cut += 512 { // wherever it breaks off
		if err := ReadData(bytes.NewReader(whole[:cut]), dataDir(t), []string{"web"}, 1<<20); err == nil {
			t.Errorf("%d of %d bytes are taken for all", cut, len(whole))
		}
	}
	if err := ClearData(to, []string{"web"}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(to.Task("web").Local); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDataOfHostileNode_N35: a node that answers with something else writes
// nothing outside, and is found out.
func TestDataOfHostileNode_N35(t *testing.T) {
	outside := t.TempDir()
	type entries []tar.Header
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o6777}
	}
	for name, c := range map[string]struct {
		entries entries
		want    string
	}{
		"dots":               {entries{file("web/local/../../../x")}, "escapes alloc dir"},
		"absolute":           {entries{file(outside + "/x")}, "escapes alloc dir"},
		"secrets":            {entries{file("web/secrets/x")}, "escapes alloc dir"},
		"other task":         {entries{file("other/local/x")}, "escapes alloc dir"},
		"link, then through": {entries{link("web/local/a", outside), file("web/local/a/x")}, "escapes alloc dir"},
		"link out":           {entries{link("web/local/a", "../../../../x")}, "escapes alloc dir"},
		"link, then file":    {entries{link("web/local/a", "none"), file("web/local/a")}, "twice"},
		"links together":     {entries{link("web/local/d", "."), link("web/local/x", "d/../.."), file("web/local/x/y")}, "escapes alloc dir"},
		"hard link":          {entries{{Name: "web/local/a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, "neither file"},
		"device":             {entries{{Name: "web/local/a", Typeflag: tar.TypeBlock}}, "neither file"},
		"directory to link":  {entries{{Name: "web/local/a", Typeflag: tar.TypeDir}, link("web/local/a", "b")}, "twice"},
		"the folder itself":  {entries{link("web/local", outside)}, "escapes alloc dir"},
		"too large":          {entries{{Name: "web/local/a", Typeflag: tar.TypeReg, Size: 1 << 40}}, "ephemeral_disk.size"},
		"no end":             {entries{file("web/local/a")}, "broke off"},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range c.entries {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size == 1 {
				_, _ = w.Write([]byte("x"))
			}
		}
		if c.entries[0].Size < 2 {
			_ = w.Close()
		}
		a := dataDir(t)
		err := ReadData(&b, a, []string{"web"}, 1<<20)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Fatalf("%s: %v", name, left)
		}
	}
}
