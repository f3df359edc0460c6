// Package cgroup gives each task of a driver a control group: to find and kill
// all of its processes whatever sessions they made, to limit what they use, and
// to measure it. It knows cgroups v1 and v2 and hides which one the host has;
// files of controllers are written and read by opencontainers/cgroups.
//
// Version 2 has one directory a task, nomad.slice/<name>.scope. Version 1 has
// the same path below each controller that the task's limits need, and always
// below the freezer, which serves to find and kill.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"
)

// Names in the file system of cgroups.
const (
	mountPoint = "/sys/fs/cgroup"
	slice      = "nomad.slice"
	freezer    = "freezer"
)

// maxRounds bounds the tries to kill a group whose members fork, and to remove
// one whose members are not reaped yet.
const maxRounds = 200

// hierarchy is the host's cgroups.
type hierarchy struct {
	root    string // where they are mounted
	unified bool   // version 2
	base    string // the writable group below which tasks get theirs, "" for none
}

// host looks at what is mounted, once.
var host = sync.OnceValue(func() hierarchy {
	h := hierarchy{root: mountPoint}
	if _, err := os.Stat(filepath.Join(h.root, "cgroup.controllers")); err == nil {
		h.unified = true
	}
	h.prepare()
	return h
})

// prepare makes the base.
func (h *hierarchy) prepare() {
	base := filepath.Join(h.root, freezer, slice)
	if h.unified {
		base = filepath.Join(h.root, slice)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return
	}
	probe, err := os.OpenFile(filepath.Join(base, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	probe.Close()
	h.base = base
	if !h.unified {
		return
	}
	// What children need; without it they have no limits of that kind.
	for _, dir := range []string{h.root, base} {
		for _, controller := range []string{"+cpu", "+memory", "+pids", "+cpuset", "+io"} {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controller), 0)
		}
	}
}

// Unified reports whether the host has cgroups v2.
func Unified() bool { return host().unified }

// Available reports whether groups can be made: the host has cgroups and this
// process may write to them.
func Available() bool { return host().base != "" }

// Limits bound what a task uses; zero values do not.
type Limits struct {
	Memory    int64  // bytes
	MemoryMax int64  // bytes: the hard limit above Memory, -1 for none
	CPUShares int64  // relative weight, MHz
	CPUQuota  int64  // microseconds of CPU in CPUPeriod
	CPUPeriod int64  // microseconds
	Cpuset    string // cores, "0,2-3"
}

// Bounds of the weight that kernels take.
const minShares, maxShares = 2, 262144

// resources are the limits in the library's terms. Swap is not given beyond
// the memory: a task over its limit is killed, not slowed down.
func (l Limits) resources() *cgroups.Resources {
	r := &cgroups.Resources{CpuQuota: l.CPUQuota, CpuPeriod: uint64(max(l.CPUPeriod, 0)), CpusetCpus: l.Cpuset}
	if l.CPUShares > 0 {
		r.CpuShares = uint64(min(max(l.CPUShares, minShares), maxShares))
		r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(r.CpuShares)
	}
	switch {
	case l.MemoryMax < 0:
		r.Memory, r.MemoryReservation = -1, l.Memory
	case l.MemoryMax > 0:
		r.Memory, r.MemoryReservation = l.MemoryMax, l.Memory
	case l.Memory > 0:
		r.Memory = l.Memory
	}
	return r
}

// controllers are those of version 1 that the limits need.
func (l Limits) controllers() []string {
	out := []string{freezer}
	if l.Memory > 0 || l.MemoryMax != 0 {
		out = append(out, "memory")
	}
	if l.CPUShares > 0 || l.CPUQuota > 0 {
		out = append(out, "cpu")
	}
	if l.Cpuset != "" {
		out = append(out, "cpuset")
	}
	return out
}

