// Package exec is the exec driver: programs of the host in a sandbox. Facts:
// reference driver-plugin.md 10.2.
package exec

import (
	"errors"
	"fmt"

	"github.com/nomadlite/nomadlite/drivers/sandbox"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Name is the driver's, in job files.
const Name = "exec"

// taskConfig is the config block of a task, beside its isolation.
type taskConfig struct {
	Command string   `codec:"command"`
	Args    []string `codec:"args"`
}

var kind = sandbox.Kind{
	Name: Name,
	Schema: map[string]*hclspec.Spec{
		"command": hclspec.NewAttr("command", "string", true),
		"args":    hclspec.NewAttr("args", "list(string)", false),
	},
	Program: program,
}

func program(cfg *driver.TaskConfig) (command string, args []string, err error) {
	var c taskConfig
	if err := cfg.DecodeDriverConfig(&c); err != nil {
		return "", nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	if c.Command == "" {
		return "", nil, errors.New("command must be set")
	}
	return c.Command, c.Args, nil
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() { sandbox.Serve(kind) }
