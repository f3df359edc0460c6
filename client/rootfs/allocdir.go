package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Names of an allocation's directories (reference runtime.md 3).
const (
	SharedName  = "alloc"
	LogsName    = "logs"
	localName   = "local"
	secretsName = "secrets"
	privateName = "private"
	tmpName     = "tmp"
)

// AllocDir is the directory of one allocation: shared folders, and for each
// task its own.
//
//	<base>/<alloc id>/alloc/{logs,tmp,data}
//	<base>/<alloc id>/<task>/{local,secrets,private,tmp}
type AllocDir struct {
	path  string
	tasks []TaskDir
}

// TaskDir is a task's part: its name, and the room of its secrets in MiB (0 is
// the default).
type TaskDir struct {
	Name      string
	SecretsMB int
}

// defaultSecretsMB is the room for the secrets of a task that asks for none,
// and for what the agent keeps to itself.
const defaultSecretsMB = 1

// TaskPaths are the host paths of one task.
type TaskPaths struct {
	Dir     string
	Local   string
	Secrets string
	Shared  string // the allocation's "alloc" folder
	Logs    string
}

// NewAllocDir names the directory of an allocation; Build makes it. The names
// of tasks must be free of separators, which the job's validation ensures and
// Build checks again.
func NewAllocDir(base, allocID string, tasks []TaskDir) *AllocDir {
	return &AllocDir{path: filepath.Join(base, allocID), tasks: tasks}
}

// Path is the allocation's directory on the host.
func (a *AllocDir) Path() string { return a.path }

// Task returns the host paths of a task.
func (a *AllocDir) Task(name string) TaskPaths {
	dir := filepath.Join(a.path, name)
	shared := filepath.Join(a.path, SharedName)
	return TaskPaths{
		Dir: dir, Local: filepath.Join(dir, localName), Secrets: filepath.Join(dir, secretsName),
		Shared: shared, Logs: filepath.Join(shared, LogsName),
	}
}

// Build makes all directories with their modes and mounts the secrets where
// the process may. It may be called again on a directory that exists.
func (a *AllocDir) Build() error {
	for _, t := range a.tasks {
		if n := t.Name; n == "" || n == "." || n == ".." || n == SharedName || strings.ContainsAny(n, "/\\\x00") {
			return fmt.Errorf("cannot build the directory of task %q: the name is not allowed", n)
		}
	}
	if err := os.MkdirAll(a.path, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(a.path)
	if err != nil {
		return err
	}
	defer root.Close()
	err = makeTree(root, SharedName, []newDir{{LogsName, 0o777}, {tmpName, 0o777}, {"data", 0o777}})
	if err != nil {
		return err
	}
	for _, t := range a.tasks {
		if err := a.buildTask(root, t); err != nil {
			return err
		}
	}
	return nil
}

func (a *AllocDir) buildTask(root *os.Root, task TaskDir) error {
	err := makeTree(root, task.Name, []newDir{{localName, 0o777}, {tmpName, 0o777 | fs.ModeSticky}, {secretsName, 0o777}, {privateName, 0o777}})
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for name, size := range map[string]int{secretsName: task.SecretsMB, privateName: 0} {
		if err := mountSecrets(filepath.Join(a.path, task.Name, name), max(size, defaultSecretsMB)); err != nil {
			return fmt.Errorf("cannot mount the %s of task %q: %w", name, task.Name, err)
		}
	}
	return nil
}

// newDir is a directory to make.
type newDir struct {
	name string
	mode fs.FileMode
}

// makeTree makes a directory that everybody may write to, and those in it.
func makeTree(root *os.Root, name string, dirs []newDir) error {
	if err := makeDir(root, name, 0o777); err != nil {
		return err
	}
	parent, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	for _, d := range dirs {
		if err := makeDir(parent, d.name, d.mode); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes one directory, gives it its mode whatever the umask is, and as
// root gives it to nobody.
func makeDir(root *os.Root, name string, mode fs.FileMode) error {
	if err := root.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid := nobody()
	return f.Chown(uid, gid)
}

// Nobody is the user without rights, by its numbers.
func Nobody() (uid, gid int) { return nobody() }

// nobody is the user that owns what tasks of any user may write.
var nobody = sync.OnceValues(func() (uid, gid int) {
	u, err := user.Lookup("nobody")
	if err != nil {
		return 65534, 65534
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return 65534, 65534
	}
	return uid, gid
})

// secretsMarker tells a mounted directory from a plain one.
const secretsMarker = ".nomad-mount"

// mountSecrets mounts a small memory file system that is never swapped where
// the kernel can promise that.
func mountSecrets(dir string, sizeMB int) error {
	if _, err := os.Lstat(filepath.Join(dir, secretsMarker)); err == nil {
		return nil
	}
	flags := uintptr(syscall.MS_NOEXEC | syscall.MS_NOSUID | syscall.MS_NODEV)
	options := fmt.Sprintf("size=%dm,mode=0777", sizeMB)
	err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, syscall.EINVAL) {
		err = syscall.Mount("tmpfs", dir, "tmpfs", flags, options)
	}
	if errors.Is(err, syscall.EPERM) {
		return nil // in a container without the right to mount: a plain directory serves
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, secretsMarker), nil, 0o600)
}

// Destroy unmounts and removes the whole directory. What does not exist is no
// error.
func (a *AllocDir) Destroy() error {
	var errs []error
	for _, t := range a.taskDirs() {
		for _, name := range []string{secretsName, privateName} {
			err := unmount(filepath.Join(a.path, t, name))
			if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EPERM) {
				errs = append(errs, fmt.Errorf("cannot unmount %s of task %q: %w", name, t, err))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return os.RemoveAll(a.path)
}

// unmount detaches a mount, which processes may still use, and follows no
// link.
func unmount(path string) error { return syscall.Unmount(path, syscall.MNT_DETACH|umountNoFollow) }

// umountNoFollow is UMOUNT_NOFOLLOW, which package syscall lacks.
const umountNoFollow = 0x8

// taskDirs lists the tasks by name, or what the directory holds when they are
// not known.
func (a *AllocDir) taskDirs() []string {
	var out []string
	for _, t := range a.tasks {
		out = append(out, t.Name)
	}
	if len(out) > 0 {
		return out
	}
	entries, err := os.ReadDir(a.path)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != SharedName {
			out = append(out, e.Name())
		}
	}
	return out
}

// Open opens the directory for reading files of it.
func (a *AllocDir) Open() (*Dir, error) { return OpenDir(a.path) }

func sortEntries(entries []fs.DirEntry) {
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
}