// Group is the group of one task. A nil Group is none: its methods do nothing.
type Group struct {
	h     hierarchy
	dir   string            // of the freezer, or the only one
	paths map[string]string // version 1: directory by controller
	made  bool              // by us: removed with the task
}

// New makes a group with limits. One that is there is emptied first: a task runs
// once. Without the right to make groups it returns
// nil and no error; a limit that cannot be set is an error.
func New(name string, l Limits) (*Group, error) { return host().group(name, l) }

func (h hierarchy) group(name string, l Limits) (*Group, error) {
	if h.base == "" {
		return nil, nil
	}
	g := &Group{h: h, dir: filepath.Join(h.base, fileName(name)), made: true}
	err := os.Mkdir(g.dir, 0o755)
	left := errors.Is(err, os.ErrExist)
	if err != nil && !left {
		return nil, fmt.Errorf("cannot make the cgroup of a task: %w", err)
	}
	if !h.unified {
		g.paths = map[string]string{freezer: g.dir}
	}
	if left { // by a start that its driver did not live to tell of
		g.Kill()
	}
	if err := g.limit(l); err != nil {
		g.Remove()
		return nil, err
	}
	return g, nil
}

// fileName makes a name of a directory of any text.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '.'
		}
		return r
	}, name) + ".scope"
}

// limit makes what the limits need and sets them.
func (g *Group) limit(l Limits) error {
	r := l.resources()
	if g.h.unified {
		return wrapLimit(g.manager2().Set(r))
	}
	for _, c := range l.controllers() {
		dir := filepath.Join(g.h.root, c, slice, filepath.Base(g.dir))
		if err := makeV1(g.h, c, dir); err != nil {
			return fmt.Errorf("cannot make the cgroup of a task: %w", err)
		}
		g.paths[c] = dir
	}
	if len(g.paths) == 1 {
		return nil
	}
	// Version 1 counts memory and swap together.
	if r.Memory > 0 {
		r.MemorySwap = r.Memory
		if _, err := os.Stat(filepath.Join(g.paths["memory"], "memory.memsw.limit_in_bytes")); err != nil {
			r.MemorySwap = 0 // a kernel without accounting of swap
		}
	}
	r.CpuWeight = 0
	m, err := g.manager1(r)
	if err != nil {
		return wrapLimit(err)
	}
	return wrapLimit(m.Set(r))
}

func wrapLimit(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot limit the cgroup of a task: %w", err)
}

// makeV1 makes a directory below a controller of version 1. A new cpuset is
// empty, and an empty one takes no process: it begins with its parent's.
func makeV1(h hierarchy, controller, dir string) error {
	parent := filepath.Join(h.root, controller)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if controller == "cpuset" {
			if err := inherit(parent, d, "cpuset.cpus", "cpuset.mems"); err != nil {
				return err
			}
		}
		parent = d
	}
	return nil
}

// inherit copies files that are empty from a parent.
func inherit(parent, dir string, files ...string) error {
	for _, f := range files {
		own, err := os.ReadFile(filepath.Join(dir, f))
		if err == nil && strings.TrimSpace(string(own)) != "" {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, f))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) manager1(r *cgroups.Resources) (*fs.Manager, error) {
	return fs.NewManager(&cgroups.Cgroup{Path: "/" + slice, Resources: r}, g.paths)
}

func (g *Group) manager2() *fs2.Manager {
	m, _ := fs2.NewManager(&cgroups.Cgroup{Path: "/" + slice, Resources: &cgroups.Resources{}}, g.dir) // fails for an empty path alone
	return m
}

// Open is the group that an earlier process made, or one that others made;
// only what lies in our slice is removed with the task. An error is a path
// that is not below the mount of cgroups.
func Open(dir string) (*Group, error) { return host().open(dir) }

