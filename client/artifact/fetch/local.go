package fetch

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
)

// getLocal copies a file, or the files of a folder, of this machine, where the
// operator allows it.
func (j *job) getLocal() (dir bool, err error) {
	u, err := url.Parse(j.Source.URL)
	if err != nil {
		return false, err
	}
	name := path.Clean(u.Path)
	for _, base := range j.LocalPaths {
		rel, found := strings.CutPrefix(name, strings.TrimSuffix(path.Clean(base), "/")+"/")
		if found {
			return j.copyLocal(base, rel)
		}
	}
	return false, fmt.Errorf("%s is a file of the node, and no folder of the client setting artifact.local_paths holds it", name)
}

// copyLocal copies rel below base; no link leads out of base.
func (j *job) copyLocal(base, rel string) (dir bool, err error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return false, fmt.Errorf("cannot open a folder of artifact.local_paths: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(rel)
	if err != nil {
		return false, passing{err}
	}
	if info.IsDir() {
		return true, j.copyTree(root, rel)
	}
	from, err := root.Open(rel)
	if err != nil {
		return false, err
	}
	defer from.Close()
	if info, err := from.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, fmt.Errorf("%q is no regular file", rel)
	}
	j.total.Store(info.Size())
	to, err := j.root.OpenFile(RawName, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer to.Close()
	return false, j.store(to, from, func() {})
}

func (j *job) copyTree(root *os.Root, rel string) error {
	if err := j.root.Mkdir(TreeName, 0o755); err != nil {
		return err
	}
	from, err := root.OpenRoot(rel)
	if err != nil {
		return err
	}
	defer from.Close()
	u := &unpacker{root: j.root, limits: j.Limits}
	return walkAll(from, j.Limits, u)
}

// walkAll copies files, directories and links.
func walkAll(from *os.Root, limits Limits, u *unpacker) error {
	return walk(from, limits, func(name string, d os.DirEntry) error {
		info, err := from.Lstat(name)
		if err != nil {
			return err
		}
		e := entry{name: name, mode: info.Mode(), size: info.Size(), at: info.ModTime()}
		switch {
		case d.IsDir():
			return u.put(e, nil)
		case info.Mode()&os.ModeSymlink != 0:
			if e.link, err = from.Readlink(name); err != nil {
				return err
			}
			e.size = 0
			return u.put(e, nil)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%q is neither file, directory nor link", name)
		}
		f, err := from.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return u.put(e, io.Reader(f))
	})
}
