package netns

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func init() { runtime.LockOSThread() } // main begins on the main thread

// errMain is that a function was led away on the main thread.
var errMain = errors.New("the main thread is lost")

// fromMain is how LostThread went when the main thread was the next to run it.
var fromMain error

// TestMain calls LostThread where one thread runs all, the main one.
func TestMain(m *testing.M) {
	procs := runtime.GOMAXPROCS(1)
	runtime.UnlockOSThread()
	fromMain = LostThread(offMain)
	runtime.GOMAXPROCS(procs)
	os.Exit(m.Run())
}

func offMain() error {
	if unix.Gettid() == unix.Getpid() {
		return errMain
	}
	return nil
}

// TestLostThread: what leads away is never the main thread, wherever the
// scheduler begins; errors come back.
func TestLostThread(t *testing.T) {
	if fromMain != nil {
		t.Error(fromMain)
	}
	for range 200 {
		if err := LostThread(offMain); err != nil {
			t.Fatal(err)
		}
	}
	failed := errors.New("failed")
	if err := LostThread(func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}