func (h hierarchy) open(dir string) (*Group, error) {
	dir = filepath.Clean(dir)
	if !strings.HasPrefix(dir, h.root+"/") {
		return nil, fmt.Errorf("%q is not below %s", dir, h.root)
	}
	g := &Group{h: h, dir: dir, made: h.base != "" && filepath.Dir(dir) == h.base}
	if h.unified {
		return g, nil
	}
	g.paths = map[string]string{freezer: dir}
	if g.made {
		for _, c := range []string{"memory", "cpu", "cpuset"} {
			path := filepath.Join(h.root, c, slice, filepath.Base(dir))
			if _, err := os.Stat(path); err == nil {
				g.paths[c] = path
			}
		}
	}
	return g, nil
}

// Override is the group that an operator names instead of ours: by its path
// below the mount, of version 1 by controller. It is never removed.
func Override(v2 string, v1 map[string]string) (*Group, error) {
	h := host()
	if h.unified {
		if !filepath.IsAbs(v2) {
			v2 = filepath.Join(h.root, v2)
		}
		g, err := h.open(v2)
		if g != nil {
			g.made = false
		}
		return g, err
	}
	g := &Group{h: h, paths: map[string]string{}}
	for controller, path := range v1 {
		dir := filepath.Join(h.root, controller, path)
		if !strings.HasPrefix(dir, filepath.Join(h.root, controller)+"/") {
			return nil, fmt.Errorf("%q is not below %s", path, filepath.Join(h.root, controller))
		}
		g.paths[controller] = dir
	}
	g.dir = g.paths[freezer]
	return g, nil
}

// Path finds the group again: see Open. It is "" for none.
func (g *Group) Path() string {
	if g == nil {
		return ""
	}
	return g.dir
}

// Owned reports whether the group holds the task's processes and no others.
func (g *Group) Owned() bool { return g != nil && g.made }

// Procs lists the members.
func (g *Group) Procs() []int {
	if g == nil || g.dir == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for f := range strings.FieldsSeq(string(raw)) {
		// A thread of ours may be passing through to fork: see Start.
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// Kill ends every member of a group that is ours.
func (g *Group) Kill() {
	if !g.Owned() {
		return
	}
	if g.h.unified && os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	for range maxRounds {
		procs := g.Procs()
		if len(procs) == 0 {
			return
		}
		for _, pid := range procs {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // killed members leave the list in their own time
	}
}

// Remove deletes a group of ours once its last member is gone.
func (g *Group) Remove() {
	if !g.Owned() {
		return
	}
	dirs := []string{g.dir}
	for c, dir := range g.paths {
		if c != freezer {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		for range maxRounds {
			err := os.Remove(dir)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			g.Kill()
			time.Sleep(time.Millisecond) // zombies hold the group until they are reaped
		}
	}
}

// Start runs a function that forks a child, so that the child is born inside
// the group. attr is the child's.
func (g *Group) Start(attr *syscall.SysProcAttr, fork func() error) error {
	switch {
	case g == nil || g.dir == "" && len(g.paths) == 0:
		return fork()
	case g.h.unified:
		dir, err := os.Open(g.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		return fork()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	leave, err := g.enter()
	defer leave()
	if err != nil {
		return err
	}
	return fork()
}

// enter moves the calling thread into the groups of version 1; leave moves it
// back home.
func (g *Group) enter() (leave func(), err error) {
	home := ownGroups() // known before the first thread ever leaves it
	tid := []byte(strconv.Itoa(unix.Gettid()))
	var entered []string
	leave = func() {
		for _, c := range entered {
			_ = os.WriteFile(filepath.Join(g.h.root, c, home[c], "tasks"), tid, 0)
		}
	}
	for c, dir := range g.paths {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), tid, 0); err != nil {
			return leave, fmt.Errorf("cannot enter the cgroup of a task: %w", err)
		}
		entered = append(entered, c)
	}
	return leave, nil
}

// ownGroups are the groups of version 1 that this process lives in.
var ownGroups = sync.OnceValue(func() map[string]string {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return map[string]string{}
	}
	return own
})
