package docker

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/drivers/caps"
)

// needed are the capabilities that the plugin's process uses: it writes into
// directories of tasks, whoever owns them, and ends commands in containers. All
// else the engine does.
var needed = []string{"chown", "dac_override", "fowner", "kill"}

// dropPrivileges takes from the whole process, for good, what root could do and
// the driver does not. Where it cannot be done the driver works all the same.
func dropPrivileges() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("cannot do without new privileges: %w", errno)
	}
	var keep uint64
	for _, name := range needed {
		n, _ := caps.Number(name)
		keep |= 1 << n
	}
	for n := uintptr(0); n < 64; n++ {
		if keep&(1<<n) != 0 {
			continue
		}
		_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0, 0)
		if errno == syscall.EINVAL { // the kernel knows no more of them
			break
		}
		if errno != 0 {
			return fmt.Errorf("cannot drop capability %d: %w", n, errno)
		}
	}
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	for i := range data {
		half := uint32(keep >> (32 * i))
		data[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(head)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(head)
	runtime.KeepAlive(data)
	if errno != 0 {
		return fmt.Errorf("cannot set the capabilities of the process: %w", errno)
	}
	return nil
}
