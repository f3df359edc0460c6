package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// allocSignalVerb signals tasks of an allocation.
func allocSignalVerb() *verb {
	var sig, task string
	var verbose bool
	return &verb{
		path: "alloc signal", args: "<allocation> [<task>]", min: 1, max: 2,
		short: "Signal the tasks of an allocation",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&sig, "s", "SIGKILL", "The `signal`.")
			fs.StringVar(&task, "task", "", "Only this `task`.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			name := task
			if len(args) == 2 {
				name = args[1]
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			alloc, err := resolveAlloc(c.ctx, c, client, args[0])
			if err != nil {
				return err
			}
			if name != "" {
				if name, err = pickTask(alloc, name); err != nil {
					return err
				}
			}
			err = client.Allocations().Signal(c.ctx, alloc.ID, &api.AllocSignalRequest{Task: name, Signal: sig}, &api.WriteOptions{Namespace: alloc.Namespace})
			if err != nil {
				return exitf(1, "Error signalling allocation: %v", err)
			}
			return nil
		},
	}
}
