package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Network gives each member a network namespace of its own, joined by a bridge
// that lies in one more namespace: what is cut there is gone without a word, as
// behind a dead switch or a host without power. The test reaches every member by
// a second link, which is never cut.
type Network struct {
	hub string

	mu    sync.Mutex // guards seats
	seats []seat
}

// seat is a place in a network.
type seat struct {
	Netns string // the namespace's file
	Inner string // the address among members
	Outer string // the address for the test
	port  string // the bridge's end of the link
}

// links numbers namespaces and the test's links over all networks of a process.
var links atomic.Int32

// NewNetwork makes an empty network; it needs root. Close removes it.
func NewNetwork() (*Network, error) {
	n := &Network{hub: fmt.Sprintf("nl%d-%d", os.Getpid(), links.Add(1))}
	if err := ip("netns", "add", n.hub); err != nil {
		return nil, err
	}
	if err := n.inHub("link", "add", "br0", "type", "bridge"); err != nil {
		n.Close()
		return nil, err
	}
	return n, n.inHub("link", "set", "br0", "up")
}

// ip runs the tool that makes namespaces and links.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (n *Network) inHub(args ...string) error { return ip(append([]string{"-n", n.hub}, args...)...) }

// add makes one more namespace.
func (n *Network) add() (seat, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, k := len(n.seats), int(links.Add(1))
	name := fmt.Sprintf("nl%d-%d", os.Getpid(), k)
	subnet := fmt.Sprintf("10.%d.%d.", 100+os.Getpid()%100, k%250)
	s := seat{Netns: filepath.Join("/run/netns", name), Inner: fmt.Sprintf("10.77.0.%d", i+1), Outer: subnet + "2", port: fmt.Sprintf("port%d", i)}
	outer := fmt.Sprintf("nl%dt%d", os.Getpid()%100000, k)
	n.seats = append(n.seats, s)
	for _, step := range [][]string{
		{"netns", "add", name},
		{"-n", name, "link", "set", "lo", "up"},
		{"-n", n.hub, "link", "add", s.port, "type", "veth", "peer", "name", "inner", "netns", name},
		{"-n", n.hub, "link", "set", s.port, "master", "br0", "up"},
		{"-n", name, "addr", "add", s.Inner + "/24", "dev", "inner"},
		{"-n", name, "link", "set", "inner", "up"},
		{"link", "add", outer, "type", "veth", "peer", "name", "outer", "netns", name},
		{"addr", "add", subnet + "1/24", "dev", outer},
		{"link", "set", outer, "up"},
		{"-n", name, "addr", "add", s.Outer + "/24", "dev", "outer"},
		{"-n", name, "link", "set", "outer", "up"},
	} {
		if err := ip(step...); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Cut lets nothing of a member reach the others, nor the reverse.
func (n *Network) Cut(m *Member) error { return n.inHub("link", "set", m.seat.port, "nomaster") }

// Heal undoes Cut.
func (n *Network) Heal(m *Member) error {
	return n.inHub("link", "set", m.seat.port, "master", "br0")
}

// Close removes all namespaces, and with them the links.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.seats {
		_ = ip("netns", "del", filepath.Base(s.Netns))
	}
	_ = ip("netns", "del", n.hub)
}
