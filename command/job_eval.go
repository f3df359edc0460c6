package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// jobEvalVerb asks the scheduler to look at a job again.
func jobEvalVerb() *verb {
	var force, detach, verbose bool
	return &verb{
		path: "job eval", args: "<job_id>", min: 1, max: 1,
		short: "Have the scheduler look at a job again",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&force, "force-reschedule", false, "Place failed allocations again, whatever their policy says.")
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			resp, _, err := client.Jobs().Evaluate(c.ctx, stub.ID, api.EvalOptions{ForceReschedule: force}, &api.WriteOptions{Namespace: stub.Namespace})
			if err != nil {
				return exitf(1, "Error evaluating job: %v", err)
			}
			if detach {
				fmt.Fprintf(c.stdout, "Created eval ID: %q\n", shortID(resp.EvalID, verbose))
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}
