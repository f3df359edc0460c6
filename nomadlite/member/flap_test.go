package member

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// tally counts lines of logs that hold a text.
type tally struct {
	mu   sync.Mutex // guards seen
	seen map[string]int
}

// Write implements io.Writer.
func (t *tally) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for text := range t.seen {
		if bytes.Contains(b, []byte(text)) {
			t.seen[text]++
		}
	}
	return len(b), nil
}

func (t *tally) of(text string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[text]
}

// setting is a number of the environment.
func setting(t *testing.T, name string, short int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// TestManyMembers: real members on loopback find each other through one of them,
// and while nothing happens to them none takes another for failed.
// GOSSIP_MEMBERS and GOSSIP_SECONDS make it long (make gossip).
func TestManyMembers(t *testing.T) {
	members, watch := setting(t, "GOSSIP_MEMBERS", 64), time.Duration(setting(t, "GOSSIP_SECONDS", 5))*time.Second
	const failed, suspected = "status=failed", "Suspect "
	seen := &tally{seen: map[string]int{failed: 0, suspected: 0}}
	log := hclog.New(&hclog.LoggerOptions{Output: seen, Level: hclog.Debug})
	began := time.Now()
	var all []*Pool
	for i := range members {
		p, err := New(Config{
			ID: fmt.Sprintf("member-%d", i), BindAddr: "127.0.0.1", Logger: log,
			Info: Info{Name: fmt.Sprint(i), Role: RoleServer, Region: "global", RPC: fmt.Sprintf("127.0.0.1:%d", i+1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.list.Shutdown() })
		all = append(all, p)
		if i > 0 {
			if _, err := p.Join([]string{fmt.Sprintf("127.0.0.1:%d", all[0].Port())}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range all[1:] { // what a busy machine dropped would come with the next exchange, in a minute
		if _, err := p.Join([]string{fmt.Sprintf("127.0.0.1:%d", all[0].Port())}); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(5 * time.Minute)
	for _, p := range all {
		for {
			addrs, changed := p.Servers()
			if len(addrs) == members {
				break
			}
			select {
			case <-changed:
			case <-limit:
				t.Fatalf("%s knows %d of %d", p.ID(), len(addrs), members)
			}
		}
	}
	t.Logf("%d members know each other after %v; taken for failed meanwhile: %d, suspected: %d", members, time.Since(began), seen.of(failed), seen.of(suspected))

	before, suspectedBefore := seen.of(failed), seen.of(suspected)
	used := cpu(t)
	<-time.After(watch)
	used = cpu(t) - used
	if n := seen.of(failed) - before; n > 0 {
		t.Errorf("%d times a member was taken for failed in %v", n, watch)
	}
	t.Logf("%v: suspected %d, CPU %.2f cores, %.2f ms/s a member", watch, seen.of(suspected)-suspectedBefore, used.Seconds()/watch.Seconds(), 1000*used.Seconds()/watch.Seconds()/float64(members))
	for _, p := range all {
		for _, m := range p.Members() {
			if m.Status != StatusAlive {
				t.Errorf("%s takes %s for %s", p.ID(), m.Name, m.Status)
			}
		}
	}
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
