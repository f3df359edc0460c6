package agent

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// notifier tells systemd what the agent does (sd_notify(3)): one datagram a
// state to the socket of NOTIFY_SOCKET. Its zero value tells nobody.
type notifier struct{ socket string }

// takeNotifier reads NOTIFY_SOCKET and removes it from the environment: what
// the agent starts must not speak in its name.
func takeNotifier() notifier {
	n := notifier{os.Getenv("NOTIFY_SOCKET")}
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return n
}

func (n notifier) ready() error    { return n.tell("READY=1") }
func (n notifier) stopping() error { return n.tell("STOPPING=1") }

// reloading says when the reload began, as Type=notify-reload wants it; ready
// ends it.
func (n notifier) reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("cannot read the clock: %w", err)
	}
	return n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

func (n notifier) tell(lines ...string) error {
	if n.socket == "" {
		return nil
	}
	// A leading "@", an abstract address, is package net's spelling too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot tell systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		return fmt.Errorf("cannot tell systemd: %w", err)
	}
	return nil
}
