package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// allocStopVerb stops an allocation, which is then placed again elsewhere.
func allocStopVerb() *verb {
	var detach, noDelay, verbose bool
	return &verb{
		path: "alloc stop", args: "<allocation>", min: 1, max: 1,
		short: "Stop an allocation and place it again",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&noDelay, "no-shutdown-delay", false, "Ignore the shutdown_delay of groups and tasks.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			alloc, err := resolveAlloc(c.ctx, c, client, args[0])
			if err != nil {
				return err
			}
			resp, _, err := client.Allocations().Stop(c.ctx, alloc.ID, noDelay, &api.WriteOptions{Namespace: alloc.Namespace})
			if err != nil {
				return exitf(1, "Error stopping allocation: %v", err)
			}
			if detach {
				fmt.Fprintln(c.stdout, resp.EvalID)
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}
