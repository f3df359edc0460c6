package fetch

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// unpacker writes what an archive holds below the work directory, within
// limits.
type unpacker struct {
	root   *os.Root
	limits Limits
	size   int64
	files  int
}

func isMany(kind string) bool { return kind == "zip" || strings.HasPrefix(kind, "tar") }

func tooMany(limit int) error {
	return fmt.Errorf("there are more than %d files and directories (client setting artifact.decompression_file_count_limit)", limit)
}

func tooBig(limit int64) error {
	return fmt.Errorf("the content is larger than %d bytes, the lesser of artifact.decompression_size_limit and the group's ephemeral_disk.size: raise the one that is too small", limit)
}

// maxWindow bounds what a decompressor may hold in memory, in bytes.
const maxWindow = 128 << 20

// plain undoes a compression.
func plain(r io.Reader, compression string) (io.Reader, error) {
	switch compression {
	case "gz":
		return gzip.NewReader(r)
	case "bz2":
		return bzip2.NewReader(r), nil
	case "xz":
		return xz.NewReader(r)
	case "zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return r, nil
}

// single unpacks a compressed file.
func (u *unpacker) single(raw *os.File, kind, name string) error {
	if _, err := raw.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := plain(raw, kind)
	if err != nil {
		return notReadable(kind, err)
	}
	return u.file(r, name)
}

func notReadable(kind string, err error) error {
	return fmt.Errorf("cannot read it as %s: %w (the option archive says what it is; archive = false keeps it as it is)", kind, err)
}

// file writes one file.
func (u *unpacker) file(r io.Reader, name string) error { return u.write(r, name, 0o644) }

func (u *unpacker) write(r io.Reader, name string, mode fs.FileMode) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(r, u.limits.Size-u.size+1))
	u.size += n
	if u.size > u.limits.Size {
		return tooBig(u.limits.Size)
	}
	if err != nil {
		return err
	}
	return f.Chmod(mode & fs.ModePerm)
}

// many unpacks an archive of files into the tree.
func (u *unpacker) many(raw *os.File, kind string) error {
	if err := u.root.Mkdir(TreeName, 0o755); err != nil {
		return err
	}
	if _, err := raw.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var err error
	if kind == "zip" {
		err = u.zip(raw)
	} else {
		var r io.Reader
		if r, err = plain(raw, strings.TrimPrefix(strings.TrimPrefix(kind, "tar"), ".")); err == nil {
			err = u.tar(tar.NewReader(r))
		}
	}
	var known *entryError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return notReadable(kind, err)
}

// entryError is what is wrong with one entry; the archive could be read.
type entryError struct{ error }

// Unwrap gives errors.Is the cause.
func (e *entryError) Unwrap() error { return e.error }

func (u *unpacker) tar(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeGNUSparse:
		default:
			return &entryError{fmt.Errorf("entry %q is neither file, directory nor link", h.Name)}
		}
		e := entry{name: h.Name, mode: fs.FileMode(h.Mode) & fs.ModePerm, size: h.Size, at: h.ModTime, link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeDir:
			e.mode |= fs.ModeDir
		case tar.TypeSymlink:
			e.mode |= fs.ModeSymlink
		case tar.TypeLink:
			e.hard = true
		}
		if err := u.put(e, r); err != nil {
			return err
		}
	}
}

func (u *unpacker) zip(raw *os.File) error {
	info, err := raw.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(raw, info.Size())
	if err != nil {
		return err
	}
	if u.limits.Files > 0 && len(z.File) > u.limits.Files {
		return &entryError{tooMany(u.limits.Files)}
	}
	for _, f := range z.File {
		if err := u.zipped(f); err != nil {
			return err
		}
	}
	return nil
}

// maxLink is the longest target of a link.
const maxLink = 4096

func (u *unpacker) zipped(f *zip.File) error {
	e := entry{name: f.Name, mode: f.Mode() & (fs.ModePerm | fs.ModeType), size: int64(min(f.UncompressedSize64, 1<<62)), at: f.Modified}
	if strings.HasSuffix(f.Name, "/") {
		e.mode |= fs.ModeDir
	}
	if e.mode.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
		return &entryError{fmt.Errorf("entry %q is neither file, directory nor link", f.Name)}
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if e.mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(r, maxLink))
		if err != nil {
			return err
		}
		e.link = string(target)
	}
	return u.put(e, r)
}

// entry is one thing in an archive.
type entry struct {
	name string
	mode fs.FileMode
	size int64
	at   time.Time
	link string
	hard bool // a second name of link
}

// inside makes the name of an entry a relative path that does not leave.
func inside(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || strings.ContainsRune(name, 0) || strings.HasPrefix(name, "/") || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", &entryError{fmt.Errorf("archive contains %q, which escapes the destination", name)}
	}
	return clean, nil
}

// put makes one entry. os.Root follows no link out of the work directory, and
// an entry never replaces a directory.
func (u *unpacker) put(e entry, r io.Reader) error {
	rel, err := inside(e.name)
	if err != nil {
		return err
	}
	if rel == "." {
		return nil
	}
	if u.files++; u.limits.Files > 0 && u.files > u.limits.Files {
		return &entryError{tooMany(u.limits.Files)}
	}
	if e.size < 0 || e.size > u.limits.Size-u.size {
		return &entryError{tooBig(u.limits.Size)}
	}
	name := path.Join(TreeName, rel)
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return &entryError{fmt.Errorf("entry %q: %w", e.name, err)}
	}
	if err := u.make(e, name, r); err != nil {
		return &entryError{fmt.Errorf("entry %q: %w", e.name, err)}
	}
	return nil
}

func (u *unpacker) make(e entry, name string, r io.Reader) error {
	if e.mode.IsDir() {
		err := u.root.Mkdir(name, 0o755)
		if info, serr := u.root.Lstat(name); serr == nil && info.IsDir() {
			return u.root.Chmod(name, e.mode.Perm()|0o700)
		}
		return err
	}
	if info, err := u.root.Lstat(name); err == nil {
		if info.IsDir() {
			return errors.New("a directory has this name already")
		}
		if err := u.root.Remove(name); err != nil {
			return err
		}
	}
	switch {
	case e.hard:
		target, err := inside(e.link)
		if err != nil {
			return err
		}
		return u.root.Link(path.Join(TreeName, target), name)
	case e.mode&fs.ModeSymlink != 0:
		return u.root.Symlink(e.link, name)
	}
	if err := u.write(r, name, e.mode); err != nil {
		return err
	}
	if e.at.Unix() > 0 {
		return u.root.Chtimes(name, e.at, e.at)
	}
	return nil
}
