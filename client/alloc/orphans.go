package alloc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/nomadlite/nomadlite/client/rootfs"
)

// killMarked kills the processes that carry an allocation's mark in their
// environment; an empty task name means all of its tasks.
func killMarked(allocID, taskName string) {
	marks := [][]byte{[]byte("NOMAD_ALLOC_ID=" + allocID)}
	if taskName != "" {
		marks = append(marks, []byte("NOMAD_TASK_NAME="+taskName))
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && carries(env, marks) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// carries reports whether an environment holds all of the variables.
func carries(env []byte, marks [][]byte) bool {
	for _, m := range marks {
		found := false
		for _, kv := range bytes.Split(env, []byte{0}) {
			if bytes.Equal(kv, m) {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// Sweep ends the processes of an allocation that nobody knows any more and
// removes its directory.
func Sweep(base, allocID string) error {
	killMarked(allocID, "")
	return rootfs.NewAllocDir(base, allocID, nil).Destroy()
}
