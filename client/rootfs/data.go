package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// dataName is the shared folder that outlives an allocation.
const dataName = "data"

// MoveData moves what an allocation leaves to the next one on the same disk:
// alloc/data and the local folder of each of the named tasks. What is missing,
// or is not a directory any more, stays behind. The new directory has been
// built.
func MoveData(from, to *AllocDir, tasks []string) error {
	old, err := os.OpenRoot(from.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	own, err := os.OpenRoot(to.path)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := moveDir(old, own, SharedName, dataName); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := moveDir(old, own, t, localName); err != nil {
			return err
		}
	}
	return nil
}

// moveDir renames <parent>/<name> from one root to the other, over an empty
// directory. Parents are opened without following links out of their root, and
// the rename itself follows none.
func moveDir(from, to *os.Root, parent, name string) error {
	src, err := openDir(from, parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openDir(to, parent)
	if err != nil {
		return err
	}
	defer dst.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if err := unix.Renameat(int(src.Fd()), name, int(dst.Fd()), name); err != nil {
		return fmt.Errorf("cannot move %s/%s: %w", parent, name, err)
	}
	return nil
}

func openDir(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	return f, mapped(err)
}

// Use is how full a disk is, in percent.
type Use struct{ Percent, InodesPercent float64 }

// DiskUse looks at the disk that a trusted host path is on. A file system
// without a fixed number of inodes has none in use.
func DiskUse(host string) (Use, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(host, &st); err != nil {
		return Use{}, err
	}
	var u Use
	// As df has it: what only root may use does not count as room.
	if used := st.Blocks - st.Bfree; used+st.Bavail > 0 {
		u.Percent = 100 * float64(used) / float64(used+st.Bavail)
	}
	if st.Files > 0 {
		u.InodesPercent = 100 * float64(st.Files-st.Ffree) / float64(st.Files)
	}
	return u, nil
}
