package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test in a network and mount namespace of its own, so
// that it leaves nothing on the machine; false is the outer call.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("NETWORK_TEST_INSIDE") == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		run(t, "ip", "link", "set", "lo", "up")
		run(t, "ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "NETWORK_TEST_INSIDE="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip(string(out))
	}
	return false
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func manager(t *testing.T, dir string) *Manager {
	t.Helper()
	m, err := New(Config{StateDir: filepath.Join(dir, "state"), NetnsDir: filepath.Join(dir, "netns"), ConfDir: filepath.Join(dir, "conf"), Bridge: "nltest"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tempDir is a folder whose mounts are gone before it is removed.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "nln")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// traces are what networks leave on a host: interfaces, rules, namespaces,
// leases and records. The bridge itself stays, and so do the chains of plugins.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, "ip", "-o", "link")) {
		if strings.Contains(line, "veth") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	for _, table := range []string{"nat", "filter"} {
		for line := range strings.Lines(run(t, "iptables", "-t", table, "-S")) {
			if strings.Contains(line, "172.26.") || strings.Contains(line, "8080") {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	for _, pattern := range []string{"netns/*", "state/*.json", "state/cni/results/*", "state/ipam/*/172*"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		out = append(out, files...)
	}
	return out
}

// serve answers TCP connections inside a namespace with a word.
func serve(t *testing.T, netns string, port int) {
	t.Helper()
	listening := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in the namespace
		l, err := func() (net.Listener, error) {
			ns, err := os.Open(netns)
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			return net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		}()
		listening <- err
		if err != nil {
			return
		}
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "inside")
			conn.Close()
		}
	}()
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
}

func fetch(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	return string(text), err
}

const allocID = "11111111-2222-3333-4444-555555555555"

// TestBridge: an allocation has an address and mapped ports, a later agent
// finds them, and nothing is left in the end; nor after a reboot in between.
func TestBridge(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := tempDir(t)
	m := manager(t, dir)
	if _, ok := m.Bridge(); !ok {
		t.Skip("the CNI plugins are not installed (containernetworking-plugins)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req := Request{AllocID: allocID, Mode: ModeBridge, Ports: []Port{{Host: 8080, Container: 80}}}
	n, err := m.Setup(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if n.Interface != "eth0" || !strings.HasPrefix(n.Address, "172.26.") || n.Netns != filepath.Join(dir, "netns", allocID) {
		t.Errorf("got %+v", n)
	}
	serve(t, n.Netns, 80)
	for _, address := range []string{"10.99.0.1:8080", n.Address + ":80"} {
		if text, err := fetch(address); err != nil || text != "inside" {
			t.Errorf("%s: %q %v", address, text, err)
		}
	}
	again, err := manager(t, dir).Setup(ctx, req)
	if err != nil || again.Address != n.Address {
		t.Errorf("found again: %+v %v", again, err)
	}

	// A reboot: namespace, interfaces and rules are gone, files are not.
	if err := removeNetns(n.Netns); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "del", "nltest")
	for _, link := range strings.Fields(run(t, "sh", "-c", "ip -o link | sed -n 's/^[0-9]*: \\(veth[^@]*\\)@.*/\\1/p'")) {
		run(t, "ip", "link", "del", link)
	}
	run(t, "iptables", "-t", "nat", "-F")
	if n, err = manager(t, dir).Setup(ctx, req); err != nil || !isNetns(n.Netns) {
		t.Fatalf("after a reboot: %+v %v", n, err)
	}

	other := Request{AllocID: "other", Mode: ModeBridge}
	if second, err := m.Setup(ctx, other); err != nil || second.Address == n.Address {
		t.Errorf("a second allocation: %+v %v", second, err)
	}
	if err := m.Teardown(ctx, allocID); err != nil {
		t.Error(err)
	}
	if err := m.Sweep(ctx, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if left := traces(t, dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if err := m.Teardown(ctx, allocID); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// TestCycles_I13 gives allocations networks and takes them away, LEAK_CYCLES times
// (10): namespaces, interfaces, rules, leases, records, descriptors and goroutines
// are as before.
func TestCycles_I13(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	cycles := 10
	if n, err := strconv.Atoi(os.Getenv("LEAK_CYCLES")); err == nil && n > 0 {
		cycles = n
	}
	dir := tempDir(t)
	m := manager(t, dir)
	if _, ok := m.Bridge(); !ok {
		t.Skip("the CNI plugins are not installed (containernetworking-plugins)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cycles)*10*time.Second)
	defer cancel()
	cycle := func(i int) {
		id := fmt.Sprintf("cycle-%d", i)
		if _, err := m.Setup(ctx, Request{AllocID: id, Mode: ModeBridge, Ports: []Port{{Host: 8080, Container: 80}}}); err != nil {
			t.Fatal(err)
		}
		if err := m.Teardown(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (rules, descriptors int) {
		for _, table := range []string{"nat", "filter"} {
			rules += strings.Count(run(t, "iptables", "-t", table, "-S"), "\n")
		}
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return rules, len(open)
	}
	cycle(0) // the bridge and the plugins' chains stay
	rules, descriptors := count()
	goroutines := runtime.NumGoroutine()
	for i := range cycles {
		cycle(i + 1)
	}
	if left := traces(t, dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if r, d := count(); r != rules || d != descriptors || runtime.NumGoroutine() > goroutines {
		t.Errorf("after %d cycles: %d rules, were %d; %d descriptors, were %d; %d goroutines, were %d", cycles, r, rules, d, descriptors, runtime.NumGoroutine(), goroutines)
	}
}

// TestHairpin: with it on, an allocation reaches itself by the port of its host.
func TestHairpin(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := tempDir(t)
	m := manager(t, dir)
	if _, ok := m.Bridge(); !ok {
		t.Skip("the CNI plugins are not installed (containernetworking-plugins)")
	}
	m.cfg.Hairpin = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := m.Setup(ctx, Request{AllocID: allocID, Mode: ModeBridge, Ports: []Port{{Host: 8080, Container: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, n.Netns, 80)
	if got := run(t, "nsenter", "--net="+n.Netns, "timeout", "10", "bash", "-c", "cat < /dev/tcp/10.99.0.1/8080"); got != "inside" {
		t.Errorf("it reads %q", got)
	}
	if err := m.Teardown(ctx, allocID); err != nil {
		t.Error(err)
	}
	if left := traces(t, dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// TestNamespaceGone_B57: a namespace that others removed leaves no rules behind.
func TestNamespaceGone_B57(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := tempDir(t)
	m := manager(t, dir)
	if _, ok := m.Bridge(); !ok {
		t.Skip("the CNI plugins are not installed (containernetworking-plugins)")
	}
	for _, id := range []string{allocID, "other"} {
		n, err := m.Setup(t.Context(), Request{AllocID: id, Mode: ModeBridge, Ports: []Port{{Host: 8080, Container: 80}}})
		if err != nil {
			t.Fatal(err)
		}
		if id == allocID {
			if err := removeNetns(n.Netns); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.Teardown(t.Context(), allocID); err != nil {
		t.Fatal(err)
	}
	rules := run(t, "iptables", "-t", "nat", "-S")
	if strings.Contains(rules, allocID) || !strings.Contains(rules, "other") {
		t.Errorf("rules:\n%s", rules)
	}
	if err := m.Sweep(t.Context(), func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	left := traces(t, dir)
	for deadline := time.Now().Add(20 * time.Second); len(left) > 0 && time.Now().Before(deadline); left = traces(t, dir) {
		<-time.After(20 * time.Millisecond) // the kernel ends a namespace in its own time
	}
	if len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// TestNone: a namespace with a loopback and nothing else.
func TestNone(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := tempDir(t)
	m := manager(t, dir)
	n, err := m.Setup(t.Context(), Request{AllocID: allocID, Mode: ModeNone})
	if err != nil || n.Address != "" {
		t.Fatal(n, err)
	}
	if links := run(t, "nsenter", "--net="+n.Netns, "ip", "-o", "link"); strings.Count(links, "\n") != 1 || !strings.Contains(links, "lo: <LOOPBACK,UP") {
		t.Errorf("links: %s", links)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", allocID+".json"), []byte(`{"AllocID":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Sweep(t.Context(), func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if left := traces(t, dir); len(left) > 0 {
		t.Errorf("a damaged record left: %v", left)
	}
}

// TestNetworks: the operator's networks and what is wrong with them.
func TestNetworks(t *testing.T) {
	dir := tempDir(t)
	conf := filepath.Join(dir, "conf")
	if err := os.MkdirAll(filepath.Join(conf, "folder.conflist"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"10-good.conflist": `{"cniVersion":"0.4.0","name":"good","plugins":[{"type":"one"}]}`,
		"20-single.conf":   `{"cniVersion":"0.4.0","name":"single","type":"one"}`,
		"30-twice.conf":    `{"cniVersion":"0.4.0","name":"good","type":"other"}`,
		"bad.conflist":     `{"name":`,
		"empty.conflist":   `{"cniVersion":"0.4.0","name":"empty","plugins":[]}`,
		"missing.conf":     `{"cniVersion":"0.4.0","name":"missing","type":"not-there"}`,
		"README":           `not a network`,
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plugins := filepath.Join(dir, "bin")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"one": "echo 'CNI one plugin v1.4.2'", "other": "echo 'CNI other plugin version unknown' >&2; exit 1", "mute": "exit 0", "slow": "exec sleep 60"} {
		if err := os.WriteFile(filepath.Join(plugins, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m, err := New(Config{StateDir: dir, ConfDir: conf, Path: plugins})
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if got := m.Networks(); !slices.Equal(got, []string{"good", "single"}) {
			t.Errorf("networks %v", got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, complete := m.KnownPlugins(); complete || len(got) > 0 {
		t.Errorf("known before they were asked: %v", got)
	}
	if got := fmt.Sprint(m.Plugins(ctx)); got != "map[one:1.4.2 other:1.0.0]" {
		t.Errorf("plugins %v", got)
	}
	// One that hangs is asked again next time; without it all is remembered,
	// until one changes.
	if got, complete := m.KnownPlugins(); complete || fmt.Sprint(got) != "map[one:1.4.2 other:1.0.0]" {
		t.Errorf("known %v, complete %v", got, complete)
	}
	if err := os.Remove(filepath.Join(plugins, "slow")); err != nil {
		t.Fatal(err)
	}
	if got, complete := m.KnownPlugins(); !complete || fmt.Sprint(got) != "map[one:1.4.2 other:1.0.0]" {
		t.Errorf("known %v, complete %v", got, complete)
	}
	if err := os.WriteFile(filepath.Join(plugins, "one"), []byte("#!/bin/sh\necho 'CNI one plugin v1.10.0'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, complete := m.KnownPlugins(); complete || fmt.Sprint(got) != "map[other:1.0.0]" {
		t.Errorf("known %v, complete %v", got, complete)
	}
	if got := fmt.Sprint(m.Plugins(t.Context())); got != "map[one:1.10.0 other:1.0.0]" {
		t.Errorf("plugins %v", got)
	}
	for mode, want := range map[string]string{
		"cni/nosuch": `there is no CNI network "nosuch"`, "weird": "is not one of host, bridge, none and cni/<name>",
		"bridge": "install containernetworking-plugins or set cni_path",
	} {
		if _, err := m.Setup(t.Context(), Request{AllocID: allocID, Mode: mode}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %q: %v", mode, err)
		}
	}
	if _, err := m.Setup(t.Context(), Request{AllocID: "../x", Mode: ModeNone}); err == nil {
		t.Error("an id that leads elsewhere was accepted")
	}
	for _, bad := range []Config{{Subnet: "10.0.0.1"}, {Subnet6: "x"}, {Bridge: "a name that is far too long"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// TestSetupUndoesWhatFailed: a plugin that fails, or hangs, leaves nothing.
func TestSetupUndoesWhatFailed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := tempDir(t)
	plugins, conf := filepath.Join(dir, "bin"), filepath.Join(dir, "conf")
	for _, d := range []string{plugins, conf} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"bin/fails":         "#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\necho '{\"cniVersion\":\"0.4.0\",\"code\":7,\"msg\":\"no addresses left\"}'; exit 1\n",
		"bin/hangs":         "#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\nexec sleep 60\n",
		"conf/f.conf":       `{"cniVersion":"0.4.0","name":"fails","type":"fails"}`,
		"conf/hangs.conf":   `{"cniVersion":"0.4.0","name":"hangs","type":"hangs"}`,
		"conf/extra.ignore": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m, err := New(Config{StateDir: filepath.Join(dir, "state"), NetnsDir: filepath.Join(dir, "netns"), ConfDir: conf, Path: plugins})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"fails": "no addresses left", "hangs": "context deadline exceeded"} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := m.Setup(ctx, Request{AllocID: allocID, Mode: "cni/" + name})
		cancel()
		if err == nil || !strings.Contains(err.Error(), `cannot connect to network "`+name+`"`) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if left := traces(t, dir); len(left) > 0 {
			t.Errorf("%s left: %v", name, left)
		}
	}
}
