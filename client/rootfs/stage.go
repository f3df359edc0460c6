package rootfs

import (
	"crypto/rand"
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

// stagePrefix begins the names of stages in an allocation's directory.
const stagePrefix = ".stage-"

// Stage is a folder beside the directories of an allocation's tasks, on the
// same disk, in which a process without rights prepares files. No task sees it.
type Stage struct {
	dir  *Dir
	name string
}

// NewStage makes a stage whose work folder belongs to a user, where we may say
// so.
func (a *AllocDir) NewStage(uid, gid int) (*Stage, error) {
	dir, err := a.Open()
	if err != nil {
		return nil, err
	}
	s := &Stage{dir: dir, name: stagePrefix + rand.Text()}
	err = dir.root.Mkdir(s.name, 0o711)
	for _, sub := range []string{"root", "work"} {
		if err == nil {
			err = dir.root.Mkdir(path.Join(s.name, sub), 0o700)
		}
	}
	if err == nil && os.Geteuid() == 0 {
		err = dir.root.Lchown(path.Join(s.name, "work"), uid, gid)
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// Work is the path on the host of the folder for the process.
func (s *Stage) Work() string { return filepath.Join(s.dir.path, s.name, "work") }

// Open opens a regular file of the work folder.
func (s *Stage) Open(name string) (*os.File, error) {
	return s.dir.root.OpenFile(path.Join(s.name, "work", name), os.O_RDONLY|nonBlock|syscall.O_NOFOLLOW, 0)
}

// Remove removes the stage with all that is left in it.
func (s *Stage) Remove() error {
	return errors.Join(s.dir.root.RemoveAll(s.name), s.dir.Close())
}

// SweepStages removes stages that an earlier agent left behind.
func (a *AllocDir) SweepStages() error {
	dir, err := a.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.root.FS(), ".")
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagePrefix) {
			err = errors.Join(err, dir.root.RemoveAll(e.Name()))
		}
	}
	return err
}

// Owner is the user that installed files belong to, where we are root.
type Owner struct{ UID, GID int }

// Install moves what lies at name in the work folder, a file or a directory,
// to a path of the allocation, over what is there: directories are merged,
// files replaced. Nobody writes to the work folder any more. Setuid, setgid and
// sticky bits are dropped; what is neither file, directory nor link is refused.
func (s *Stage) Install(name, to string, owner Owner) error {
	rel, err := clean(to)
	if err != nil {
		return err
	}
	from := path.Join(s.name, "work", name)
	if err := s.dir.tame(from, owner); err != nil {
		return err
	}
	if err := s.dir.root.MkdirAll(path.Dir(rel), 0o777); err != nil {
		return mapped(err)
	}
	return s.dir.move(from, rel, owner)
}

// tame gives everything below a path its owner and a harmless mode.
func (d *Dir) tame(name string, owner Owner) error {
	return fs.WalkDir(d.root.FS(), name, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case e.Type() == fs.ModeSymlink:
		case e.IsDir() || e.Type().IsRegular():
			info, err := d.root.Lstat(name)
			if err != nil {
				return err
			}
			mode := info.Mode().Perm() | 0o600
			if e.IsDir() {
				mode |= 0o100
			}
			if err := d.root.Chmod(name, mode); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%q is neither file, directory nor link", path.Base(name))
		}
		if os.Geteuid() != 0 {
			return nil
		}
		return d.root.Lchown(name, owner.UID, owner.GID)
	})
}

// move renames, or copies where the target is on another file system.
func (d *Dir) move(from, to string, owner Owner) error {
	src, err := d.root.Lstat(from)
	if err != nil {
		return err
	}
	dst, err := d.root.Lstat(to)
	if err == nil && src.IsDir() && dst.Mode()&fs.ModeSymlink != 0 {
		dst, err = d.root.Stat(to) // where the link leads, inside
	}
	switch {
	case err == nil && src.IsDir() != dst.IsDir():
		return fmt.Errorf("cannot put %q in place: one is a directory, the other is a file", to)
	case err == nil && src.IsDir():
		return d.moveAll(from, to, owner)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return mapped(err)
	}
	err = d.root.Rename(from, to)
	if errors.Is(err, syscall.EXDEV) {
		return d.copyOver(src, from, to, owner)
	}
	return mapped(err)
}

// moveAll moves what is in a directory into another.
func (d *Dir) moveAll(from, to string, owner Owner) error {
	entries, err := fs.ReadDir(d.root.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := d.move(path.Join(from, e.Name()), path.Join(to, e.Name()), owner); err != nil {
			return err
		}
	}
	return nil
}

// copyOver copies to another file system.
func (d *Dir) copyOver(src fs.FileInfo, from, to string, owner Owner) error {
	switch {
	case src.IsDir():
		if err := d.root.Mkdir(to, src.Mode().Perm()); err != nil {
			return mapped(err)
		}
		if os.Geteuid() == 0 {
			if err := d.root.Lchown(to, owner.UID, owner.GID); err != nil {
				return err
			}
		}
		return d.moveAll(from, to, owner)
	case src.Mode()&fs.ModeSymlink != 0:
		target, err := d.root.Readlink(from)
		if err != nil {
			return err
		}
		_ = d.root.Remove(to)
		return mapped(d.root.Symlink(target, to))
	}
	in, err := d.root.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if os.Geteuid() != 0 {
		return d.replaceFrom(to, in, src.Mode().Perm(), nil, nil)
	}
	return d.replaceFrom(to, in, src.Mode().Perm(), &owner.UID, &owner.GID)
}

// replaceFrom puts a file in place as a whole.
func (d *Dir) replaceFrom(rel string, data io.Reader, mode fs.FileMode, uid, gid *int) error {
	tmp := path.Join(path.Dir(rel), ".nomadlite-"+rand.Text())
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return mapped(err)
	}
	_, err = io.Copy(f, data)
	err = errors.Join(err, f.Chmod(mode&fs.ModePerm))
	if uid != nil || gid != nil {
		err = errors.Join(err, f.Chown(orKeep(uid), orKeep(gid)))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(tmp, rel)
	}
	if err != nil {
		return errors.Join(mapped(err), d.root.Remove(tmp))
	}
	return nil
}
