package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobStartVerb starts a job that was stopped.
func jobStartVerb() *verb {
	var detach, verbose bool
	return &verb{
		path: "job start", args: "<job>", min: 1, max: 1,
		short: "Start a job that was stopped",
		long:  "Start a job that was stopped, as it was then. It is a new version of the job.",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			q := &api.QueryOptions{Namespace: stub.Namespace}
			job, _, err := client.Jobs().Get(c.ctx, stub.ID, q)
			if err != nil {
				return exitf(1, "Error retrieving job: %v", err)
			}
			if !job.Stop {
				return exitf(1, "Job %q has not been stopped and has the status %s", job.ID, job.Status)
			}
			resp, err := startAgain(c, client, job, q)
			switch {
			case err != nil:
				return exitf(1, "Error starting job: %v", err)
			case resp.EvalID == "":
				fmt.Fprintln(c.stdout, "Job start successful")
				return nil
			case detach:
				fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}

// startAgain registers a stopped job with the source of its version, unless it
// has changed meanwhile.
func startAgain(c *cli, client *api.Client, job *structs.Job, q *api.QueryOptions) (*api.JobRegisterResponse, error) {
	again := job.Copy()
	again.Stop, again.VersionTag = false, nil
	req := &api.JobRegisterRequest{Job: again, EnforceIndex: true, JobModifyIndex: job.JobModifyIndex}
	if job.Version > 0 { // the version before was the one that ran
		if source, _, err := client.Jobs().Submission(c.ctx, job.ID, job.Version-1, q); err == nil {
			req.Submission = source
		}
	}
	resp, _, err := client.Jobs().Register(c.ctx, req, &api.WriteOptions{Namespace: job.Namespace})
	return resp, err
}
