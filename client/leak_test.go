package client

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	c := census{"goroutines": runtime.NumGoroutine(), "MiB of heap": int(mem.HeapAlloc >> 20)}
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
	ours := fmt.Sprintf("nomad.slice/*-%012x.*", os.Getpid()) // idOf
	count("cgroups", "/sys/fs/cgroup/*/"+ours)
	count("cgroups", "/sys/fs/cgroup/"+ours)
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

// rich gives an allocation's task all that needs undoing: a template, an
// artifact, an identity that is renewed, and a service with a check.
func rich(a *structs.Allocation, address, sum string) *structs.Allocation {
	group := a.Job.TaskGroups[0]
	t := group.Tasks[0]
	t.Artifacts = []*structs.TaskArtifact{{GetterSource: address + "/file", GetterOptions: map[string]string{"checksum": "sha256:" + sum}}}
	t.Templates = []*structs.Template{{EmbeddedTmpl: "x", DestPath: "local/conf", ChangeMode: "noop"}}
	t.Identities = []*structs.WorkloadIdentity{{Name: "aws", Env: true, File: true, TTL: time.Hour}}
	group.Services = []*structs.Service{{Name: "s", Provider: "nomad", PortLabel: "9", TaskName: "main", Checks: []*structs.ServiceCheck{
		{Name: "c", Type: "tcp", PortLabel: "9", Interval: time.Second, Timeout: time.Second}}}}
	a.Job.Canonicalize()
	return a
}

// TestLeaks_I13: starting and stopping leaves nothing: neither descriptors nor
// goroutines of any process, nor directories, FIFOs, cgroups or mounts.
// LEAK_CYCLES sets how many (the audit takes 1000).
func TestLeaks_I13(t *testing.T) {
	cycles := 60
	if n, err := strconv.Atoi(os.Getenv("LEAK_CYCLES")); err == nil {
		cycles = n
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "content") }))
	defer srv.Close()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	s, dir := newServers(), shortDir(t)
	s.ttl = time.Hour
	n := start(t, dir, s, true)
	const side = 10 // at once
	next := 0
	run := func(cycles int) {
		for range cycles / side {
			var group sync.WaitGroup
			for i := range side {
				next++
				id := idOf(next)
				group.Go(func() {
					kind, script := structs.JobTypeBatch, "echo out; exit 0"
					if i%2 == 1 {
						kind, script = structs.JobTypeService, "sleep 600"
					}
					a := shell(id, kind, script)
					if i%4 > 1 {
						rich(a, srv.URL, sum)
					}
					s.put(a)
					if i%2 == 1 {
						s.await(t, id, is(structs.AllocClientStatusRunning))
						s.stop(id)
					}
					s.await(t, id, is(structs.AllocClientStatusComplete))
					s.forget(id)
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
			if what == "goroutines" || what == "MiB of heap" || strings.HasPrefix(what, "descriptors") {
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
