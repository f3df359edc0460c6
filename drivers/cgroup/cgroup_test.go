package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
)

// limitTable is what limits become in files of controllers.
var limitTable = []struct {
	name   string
	l      Limits
	v1, v2 string // "controller/file=value" and "file=value", in the order written here
}{
	{"nothing", Limits{}, "", ""},
	{"memory", Limits{Memory: 64 << 20}, "memory/memory.limit_in_bytes=67108864", "memory.max=67108864"},
	{"memory that may grow", Limits{Memory: 64 << 20, MemoryMax: 128 << 20},
		"memory/memory.limit_in_bytes=134217728 memory/memory.soft_limit_in_bytes=67108864", "memory.max=134217728 memory.low=67108864"},
	{"memory without a limit", Limits{Memory: 64 << 20, MemoryMax: -1},
		"memory/memory.limit_in_bytes=-1 memory/memory.soft_limit_in_bytes=67108864", "memory.max=max memory.low=67108864"},
	{"shares", Limits{CPUShares: 1024}, "cpu/cpu.shares=1024", "cpu.weight=100"},
	{"too few shares", Limits{CPUShares: 1}, "cpu/cpu.shares=2", "cpu.weight=1"},
	{"too many shares", Limits{CPUShares: 1 << 30}, "cpu/cpu.shares=262144", "cpu.weight=10000"},
	{"a hard limit", Limits{CPUQuota: 50000, CPUPeriod: 100000}, "cpu/cpu.cfs_period_us=100000 cpu/cpu.cfs_quota_us=50000", "cpu.max=50000 100000"},
	{"cores", Limits{Cpuset: "0,2-3"}, "cpuset/cpuset.cpus=0,2-3", "cpuset.cpus=0,2-3"},
}

// TestLimits compares what is written for both versions, in plain files.
func TestLimits(t *testing.T) {
	cgroups.TestMode = true
	defer func() { cgroups.TestMode = false }()
	for _, tc := range limitTable {
		for _, unified := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unified=%t", tc.name, unified), func(t *testing.T) {
				h, want := fakeHierarchy(t, unified), tc.v1
				if unified {
					want = tc.v2
				}
				g, err := h.group("a/b/c", tc.l)
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range strings.Split(want, " ") {
					file, value, ok := strings.Cut(part, "=")
					if !ok {
						continue
					}
					path := filepath.Join(g.dir, file)
					if controller, name, ok := strings.Cut(file, "/"); ok {
						path = filepath.Join(h.root, controller, slice, "a.b.c.scope", name)
					}
					got, err := os.ReadFile(path)
					if file == "cpu.max" { // the period stands behind a blank
						value = "50000 100000"
					}
					if err != nil || strings.TrimSpace(string(got)) != value {
						t.Errorf("%s holds %q (%v), want %q", file, got, err, value)
					}
				}
			})
		}
	}
}

// fakeHierarchy is a folder that looks like the mount of cgroups.
func fakeHierarchy(t *testing.T, unified bool) hierarchy {
	h := hierarchy{root: t.TempDir(), unified: unified}
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(slice, "a.b.c.scope")
	if unified {
		h.base = filepath.Join(h.root, slice)
		write(filepath.Join(h.root, dir, "cgroup.controllers"), "cpu memory cpuset")
		return h
	}
	h.base = filepath.Join(h.root, freezer, slice)
	write(filepath.Join(h.base, "cgroup.procs"), "")
	write(filepath.Join(h.root, "cpuset", "cpuset.cpus"), "0-7")
	write(filepath.Join(h.root, "cpuset", "cpuset.mems"), "0")
	for _, f := range []string{"memory/memory.limit_in_bytes", "cpu/cpu.shares"} {
		controller, file, _ := strings.Cut(f, "/")
		write(filepath.Join(h.root, controller, dir, file), "")
	}
	return h
}

// realHierarchies are those of this machine that can be written: the one that
// is in use, and next to version 1 often a version 2 without controllers.
func realHierarchies(t *testing.T) map[string]hierarchy {
	out := map[string]hierarchy{}
	if h := host(); h.base != "" {
		out["host"] = h
	}
	hybrid := hierarchy{root: mountPoint + "/unified", unified: true}
	if _, err := os.Stat(hybrid.root + "/cgroup.controllers"); err == nil {
		if hybrid.prepare(); hybrid.base != "" {
			out["hybrid"] = hybrid
		}
	}
	if len(out) == 0 {
		t.Skip("no cgroups that can be written")
	}
	return out
}

