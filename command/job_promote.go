package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// jobPromoteVerb promotes the canaries of a job's newest deployment.
func jobPromoteVerb() *verb {
	o := &changeFlags{}
	return &verb{
		path: "job promote", args: "<job id>", min: 1, max: 1,
		short: "Promote the canaries of a job's newest deployment",
		flags: func(fs *flag.FlagSet) { o.defineGroups(fs) },
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			d, _, err := client.Jobs().LatestDeployment(c.ctx, stub.ID, &api.QueryOptions{Namespace: stub.Namespace})
			switch {
			case err != nil:
				return exitf(1, "Error retrieving deployments: %v", err)
			case d == nil:
				return exitf(1, "Job %q has no deployment to promote", stub.ID)
			}
			return promote(c, o, client, d)
		},
	}
}
