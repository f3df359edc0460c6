// Package scripts runs the command line as people do: txtar scripts against
// real agents. Commands beside the standard ones of testscript:
//
//	agent-start [-durable] [args...]   start an agent; NOMAD_ADDR points at it
//	agent-kill                         SIGKILL the agent alone
//	agent-again                        start it again with the same folder
//	agent-stop                         interrupt it and wait for its end
//	eventually PATTERN cmd [args...]   run until the output matches
//	first-line VAR FILE                put the first line of a file in a variable
//	serve VAR DIR                      serve a folder by HTTP; VAR is its URL
//	free-port VAR                      a port of this machine that nobody uses
//	resolves SERVER NAME PATTERN       ask a DNS server until its SRV and A records match
//	no-tasks                           no process of an allocation is left
//	no-dirs                            no allocation directory is left
//	no-cgroups                         no cgroup of an allocation is left
package scripts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

func TestScripts(t *testing.T) { runScripts(t, testscript.Params{Dir: "testdata"}) }

// TestNetworkScripts runs each script about networks in a network and mount
// namespace of its own: the agent's bridge, rules and namespaces are gone with
// it.
func TestNetworkScripts(t *testing.T) {
	if file := os.Getenv("SCRIPT_IN_NAMESPACE"); file != "" {
		for _, argv := range [][]string{
			{"mount", "--make-rprivate", "/"}, {"mkdir", "-p", "/var/run/netns"}, {"mount", "-t", "tmpfs", "none", "/var/run/netns"},
			{"ip", "link", "set", "lo", "up"},
		} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", argv, err, out)
			}
		}
		runScripts(t, testscript.Params{Files: []string{file}})
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if found, _ := filepath.Glob("/*/*/cni/bridge"); len(found) == 0 {
		if found, _ = filepath.Glob("/opt/cni/bin/bridge"); len(found) == 0 {
			t.Skip("the CNI plugins are not installed (containernetworking-plugins)")
		}
	}
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/network/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestNetworkScripts$", "-test.v")
			cmd.Env = append(os.Environ(), "SCRIPT_IN_NAMESPACE="+file, "NOMADLITE_BIN="+bin)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// runScripts runs scripts, those of a folder or files, against agents of their own.
func runScripts(t *testing.T, params testscript.Params) {
	bin, err := agenttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../docs/examples")
	if err != nil {
		t.Fatal(err)
	}
	params.RequireExplicitExec = true
	params.Setup = func(env *testscript.Env) error {
		dir, err := os.MkdirTemp("", "nl") // sockets need short paths
		if err != nil {
			return err
		}
		env.Defer(func() { os.RemoveAll(dir) })
		env.Setenv("AGENT", dir)
		env.Setenv("EXAMPLES", examples)
		env.Setenv("NOMADLITE", bin)
		env.Setenv("NOMAD_CLI_SHOW_HINTS", "false")
		env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
		return nil
	}
	params.Condition = func(name string) (bool, error) {
		if name == "root" {
			return os.Geteuid() == 0, nil
		}
		return false, fmt.Errorf("unknown condition %q", name)
	}
	params.Cmds = map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"agent-start": agentStart,
		"agent-kill":  withAgent(func(a *agenttest.Agent, _ []string) error { return a.Kill() }),
		"agent-again": withAgent(func(a *agenttest.Agent, _ []string) error { return a.Again() }),
		"agent-stop": withAgent(func(a *agenttest.Agent, _ []string) error {
			_, err := a.Interrupt()
			return err
		}),
		"eventually": eventually,
		"first-line": func(ts *testscript.TestScript, _ bool, args []string) {
			line, _, _ := strings.Cut(ts.ReadFile(args[1]), "\n")
			ts.Setenv(args[0], strings.TrimSpace(line))
		},
		"serve": serve,
		"free-port": func(ts *testscript.TestScript, _ bool, args []string) {
			ports, err := agenttest.FreePorts(1)
			ts.Check(err)
			ts.Setenv(args[0], strconv.Itoa(ports[0]))
		},
		"resolves":   resolves,
		"no-tasks":   withAgent(noTasks),
		"no-dirs":    withAgent(noDirs),
		"no-cgroups": withAgent(noCgroups),
	}
	testscript.Run(t, params)
}

