package command

import (
	"flag"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentStatusVerb shows one deployment, or follows it.
func deploymentStatusVerb() *verb {
	var out format
	var verbose, follow bool
	var wait time.Duration
	return &verb{
		path: "deployment status", args: "[<deployment id>]", max: 1,
		short: "Show a deployment",
		long:  "Show a deployment, or without an id list all.",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
			fs.BoolVar(&follow, "monitor", false, "Follow the deployment until it ends.")
			fs.DurationVar(&wait, "wait", 2*time.Second, "With -monitor, the longest `time` between two looks; changes are shown at once.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				list, _, err := client.Deployments().List(c.ctx, nil)
				if err != nil {
					return exitf(1, "Error retrieving deployments: %v", err)
				}
				return listDeployments(c, &out, list, verbose)
			}
			if follow && out.asked() {
				return exitf(1, "The monitor flag cannot be used with the '-json' or '-t' flags")
			}
			d, err := resolveDeployment(c.ctx, c, client, args[0])
			if err != nil {
				return err
			}
			if out.asked() {
				return out.print(c.stdout, d)
			}
			if follow {
				m := newMonitor(c, client, verbose)
				m.wait = wait
				if err := m.followDeployment(c.ctx, d.ID); err != nil {
					return err
				}
				if d, _, err = client.Deployments().Get(c.ctx, d.ID, &api.QueryOptions{Namespace: d.Namespace}); err != nil {
					return exitf(1, "Error retrieving deployment: %v", err)
				}
			}
			c.showDeployment(d, verbose)
			return nil
		},
	}
}

// showDeployment prints a deployment and its groups.
func (c *cli) showDeployment(d *structs.Deployment, verbose bool) {
	printPairs(c.stdout, []pair{
		{"ID", shortID(d.ID, verbose)}, {"Job ID", d.JobID}, {"Job Version", strconv.FormatUint(d.JobVersion, 10)},
		{"Status", d.Status}, {"Description", d.StatusDescription},
	})
	c.title("Deployed")
	printTable(c.stdout, deployedRows(d, c))
}
