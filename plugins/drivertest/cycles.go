package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// CyclesEnv is the environment variable with the number of tasks that the
// suite starts and stops to see what is left of them; unset: 16.
const CyclesEnv = "DRIVERTEST_CYCLES"

// What a plugin's process may use more after any number of cycles.
const (
	moreFiles   = 2
	moreThreads = 8
	moreMemory  = 16 << 20
)

// testCycles starts and stops many tasks and checks what is left of them: in
// the plugin's process and, as far as a suite can know, on the host.
func testCycles(t *testing.T, h *host) {
	cycles := 16
	if text := os.Getenv(CyclesEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q is no number of cycles", CyclesEnv, text)
		}
		cycles = n
	}
	t.Run("First", func(t *testing.T) { h.cycle(t, 4) }) // what a driver sets up once
	before := h.holdings(t)
	began := time.Now()
	t.Run("All", func(t *testing.T) { h.cycle(t, cycles) })
	took := time.Since(began)
	var after *holdings
	var left []string
	h.within(func() bool {
		after = h.holdings(t)
		left = before.less(after)
		return len(left) == 0
	})
	t.Logf("%d cycles in %v: before %s, after %s", cycles, took.Round(time.Millisecond), before, after)
	if len(left) > 0 {
		t.Errorf("left by %d cycles: %s", cycles, strings.Join(left, "; "))
	}
	testLeaks(t, h)
}

// cycle leads n tasks through a life, as many at a time as go test's -parallel:
// one of three ends by itself, one is stopped, one is destroyed as it runs.
func (h *host) cycle(t *testing.T, n int) {
	for i := range n {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			if i%3 == 0 {
				h.wait(t, h.start(t, Behaviour{Stdout: "up"}).ID)
				return // its cleanup destroys it
			}
			r := h.start(t, Behaviour{Stdout: "up", RunFor: long})
			if i%3 == 1 {
				if err := h.driver.StopTask(h.ctx(t), r.ID, time.Second, "SIGTERM"); err != nil {
					t.Errorf("StopTask: %v", err)
				}
				h.wait(t, r.ID)
			}
		})
	}
}

// holdings is what a plugin's process and its tasks hold.
type holdings struct {
	files, threads int
	memory         int64    // bytes, resident
	children       []string // of the process, dead ones that nobody waited for too
	mounts         []string // of the host, in directories of the suite's tasks
}

func (a *holdings) String() string {
	return fmt.Sprintf("%d files, %d threads, %.1f MiB, %d children, %d mounts", a.files, a.threads, float64(a.memory)/(1<<20), len(a.children), len(a.mounts))
}

// less says what b holds more than it may.
func (a *holdings) less(b *holdings) []string {
	var out []string
	add := func(more bool, what string, args ...any) {
		if more {
			out = append(out, fmt.Sprintf(what, args...))
		}
	}
	add(b.files > a.files+moreFiles, "%d open files, were %d", b.files, a.files)
	add(b.threads > a.threads+moreThreads, "%d threads, were %d", b.threads, a.threads)
	add(b.memory > a.memory+moreMemory, "%d bytes of memory, were %d", b.memory, a.memory)
	add(len(b.children) > len(a.children), "processes %s", strings.Join(b.children, ", "))
	add(len(b.mounts) > len(a.mounts), "mounts %s", strings.Join(b.mounts, ", "))
	return out
}

func (h *host) holdings(t testing.TB) *holdings {
	t.Helper()
	pid := h.driver.Reattach().Pid
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	out := &holdings{files: len(files), children: children(pid)}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Threads":
			out.threads, err = strconv.Atoi(strings.TrimSpace(value))
		case "VmRSS":
			out.memory, err = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			out.memory <<= 10
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/"+dirPrefix) || strings.Contains(line, AllocPrefix()) {
			out.mounts = append(out.mounts, strings.TrimSpace(line))
		}
	}
	return out
}

// children lists the children of a process by number and name.
func children(parent int) []string {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // a bad pattern is impossible
	var out []string
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// "pid (name) state parent …": a name may hold anything, brackets too.
		head, rest, _ := strings.Cut(string(text), " (")
		end := strings.LastIndex(rest, ") ")
		if end < 0 {
			continue
		}
		if fields := strings.Fields(rest[end+2:]); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			out = append(out, head+" "+rest[:end]+" "+fields[0])
		}
	}
	return out
}
