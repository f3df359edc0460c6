package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// local is a job that takes a file of a folder of the test.
func local(t *testing.T, name string, content []byte, limits Limits) (*job, string) {
	t.Helper()
	base, work := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(base, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s, err := ParseSource(filepath.Join(base, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &job{Request: &Request{Source: s, Mode: "any", Dir: work, LocalPaths: []string{base}, Limits: limits, Inspect: true}, root: root}, work
}

var roomy = Limits{Download: 1 << 30, Size: 1 << 30, Files: 4096}

type member struct {
	name, link string
	kind       byte
	mode       int64
	body       string
	size       int64 // where it lies
}

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.kind == 0 {
			m.kind = tar.TypeReg
		}
		if m.mode == 0 {
			m.mode = 0o644
		}
		size := int64(len(m.body))
		if m.size > 0 {
			size = m.size
		}
		h := &tar.Header{Name: m.name, Linkname: m.link, Typeflag: m.kind, Mode: m.mode, Size: size, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // one that lies about its size is not complete
	return b.Bytes()
}

func compressed(t *testing.T, raw []byte, kind string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case "gz":
		w = gzip.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	case "bz2":
		cmd := exec.Command("bzip2", "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(raw), &b
		if err := cmd.Run(); err != nil {
			t.Skipf("bzip2: %v", err)
		}
		return b.Bytes()
	}
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchives(t *testing.T) {
	many := tarOf(t, member{name: "bin/", kind: tar.TypeDir, mode: 0o755}, member{name: "bin/tool", mode: 0o755, body: "tool"}, member{name: "bin/t", kind: tar.TypeSymlink, link: "tool"}, member{name: "bin/hard", kind: tar.TypeLink, link: "bin/tool"})
	var z bytes.Buffer
	zw := zip.NewWriter(&z)
	f, _ := zw.Create("bin/tool")
	_, _ = f.Write([]byte("tool"))
	_ = zw.Close()
	for name, content := range map[string][]byte{"a.tar": many, "a.tgz": compressed(t, many, "gz"), "a.tar.xz": compressed(t, many, "xz"), "a.tar.zst": compressed(t, many, "zst"), "a.tar.bz2": compressed(t, many, "bz2"), "a.zip": z.Bytes()} {
		j, work := local(t, name, content, roomy)
		rep, err := j.do(t.Context(), func(error) {})
		got, _ := os.ReadFile(filepath.Join(work, TreeName, "bin/tool"))
		if err != nil || !rep.Tree || string(got) != "tool" {
			t.Errorf("%s: %+v %q (%v)", name, rep, got, err)
		}
	}
	for _, kind := range []string{"gz", "xz", "zst", "bz2"} {
		j, work := local(t, "words.txt."+kind, compressed(t, []byte("words"), kind), roomy)
		rep, err := j.do(t.Context(), func(error) {})
		got, _ := os.ReadFile(filepath.Join(work, FileName))
		if err != nil || rep.Name != "words.txt" || string(got) != "words" {
			t.Errorf("%s: %+v %q (%v)", kind, rep, got, err)
		}
	}
	j, work := local(t, "a.tgz", compressed(t, many, "gz"), roomy)
	j.Mode = "file" // stays as it is
	if rep, err := j.do(t.Context(), func(error) {}); err != nil || rep.Tree {
		t.Errorf("mode file: %+v (%v)", rep, err)
	}
	if got, _ := os.ReadFile(filepath.Join(work, FileName)); !bytes.Equal(got, compressed(t, many, "gz")) {
		t.Error("mode file changed an archive")
	}
}

// TestHostileArchives_N27_N04: what would leave the destination, fill the disk
// or bring rights along is refused, or comes without.
func TestHostileArchives_N27_N04(t *testing.T) {
	zeros := make([]byte, 8<<20)
	var crowd []member
	for i := range 5000 {
		crowd = append(crowd, member{name: fmt.Sprint("f", i)})
	}
	for name, c := range map[string]struct {
		file    string
		content []byte
		limits  Limits
		want    string
	}{
		"dots":              {"a.tar", tarOf(t, member{name: "../../x"}), roomy, "escapes"},
		"absolute":          {"a.tar", tarOf(t, member{name: "/etc/x"}), roomy, "escapes"},
		"link out":          {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeSymlink, link: "/etc"}), roomy, "symlink that resolves outside"},
		"link up":           {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeSymlink, link: "../../x"}), roomy, "symlink that resolves outside"},
		"links together":    {"a.tar", tarOf(t, member{name: "d", kind: tar.TypeSymlink, link: "."}, member{name: "x", kind: tar.TypeSymlink, link: "d/.."}), roomy, "symlink that resolves outside"},
		"through a link":    {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeSymlink, link: "/etc"}, member{name: "a/x", body: "x"}), roomy, "entry \"a/x\""},
		"link, then file":   {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeSymlink, link: "../../../x"}, member{name: "a", body: "x"}), roomy, ""},
		"hard link out":     {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeLink, link: "../../x"}), roomy, "escapes"},
		"device":            {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeBlock}), roomy, "neither file"},
		"fifo":              {"a.tar", tarOf(t, member{name: "a", kind: tar.TypeFifo}), roomy, "neither file"},
		"directory to file": {"a.tar", tarOf(t, member{name: "a/b", body: "x"}, member{name: "a", kind: tar.TypeSymlink, link: "/etc"}), roomy, "directory has this name"},
		"huge entry":        {"a.tar", tarOf(t, member{name: "a", size: 1 << 62}), roomy, "larger than"},
		"crowd":             {"a.tar", tarOf(t, crowd...), roomy, "more than 4096 files"},
		"bomb gz":           {"a.gz", compressed(t, zeros, "gz"), Limits{Download: 1 << 30, Size: 1 << 20, Files: 10}, "larger than"},
		"bomb xz":           {"a.xz", compressed(t, zeros, "xz"), Limits{Download: 1 << 30, Size: 1 << 20, Files: 10}, "larger than"},
		"bomb zst":          {"a.tar.zst", compressed(t, tarOf(t, member{name: "a", body: string(zeros)}), "zst"), Limits{Download: 1 << 30, Size: 1 << 20, Files: 10}, "larger than"},
		"no archive":        {"a.tgz", []byte("<html>"), roomy, "cannot read it as tar.gz"},
		"no zip":            {"a.zip", []byte("PK"), roomy, "cannot read it as zip"},
		"breaks off":        {"a.tar", tarOf(t, member{name: "a", body: strings.Repeat("x", 4096)})[:2048], roomy, "unexpected EOF"},
		"too long":          {"a.bin", zeros, Limits{Download: 1 << 20, Size: 1 << 30}, "larger than"},
		"setuid":            {"a.tar", tarOf(t, member{name: "a", mode: 0o6755, body: "x"}, member{name: "d/", kind: tar.TypeDir, mode: 0o7777}), roomy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			j, work := local(t, c.file, c.content, c.limits)
			_, err := j.do(t.Context(), func(error) {})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			_ = filepath.WalkDir(work, func(p string, d fs.DirEntry, err error) error {
				if info, err := d.Info(); err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
					t.Errorf("%s has mode %v", p, info.Mode())
				}
				return nil
			})
		})
	}
}

// FuzzUnpack: no archive panics, nor leaves anything outside.
func FuzzUnpack(f *testing.F) {
	f.Add("a.tar", []byte("x"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		kind, ok := archiveOf(name)
		if !ok {
			t.Skip("no name of an archive")
		}
		j, work := local(t, "x."+kind, content, Limits{Download: 1 << 20, Size: 1 << 20, Files: 50})
		_, _ = j.do(t.Context(), func(error) {})
		entries, err := os.ReadDir(filepath.Dir(work))
		if err != nil || len(entries) != 2 { // the two folders of the test
			t.Fatalf("%v (%v)", entries, err)
		}
	})
}
