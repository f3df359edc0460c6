package executor

import "golang.org/x/sys/unix"

// arch is how the kernel names our system calls; newestCall is the last one
// that the list of denied calls was made for.
const (
	arch       = unix.AUDIT_ARCH_AARCH64
	newestCall = unix.SYS_FUTEX_REQUEUE
)
