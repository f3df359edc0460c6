package command

import (
	"fmt"
	"os"

	"github.com/nomadlite/nomadlite/client/keeper"
	"github.com/nomadlite/nomadlite/drivers/mock"
	"github.com/nomadlite/nomadlite/drivers/rawexec"
)

// hostProcess runs the process of a node that the arguments ask for: its
// keeper, or a driver plugin. They come before the command line is built, so
// that they stay small.
func hostProcess(args []string) (code int, ok bool) {
	switch {
	case len(args) > 0 && args[0] == "keeper":
		return keeper.Main(args[1:]), true
	case len(args) == 2 && args[0] == "plugin":
		return servePlugin(args[1]), true
	}
	return 0, false
}

// servePlugin serves one of the built-in drivers until the host ends it.
func servePlugin(name string) int {
	switch name {
	case "raw_exec":
		return rawexec.Serve()
	case "mock_driver":
		return mock.Serve()
	}
	fmt.Fprintf(os.Stderr, "cannot serve plugin %q: no such driver in this build\n", name)
	return 1
}
