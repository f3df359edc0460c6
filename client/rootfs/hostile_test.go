package rootfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostile is an allocation whose task does what it can to be read as the host:
// the canary is a file of the host.
func hostile(t *testing.T) (a *AllocDir, d *Dir, local, canary string) {
	t.Helper()
	a = build(t)
	base := filepath.Dir(a.Path()) // hard links need the same disk
	canary = filepath.Join(base, "canary")
	put(t, canary, "host")
	d, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return a, d, filepath.Join(a.Path(), "web/local"), canary
}

// TestHostileFiles_N19: links in any form, loops, FIFOs and second names of
// files of the host are refused, and nothing blocks.
func TestHostileFiles_N19(t *testing.T) {
	_, d, local, canary := hostile(t)
	for name, target := range map[string]string{"abs": canary, "root": "/", "loop": "loop", "tofifo": "fifo", "up": "../../../canary", "proc": "/proc/self/root" + canary} {
		if err := os.Symlink(target, filepath.Join(local, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(local, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(canary, filepath.Join(local, "hard")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Log("second names of files of root can be made by root alone")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"abs", "root", "root/etc/passwd", "loop", "tofifo", "fifo", "up", "proc", "hard"} {
			f, err := d.Open("web/local/" + name)
			if err == nil {
				text, _ := io.ReadAll(f)
				f.Close()
				if os.Geteuid() == 0 || name != "hard" {
					t.Errorf("%s was opened: %q", name, text)
				}
			}
			if entries, err := d.ReadDir("web/local/" + name); err == nil {
				t.Errorf("%s was listed: %v", name, entries)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a read blocks")
	}
}

// TestExchangedLinks_N19: a file and a link to the host change places while it
// is read; what is read is never the host's.
func TestExchangedLinks_N19(t *testing.T) {
	_, d, local, canary := hostile(t)
	put(t, filepath.Join(local, "file"), "mine")
	if err := os.Symlink(canary, filepath.Join(local, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(local, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(local, "dir/canary"), "mine")
	if err := os.Symlink(filepath.Dir(canary), filepath.Join(local, "dirlink")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	for _, pair := range [][2]string{{"file", "link"}, {"dir", "dirlink"}} {
		swapping.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(local, pair[0]), unix.AT_FDCWD, filepath.Join(local, pair[1]), unix.RENAME_EXCHANGE)
				}
			}
		})
	}
	read := 0
	for range 10_000 {
		for _, name := range []string{"file", "dir/canary"} {
			f, err := d.Open("web/local/" + name)
			if err != nil {
				continue
			}
			text, _ := io.ReadAll(f)
			f.Close()
			read++
			if string(text) != "mine" {
				t.Fatalf("%s gave %q", name, text)
			}
		}
		if entries, err := d.ReadDir("web/local/dir"); err == nil && (len(entries) != 1 || entries[0].Name() != "canary") {
			t.Fatalf("the host's folder was listed: %v", entries)
		}
	}
	close(stop)
	swapping.Wait()
	if read == 0 {
		t.Error("nothing was ever read: the test tests nothing")
	}
}

// TestSecretsByAnyName_N36: case, encodings, dots, slashes and links do not
// lead to a task's secrets.
func TestSecretsByAnyName_N36(t *testing.T) {
	a, d, local, _ := hostile(t)
	put(t, a.Path()+"/web/secrets/token", "secret")
	put(t, a.Path()+"/web/private/token", "secret")
	if err := os.Symlink("../secrets", filepath.Join(local, "s")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"alloc/../web/secrets/token", "web/secrets/./token", "/web//secrets///token", "web/SECRETS/token", "web/Secrets/token", "web/secrets/token/",
		"web/%73ecrets/token", "web/%2573ecrets/token", "web/private/token", "web/local/s/token", "web/local/../secrets/token",
	} {
		f, err := d.Open(name)
		if err == nil {
			text, _ := io.ReadAll(f)
			f.Close()
			t.Errorf("%s gave %q", name, text)
		} else if strings.Contains(name, "local/s") && !errors.Is(err, ErrSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"web/secrets", "web/private", "web/local/s", "web/secrets/."} {
		if entries, err := d.ReadDir(name); !errors.Is(err, ErrSecret) {
			t.Errorf("%s was listed: %v %v", name, entries, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	// Another name for the same mount, as a file system that ignores case gives.
	other := filepath.Join(a.Path(), "web", "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(a.Path()+"/web/secrets", other, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unmount(other) })
	if f, err := d.Open("web/other/token"); !errors.Is(err, ErrSecret) {
		t.Errorf("by its mount: %v %v", f, err)
	}
}
