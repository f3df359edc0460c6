package rootfs

import (
	"fmt"
	"os"
	"syscall"
)

// nonBlock keeps an open from waiting for a FIFO's other end.
const nonBlock = syscall.O_NONBLOCK

// realPath is the path of an open file as the kernel knows it.
func realPath(f *os.File) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}
