package cluster

import (
	"io"
	"net"
	"sync"
)

// Wire passes TCP connections on to an address until it is cut: then nothing
// arrives any more in either direction, as on a network that lost its way, and
// no connection learns of it.
type Wire struct {
	Port   int
	target string
	listen net.Listener

	mu    sync.Mutex // guards what follows
	open  *sync.Cond // signalled when cut or ended changes
	cut   bool
	ended bool
	conns []net.Conn
}

// NewWire listens on a free port for a target.
func NewWire(target string) (*Wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &Wire{Port: l.Addr().(*net.TCPAddr).Port, target: target, listen: l}
	w.open = sync.NewCond(&w.mu)
	go w.accept()
	return w, nil
}

func (w *Wire) accept() {
	for {
		in, err := w.listen.Accept()
		if err != nil {
			return
		}
		go w.pass(in)
	}
}

func (w *Wire) pass(in net.Conn) {
	defer in.Close()
	if !w.keep(in) {
		return
	}
	out, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !w.keep(out) {
		return
	}
	go func() { _, _ = io.Copy(held{out, w}, in); out.Close() }()
	_, _ = io.Copy(held{in, w}, out)
}

// keep notes a connection for Close and waits until the wire is whole.
func (w *Wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
	return w.waitLocked()
}

func (w *Wire) waitLocked() bool {
	for w.cut && !w.ended {
		w.open.Wait()
	}
	return !w.ended
}

// held is a connection whose writes wait while the wire is cut.
type held struct {
	net.Conn
	w *Wire
}

func (h held) Write(b []byte) (int, error) {
	h.w.mu.Lock()
	ok := h.w.waitLocked()
	h.w.mu.Unlock()
	if !ok {
		return 0, net.ErrClosed
	}
	return h.Conn.Write(b)
}

// Cut lets nothing through any more.
func (w *Wire) Cut() { w.set(true, false) }

// Heal lets everything through again, what waited as well.
func (w *Wire) Heal() { w.set(false, false) }

// Close ends all connections.
func (w *Wire) Close() {
	w.set(false, true)
	w.listen.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
}

func (w *Wire) set(cut, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.ended = cut, w.ended || ended
	w.open.Broadcast()
}
