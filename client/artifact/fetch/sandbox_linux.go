package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxMemory bounds what a process may allocate beyond what it has at its
	// start: archives tell decompressors how much to hold.
	maxMemory = 1 << 30
	maxFDs    = 256
	// insideDir is the work directory in the sandbox.
	insideDir = "/work"
)

// shownPaths are what every fetch may read of the host, where they exist.
var shownPaths = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates", "/etc/localtime",
}

// toolPaths are what git and ssh need besides.
var toolPaths = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/passwd", "/etc/group", "/etc/ssh/ssh_known_hosts",
	"/dev/null", "/dev/urandom", "/dev/random", "/dev/zero",
}

// confine takes from the process what a fetch does not need: files, rights,
// memory. It returns the work directory, which req then names as the process
// sees it.
func confine(req *Request) (*os.Root, error) {
	if err := limitSelf(req); err != nil {
		return nil, err
	}
	if req.Isolate {
		if err := enterRoot(req); err != nil {
			return nil, err
		}
		req.Dir = insideDir
	}
	root, err := os.OpenRoot(req.Dir) // before we may not reach it by its path
	if err != nil || os.Geteuid() != 0 || req.User == 0 {
		return root, err
	}
	// All threads change; with the user id go all capabilities.
	return root, errors.Join(syscall.Setgroups(nil), syscall.Setresgid(req.Group, req.Group, req.Group), syscall.Setresuid(req.User, req.User, req.User))
}

// limitSelf sets what the kernel enforces.
func limitSelf(req *Request) error {
	held, err := dataSize()
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(maxMemory / 2)
	for which, limit := range map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFDs, unix.RLIMIT_FSIZE: uint64(max(req.Limits.Size, req.Limits.Download)) + 1<<20, unix.RLIMIT_DATA: held + maxMemory,
	} {
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	return nil
}

// dataSize is how much writable memory the process has, in bytes.
func dataSize() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), "VmData:"); found {
			kb, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell how much memory the process has")
}

// enterRoot makes a root directory of a few read-only parts of the host and the
// work directory. The process has a mount namespace of its own.
func enterRoot(req *Request) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot take the mounts for ourselves: %w", err)
	}
	root := filepath.Join(filepath.Dir(req.Dir), "root")
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=0755"); err != nil {
		return fmt.Errorf("cannot mount the root: %w", err)
	}
	paths := append([]string{}, shownPaths...)
	if req.Source.Getter == getGit {
		paths = append(paths, toolPaths...)
	}
	paths = append(paths, req.LocalPaths...)
	for _, p := range paths {
		if err := show(root, p, p, false); err != nil {
			return err
		}
	}
	for _, p := range req.ExtraPaths {
		if err := show(root, p.Path, p.Path, p.Write); err != nil {
			return err
		}
	}
	if err := show(root, req.Dir, insideDir, true); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o1777); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Chdir("/")
}

// show binds a path of the host into the root. What the host has not is left
// out; links at the top (as /bin) are made again.
func show(root, from, to string, write bool) error {
	if _, err := os.Lstat(from); err != nil {
		return nil
	}
	at := filepath.Join(root, to)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if target, err := os.Readlink(from); err == nil && !filepath.IsAbs(target) && filepath.Dir(from) == "/" {
		return os.Symlink(target, at)
	}
	info, err := os.Stat(from)
	if err != nil { // a link to nowhere
		return nil
	}
	if info.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else {
		err = os.WriteFile(at, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot show %s: %w", from, err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID)
	if !write {
		flags |= unix.MS_RDONLY
	}
	if info.Mode()&os.ModeDevice == 0 {
		flags |= unix.MS_NODEV
	}
	return unix.Mount("", at, "", flags, "")
}
