package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
	"github.com/nomadlite/nomadlite/structs"
)

// TestAlgorithms does what docs/algorithms.md tells a third party to do: it
// builds the program of the document beside the product's packages, starts it as
// the agent and runs the commands; a job is then placed by the scores of the
// added algorithm and scorer. The document's other code is the example's.
func TestAlgorithms(t *testing.T) {
	raw, err := os.ReadFile(root + "/docs/algorithms.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(root + "/docs/examples/leastgpu/leastgpu.go")
	if err != nil {
		t.Fatal(err)
	}
	program, commands := "", ""
	for _, m := range regexp.MustCompile("(?s)```(go|console)\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		switch kind, text := m[1], m[2]; {
		case kind == "console":
			commands += text
		case strings.HasPrefix(text, "package main\n"):
			program = text
		case !strings.Contains(string(example), text):
			t.Errorf("the example has another text than the document:\n%s", text)
		}
	}
	dir, err := os.MkdirTemp("", "nlgpu") // sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := build(t, dir, program)
	agent, err := agenttest.StartBinary(bin, dir, false)
	if agent != nil {
		t.Cleanup(agent.Cleanup)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "nomadlite-gpu")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(mustAbs(t, root+"/docs"), filepath.Join(dir, "docs")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(commands) {
		run(t, dir, agent.Addr, command{line: "./" + strings.TrimSpace(line)})
	}
	var allocs []*structs.AllocListStub
	var alloc structs.Allocation
	if err := agent.Get("/v1/allocations", &allocs); err != nil || len(allocs) == 0 {
		t.Fatalf("%d allocations, %v", len(allocs), err)
	}
	if err := agent.Get("/v1/allocation/"+allocs[0].ID, &alloc); err != nil {
		t.Fatal(err)
	}
	if m := alloc.Metrics; m == nil || len(m.ScoreMetaData) != 1 || m.ScoreMetaData[0].Scores["few-allocations"] != 1 {
		t.Errorf("the allocation was not placed by the added scorer: %+v", m)
	}
}

// build compiles a program with the product's module, in a folder that is not
// really there.
func build(t *testing.T, dir, program string) string {
	t.Helper()
	source, overlay, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gpu")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{mustAbs(t, root+"/gpu/main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{source: []byte(program), overlay: replace} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "./gpu")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
