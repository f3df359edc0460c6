// Package arch holds the rules of the architecture as tests: which package may
// import which (design: floors), and that hosts' paths are opened in one place.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/nomadlite/nomadlite"

// floor is one rule: packages under a path, their height, and what else of
// ours they may import beyond lower floors. Longer paths win.
type floor struct {
	path   string
	height float64
	// only lists the prefixes of our packages that it may import; nil allows
	// every lower floor.
	only []string
}

var floors = []floor{
	{"structs", 0, []string{}},
	{"ui", 0, []string{}},
	{"wholefile", 0, []string{}},
	{"plugins/proto", 0, []string{"plugins/proto"}},
	{"plugins", 0.5, []string{"plugins"}},
	{"plugins/netns", 0, []string{}},
	{"plugins/drivertest", 1, []string{"plugins"}},
	{"jobspec", 1, []string{"structs"}},
	{"scheduler", 1, []string{"structs"}},
	{"docs/examples", 2, []string{"structs", "scheduler", "plugins"}},
	{"api", 1, []string{"structs", "api/wire"}},
	{"api/wire", 0.5, []string{}},
	{"client/rootfs", 0, []string{}},
	// What fetches artifacts is a process of its own and knows nothing of ours.
	{"client/artifact/fetch", 0.5, []string{}},
	{"client/logs", 0.5, []string{"client/rootfs"}},
	{"drivers", 1, []string{"plugins", "client/rootfs", "wholefile", "drivers/caps", "drivers/cgroup", "drivers/executor", "drivers/sandbox"}},
	{"drivers/sandbox", 0.9, []string{"plugins", "drivers/caps", "drivers/cgroup", "drivers/executor"}},
	{"drivers/executor", 0.8, []string{"plugins", "client/rootfs", "drivers/caps", "drivers/cgroup"}},
	{"drivers/caps", 0, []string{}},
	// Control groups of tasks: one reading of both versions for all drivers.
	{"drivers/cgroup", 0.5, []string{}},
	{"nomadlite/state", 0.8, []string{"structs", "nomadlite/state"}},
	// The control loops: one subject each, over the state, blind to the log.
	{"nomadlite/broker", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/blocked", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/planner", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/heartbeat", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/periodic", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/deploy", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/drain", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/raftlog", 1, []string{}},
	{"nomadlite/events", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/keyring", 1, []string{"wholefile"}},
	{"nomadlite/archive", 0.5, []string{}},
	{"nomadlite/autopilot", 1, []string{"structs"}},
	{"nomadlite/member", 1, []string{"wholefile"}},
	{"nomadlite/gc", 1, []string{"structs", "nomadlite/state"}},
	{"nomadlite/fsm", 2, []string{"structs", "nomadlite/state"}},
	{"nomadlite/worker", 2, nil},
	{"nomadlite", 3, nil},
	{"client", 2, []string{"structs", "api", "plugins", "client", "wholefile"}},
	{"client/simnode", 2, []string{"structs", "api"}},
	{"client/keeper", 2, []string{"plugins", "client/logs", "client/rootfs"}},
	{"command/version", 0, []string{}},
	{"command/agent/config", 0, []string{}},
	{"command/agent", 4, nil},
	{"command", 5, nil},
	{"", 6, nil}, // main
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func under(path, prefix string) bool {
	return prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

// floorOf finds the rule with the longest path.
func floorOf(path string) floor {
	best := floors[len(floors)-1]
	for _, f := range floors {
		if f.path != "" && under(path, f.path) && len(f.path) > len(best.path) {
			best = f
		}
	}
	return best
}

// ours cuts the module from an import path.
func ours(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsGoDownward(t *testing.T) {
	for _, p := range listPackages(t) {
		from, _ := ours(p.ImportPath)
		ff := floorOf(from)
		if from != "" && ff.path == "" {
			t.Errorf("%s stands on no floor: add it to the table, and to CONTRIBUTING.md", from)
			continue
		}
		for _, imp := range p.Imports {
			to, own := ours(imp)
			if !own {
				continue
			}
			checkImport(t, from, ff, to)
		}
	}
}

func checkImport(t *testing.T, from string, ff floor, to string) {
	t.Helper()
	tf := floorOf(to)
	root, _, _ := strings.Cut(from, "/")
	switch {
	case tf.height > ff.height:
		t.Errorf("%s (floor %v) imports %s (floor %v): imports go strictly downward", from, ff.height, to, tf.height)
	case ff.only != nil && !allowed(ff.only, to):
		t.Errorf("%s imports %s, but may import only %v of ours", from, to, ff.only)
	case root == "client" && under(to, "nomadlite"), root == "nomadlite" && under(to, "client"):
		t.Errorf("%s imports %s: servers and clients meet in api and command/agent alone", from, to)
	}
}

func allowed(prefixes []string, to string) bool {
	for _, p := range prefixes {
		if under(to, p) {
			return true
		}
	}
	return false
}

// TestNounsUseTheStandardLibraryAlone keeps structs free of dependencies.
func TestNounsUseTheStandardLibraryAlone(t *testing.T) {
	for _, p := range listPackages(t) {
		path, _ := ours(p.ImportPath)
		if !under(path, "structs") || path == "" {
			continue
		}
		for _, imp := range p.Imports {
			if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s: structs is standard library only", path, imp)
			}
		}
	}
}

// TestForeignClientStaysOut keeps the public Go client a dependency of tests.
func TestForeignClientStaysOut(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/hashicorp/nomad") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}
