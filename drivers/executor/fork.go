package executor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/drivers/caps"
)

// child is a process to fork on a thread that is inside a jail. What it does
// between fork and exec is raw system calls alone, on memory that was prepared
// before: it is a copy of one thread of a program that has others.
type child struct {
	path     string
	argv     []string
	env      []string
	dir      string
	files    []*os.File
	terminal bool
	cred     *syscall.Credential // nil: root
	caps     []string
	ambient  []string
	mounts   []mountCall
	cgroup   int // descriptor and one; 0 for none
}

// mountCall is a prepared call of mount.
type mountCall struct {
	source, target, typ, data *byte
	flags                     uintptr
	optional                  bool // what the kernel lacks is no error
}

// newMount prepares a call; the texts hold no zero bytes.
func newMount(source, target, typ string, flags uintptr, data string, optional bool) mountCall {
	text := func(s string) *byte {
		p, _ := syscall.BytePtrFromString(s)
		return p
	}
	return mountCall{text(source), text(target), text(typ), text(data), flags, optional}
}

// prepared is a child in the kernel's terms.
type prepared struct {
	clone    cloneArgs
	pidfd    int32
	mounts   []mountCall
	files    [3]uintptr
	terminal bool
	uid, gid uintptr
	groups   []uint32
	bounding uint64 // to be kept
	lastCap  uintptr
	ambient  []uintptr
	header   unix.CapUserHeader
	data     [2]unix.CapUserData
	dir      *byte
	path     *byte
	argv     []*byte
	env      []*byte
	filter   unix.SockFprog
	report   uintptr // descriptor of the pipe that tells what failed
	message  [2]uint32
	empty    [16]byte // a signal mask, and an action's
	action   [4]uint64
}

// cloneArgs is struct clone_args of clone3.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// Steps of the child, as its report names them.
const (
	stepMount = iota + 1
	stepFiles
	stepUser
	stepCaps
	stepDir
	stepFilter
	stepExec
)

var stepNames = map[uint32]string{
	stepMount: "mount /proc", stepFiles: "set up its files", stepUser: "become its user", stepCaps: "give up capabilities",
	stepDir: "enter its working directory", stepFilter: "set its system call filter", stepExec: "execute the program",
}

// execTimeout bounds what the child does before it is the program.
const execTimeout = 30 * time.Second

// start forks the child and returns once it is the program, or what failed.
func (c *child) start() (pid, pidfd int, err error) {
	p, err := c.prepare()
	if err != nil {
		return 0, -1, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, -1, err
	}
	defer r.Close()
	p.report = w.Fd()
	syscall.ForkLock.Lock()
	n, errno := forkChild(p)
	syscall.ForkLock.Unlock()
	w.Close()
	runtime.KeepAlive(c)
	if errno != 0 {
		return 0, -1, fmt.Errorf("cannot fork: %w", errno)
	}
	pid, pidfd = int(n), int(p.pidfd)
	var message [8]byte
	_ = r.SetReadDeadline(time.Now().Add(execTimeout))
	got, rerr := r.Read(message[:])
	if errors.Is(rerr, io.EOF) {
		return pid, pidfd, nil // closed by exec
	}
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	_ = unix.Close(pidfd)
	var ws syscall.WaitStatus
	_, _ = syscall.Wait4(pid, &ws, 0, nil)
	if got < len(message) {
		return 0, -1, fmt.Errorf("cannot start %s: not executed within %s", c.path, execTimeout)
	}
	step, code := binary.NativeEndian.Uint32(message[:]), syscall.Errno(binary.NativeEndian.Uint32(message[4:]))
	return 0, -1, fmt.Errorf("cannot %s (%s): %w", stepNames[step], c.path, code)
}

// prepare turns the child into pointers.
func (c *child) prepare() (*prepared, error) {
	p := &prepared{mounts: c.mounts, terminal: c.terminal, lastCap: lastCap(), bounding: caps.Mask(c.caps)}
	p.clone = cloneArgs{flags: unix.CLONE_PIDFD, exitSignal: uint64(syscall.SIGCHLD)}
	p.clone.pidfd = uint64(uintptr(unsafe.Pointer(&p.pidfd)))
	if c.cgroup > 0 {
		p.clone.flags |= unix.CLONE_INTO_CGROUP
		p.clone.cgroup = uint64(c.cgroup - 1)
	}
	for i, f := range c.files {
		p.files[i] = f.Fd()
		if p.files[i] < 3 {
			return nil, errors.New("cannot start a program with our own standard files")
		}
	}
	if c.cred != nil {
		p.uid, p.gid, p.groups = uintptr(c.cred.Uid), uintptr(c.cred.Gid), c.cred.Groups
	}
	// Root has what the set allows. Others have what was added by name: only
	// ambient capabilities outlive the exec of a user other than root.
	p.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	given, inherited := p.bounding, uint64(0)
	if p.uid != 0 {
		given = caps.Mask(c.ambient) & p.bounding
		inherited = given
		for n := uintptr(0); n <= p.lastCap; n++ {
			if given&(1<<n) != 0 {
				p.ambient = append(p.ambient, n)
			}
		}
	}
	for i := range p.data {
		word, in := uint32(given>>(32*i)), uint32(inherited>>(32*i))
		p.data[i] = unix.CapUserData{Effective: word, Permitted: word, Inheritable: in}
	}
	var errs [4]error
	p.dir, errs[0] = syscall.BytePtrFromString(c.dir)
	p.path, errs[1] = syscall.BytePtrFromString(c.path)
	p.argv, errs[2] = syscall.SlicePtrFromStrings(c.argv)
	p.env, errs[3] = syscall.SlicePtrFromStrings(c.env)
	program, err := filterFor(c.caps)
	if err != nil {
		return nil, err
	}
	p.filter = unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return p, errors.Join(errs[:]...)
}

