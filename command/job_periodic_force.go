package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// jobPeriodicForceVerb launches a periodic job now.
func jobPeriodicForceVerb() *verb {
	var detach, verbose bool
	return &verb{
		path: "job periodic force", args: "<job id>", min: 1, max: 1,
		short: "Launch a periodic job now",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			resp, _, err := client.Jobs().PeriodicForce(c.ctx, stub.ID, &api.WriteOptions{Namespace: stub.Namespace})
			switch {
			case err != nil:
				return exitf(1, "Error forcing periodic job %q: %v", stub.ID, err)
			case detach:
				fmt.Fprintln(c.stdout, "Force periodic successful")
				fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}
