package client

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/client/artifact"
	"github.com/nomadlite/nomadlite/structs"
)

// with adds artifacts to an allocation's task.
func with(a *structs.Allocation, artifacts ...*structs.TaskArtifact) *structs.Allocation {
	a.Job.TaskGroups[0].Tasks[0].Artifacts = artifacts
	a.Job.TaskGroups[0].RestartPolicy = &structs.RestartPolicy{Attempts: structs.Ptr(0), Mode: structs.Ptr("fail")}
	a.Job.TaskGroups[0].Tasks[0].RestartPolicy = nil
	a.Job.Canonicalize()
	return a
}

// event is the text of a task's last event of a kind.
func event(u *structs.AllocUpdate, kind string) string {
	text := ""
	for _, e := range u.TaskStates["main"].Events {
		if e.Type == kind {
			text = e.DisplayMessage
		}
	}
	return text
}

// TestArtifactsOfMany_N18: tasks that fetch from the same address at the same
// time each get their own. ARTIFACT_FETCHES sets how many (the row asks for
// 10000).
func TestArtifactsOfMany_N18(t *testing.T) {
	total, side := 32, 8
	if n, err := strconv.Atoi(os.Getenv("ARTIFACT_FETCHES")); err == nil {
		total, side = n, 64
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Alloc")) }))
	defer srv.Close()
	s := newServers()
	start(t, shortDir(t), s, true)
	var group sync.WaitGroup
	next := make(chan int, total)
	for i := range total {
		next <- i
	}
	close(next)
	for range side {
		group.Go(func() {
			for i := range next {
				id := idOf(100 + i)
				s.put(with(shell(id, structs.JobTypeBatch, `test "$(cat $NOMAD_TASK_DIR/data)" = $NOMAD_ALLOC_ID`),
					&structs.TaskArtifact{GetterSource: srv.URL + "/data", GetterHeaders: map[string]string{"X-Alloc": "${NOMAD_ALLOC_ID}"}}))
				u := s.await(t, id, func(u *structs.AllocUpdate) bool {
					return u.ClientStatus == structs.AllocClientStatusComplete || u.ClientStatus == structs.AllocClientStatusFailed
				})
				if u.ClientStatus != structs.AllocClientStatusComplete {
					t.Errorf("%s: %s", id, event(u, structs.TaskArtifactDownloadFailed))
				}
			}
		})
	}
	group.Wait()
}

// TestArtifactFailures_N10_N26_N27: what goes wrong is an event that says why;
// it costs the task, and nothing is left of it.
func TestArtifactFailures_N10_N26_N27(t *testing.T) {
	var big bytes.Buffer
	w := tar.NewWriter(&big)
	_ = w.WriteHeader(&tar.Header{Name: "zeros", Size: 8 << 20, Mode: 0o644})
	_, _ = w.Write(make([]byte, 8<<20))
	_ = w.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(big.Bytes())
	}))
	defer srv.Close()
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'panic: boom' >&2\nexit 2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		artifact structs.TaskArtifact
		want     string
	}{
		"not found":   {artifact: structs.TaskArtifact{GetterSource: srv.URL + "/none?key=hidden"}, want: `failed to download artifact "` + srv.URL + `/none": the server answered 404 Not Found`},
		"destination": {artifact: structs.TaskArtifact{GetterSource: srv.URL + "/x", RelativeDest: "${X}/etc/cron.d"}, want: `destination: path "../../../../etc/cron.d" leaves the task's directory`},
		"scheme":      {artifact: structs.TaskArtifact{GetterSource: "${X}"}, want: "has no scheme"},
		"local file":  {artifact: structs.TaskArtifact{GetterSource: "/etc/passwd"}, want: "no folder of the client setting artifact.local_paths holds it"},
		"bomb":        {artifact: structs.TaskArtifact{GetterSource: srv.URL + "/x.tar"}, want: "ephemeral_disk.size"},
		"panic":       {artifact: structs.TaskArtifact{GetterSource: srv.URL + "/x"}, want: "the process that fetches broke down (exit status 2): panic: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newServers(), shortDir(t)
			startWith(t, dir, s, true, func(c *Client) {
				if name == "panic" {
					cfg := c.cfg.Artifacts
					cfg.Binary = broken
					c.artifacts = artifact.New(cfg)
				}
			})
			a := with(shell(firstID, structs.JobTypeBatch, "true"), &c.artifact)
			a.Job.TaskGroups[0].Tasks[0].Env = map[string]string{"X": "../../../.."}
			a.Job.TaskGroups[0].EphemeralDisk.SizeMB = structs.Ptr(4)
			s.put(a)
			u := s.await(t, firstID, is(structs.AllocClientStatusFailed))
			if text := event(u, structs.TaskArtifactDownloadFailed); !strings.Contains(text, c.want) || strings.Contains(text, "hidden") {
				t.Errorf("the event says %q, want %q", text, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "alloc", firstID, ".stage-*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, "alloc", firstID, "main/local")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestArtifactCache: one download serves all tasks of a namespace that want the
// same checksum, also after a restart of the task; a damaged copy is replaced.
// What arrives has no rights.
func TestArtifactCache_N04(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "tool", Size: 10, Mode: 0o6755})
	_, _ = w.Write([]byte("#!/bin/sh\n"))
	_ = w.Close()
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = rw.Write(archive.Bytes())
	}))
	defer srv.Close()
	sum := sha256.Sum256(archive.Bytes())
	s, dir := newServers(), shortDir(t)
	start(t, dir, s, true)
	run := func(id, namespace string) {
		t.Helper()
		// It fails once, so that it is started twice.
		a := with(shell(id, structs.JobTypeBatch, `test -x local/bin/tool && test -e again || { touch again; exit 1; }`),
			&structs.TaskArtifact{GetterSource: srv.URL + "/a.tar", GetterOptions: map[string]string{"checksum": "sha256:" + hex.EncodeToString(sum[:])}, RelativeDest: "local/bin"})
		a.Namespace = namespace
		a.Job.TaskGroups[0].RestartPolicy = &structs.RestartPolicy{Attempts: structs.Ptr(1), Delay: structs.Ptr(time.Nanosecond)}
		a.Job.TaskGroups[0].Tasks[0].RestartPolicy = a.Job.TaskGroups[0].RestartPolicy
		s.put(a)
		u := s.await(t, id, func(u *structs.AllocUpdate) bool {
			return u.ClientStatus == structs.AllocClientStatusComplete || u.ClientStatus == structs.AllocClientStatusFailed
		})
		if u.ClientStatus != structs.AllocClientStatusComplete || u.TaskStates["main"].Restarts != 1 {
			t.Fatalf("%+v %s", u.TaskStates["main"], event(u, structs.TaskArtifactDownloadFailed))
		}
		info, err := os.Stat(filepath.Join(dir, "alloc", id, "main/local/bin/tool"))
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("%v (%v)", info, err)
		}
	}
	run(firstID, "default")
	run(secondID, "default")
	if got := hits.Load(); got != 1 {
		t.Errorf("%d downloads, want 1", got)
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "client/artifacts/*"))
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	if err := os.WriteFile(kept[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(thirdID, "default")
	run(fourthID, "other")
	if got := hits.Load(); got != 3 {
		t.Errorf("%d downloads, want 3", got)
	}
}
