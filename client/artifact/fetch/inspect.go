package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// pick makes a part of the tree all of it.
func pick(root *os.Root, part string) error {
	if part == "" {
		return nil
	}
	name := path.Join(TreeName, part)
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("what was fetched has no directory %q (the part of the source behind //)", part)
	}
	const picked = "picked"
	if err := root.Rename(name, picked); err != nil {
		return err
	}
	if err := root.RemoveAll(TreeName); err != nil {
		return err
	}
	return root.Rename(picked, TreeName)
}

// inspect looks through the tree: its size, what kinds of files it holds, and
// with links, that they stay inside.
func inspect(root *os.Root, limits Limits, links bool) error {
	tree, err := root.OpenRoot(TreeName)
	if err != nil {
		return err
	}
	defer tree.Close()
	return walk(tree, limits, func(name string, d fs.DirEntry) error {
		switch {
		case d.IsDir() || d.Type().IsRegular():
			return nil
		case d.Type() != fs.ModeSymlink:
			return fmt.Errorf("%q is neither file, directory nor link", name)
		case links:
			return checkLink(tree, name)
		}
		return nil
	})
}

// checkLink refuses a link that leads outside: by its text, and by where the
// links on its way lead.
func checkLink(tree *os.Root, name string) error {
	target, err := tree.Readlink(name)
	if err != nil {
		return err
	}
	whole := path.Join(path.Dir(name), target)
	_, err = tree.Stat(name)
	if path.IsAbs(target) || whole == ".." || strings.HasPrefix(whole, "../") || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("artifact includes symlink that resolves outside of sandbox: %q leads to %q", name, target)
	}
	return nil
}

// walk counts a tree and looks at each of its entries.
func walk(tree *os.Root, limits Limits, look func(string, fs.DirEntry) error) error {
	files, size := 0, int64(0)
	return fs.WalkDir(tree.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if files++; limits.Files > 0 && files > limits.Files {
			return tooMany(limits.Files)
		}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			if size += info.Size(); size > limits.Size {
				return tooBig(limits.Size)
			}
		}
		return look(name, d)
	})
}

// watchEvery is how often the size of what others write is looked at.
const watchEvery = 500 * time.Millisecond

// watchSize ends the job when what git writes grows beyond the limits.
func (j *job) watchSize(cancel context.CancelCauseFunc) (stop func()) {
	limits := j.Limits
	limits.Size *= 2 // the objects and the files; the outcome is looked at again
	limits.Files *= 3
	return every(watchEvery, func() {
		err := walk(j.root, limits, func(string, fs.DirEntry) error { return nil })
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // files come and go
			cancel(err)
		}
	})
}
