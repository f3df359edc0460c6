package nomadlite

import (
	"net"
	"testing"

	"github.com/nomadlite/nomadlite/api/wire"
)

// gossip is a place where members gossip, and no server answers.
type gossip struct {
	places
	at string
}

// Gossips implements Members.
func (g gossip) Gossips(addr string) bool { return addr == g.at }

// TestRegionsAreNotSoughtInGossip: server_join names ports of gossip too. A server
// does not look for another region's servers where its own members gossip: each
// look was a warning in their logs.
func TestRegionsAreNotSoughtInGossip(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	ours, elsewhere, port := listen(), listen(), listen()
	asked := make(chan string, 64)
	for _, l := range []net.Listener{ours, elsewhere} {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				select {
				case asked <- l.Addr().String():
				default:
				}
				conn.Close()
			}
		}()
	}
	startMember(t, Config{Name: "a", Dev: true, RPCAddr: port.Addr().String(), BootstrapExpect: 1, NumSchedulers: 1,
		Port: wire.NewPort(wire.PortConfig{Listener: port}), Members: gossip{at: ours.Addr().String()},
		Join: []string{ours.Addr().String(), elsewhere.Addr().String()}})
	if got := <-asked; got != elsewhere.Addr().String() { // in the order of Join
		t.Errorf("a server was sought at %s, where its own members gossip", got)
	}
}
