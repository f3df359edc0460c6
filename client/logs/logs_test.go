package logs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hostSource reads a plain directory.
type hostSource string

func (h hostSource) Open(name string) (*os.File, error) {
	return os.Open(filepath.Join(string(h), name))
}

func (h hostSource) ReadDir(name string) ([]fs.DirEntry, error) {
	return os.ReadDir(filepath.Join(string(h), name))
}

func TestPlace(t *testing.T) {
	files := []File{{Index: 3, Size: 10}, {Index: 4, Size: 10}, {Index: 5, Size: 5}}
	for _, tc := range []struct {
		fromEnd bool
		offset  int64
		file    int
		at      int64
	}{
		{false, 0, 0, 0}, {false, 9, 0, 9}, {false, 10, 1, 0}, {false, 24, 2, 4}, {false, 99, 2, 5},
		{true, 0, 2, 5}, {true, 5, 2, 0}, {true, 6, 1, 9}, {true, 25, 0, 0}, {true, 99, 0, 0},
	} {
		if f, at := place(files, tc.fromEnd, tc.offset); f != tc.file || at != tc.at {
			t.Errorf("place(end %v, %d) = %d, %d; want %d, %d", tc.fromEnd, tc.offset, f, at, tc.file, tc.at)
		}
	}
}

func TestCutPrefersLines(t *testing.T) {
	for _, tc := range []struct {
		in   string
		room int64
		want int
	}{
		{"abc", 5, 3}, {"ab\ncd", 4, 3}, {"abcdef", 4, 4}, {"a\nb\nc", 4, 4}, {"\nabc", 3, 1},
		{"abcd\ne", 4, 0}, {"abcdefghijk\n", 4, 4}, {"abcdefghi\n", 10, 10},
	} {
		if got := cut([]byte(tc.in), tc.room, 10); got != tc.want {
			t.Errorf("cut(%q, %d) = %d, want %d", tc.in, tc.room, got, tc.want)
		}
	}
}

func read(t testing.TB, dir string, req Request) string {
	t.Helper()
	var out bytes.Buffer
	req.Dir, req.Base = ".", "t.stdout"
	err := Stream(context.Background(), hostSource(dir), req, func(c Chunk) error {
		out.Write(c.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRotation writes any pieces through rotators that are closed and opened
// again at any time: what is kept is the end of what was written, in files
// within their limits.
func TestRotation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		cfg := RotatorConfig{Dir: dir, Base: "t.stdout", MaxFiles: rapid.IntRange(1, 4).Draw(rt, "files"), MaxBytes: rapid.Int64Range(1, 50).Draw(rt, "bytes")}
		var all strings.Builder
		for range rapid.IntRange(1, 5).Draw(rt, "sessions") {
			r, err := NewRotator(cfg)
			if err != nil {
				rt.Fatal(err)
			}
			for _, piece := range rapid.SliceOfN(rapid.StringMatching(`[ab\n]{0,80}`), 0, 5).Draw(rt, "pieces") {
				if n, err := r.Write([]byte(piece)); err != nil || n != len(piece) {
					rt.Fatalf("wrote %d of %d: %v", n, len(piece), err)
				}
				all.WriteString(piece)
			}
			if err := r.Close(); err != nil {
				rt.Fatal(err)
			}
		}
		files, err := Files(hostSource(dir), ".", "t.stdout")
		if err != nil || len(files) > cfg.MaxFiles {
			rt.Fatalf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			if f.Size > cfg.MaxBytes {
				rt.Fatalf("%s holds %d bytes", f.Name, f.Size)
			}
		}
		kept := read(t, dir, Request{})
		if !strings.HasSuffix(all.String(), kept) {
			rt.Fatalf("kept %q of %q", kept, all.String())
		}
		if len(files) > 0 && files[0].Index == 0 && kept != all.String() {
			rt.Fatalf("nothing was rotated away, yet %q of %q is kept", kept, all.String())
		}
		n := rapid.Int64Range(0, 300).Draw(rt, "tail")
		if want := kept[max(0, int64(len(kept))-n):]; read(t, dir, Request{FromEnd: true, Offset: n}) != want {
			rt.Fatalf("the last %d bytes are not %q", n, want)
		}
		if want := kept[min(n, int64(len(kept))):]; read(t, dir, Request{Offset: n}) != want {
			rt.Fatalf("what follows byte %d is not %q", n, want)
		}
	})
}

func TestFollowCrossesFilesAndEnds(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRotator(RotatorConfig{Dir: dir, Base: "t.stdout", MaxFiles: 100, MaxBytes: 32})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var got bytes.Buffer
	seen := make(chan int, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- Stream(context.Background(), hostSource(dir), Request{Dir: ".", Base: "t.stdout", Follow: true, Done: done}, func(c Chunk) error {
			got.Write(c.Data)
			seen <- got.Len()
			return nil
		})
	}()
	var want strings.Builder
	for i := range 40 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range seen {
		if n == want.Len() {
			break
		}
	}
	fmt.Fprint(r, "last\n")
	want.WriteString("last\n")
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("followed %q", got.String())
	}
}

func TestFollowFileEvents(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log []string
	err := FollowFile(context.Background(), hostSource(dir), "f", true, 2, true, func(c Chunk) error {
		log = append(log, fmt.Sprintf("%d %q %s", c.Offset, c.Data, c.Event))
		switch len(log) {
		case 1:
			return os.Truncate(name, 1)
		case 3:
			return os.Remove(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`5 "lo" `, `5 "" file truncated`, `1 "h" `, `1 "" file deleted`}
	if fmt.Sprint(log) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", log, want)
	}
}

func TestRotatorFollowsNoLinks(t *testing.T) {
	dir := t.TempDir()
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{canary, "other"} {
		link := filepath.Join(dir, "t.stdout.0")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if _, err := NewRotator(RotatorConfig{Dir: dir, Base: "t.stdout", MaxFiles: 1, MaxBytes: 1}); err == nil {
			t.Errorf("a link to %s was opened", target)
		}
		os.Remove(link)
	}
}
