package executor

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/drivers/caps"
)

// denied are system calls that a task may not make, and the capability with
// which it may; "" for none. It is the list that container engines document as
// what their default profile blocks. Calls that are newer than the list are
// unknown to tasks (ENOSYS), so that a program falls back to an older one.
var denied = []struct {
	capability string
	calls      []uintptr
}{
	{"", []uintptr{
		unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
		unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_VMSPLICE,
	}},
	{"sys_admin", []uintptr{
		unix.SYS_BPF, unix.SYS_FANOTIFY_INIT, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
		unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN,
		unix.SYS_PIVOT_ROOT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETNS,
		unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_UMOUNT2, unix.SYS_UNSHARE,
	}},
	{"sys_boot", []uintptr{unix.SYS_REBOOT}},
	{"sys_chroot", []uintptr{unix.SYS_CHROOT}},
	{"sys_module", []uintptr{unix.SYS_DELETE_MODULE, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE}},
	{"sys_pacct", []uintptr{unix.SYS_ACCT}},
	{"sys_ptrace", []uintptr{unix.SYS_KCMP, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE, unix.SYS_PIDFD_GETFD}},
	{"sys_time", []uintptr{unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME}},
	{"sys_tty_config", []uintptr{unix.SYS_VHANGUP}},
	{"sys_nice", []uintptr{unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY}},
	{"syslog", []uintptr{unix.SYS_SYSLOG}},
	{"dac_read_search", []uintptr{unix.SYS_OPEN_BY_HANDLE_AT}},
}

// Offsets of struct seccomp_data.
const (
	offsetCall   = 0
	offsetArch   = 4
	offsetFirst  = 16 // low half of the first argument
	newSpaces    = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	refuse       = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	pretendOlder = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// filterFor is the filter of a task with these capabilities.
func filterFor(list []string) ([]unix.SockFilter, error) {
	if arch == 0 {
		return nil, errors.New("cannot filter system calls: this processor's are not known")
	}
	has := func(name string) bool { return slices.Contains(list, name) || slices.Contains(list, caps.All) }
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// unless skips the next instruction when the condition does not hold.
	unless := func(condition uint16, k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, Jf: 1, K: k}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	out := []unix.SockFilter{
		load(offsetArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch}, answer(pretendOlder),
		load(offsetCall), unless(unix.BPF_JGT, newestCall), answer(pretendOlder),
	}
	for _, d := range denied {
		if d.capability != "" && has(d.capability) {
			continue
		}
		for _, call := range d.calls {
			out = append(out, unless(unix.BPF_JEQ, uint32(call)), answer(refuse))
		}
	}
	if !has("sys_admin") { // new namespaces open the kernel up; clone3 hides its flags
		out = append(out, unless(unix.BPF_JEQ, unix.SYS_CLONE3), answer(pretendOlder),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_CLONE},
			load(offsetFirst), unless(unix.BPF_JSET, newSpaces), answer(refuse))
	}
	return append(out, answer(unix.SECCOMP_RET_ALLOW)), nil
}
