package agenttest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cgroupRoots are where cgroups of tasks may stand: version 2, then the
// controllers of version 1.
var cgroupRoots = []string{"/sys/fs/cgroup/nomad.slice", "/sys/fs/cgroup/*/nomad.slice"}

// EmptyCgroups lists the cgroups of tasks that hold no process and that did
// not stand so before the agent was started. Agents beside it may be about to
// remove some: look again before you complain.
func (a *Agent) EmptyCgroups() []string {
	return slices.DeleteFunc(emptyCgroups(), func(dir string) bool { return slices.Contains(a.before, dir) })
}

func emptyCgroups() []string {
	var out []string
	for _, root := range cgroupRoots {
		for _, below := range []string{"*.scope", "*/*.scope"} {
			dirs, _ := filepath.Glob(filepath.Join(root, below))
			for _, dir := range dirs {
				procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
				if err == nil && len(bytes.TrimSpace(procs)) == 0 {
					out = append(out, dir)
				}
			}
		}
	}
	return out
}

// taskCgroups are the directories of the task cgroups that a process is in.
func taskCgroups(pid int) []string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || !strings.Contains(f[2], "nomad.slice") || !strings.HasSuffix(f[2], ".scope") {
			continue
		}
		root := "/sys/fs/cgroup"
		if f[1] != "" {
			root = filepath.Join(root, strings.TrimPrefix(f[1], "name="))
		}
		out = append(out, filepath.Join(root, f[2]))
	}
	return out
}
