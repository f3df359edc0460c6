package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// allocRestartVerb restarts tasks of an allocation in place.
func allocRestartVerb() *verb {
	var all, verbose bool
	var task string
	return &verb{
		path: "alloc restart", args: "<allocation> [<task>]", min: 1, max: 2,
		short: "Restart the tasks of an allocation",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&all, "all-tasks", false, "Tasks that do not run as well, in their lifecycle's order.")
			fs.StringVar(&task, "task", "", "Only this `task`.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			name := task
			if len(args) == 2 {
				name = args[1]
			}
			if all && name != "" {
				return exitf(1, "The -all-tasks option cannot be used when a task is named.")
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
			err = client.Allocations().Restart(c.ctx, alloc.ID, &api.AllocRestartRequest{TaskName: name, AllTasks: all}, &api.WriteOptions{Namespace: alloc.Namespace})
			if err != nil {
				return exitf(1, "Failed to restart allocation:\n\n%v", err)
			}
			return nil
		},
	}
}
