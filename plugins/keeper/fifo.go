package keeper

import (
	"fmt"
	"os"
	"syscall"

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
	first := true
	_ = raw.Read(func(uintptr) bool {
		if first { // wait once; what wakes us is the end
			first = false
			return false
		}
		return true
	})
}
