package docker

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Proxy is a socket in front of an engine that can be made to hang: it takes
// connections and requests then, and answers nothing.
type Proxy struct {
	Host string

	mu   sync.Mutex    // guards open
	open chan struct{} // closed while bytes pass
}

// NewProxy stands in front of an engine until the test ends.
func NewProxy(t testing.TB, e *Engine) *Proxy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Host: "unix://" + path, open: make(chan struct{})}
	close(p.open)
	var running sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		close(done)
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(conn, strings.TrimPrefix(e.Host, "unix://"), done) })
		}
	})
	return p
}

// pass copies both ways until one side ends, or the test.
func (p *Proxy) pass(conn net.Conn, engine string, done <-chan struct{}) {
	defer conn.Close()
	up, err := net.Dial("unix", engine)
	if err != nil {
		return
	}
	defer up.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{conn, up}, {up, conn}} {
		go func() { // ends with its connections
			p.copy(way[1], way[0], done)
			ended <- struct{}{}
		}()
	}
	select {
	case <-ended:
	case <-done:
	}
}

func (p *Proxy) copy(to io.Writer, from io.Reader, done <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		select {
		case <-open:
		case <-done:
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// Hang lets nothing pass until Resume.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// Resume lets pass what was held back, and all that comes.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.open)
}
