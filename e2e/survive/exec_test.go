package survive

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// sleeper is one task to run commands beside.
const sleeper = `{"Job": {"ID": "sleeper", "TaskGroups": [{"Name": "g", "EphemeralDisk": {"SizeMB": 30}, "Tasks": [{
  "Name": "t", "Driver": "raw_exec", "Resources": {"CPU": 1, "MemoryMB": 10}, "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10},
  "Config": {"command": "/bin/sleep", "args": ["600"]}}]}]}}`

// openExec begins an exec session by hand: what follows is the caller's to
// read, or not.
func openExec(a *agenttest.Agent, alloc, command string) (*net.TCPConn, *bufio.Reader, error) {
	u, err := url.Parse(a.Addr)
	if err != nil {
		return nil, nil, err
	}
	raw, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, nil, err
	}
	conn := raw.(*net.TCPConn)
	if err := conn.SetReadBuffer(16 << 10); err != nil { // a caller that does not read is soon felt
		return conn, nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /v1/client/allocation/%s/exec?task=t&command=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", alloc, url.QueryEscape(command), u.Host, base64.StdEncoding.EncodeToString(make([]byte, 16)))
	if err != nil {
		return conn, nil, err
	}
	in := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("exec: %s", resp.Status)
	}
	return conn, in, err
}

// drain reads the frames of a session (RFC 6455, 5.2) up to the closing one.
func drain(in *bufio.Reader) error {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		size := int64(head[1])
		if size == 126 {
			var long [2]byte
			if _, err := io.ReadFull(in, long[:]); err != nil {
				return err
			}
			size = int64(binary.BigEndian.Uint16(long[:]))
		}
		if _, err := io.CopyN(io.Discard, in, size); err != nil {
			return err
		}
		if head[0]&0x0f == 8 {
			return nil
		}
	}
}

// tear breaks a connection off without a word.
func tear(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// memory is the resident set of a process, in bytes.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// goroutines counts those of the agent, and tells where they are.
func goroutines(a *agenttest.Agent) (n int, where string, err error) {
	resp, err := http.Get(a.Addr + "/v1/agent/pprof/goroutine?debug=1")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	_, err = fmt.Sscanf(string(text), "goroutine profile: total %d", &n)
	return n, string(text), err
}

// written is what a process has written so far, in bytes.
func written(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid)) // gone: ""
	_, rest, _ := strings.Cut(string(text), "wchar: ")
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

// awaitDrivers waits for those that start after the registration.
func awaitDrivers(t *testing.T, a *agenttest.Agent) {
	t.Helper()
	agenttest.Eventually(t, "all drivers", func() error {
		drivers, err := a.Drivers()
		if err != nil {
			return err
		}
		for _, name := range []string{"raw_exec", "exec", "docker", "java", "qemu"} {
			if _, told := drivers[name]; !told {
				return fmt.Errorf("%s is not there yet", name)
			}
		}
		return nil
	})
}

// TestExecFlood_X03: a command that writes without end to a caller that does
// not read waits for it and fills no memory; and many sessions, half of them
// torn off, leave nothing behind.
func TestExecFlood_X03(t *testing.T) {
	needRoot(t) // for the counters of processes
	a := agenttest.New(t, false)
	resp, err := http.Post(a.Addr+"/v1/jobs", "application/json", strings.NewReader(sleeper))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	id := ""
	agenttest.Eventually(t, "the task", func() error {
		list, err := allocsOf(a, "sleeper")
		if err != nil {
			return err
		}
		if len(list) != 1 || list[0].ClientStatus != "running" {
			return fmt.Errorf("%+v", list)
		}
		id = list[0].ID
		return nil
	})
	cycle := func(torn bool) error {
		conn, in, err := openExec(a, id, `["/bin/true"]`)
		if conn == nil {
			return err
		}
		defer tear(conn)
		if err != nil || torn {
			return err
		}
		return drain(in)
	}
	if err := cycle(false); err != nil {
		t.Fatal(err)
	}
	awaitDrivers(t, a)
	quiet, _, err := goroutines(a)
	if err != nil {
		t.Fatal(err)
	}
	driver := 0
	for _, p := range a.Processes() {
		if len(p.Args) == 3 && p.Args[1] == "plugin" && p.Args[2] == "raw_exec" {
			driver = p.Pid
		}
	}
	before, driverBefore := memory(t, a.Pid), memory(t, driver)

	conn, _, err := openExec(a, id, `["/bin/cat", "/dev/zero"]`)
	if err != nil {
		t.Fatal(err)
	}
	cat := 0
	last, same := "", 0
	agenttest.Eventually(t, "the command to wait for its reader", func() error {
		for _, p := range a.Processes() {
			if len(p.Args) == 2 && p.Args[1] == "/dev/zero" {
				cat = p.Pid
			}
		}
		now := written(cat)
		if now == "" || now == "0" || now != last {
			last, same = now, 0
			return fmt.Errorf("it has written %q bytes", now)
		}
		if same++; same < 10 {
			return fmt.Errorf("still at %q bytes", now)
		}
		return nil
	})
	const limit = 32 << 20
	if now := memory(t, a.Pid); now > before+limit {
		t.Errorf("the agent grew from %d to %d MiB", before>>20, now>>20)
	}
	if now := memory(t, driver); now > driverBefore+limit {
		t.Errorf("the driver grew from %d to %d MiB", driverBefore>>20, now>>20)
	}
	tear(conn)

	const sessions, workers = 1000, 4
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range sessions / workers {
				if err := cycle((i+w)%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	agenttest.Eventually(t, "nothing to be left", func() error {
		for _, p := range a.Processes() {
			if p.Task && p.Args[0] != "/bin/sleep" {
				return fmt.Errorf("process %d %q", p.Pid, p.Args)
			}
		}
		http.DefaultClient.CloseIdleConnections()
		n, where, err := goroutines(a)
		if err != nil || n > quiet+5 {
			return fmt.Errorf("%d goroutines, were %d (%v)\n%s", n, quiet, err, where)
		}
		return nil
	})
}
