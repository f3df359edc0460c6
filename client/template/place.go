package template

import (
	"fmt"
	"path"
	"strings"

	"github.com/nomadlite/nomadlite/client/rootfs"
)

// Place turns a path of a job file, after interpolation, into one below the
// allocation's directory. Relative paths begin in the task's directory;
// absolute ones are those that the task sees (/local, /secrets, /alloc), or
// the host's own below the allocation; any other is taken as relative. What
// leaves the task's and the allocation's shared directory is refused.
func Place(dir *rootfs.AllocDir, task, name string) (string, error) {
	rel := path.Join(task, name)
	switch {
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("path %q holds a null character", name)
	case !strings.HasPrefix(name, "/"):
	case under(name, dir.Path()):
		rel = strings.TrimPrefix(path.Clean(name), path.Clean(dir.Path())+"/")
	case under(path.Clean(name), "/"+rootfs.SharedName):
		rel = strings.TrimPrefix(path.Clean(name), "/")
	}
	rel = path.Clean(rel)
	if !under(rel, task) && !under(rel, rootfs.SharedName) || rel == task || rel == rootfs.SharedName {
		return "", fmt.Errorf("path %q leaves the task's directory: use one below local/, secrets/ or alloc/", name)
	}
	return rel, nil
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
