package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// jobRevertVerb registers an earlier version of a job again.
func jobRevertVerb() *verb {
	var detach, verbose bool
	return &verb{
		path: "job revert", args: "<job> <version|tag>", min: 2, max: 2,
		short: "Register an earlier version of a job again",
		long:  "Register an earlier version of a job, by its number or its tag, as a new version.\n`nomadlite job history` lists them.",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			version, err := jobVersion(c, client, stub, args[1])
			if err != nil {
				return err
			}
			resp, _, err := client.Jobs().Revert(c.ctx, &api.JobRevertRequest{JobID: stub.ID, JobVersion: version.Version}, &api.WriteOptions{Namespace: stub.Namespace})
			if err != nil {
				return exitf(1, "Error reverting job: %v", err)
			}
			if detach || resp.EvalID == "" {
				fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}
