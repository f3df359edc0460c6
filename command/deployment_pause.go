package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentPauseVerb pauses a deployment.
func deploymentPauseVerb() *verb {
	define := func(o *changeFlags, fs *flag.FlagSet) { fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.") }
	return deploymentChange("pause", "Pause a deployment", define,
		func(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error {
			if _, _, err := client.Deployments().Pause(c.ctx, d.ID, true, inNamespace(d)); err != nil {
				return exitf(1, "Error pausing deployment: %v", err)
			}
			fmt.Fprintf(c.stdout, "Deployment %q paused\n", shortID(d.ID, o.verbose))
			return nil
		})
}
