package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentFailVerb ends a deployment as failed.
func deploymentFailVerb() *verb {
	return deploymentChange("fail", "End a deployment as failed", (*changeFlags).define,
		func(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error {
			resp, _, err := client.Deployments().Fail(c.ctx, d.ID, inNamespace(d))
			if err != nil {
				return exitf(1, "Error failing deployment: %v", err)
			}
			if resp.RevertedJobVersion == nil {
				fmt.Fprintf(c.stdout, "Deployment %q failed\n\n", shortID(d.ID, o.verbose))
			} else {
				fmt.Fprintf(c.stdout, "Deployment %q failed. Auto-reverted to job version %d.\n\n", shortID(d.ID, o.verbose), *resp.RevertedJobVersion)
			}
			return o.follow(c, client, resp)
		})
}
