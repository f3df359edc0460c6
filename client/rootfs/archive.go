package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// endName is the last entry of an archive: without it the archive broke off.
const endName = ".end"

// maxEntries bounds what an archive holds.
const maxEntries = 500_000

// dataDirs are the folders whose content outlives an allocation, below its
// directory.
func dataDirs(tasks []string) []string {
	out := []string{SharedName + "/" + dataName}
	for _, t := range tasks {
		out = append(out, t+"/"+localName)
	}
	return out
}

// WriteData writes what MoveData would move as a tar archive: files,
// directories, and links that stay inside. No task runs any more.
func WriteData(w io.Writer, from *AllocDir, tasks []string) error {
	root, err := os.OpenRoot(from.path)
	if err != nil {
		return err
	}
	defer root.Close()
	out := tar.NewWriter(w)
	for _, dir := range dataDirs(tasks) {
		if err := writeTree(out, root, dir); err != nil {
			return err
		}
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: endName}); err != nil {
		return err
	}
	return out.Close()
}

// writeTree writes a directory; one that is missing, or is none, is left out.
func writeTree(out *tar.Writer, root *os.Root, dir string) error {
	parent, err := openDir(root, path.Dir(dir))
	if err != nil {
		return ignoreMissing(err)
	}
	parent.Close()
	if info, err := root.Lstat(dir); err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	return fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return writeEntry(out, root, dir, name, info)
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		return nil
	}
	return err
}

func writeEntry(out *tar.Writer, root *os.Root, dir, name string, info fs.FileInfo) error {
	link := ""
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		var err error
		if link, err = root.Readlink(name); err != nil {
			return err
		}
		if !staysIn(dir, name, link) {
			return nil
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if !info.Mode().IsRegular() {
		return out.WriteHeader(h)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonBlock|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(out, f, h.Size)
	return err
}

// staysIn reports whether a link leads to a place below dir.
func staysIn(dir, name, target string) bool {
	return !path.IsAbs(target) && under(path.Join(path.Dir(name), target), dir)
}

// ReadData unpacks an archive of WriteData, as an untrusted node sent it, into
// an allocation's directory that was built and that no task uses yet. limit
// bounds the bytes. What an error leaves behind, ClearData removes.
func ReadData(r io.Reader, to *AllocDir, tasks []string, limit int64) error {
	root, err := os.OpenRoot(to.path)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &dataReader{root: root, dirs: dataDirs(tasks), left: limit}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return errors.New("the archive broke off")
		}
		if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		if h.Name == endName {
			return nil
		}
		if err := u.put(h, in); err != nil {
			return err
		}
	}
}

type dataReader struct {
	root    *os.Root
	dirs    []string
	entries int
	left    int64
}

func (u *dataReader) put(h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	dir := ""
	for _, d := range u.dirs {
		if under(name, d) && name != d {
			dir = d
		}
	}
	if dir == "" || strings.ContainsRune(h.Name, 0) {
		return fmt.Errorf("archive contains %q, which escapes alloc dir", h.Name)
	}
	if u.entries++; u.entries > maxEntries {
		return fmt.Errorf("archive contains more than %d entries", maxEntries)
	}
	if err := u.make(h, dir, name, r); err != nil {
		if errors.Is(mapped(err), ErrEscapes) {
			return fmt.Errorf("archive contains %q, which escapes alloc dir", h.Name)
		}
		return fmt.Errorf("archive contains %q: %w", h.Name, err)
	}
	return nil
}

func (u *dataReader) make(h *tar.Header, dir, name string, r io.Reader) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	old, err := u.root.Lstat(name)
	if err == nil && (!old.IsDir() || h.Typeflag != tar.TypeDir) {
		return errors.New("the name is there twice")
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := u.root.Chmod(name, mode|0o700); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if !staysIn(dir, name, h.Linkname) {
			return ErrEscapes
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeReg:
		if err := u.write(name, mode, h, r); err != nil {
			return err
		}
	default:
		return errors.New("it is neither file, directory nor link")
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return u.root.Lchown(name, h.Uid, h.Gid)
}

func (u *dataReader) write(name string, mode fs.FileMode, h *tar.Header, r io.Reader) error {
	if u.left -= h.Size; u.left < 0 || h.Size < 0 {
		return errors.New("the data is larger than the group's ephemeral_disk.size")
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil && !h.ModTime.IsZero() {
		err = u.root.Chtimes(name, h.ModTime, h.ModTime)
	}
	return err
}

// ClearData empties the folders that ReadData fills.
func ClearData(a *AllocDir, tasks []string) error {
	root, err := os.OpenRoot(a.path)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range dataDirs(tasks) {
		entries, derr := fs.ReadDir(root.FS(), dir)
		err = errors.Join(err, ignoreMissing(derr))
		for _, e := range entries {
			err = errors.Join(err, root.RemoveAll(path.Join(dir, e.Name())))
		}
	}
	return err
}
