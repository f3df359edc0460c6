// Package netns leads threads into namespaces: into the network of an
// allocation and back, so that processes start there, or for good.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// LostThread runs f on a thread of its own that ends with it, wherever f leads
// it: into namespaces that nobody may come back from. It is never the main
// thread, which does not end: it would hold what it is in, mounts and links,
// for as long as the process lives, and /proc/self would be there.
func LostThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // a goroutine that ends locked ends its thread
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- LostThread(f) // held here, the main thread is not the next
			return
		}
		done <- f()
	}()
	return <-done
}

// Inside runs f on a thread that is in the namespace bound at path, so that
// children which f forks are born there. An empty path is the own namespace.
func Inside(path string, f func() error) error {
	if path == "" {
		return f()
	}
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	ns, err := os.Open(path)
	if err == nil {
		defer ns.Close()
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the network namespace %s: %w", path, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
		runtime.UnlockOSThread()
	} // else the thread stays locked and ends with its goroutine
	return err
}
