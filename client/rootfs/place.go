package rootfs

import (
	"fmt"
	"path"
	"strings"
)

// Place turns a path of a job file, after interpolation, into one of a file
// below the allocation's directory. Relative paths begin in the task's
// directory; absolute ones are those that the task sees (/local, /secrets,
// /alloc), or the host's own below the allocation; any other is taken as
// relative. What leaves the task's and the allocation's shared directory is
// refused.
func (a *AllocDir) Place(task, name string) (string, error) {
	rel, err := a.PlaceDir(task, name)
	if err == nil && (rel == task || rel == SharedName) {
		err = leaves(name)
	}
	if err != nil {
		return "", err
	}
	return rel, nil
}

// PlaceDir is Place for a directory: the task's own and the shared one are
// allowed too.
func (a *AllocDir) PlaceDir(task, name string) (string, error) {
	rel := path.Join(task, name)
	switch {
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("path %q holds a null character", name)
	case !strings.HasPrefix(name, "/"):
	case under(name, a.path):
		rel = strings.TrimPrefix(path.Clean(name), path.Clean(a.path)+"/")
	case under(path.Clean(name), "/"+SharedName):
		rel = strings.TrimPrefix(path.Clean(name), "/")
	}
	rel = path.Clean(rel)
	if !under(rel, task) && !under(rel, SharedName) {
		return "", leaves(name)
	}
	return rel, nil
}

func leaves(name string) error {
	return fmt.Errorf("path %q leaves the task's directory: use one below local/, secrets/ or alloc/", name)
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
