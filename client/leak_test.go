package client

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// census counts what a node holds on its host.
type census map[string]int

func takeCensus(t *testing.T, dir string) census {
	t.Helper()
	c := census{"goroutines": runtime.NumGoroutine()}
	count := func(name, pattern string) {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		c[name] += len(files)
	}
	count("descriptors of the agent", "/proc/self/fd/*")
	for _, keeper := range childrenOf(os.Getpid()) {
		count("descriptors of the keeper", fmt.Sprintf("/proc/%d/fd/*", keeper))
		for _, driver := range childrenOf(keeper) {
			c["processes of the keeper"]++
			count("descriptors of drivers", fmt.Sprintf("/proc/%d/fd/*", driver))
		}
	}
	count("allocation directories", dir+"/alloc/*")
	count("FIFOs", dir+"/client/fifo/*")
	count("cgroups", "/sys/fs/cgroup/*/nomad.slice/0000*-leak-*")
	count("cgroups", "/sys/fs/cgroup/nomad.slice/0000*-leak-*")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	c["mounts"] = strings.Count(string(mounts), dir)
	return c
}

// childrenOf lists the living children of a process.
func childrenOf(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			out = append(out, child)
		}
	}
	return out
}

// TestLeaks_I13: starting and stopping leaves nothing: neither descriptors nor
// goroutines of any process, nor directories, FIFOs, cgroups or mounts.
// LEAK_CYCLES sets how many (the audit takes 1000).
func TestLeaks_I13(t *testing.T) {
	cycles := 60
	if n, err := strconv.Atoi(os.Getenv("LEAK_CYCLES")); err == nil {
		cycles = n
	}
	s, dir := newServers(), shortDir(t)
	n := start(t, dir, s, true)
	const side = 10 // at once
	next := 0
	run := func(cycles int) {
		for range cycles / side {
			var group sync.WaitGroup
			for i := range side {
				next++
				id := fmt.Sprintf("%08x-leak-0000-0000-000000000000", next)
				group.Go(func() {
					if i%2 == 0 {
						s.put(shell(id, structs.JobTypeBatch, "echo out; exit 0"))
					} else {
						s.put(shell(id, structs.JobTypeService, "sleep 600"))
						s.await(t, id, is(structs.AllocClientStatusRunning))
						s.stop(id)
					}
					s.await(t, id, is(structs.AllocClientStatusComplete))
				})
			}
			group.Wait()
			n.collectWhile(t.Context(), room{maxFinished: 0})
		}
	}
	run(2 * side)
	before := takeCensus(t, dir)
	run(cycles)
	deadline := time.Now().Add(patience)
	for {
		after, left := takeCensus(t, dir), []string{}
		for what, many := range after {
			// Connections and timers of the runtime come and go by a few.
			slack := 0
			if what == "goroutines" || strings.HasPrefix(what, "descriptors") {
				slack = 4
			}
			if many > before[what]+slack {
				left = append(left, fmt.Sprintf("%s: %d, before %d", what, many, before[what]))
			}
		}
		if len(left) == 0 {
			t.Logf("after %d cycles: %v", cycles, after)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d cycles there are left:\n%s", cycles, strings.Join(left, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
