package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/keeper"
	"github.com/nomadlite/nomadlite/plugins/netns"
)

// Jail is what a task may see and do. It travels in handles.
//
// There is no init process. A thread of the driver, which ends with the start,
// takes namespaces of its own, builds the root there and forks; the child
// gives its rights away and becomes the program (fork.go). So the program is
// process 1 of its namespace, as in containers.
type Jail struct {
	Root    string            // on the host: the task's directory
	Host    map[string]string // what of the host is shown, read-only: path to path inside
	HostPID bool              // see and signal processes of the host
	HostIPC bool
	NoPivot bool     // chroot where pivot_root cannot work (a root on ramfs)
	Caps    []string // what the program may have at most; see package caps
	Added   []string // those of Caps that a user other than root is given too
}

// Device files that every jail has.
var deviceFiles = []string{"null", "zero", "full", "random", "urandom", "tty"}

// What of /proc and /sys is hidden, and what cannot be written.
var (
	hiddenFiles = []string{
		"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/interrupts",
	}
	hiddenDirs   = []string{"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	readonlyDirs = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// jailed starts a program in the task's jail: a new one, or the one that the
// task's own program lives in.
func (t *task) jailed(p *program, env []string) (pid, pidfd int, err error) {
	err = netns.LostThread(func() error {
		attr := &syscall.SysProcAttr{}
		return netns.Inside(t.netns(), func() error {
			return t.cgroup.Start(attr, func() error {
				if err := t.enter(p.join); err != nil {
					return err
				}
				pid, pidfd, err = t.forkInside(p, env, attr)
				return err
			})
		})
	})
	return pid, pidfd, err
}

// enter takes the calling thread into the jail.
func (t *task) enter(join bool) error {
	j := t.state.Jail
	if join {
		return t.enterRunning(j)
	}
	flags := unix.CLONE_FS | unix.CLONE_NEWNS
	if !j.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if !j.HostPID {
		flags |= unix.CLONE_NEWPID
	}
	targets, err := j.targets(t.config)
	if err != nil {
		return err
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("cannot make namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot keep mounts to ourselves: %w", err)
	}
	if err := j.build(t.config, targets); err != nil {
		return fmt.Errorf("cannot build the root of the task: %w", err)
	}
	return j.pivot()
}

// enterRunning joins the namespaces of the task's program.
func (t *task) enterRunning(j *Jail) error {
	fd, err := keeper.OpenPidfd(t.process())
	if err != nil {
		return fmt.Errorf("cannot find the task's process: %w", err)
	}
	defer fd.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	flags := unix.CLONE_NEWNS
	if !j.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if !j.HostPID {
		flags |= unix.CLONE_NEWPID
	}
	if err := unix.Setns(int(fd.Fd()), flags); err != nil {
		return fmt.Errorf("cannot join the task's namespaces: %w", err)
	}
	return unix.Chdir("/")
}

// target is something to bind into the root.
type target struct {
	source   string
	path     string // on the host, inside the root, links resolved
	readonly bool
	mode     uintptr // propagation, 0 for private
	gaps     bool    // it lacks places of what is mounted below it
}

// targets finds and makes the places of everything that is bound. It runs
// before the thread leaves the host: no link in the task's directory leads out.
func (j *Jail) targets(cfg *driver.TaskConfig) ([]target, error) {
	dir, err := rootfs.OpenDir(j.Root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var out []target
	add := func(source, inside string, readonly bool, mode uintptr) error {
		info, err := os.Stat(source)
		if err == nil && !info.IsDir() { // a file lies on a file
			if _, err := dir.Stat(inside); errors.Is(err, os.ErrNotExist) {
				if err := dir.WriteFile(inside, nil, 0o644); err != nil {
					return fmt.Errorf("cannot make %s in the root of the task: %w", inside, err)
				}
			}
		}
		real, err := dir.RealDir(inside, true)
		if err != nil {
			return fmt.Errorf("cannot make %s in the root of the task: %w", inside, err)
		}
		out = append(out, target{source: source, path: real, readonly: readonly, mode: mode})
		return nil
	}
	for _, inside := range []string{"proc", "dev", "sys", "tmp"} {
		if _, err := dir.RealDir(inside, true); err != nil {
			return nil, fmt.Errorf("cannot make /%s in the root of the task: %w", inside, err)
		}
	}
	if cfg.DNS != nil {
		if err := dir.WriteFile(resolvName, []byte(cfg.DNS.ResolvConf()), 0o644); err != nil {
			return nil, fmt.Errorf("cannot write the resolver configuration of the task: %w", err)
		}
	}
	shared := filepath.Join(cfg.AllocDir, rootfs.SharedName)
	errs := []error{add(shared, "alloc", false, 0)}
	hosts := make([]string, 0, len(j.Host))
	for h := range j.Host {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		real, err := filepath.EvalSymlinks(h)
		if err != nil {
			continue // what the host lacks is left out
		}
		if err := add(real, j.Host[h], true, 0); err != nil {
			errs = append(errs, err)
			continue
		}
		out[len(out)-1].gaps = gaps(real, j.Host[h], cfg.Mounts)
	}
	for _, m := range cfg.Mounts {
		var mode uintptr
		switch m.PropagationMode {
		case "host-to-task":
			mode = unix.MS_SLAVE | unix.MS_REC
		case "bidirectional":
			mode = unix.MS_SHARED | unix.MS_REC
		}
		errs = append(errs, add(m.HostPath, m.TaskPath, m.Readonly, mode))
	}
	return out, errors.Join(errs...)
}

// gaps reports whether a folder of the host, which a task sees at a path, lacks
// a place of what is mounted below that path.
func gaps(source, inside string, mounts []*driver.Mount) bool {
	for _, m := range mounts {
		rel, err := filepath.Rel(inside, path.Clean("/"+m.TaskPath))
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		if _, err := os.Stat(filepath.Join(source, rel)); errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// fill is bind for a folder with gaps: the places that were made in the task's
// own root are laid over it. Nothing can be written to the result.
func fill(source, at string) error {
	quote := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	options := "lowerdir=" + quote.Replace(at) + ":" + quote.Replace(source)
	return mount("overlay", at, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options)
}

// build makes the root in the thread's own mount namespace.
func (j *Jail) build(cfg *driver.TaskConfig, targets []target) error {
	if err := bind(j.Root, j.Root, false); err != nil {
		return err
	}
	for _, t := range targets {
		put := func() error { return bind(t.source, t.path, t.readonly) }
		if t.gaps {
			put = func() error { return fill(t.source, t.path) }
		}
		if err := put(); err != nil {
			return err
		}
		if t.mode != 0 {
			if err := unix.Mount("", t.path, "", t.mode, ""); err != nil {
				return err
			}
		}
	}
	// What collects the task's output must not be led astray by the task.
	if err := bind(filepath.Join(cfg.AllocDir, rootfs.SharedName, rootfs.LogsName), filepath.Join(j.Root, "alloc", rootfs.LogsName), true); err != nil {
		return err
	}
	private := filepath.Join(j.Root, "private")
	if _, err := os.Stat(private); err == nil {
		if err := mount("tmpfs", private, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,mode=0"); err != nil {
			return err
		}
	}
	if err := mount("sysfs", filepath.Join(j.Root, "sys"), "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	return j.devices(cfg)
}

// devices makes /dev: the harmless files, terminals and shared memory of the
// jail's own, and what the agent gives to the task.
func (j *Jail) devices(cfg *driver.TaskConfig) error {
	dev := filepath.Join(j.Root, "dev")
	if err := mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k,mode=0755"); err != nil {
		return err
	}
	give := func(host, inside string) error {
		if err := os.MkdirAll(filepath.Dir(inside), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(inside, os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		f.Close()
		return mount(host, inside, "", unix.MS_BIND, "")
	}
	for _, name := range deviceFiles {
		if err := give("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, d := range cfg.Devices {
		inside := d.TaskPath
		if inside == "" {
			inside = d.HostPath
		}
		name, ok := strings.CutPrefix(path.Clean(inside), "/dev/")
		if !ok {
			return fmt.Errorf("device %q cannot be shown as %q: only below /dev", d.HostPath, inside)
		}
		if err := give(d.HostPath, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, m := range []struct{ name, typ, options string }{
		{"pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"}, {"shm", "tmpfs", "mode=1777,size=64m"},
	} {
		if err := os.Mkdir(filepath.Join(dev, m.name), 0o755); err != nil {
			return err
		}
		if err := mount(m.typ, filepath.Join(dev, m.name), m.typ, unix.MS_NOSUID|unix.MS_NOEXEC, m.options); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	return nil
}

// bind binds a directory with all below it, without devices and set-id bits.
func bind(source, at string, readonly bool) error {
	if err := mount(source, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readonly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	err := unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, attr)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.12
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
		if readonly {
			flags |= unix.MS_RDONLY
		}
		return mount("", at, "", flags, "")
	}
	if err != nil {
		return fmt.Errorf("cannot restrict the mount at %s: %w", at, err)
	}
	return nil
}

func mount(source, at, typ string, flags uintptr, options string) error {
	if err := unix.Mount(source, at, typ, flags, options); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", source, at, err)
	}
	return nil
}

// pivot makes the root that was built the thread's root.
func (j *Jail) pivot() error {
	if err := unix.Chdir(j.Root); err != nil {
		return err
	}
	if j.NoPivot {
		if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
			return err
		}
		if err := unix.Chroot("."); err != nil {
			return err
		}
		return unix.Chdir("/")
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot make %s the root: %w", j.Root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// procMounts are what only the child can mount: /proc belongs to the namespace
// that it is the first process of.
func (j *Jail) procMounts() []mountCall {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	out := []mountCall{newMount("proc", "/proc", "proc", plain, "", false)}
	for _, f := range hiddenFiles {
		out = append(out, newMount("/dev/null", f, "", unix.MS_BIND, "", true))
	}
	for _, d := range hiddenDirs {
		out = append(out, newMount("tmpfs", d, "tmpfs", plain|unix.MS_RDONLY, "size=4k", true))
	}
	for _, d := range readonlyDirs {
		out = append(out, newMount(d, d, "", unix.MS_BIND|unix.MS_REC, "", true),
			newMount("", d, "", plain|unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "", true))
	}
	return out
}

// resolvName is where, in the root, a task's own resolver configuration stands.
const resolvName = "resolv.conf"

// resolverMounts put it in the place of the host's, wherever links of the host
// lead inside the root.
func resolverMounts(d *driver.DNSConfig) []mountCall {
	if d == nil {
		return nil
	}
	const at, plain = "/etc/resolv.conf", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []mountCall{newMount("/"+resolvName, at, "", unix.MS_BIND, "", false), newMount("", at, "", plain|unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "", false)}
}

// forkInside forks on the thread that is inside the jail.
func (t *task) forkInside(p *program, env []string, attr *syscall.SysProcAttr) (pid, pidfd int, err error) {
	program, err := lookUpInside(p.argv[0], t.config.Env["PATH"])
	if err != nil {
		return 0, -1, err
	}
	dir := p.dir
	if dir == "" {
		dir = "/"
	}
	c := &child{
		path: program, argv: p.argv, env: env, dir: dir, files: p.files, terminal: p.terminal, cred: p.cred,
		caps: t.state.Jail.Caps, ambient: t.state.Jail.Added,
	}
	if !p.join {
		c.mounts = append(t.state.Jail.procMounts(), resolverMounts(t.config.DNS)...)
	}
	if attr.UseCgroupFD {
		c.cgroup = attr.CgroupFD + 1
	}
	return c.start()
}

// lookUpInside finds the program from within the root.
func lookUpInside(command, search string) (string, error) {
	candidates := []string{"/local/" + command, "/" + command}
	if path.IsAbs(command) {
		candidates = []string{command}
	}
	if !strings.Contains(command, "/") {
		if search == "" {
			search = "/usr/local/bin:/usr/bin:/bin"
		}
		for _, d := range filepath.SplitList(search) {
			if path.IsAbs(d) {
				candidates = append(candidates, path.Join(d, command))
			}
		}
	}
	for _, c := range candidates {
		info, err := os.Stat(c)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Mode()&0o111 == 0 {
			if os.Chmod(c, info.Mode()|0o555) != nil {
				return "", fmt.Errorf("cannot run %q: permission denied, %s is not executable", command, c)
			}
		}
		return c, nil
	}
	return "", fmt.Errorf("cannot run %q: no such program below the task's directory, as a path inside its root, or in PATH %q", command, search)
}

// CheckWorkDir refuses a working directory that could lead out of a root by
// what the runtime has open (CVE-2024-21626).
func CheckWorkDir(dir string) error {
	clean := path.Clean(dir)
	switch {
	case dir == "":
		return nil
	case !path.IsAbs(dir):
		return fmt.Errorf("work_dir must be an absolute path: got %q", dir)
	case clean == "/proc" || strings.HasPrefix(clean, "/proc/") || strings.HasPrefix(clean, "/dev/fd"):
		return fmt.Errorf("work_dir must not lead through /proc: got %q", dir)
	}
	return nil
}