func name(t *testing.T) string { return "test-" + strconv.Itoa(os.Getpid()) + "/" + t.Name() }

// start runs a script in a group.
func start(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := g.Start(cmd.SysProcAttr, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Remove)
	return cmd
}

// TestMembers: children are born inside, whatever sessions they make, the
// thread that forked is not left there, and nothing survives.
func TestMembers(t *testing.T) {
	for kind, h := range realHierarchies(t) {
		t.Run(kind, func(t *testing.T) {
			g, err := h.group(name(t), Limits{})
			if err != nil || g == nil {
				t.Fatal(g, err)
			}
			cmd := start(t, g, "setsid sleep 600 & setsid setsid sleep 600 & wait")
			within(t, func() error {
				if n := len(g.Procs()); n != 3 {
					return fmt.Errorf("%d members", n)
				}
				return nil
			})
			again, err := h.open(g.Path())
			if err != nil || !again.Owned() || len(again.Procs()) != 3 {
				t.Fatalf("opened again: %+v %v", again, err)
			}
			again.Kill()
			_ = cmd.Wait()
			within(t, func() error {
				if left := g.Procs(); len(left) > 0 {
					return fmt.Errorf("left: %v", left)
				}
				return nil
			})
			again.Remove()
			if _, err := os.Stat(g.Path()); !os.IsNotExist(err) {
				t.Errorf("the group is left: %v", err)
			}
		})
	}
}

// TestStartedTwice: what an earlier start left in a group is gone before the
// next one begins there.
func TestStartedTwice(t *testing.T) {
	for version, h := range realHierarchies(t) {
		t.Run(version, func(t *testing.T) {
			g, err := h.group(name(t), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Remove()
			cmd := start(t, g, "exec sleep 1000")
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if _, err := h.group(name(t), Limits{}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the first start still runs")
			}
		})
	}
}

// TestForeignGroupsAreLeftAlone: what is not ours is neither killed nor
// removed, and no path leads outside.
func TestForeignGroupsAreLeftAlone(t *testing.T) {
	for kind, h := range realHierarchies(t) {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(filepath.Dir(h.base), "foreign-"+strconv.Itoa(os.Getpid()))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(dir)
			g, err := h.open(dir)
			if err != nil || g.Owned() {
				t.Fatal(g, err)
			}
			g.Kill()
			g.Remove()
			if _, err := os.Stat(dir); err != nil {
				t.Error("a group that is not ours was removed")
			}
			for _, bad := range []string{"/etc", h.root + "/../x", h.root} {
				if _, err := h.open(bad); err == nil {
					t.Errorf("%s was opened", bad)
				}
			}
		})
	}
}

// TestOutOfMemory: the kernel kills a member over the limit, and it is seen.
func TestOutOfMemory(t *testing.T) {
	g, err := New(name(t), Limits{Memory: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if g == nil {
		t.Skip("no limits here: cgroups cannot be written")
	}
	t.Cleanup(g.Remove)
	if !g.Usage().HasMemory && g.h.unified {
		t.Skip("no memory controller")
	}
	cmd := start(t, g, `x=$(head -c 100000000 /dev/zero | tr '\0' x); echo ${#x}`)
	err = cmd.Wait()
	if err == nil || g.OOMKills() == 0 {
		t.Fatalf("ended with %v and %d kills", err, g.OOMKills())
	}
	if u := g.Usage(); !u.HasMemory || u.MaxUsage == 0 {
		t.Errorf("usage: %+v", u)
	}
}

// TestCores: a task with reserved cores runs there.
func TestCores(t *testing.T) {
	g, err := New(name(t), Limits{Cpuset: "0", CPUShares: 200})
	if err != nil {
		t.Fatal(err)
	}
	if g == nil {
		t.Skip("no limits here: cgroups cannot be written")
	}
	out := filepath.Join(t.TempDir(), "cores")
	if err := start(t, g, "grep Cpus_allowed_list /proc/self/status > "+out).Wait(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(out); strings.Join(strings.Fields(string(got)), " ") != "Cpus_allowed_list: 0" {
		t.Errorf("got %q", got)
	}
	if _, err := New(name(t)+"bad", Limits{Cpuset: "4095"}); err == nil || !strings.Contains(err.Error(), "cannot limit the cgroup") {
		t.Errorf("a core that is not there: %v", err)
	}
}

// within repeats a check until it holds.
func within(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
