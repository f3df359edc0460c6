package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// beside starts an engine for a test that harms it.
func beside(t *testing.T, size string) *Engine {
	t.Helper()
	need(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := StartBeside(ctx, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

// says waits until the node says something of the docker driver.
func (a *agent) says(healthy bool, want string) {
	a.t.Helper()
	agenttest.Eventually(a.t, "the node to say "+want, func() error {
		drivers, err := a.Drivers()
		if d := drivers["docker"]; err == nil && (d.Healthy != healthy || !strings.Contains(d.HealthDescription, want)) {
			err = fmt.Errorf("%+v", d)
		}
		return err
	})
}

// progress waits for more output of a task.
func (a *agent) progress(alloc string) {
	a.t.Helper()
	seen := strings.Count(a.logs(alloc, "stdout"), "\n")
	agenttest.Eventually(a.t, "more output", func() error {
		if n := strings.Count(a.logs(alloc, "stdout"), "\n"); n <= seen {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
}

// only waits until the node has so many containers left.
func (a *agent) only(count int) {
	a.t.Helper()
	var nodes []struct{ ID string }
	if err := a.Get("/v1/nodes", &nodes); err != nil || len(nodes) != 1 {
		a.t.Fatalf("%v, %v", nodes, err)
	}
	agenttest.Eventually(a.t, "containers to be removed", func() error {
		list, err := a.e.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(
			filters.Arg("label", "com.nomadlite.node_id="+nodes[0].ID))})
		if err == nil && len(list) != count {
			err = fmt.Errorf("%d containers, want %d: %+v", len(list), count, list)
		}
		return err
	})
}

// TestEngineRestart_B51: a restart of the engine is no exit of tasks; what is
// stopped meanwhile ends when the engine is back.
func TestEngineRestart_B51(t *testing.T) {
	e := beside(t, "")
	a := newAgentOf(t, e, e.Host, "")
	a.run("count", "batch", sh(counting), nil)
	a.run("leave", "service", sh("sleep 1000"), nil)
	al, leaving := a.await("count", "running"), a.await("leave", "running")
	id := a.containerID(al.ID)
	e.End(syscall.SIGKILL)
	a.says(false, "Failed to connect to docker daemon")
	if out, code := a.cli("job", "stop", "-detach", "leave"); code != 0 {
		t.Fatalf("stop: %s", out)
	}
	agenttest.Eventually(t, "an event of the stop", func() error {
		if now := a.await("leave", "running"); !strings.Contains(now.events(), "cannot be stopped now") {
			return fmt.Errorf("%s", now.events())
		}
		return nil
	})
	if err := syscall.Kill(a.plugin(), syscall.SIGKILL); err != nil { // and the next process finds no engine
		t.Fatal(err)
	}
	if now := a.await("count", "running"); now.ID != al.ID {
		t.Fatalf("another allocation: %+v", now)
	}
	if err := e.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := a.containerID(al.ID); now != id {
		t.Fatalf("another container: %s, was %s", now, id)
	}
	a.progress(al.ID)
	agenttest.Eventually(t, "exec", func() error {
		if out, code := a.cli("alloc", "exec", "-i=false", "-t=false", al.ID, "/bin/true"); code != 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	a.await("leave", "complete")
	a.gone(leaving.ID)
	a.stopCounting(al.ID)
	if end := a.await("count", "failed"); !strings.Contains(end.events(), "exit_code:7") {
		t.Errorf("events:\n%s", end.events())
	}
	a.says(true, "Healthy")
	a.only(0)
}

// TestStalledEngine: an engine that takes requests and never answers stops no
// other driver's tasks and not the agent, its containers are believed to run,
// and when it answers again all that was asked meanwhile happens.
func TestStalledEngine(t *testing.T) {
	need(t)
	p := NewProxy(t, engine)
	a := newAgentOf(t, engine, p.Host, "")
	a.run("count", "batch", sh(counting), nil)
	a.run("leave", "service", sh("sleep 1000"), nil)
	al, leaving := a.await("count", "running"), a.await("leave", "running")
	p.Hang()
	resume := true
	defer func() {
		if resume {
			p.Resume()
		}
	}()
	a.run("late", "batch", sh("exit 0"), nil)
	if out, code := a.cli("job", "stop", "-detach", "leave"); code != 0 {
		t.Fatalf("stop: %s", out)
	}
	program := object{"Name": "t", "Driver": "raw_exec", "Config": sh("exit 0"), "Resources": object{"CPU": 20, "MemoryMB": 20}, "LogConfig": object{"MaxFiles": 1, "MaxFileSizeMB": 1}}
	a.run("program", "batch", object{}, object{"Tasks": []any{program}})
	a.await("program", "complete")
	if err := syscall.Kill(a.plugin(), syscall.SIGKILL); err != nil { // the next process finds an engine that hangs
		t.Fatal(err)
	}
	a.says(false, "the docker engine did not answer within 10s")
	began := time.Now()
	if _, err := a.Interrupt(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the agent ended after %v", time.Since(began).Round(time.Millisecond))
	if err := a.Again(); err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]string{"count": "running", "leave": "running", "late": "pending"} {
		a.await(job, want)
	}
	p.Resume()
	resume = false
	a.await("leave", "complete")
	a.gone(leaving.ID)
	a.progress(al.ID)
	a.await("late", "complete")
	a.stopCounting(al.ID)
	if end := a.await("count", "failed"); !strings.Contains(end.events(), "exit_code:7") {
		t.Errorf("events:\n%s", end.events())
	}
	a.says(true, "Healthy")
	a.only(0)
}

// hugeLayer is a layer that is larger than the disk of TestDiskFull; what it
// holds packs well.
func hugeLayer(t *testing.T) []byte {
	t.Helper()
	const size = 100 << 20
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestDiskFull_B52: an image that does not fit fails with cause and fix, whether it
// is too large to fetch or to unpack, and leaves nothing; other tasks run on.
// Images that nobody uses go when the disk is nearly full, but no pinned one.
func TestDiskFull_B52(t *testing.T) {
	e := beside(t, "64m")
	r, err := NewRegistry("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	huge := hugeLayer(t)
	for tag, packed := range map[string]bool{"fetched": false, "unpacked": true} {
		if err := r.Add(huge, packed, tag); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Root()
	if err == nil {
		err = r.Add(root, true, "2") // another image of the same content
	}
	if err != nil {
		t.Fatal(err)
	}
	a := newAgentOf(t, e, e.Host, fmt.Sprintf("    gc {\n      image_delay = \"1h\"\n      image_pins  = [%q]\n    }\n", r.Name("pinned:*")))
	a.run("count", "batch", sh(counting), nil)
	al := a.await("count", "running")
	before := e.used(t)
	for _, tag := range []string{"fetched", "unpacked"} {
		a.run(tag, "batch", object{"image": r.Name("huge:" + tag)}, nil)
		end := a.await(tag, "failed")
		if text := end.events(); !strings.Contains(text, "the engine's disk is full; remove images") || !strings.Contains(text, "Downloading image") {
			t.Errorf("%s: events:\n%s", tag, text)
		}
		a.progress(al.ID)
	}
	agenttest.Eventually(t, "the disk to be as it was", func() error {
		if now := e.used(t); now > before+4<<20 {
			return fmt.Errorf("%d MiB are used, were %d", now>>20, before>>20)
		}
		return nil
	})
	for _, name := range []string{"pinned:2", "plain:1"} {
		config := sh("exit 0")
		config["image"] = r.Name(name)
		id, _, _ := strings.Cut(name, ":")
		a.run(id, "batch", config, nil)
		a.await(id, "complete")
	}
	filler := filepath.Join(e.Data(), "filler")
	if err := os.WriteFile(filler, make([]byte, 58<<20-e.used(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the image that nobody uses to be removed", func() error {
		if _, err := e.ImageInspect(t.Context(), r.Name("plain:1")); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	if _, err := e.ImageInspect(t.Context(), r.Name("pinned:2")); err != nil {
		t.Errorf("the pinned image: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	a.stopCounting(al.ID)
	a.await("count", "failed")
	a.only(0)
}

// used is how much of the engine's disk is, in bytes.
func (e *Engine) used(t *testing.T) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(e.Data(), &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
