// Package docs runs what README and docs show.
package docs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

const root = "../.."

// command is one line of a shell block.
type command struct {
	line string // without its comment
	exit int    // "(exit code N" in the comment
}

var exitNote = regexp.MustCompile(`\(exit code (\d+)`)

// shellBlocks reads the commands of a Markdown file's sh blocks.
func shellBlocks(t *testing.T, path string) []command {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []command
	inside := false
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside && line == "```sh"
		case inside && line != "" && !strings.HasPrefix(line, "#"):
			text, comment, _ := strings.Cut(line, " #")
			c := command{line: strings.TrimSpace(text)}
			if m := exitNote.FindStringSubmatch(comment); m != nil {
				c.exit, _ = strconv.Atoi(m[1])
			}
			out = append(out, c)
		}
	}
	return out
}

func markdown(t *testing.T) []string {
	t.Helper()
	files := []string{root + "/README.md", root + "/CONTRIBUTING.md"}
	err := filepath.WalkDir(root+"/docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestShellBlocks runs every command that a document shows, each document with
// an agent and a folder of its own. `make` lines are only looked up: one of
// them is how this test runs.
func TestShellBlocks(t *testing.T) {
	targets := makeTargets(t)
	for _, file := range markdown(t) {
		commands := shellBlocks(t, file)
		if len(commands) == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			var agent *agenttest.Agent
			dir := t.TempDir()
			for _, c := range commands {
				if rest, ok := strings.CutPrefix(c.line, "make "); ok {
					if target := strings.Fields(rest)[0]; !targets[target] {
						t.Errorf("%q: GNUmakefile has no target %s", c.line, target)
					}
					continue
				}
				if agent == nil {
					agent = agenttest.New(t, false)
					link(t, dir)
				}
				run(t, dir, agent.Addr, c)
			}
		})
	}
}

func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(root + "/GNUmakefile")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(raw), -1) {
		out[m[1]] = true
	}
	return out
}

// link makes the folder look like the repository to a reader of its docs.
func link(t *testing.T, dir string) {
	t.Helper()
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Abs(root + "/docs")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.Symlink(bin, filepath.Join(dir, "bin", "nomadlite")),
		os.Symlink(docs, filepath.Join(dir, "docs"))); err != nil {
		t.Fatal(err)
	}
}

// run runs one command. One that follows something is ended after its first
// line.
func run(t *testing.T, dir, addr string, c command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), agenttest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "exec "+c.line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+addr, "NOMAD_CLI_SHOW_HINTS=false")
	if strings.Contains(c.line, " -f ") {
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Errorf("%s: nothing to follow: %v", c.line, err)
		}
		cancel()
		_ = cmd.Wait()
		return
	}
	out, err := cmd.CombinedOutput()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if code != c.exit {
		t.Errorf("%s: exit code %d, want %d:\n%s", c.line, code, c.exit, out)
	}
}

// TestDev runs the first of README's two commands on ports of its own: it
// leaves an agent and a job running, and `stop` leaves nothing.
func TestDev(t *testing.T) {
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := agenttest.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "nldev") // sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "agent.hcl")
	text := fmt.Sprintf("ports {\n  http = %d\n  rpc  = %d\n  serf = %d\n}\n", ports[0], ports[1], ports[2])
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script := func(args ...string) string {
		cmd := exec.Command(root+"/scripts/dev.sh", append([]string{bin}, args...)...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("NOMAD_ADDR=http://127.0.0.1:%d", ports[0]),
			"DEV_STATE="+filepath.Join(dir, "state"), "DEV_CONFIG="+conf, "TMPDIR="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("dev.sh %v: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	left := &agenttest.Agent{Dir: dir}
	t.Cleanup(func() {
		left.Cleanup()
		os.RemoveAll(dir)
	})
	out := script()
	for _, want := range []string{"finished with status \"successful\"", "= running", "serves port", "job stop -purge web"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if tasks := left.Processes(); len(tasks) == 0 {
		t.Error("nothing was left running")
	}
	if out := script("stop"); !strings.Contains(out, "stopped the dev agent") {
		t.Errorf("stop: %s", out)
	}
	agenttest.Eventually(t, "the end of everything", func() error {
		if procs := left.Processes(); len(procs) > 0 {
			return fmt.Errorf("left: %+v", procs)
		}
		return nil
	})
}
