// Package rootfs is the one door to host paths that come from jobs: the files
// of allocation directories. Every path goes through os.Root, so that neither
// "..", nor an absolute path, nor a symbolic link that a task left behind leads
// outside. It imports nothing of ours; no other package under client/ or
// drivers/ opens such paths.
package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrEscapes is a path that leads out of the allocation directory. Its text is
// the public contract's.
var ErrEscapes = errors.New("Path escapes the alloc directory")

// ErrSecret is a path below a task's secrets.
var ErrSecret = errors.New("reading the secrets of a task is not allowed")

// Dir is an open allocation directory.
type Dir struct {
	root *os.Root
	path string
}

// OpenDir opens the directory at a trusted host path.
func OpenDir(host string) (*Dir, error) {
	root, err := os.OpenRoot(host)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, path: host}, nil
}

// Close lets the directory go.
func (d *Dir) Close() error { return d.root.Close() }

// clean makes a path from a job or a request relative to the directory. A
// leading slash stands for the directory itself.
func clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", ErrEscapes
	}
	rel := path.Clean(strings.TrimLeft(name, "/"))
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", ErrEscapes
	}
	return rel, nil
}

// mapped turns os.Root's own error about an escape into ErrEscapes.
func mapped(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) && strings.Contains(pathErr.Err.Error(), "escapes") {
		return ErrEscapes
	}
	return err
}

// Stat describes a file, following links inside the directory.
func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	rel, err := clean(name)
	if err != nil {
		return nil, err
	}
	info, err := d.root.Stat(rel)
	return info, mapped(err)
}

// ReadDir lists a directory in the order of names.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	rel, err := clean(name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(rel, os.O_RDONLY|nonBlock|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, mapped(err)
	}
	defer f.Close()
	if err := d.refuseSecrets(f, true); err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	sortEntries(entries)
	return entries, nil
}

// Open opens a regular file for reading. FIFOs, devices and sockets are
// refused (opening one could block), and so is what lies below the secrets of
// a task, whatever links lead there. A file of root that has several names is
// refused too: one of them may be outside.
func (d *Dir) Open(name string) (*os.File, error) {
	rel, err := clean(name)
	if err != nil {
		return nil, err
	}
	info, err := d.root.Stat(rel)
	if err != nil {
		return nil, mapped(err)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, fmt.Errorf("cannot read %q: it is not a regular file", name)
	}
	f, err := d.root.OpenFile(rel, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, mapped(err)
	}
	if err := d.acceptable(f, name); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// acceptable checks an open file: its name may have become another's since it
// was looked at.
func (d *Dir) acceptable(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("cannot read %q: it is not a regular file", name)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 && st.Uid == 0 {
		return fmt.Errorf("cannot read %q: it is a file of root with several names, and one may be outside", name)
	}
	return d.refuseSecrets(f, false)
}

// refuseSecrets checks where an open file really is: by name, whatever its
// case, and by the mount that it is on. With list the folder itself counts.
func (d *Dir) refuseSecrets(f *os.File, list bool) error {
	real, err := realPath(f)
	if err != nil {
		return err
	}
	base, err := d.realBase()
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(base, real)
	if err != nil || strings.HasPrefix(rel, "..") {
		return ErrEscapes
	}
	// <task>/secrets/... and <task>/private/...
	parts := strings.Split(rel, string(filepath.Separator))
	least := 3
	if list {
		least = 2
	}
	if len(parts) >= least && (strings.EqualFold(parts[1], secretsName) || strings.EqualFold(parts[1], privateName)) {
		return ErrSecret
	}
	if len(parts) < 2 {
		return nil
	}
	own, err := f.Stat()
	if err != nil {
		return err
	}
	for _, name := range []string{secretsName, privateName} {
		secret, err := d.root.Lstat(parts[0] + "/" + name)
		if err == nil && secret.IsDir() && sameMount(own, secret) {
			task, err := d.root.Lstat(parts[0])
			if err == nil && !sameMount(task, secret) { // a mount of its own
				return ErrSecret
			}
		}
	}
	return nil
}

func sameMount(a, b fs.FileInfo) bool {
	x, ok1 := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && x.Dev == y.Dev
}

// realBase is the directory's own real path.
func (d *Dir) realBase() (string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return realPath(f)
}

// WriteFile replaces a file of the directory, made with the given mode.
func (d *Dir) WriteFile(name string, data []byte, mode fs.FileMode) error {
	rel, err := clean(name)
	if err != nil {
		return err
	}
	if err := d.root.MkdirAll(path.Dir(rel), 0o777); err != nil {
		return mapped(err)
	}
	f, err := d.root.OpenFile(rel, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return mapped(err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// RealDir is the path on the host of a directory, with every link on the way
// resolved; links that lead outside are ErrEscapes. A directory that does not
// exist is made, open to everybody, where create says so.
func (d *Dir) RealDir(name string, create bool) (string, error) {
	rel, err := clean(name)
	if err != nil {
		return "", err
	}
	f, err := d.root.OpenFile(rel, os.O_RDONLY|nonBlock, 0)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := d.root.MkdirAll(rel, 0o777); err != nil {
			return "", mapped(err)
		}
		f, err = d.root.OpenFile(rel, os.O_RDONLY|nonBlock, 0)
	}
	if err != nil {
		return "", mapped(err)
	}
	defer f.Close()
	return realPath(f)
}

// ReadFile is the content of a regular file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	rel, err := clean(name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(rel, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, mapped(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("cannot read %q: it is no regular file of at most %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// Replace puts a file in place as a whole: whoever reads it sees the old one or
// the new one. uid and gid may be nil; setuid, setgid and sticky are dropped.
func (d *Dir) Replace(name string, data []byte, mode fs.FileMode, uid, gid *int) error {
	rel, err := clean(name)
	if err != nil {
		return err
	}
	if err := d.root.MkdirAll(path.Dir(rel), 0o777); err != nil {
		return mapped(err)
	}
	return d.replaceFrom(rel, bytes.NewReader(data), mode, uid, gid)
}

func orKeep(id *int) int {
	if id == nil {
		return -1
	}
	return *id
}

// Holds reports whether a regular file has exactly this content.
func (d *Dir) Holds(name string, data []byte) bool {
	rel, err := clean(name)
	if err != nil {
		return false
	}
	info, err := d.root.Stat(rel)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(data)) {
		return false
	}
	f, err := d.root.OpenFile(rel, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	have, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1))
	return err == nil && bytes.Equal(have, data)
}