// running holds the agent of each script by its folder. Scripts run side by
// side.
var running sync.Map

func agentOf(ts *testscript.TestScript) *agenttest.Agent {
	a, ok := running.Load(ts.Getenv("AGENT"))
	if !ok {
		ts.Fatalf("no agent: call agent-start first")
	}
	return a.(*agenttest.Agent)
}

func agentStart(ts *testscript.TestScript, neg bool, args []string) {
	durable := len(args) > 0 && args[0] == "-durable"
	if durable {
		args = args[1:]
	}
	a, err := agenttest.Start(ts.Getenv("AGENT"), durable, args...)
	if a != nil {
		ts.Defer(a.Cleanup)
		ts.Setenv("NOMAD_ADDR", a.Addr)
		running.Store(ts.Getenv("AGENT"), a)
	}
	if (err != nil) != neg {
		ts.Fatalf("agent-start: %v", err)
	}
}

func withAgent(f func(a *agenttest.Agent, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if err := f(agentOf(ts), args); (err != nil) != neg {
			ts.Fatalf("%v", err)
		}
	}
}

// eventually runs a command until it succeeds and its output matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN cmd [args...]")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(agenttest.Patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		path, err := exec.LookPath(args[1])
		if args[1] == "nomadlite" {
			path, err = agenttest.Binary()
		}
		ts.Check(err)
		cmd := exec.Command(path, args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = append(os.Environ(), "NOMAD_ADDR="+ts.Getenv("NOMAD_ADDR"), "PATH="+ts.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err == nil && re.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never matched %q; the last output (%v):\n%s", args[1:], args[0], err, out)
		}
		<-tick.C
	}
}

// serve serves a folder by HTTP until the script ends.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve VAR DIR")
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// resolves asks a DNS server for a name until what it says matches: a line for
// each SRV record and one for each address. Negated, the name must not exist.
func resolves(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 3 || neg != (len(args) == 2) {
		ts.Fatalf("usage: resolves SERVER NAME PATTERN, or ! resolves SERVER NAME")
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, args[0])
	}}
	ts.Check(within(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), agenttest.Patience)
		defer cancel()
		var out strings.Builder
		_, records, err := r.LookupSRV(ctx, "", "", args[1])
		for _, s := range records {
			fmt.Fprintf(&out, "SRV %s %d\n", s.Target, s.Port)
		}
		addrs, aerr := r.LookupHost(ctx, args[1])
		for _, a := range addrs {
			fmt.Fprintf(&out, "A %s\n", a)
		}
		var missing *net.DNSError
		if neg {
			if !errors.As(err, &missing) || !missing.IsNotFound {
				return fmt.Errorf("%s is there, or not known to be missing: %v", args[1], err)
			}
			return nil
		}
		if ok, rerr := regexp.MatchString("(?m)"+args[2], out.String()); rerr != nil || !ok {
			return fmt.Errorf("%s is %q, which does not match %q (%v)", args[1], out.String(), args[2], errors.Join(err, aerr, rerr))
		}
		return nil
	}))
}

// within repeats a check until it holds.
func within(check func() error) error {
	deadline := time.Now().Add(agenttest.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

func noTasks(a *agenttest.Agent, _ []string) error {
	return within(func() error {
		var left []string
		for _, p := range a.Processes() {
			if p.Task {
				left = append(left, fmt.Sprintf("%d %v", p.Pid, p.Args))
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("processes of allocations are left: %s", strings.Join(left, "; "))
		}
		return nil
	})
}

func noDirs(a *agenttest.Agent, _ []string) error {
	return within(func() error {
		for _, pattern := range []string{"data/alloc/*", "nomadlite-dev-*/alloc/*"} {
			if left, err := filepath.Glob(filepath.Join(a.Dir, pattern)); err != nil || len(left) > 0 {
				return errors.Join(err, fmt.Errorf("allocation directories are left: %v", left))
			}
		}
		return nil
	})
}

func noCgroups(a *agenttest.Agent, _ []string) error {
	return within(func() error {
		if left := a.EmptyCgroups(); len(left) > 0 {
			return fmt.Errorf("empty cgroups are left: %s", strings.Join(left, " "))
		}
		return nil
	})
}
