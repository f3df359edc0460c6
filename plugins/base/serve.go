package base

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Serve is the main function of a plugin's process: it serves what newSet
// returns until the host ends it, then exits the process. Called outside of a
// plugin host it explains itself on standard error and exits with 1.
//
// The logger given to newSet writes JSON lines to standard error, which the
// host reads. The process outlives a host that died: a broken pipe is an error
// of the write and not the end.
func Serve(newSet func(hclog.Logger) plugin.PluginSet) {
	catchBrokenPipes()
	logger := hclog.New(&hclog.LoggerOptions{
		Level:      hclog.Trace,
		Output:     os.Stderr, // go-plugin replaces os.Stderr later
		JSONFormat: true,
	})
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         newSet(logger),
		Logger:          logger,
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

// catchBrokenPipes makes writes to a pipe without reader fail with EPIPE. It
// catches SIGPIPE rather than ignoring it, because children inherit ignored
// signals: every shell pipeline of a task would behave strangely.
func catchBrokenPipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
