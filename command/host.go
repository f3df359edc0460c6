package command

import (
	"fmt"
	"os"

	"github.com/nomadlite/nomadlite/client/artifact/fetch"
	"github.com/nomadlite/nomadlite/client/keeper"
	"github.com/nomadlite/nomadlite/drivers/docker"
	"github.com/nomadlite/nomadlite/drivers/exec"
	"github.com/nomadlite/nomadlite/drivers/java"
	"github.com/nomadlite/nomadlite/drivers/mock"
	"github.com/nomadlite/nomadlite/drivers/qemu"
	"github.com/nomadlite/nomadlite/drivers/rawexec"
)

// builtinDrivers serve a driver of this binary until its host ends it.
var builtinDrivers = map[string]func(){
	rawexec.Name: rawexec.Serve,
	mock.Name:    mock.Serve,
	docker.Name:  docker.Serve,
	exec.Name:    exec.Serve,
	java.Name:    java.Serve,
	qemu.Name:    qemu.Serve,
}

// hostProcess runs the process of a node that the arguments ask for: its
// keeper, a driver plugin, or one that fetches an artifact. They come before the command line is built, so
// that they stay small.
func hostProcess(args []string) (code int, ok bool) {
	switch {
	case len(args) > 0 && args[0] == "keeper":
		return keeper.Main(args[1:]), true
	case len(args) == 1 && args[0] == fetch.Command:
		return fetch.Main(), true
	case len(args) == 2 && args[0] == "plugin":
		serve, known := builtinDrivers[args[1]]
		if !known {
			fmt.Fprintf(os.Stderr, "cannot serve plugin %q: no such driver in this build\n", args[1])
			return 1, true
		}
		serve()
		return 0, true
	}
	return 0, false
}
