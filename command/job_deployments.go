package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// jobDeploymentsVerb lists the deployments of a job.
func jobDeploymentsVerb() *verb {
	var out format
	var all, latest, verbose bool
	return &verb{
		path: "job deployments", args: "<job>", min: 1, max: 1,
		short: "List the deployments of a job",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&all, "all", false, "Deployments of older jobs with the same id as well.")
			fs.BoolVar(&latest, "latest", false, "Only the newest deployment, with its groups.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			q := &api.QueryOptions{Namespace: stub.Namespace}
			if !latest {
				list, _, err := client.Jobs().Deployments(c.ctx, stub.ID, all, q)
				if err != nil {
					return exitf(1, "Error retrieving deployments: %v", err)
				}
				return listDeployments(c, &out, list, verbose)
			}
			d, _, err := client.Jobs().LatestDeployment(c.ctx, stub.ID, q)
			switch {
			case err != nil:
				return exitf(1, "Error retrieving deployments: %v", err)
			case out.asked():
				return out.print(c.stdout, d)
			case d == nil:
				return listDeployments(c, &out, nil, verbose)
			}
			c.showDeployment(d, verbose)
			return nil
		},
	}
}
