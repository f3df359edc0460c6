package keeper

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenFIFO opens a FIFO for reading and writing without blocking: whoever
// holds it so keeps its writers from failing and its bytes from being lost,
// also while nobody reads. Agent and keeper both hold the FIFOs of every task.
func OpenFIFO(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&os.ModeNamedPipe == 0 {
		err = fmt.Errorf("cannot open %s as a FIFO: it is none", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenPidfd opens a non-blocking pidfd of a process, and makes sure that it is
// this process and no later one with the same id.
func OpenPidfd(p Process) (*os.File, error) {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, ErrNoProcess
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", p.Pid))
	if now, err := Identify(p.Pid); err != nil || now != p {
		f.Close()
		return nil, ErrNoProcess
	}
	return f, nil
}

// AwaitPidfd returns when the process behind a non-blocking pidfd has ended,
// or when the file is closed. It costs a goroutine and no thread.
func AwaitPidfd(pidfd *os.File) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		// The poller forgets an end that it saw before we came here.
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return ready > 0 || err != nil && err != unix.EINTR
	})
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h, as far as it is used here.
type pidfdInfo struct {
	Mask     uint64
	CgroupID uint64
	IDs      [11]uint32 // pid to fsgid
	ExitCode int32
}

// pidfdInfoExit asks for, and says that there is, an exit code.
const pidfdInfoExit = 1 << 3

// PidfdExit asks the kernel how a process that is no child of ours ended. It
// knows since Linux 6.15, once the process was reaped; older kernels know
// nothing.
func PidfdExit(pidfd *os.File) Exit {
	info := pidfdInfo{Mask: pidfdInfoExit}
	size := unsafe.Sizeof(info)
	// _IOWR(0xFF, 11, struct pidfd_info)
	request := uintptr(3<<30) | size<<16 | 0xFF<<8 | 11
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return Exit{}
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&info)))
	})
	if err != nil || errno != 0 || info.Mask&pidfdInfoExit == 0 {
		return Exit{}
	}
	return ExitOf(syscall.WaitStatus(info.ExitCode))
}
