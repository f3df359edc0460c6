package keeper

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestAwaitPidfd waits for processes that end before and after the wait began.
func TestAwaitPidfd(t *testing.T) {
	for _, tc := range []struct {
		name  string
		early bool
	}{{"ends before", true}, {"ends after", false}} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command("cat")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Skipf("cannot run cat: %v", err)
			}
			p, err := Identify(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			pidfd, err := OpenPidfd(p)
			if err != nil {
				t.Fatal(err)
			}
			defer pidfd.Close()
			if tc.early {
				stdin.Close()
				for p.Alive() {
					pollerRound(t)
				}
				pollerRound(t)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				AwaitPidfd(pidfd)
			}()
			stdin.Close()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("the end of the process was missed")
			}
			_ = cmd.Wait()
		})
	}
}

// pollerRound makes the runtime's poller look at all files once.
func pollerRound(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		_, _ = w.Write([]byte("x"))
	}()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
