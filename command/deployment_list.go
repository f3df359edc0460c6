package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// deploymentListVerb lists deployments.
func deploymentListVerb() *verb {
	var out format
	var verbose bool
	var filter string
	return &verb{
		path: "deployment list", max: 0,
		short: "List deployments",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.StringVar(&filter, "filter", "", "An `expression` that the deployments must match.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, _, err := client.Deployments().List(c.ctx, &api.QueryOptions{Filter: filter})
			if err != nil {
				return exitf(1, "Error retrieving deployments: %v", err)
			}
			return listDeployments(c, &out, list, verbose)
		},
	}
}