// lastCap is the highest capability that the kernel knows.
func lastCap() uintptr {
	last := uintptr(40)
	for ; last > 0; last-- {
		if _, _, e := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, last, 0); e == 0 {
			break
		}
	}
	return last
}

// forkChild forks. In the child it never returns. From here on no function may
// look at the size of its stack (nosplit): the check is also where the runtime
// stops a goroutine, and in the child nothing would start it again.
//
//go:nosplit
//go:noinline
//go:norace
func forkChild(p *prepared) (pid uintptr, errno syscall.Errno) {
	// No signal may reach a handler of ours in the child.
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&p.clone)), unsafe.Sizeof(p.clone), 0)
	if errno != 0 || pid != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
		return pid, errno
	}
	step, code := becomeProgram(p)
	p.message[0], p.message[1] = uint32(step), uint32(code)
	syscall.RawSyscall(unix.SYS_WRITE, p.report, uintptr(unsafe.Pointer(&p.message)), unsafe.Sizeof(p.message))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 253, 0, 0)
	}
}

// becomeProgram is the child: it returns what failed.
//
//go:nosplit
//go:noinline
//go:norace
func becomeProgram(p *prepared) (step uintptr, errno syscall.Errno) {
	for i := range p.mounts {
		m := &p.mounts[i]
		_, _, errno = syscall.RawSyscall6(unix.SYS_MOUNT, uintptr(unsafe.Pointer(m.source)), uintptr(unsafe.Pointer(m.target)),
			uintptr(unsafe.Pointer(m.typ)), m.flags, uintptr(unsafe.Pointer(m.data)), 0)
		if errno != 0 && !m.optional {
			return stepMount, errno
		}
	}
	if errno = ownFiles(p); errno != 0 {
		return stepFiles, errno
	}
	if errno = ownUser(p); errno != 0 {
		return stepUser, errno
	}
	if errno = ownCaps(p); errno != 0 {
		return stepCaps, errno
	}
	if _, _, errno = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(p.dir)), 0, 0); errno != 0 {
		return stepDir, errno
	}
	// Handlers end with exec; what is caught or ignored of pipes must not last.
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGPIPE), uintptr(unsafe.Pointer(&p.action)), 0, 8, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.empty)), 0, 8, 0, 0)
	if _, _, errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return stepFilter, errno
	}
	if _, _, errno = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&p.filter))); errno != 0 {
		return stepFilter, errno
	}
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.env[0])))
	return stepExec, errno
}

// ownFiles leaves the child its three files and no other.
//
//go:nosplit
//go:noinline
//go:norace
func ownFiles(p *prepared) syscall.Errno {
	if _, _, e := syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0); e != 0 {
		return e
	}
	for i := range p.files {
		if _, _, e := syscall.RawSyscall(unix.SYS_DUP3, p.files[i], uintptr(i), 0); e != 0 {
			return e
		}
	}
	if p.terminal {
		if _, _, e := syscall.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 1); e != 0 {
			return e
		}
	}
	_, _, e := syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 3, ^uintptr(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	return e
}

// ownUser makes the child its user's, with the user's groups and no others. It
// keeps its capabilities for a moment.
//
//go:nosplit
//go:noinline
//go:norace
func ownUser(p *prepared) syscall.Errno {
	for n := uintptr(0); n <= p.lastCap; n++ {
		if p.bounding&(1<<n) == 0 {
			if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0, 0); e != 0 {
				return e
			}
		}
	}
	var groups uintptr
	if len(p.groups) > 0 {
		groups = uintptr(unsafe.Pointer(&p.groups[0]))
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(p.groups)), groups, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, p.gid, p.gid, p.gid); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	_, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, p.uid, p.uid, p.uid)
	return e
}

// ownCaps leaves the child the capabilities that it was given.
//
//go:nosplit
//go:noinline
//go:norace
func ownCaps(p *prepared) syscall.Errno {
	if _, _, e := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&p.header)), uintptr(unsafe.Pointer(&p.data)), 0); e != 0 {
		return e
	}
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	for i := range p.ambient {
		if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, p.ambient[i], 0, 0, 0); e != 0 {
			return e
		}
	}
	return 0
}
