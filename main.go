// Command nomadlite is a workload scheduler: servers, clients, driver plugins
// and the command line in one static binary.
package main

import (
	"os"

	"github.com/nomadlite/nomadlite/command"
)

func main() {
	os.Exit(command.Main(os.Args[1:]))
}
