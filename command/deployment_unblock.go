package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentUnblockVerb lets a deployment go on that waits for another region.
func deploymentUnblockVerb() *verb {
	return deploymentChange("unblock", "Let a deployment go on that waits for another region", (*changeFlags).define,
		func(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error {
			resp, _, err := client.Deployments().Unblock(c.ctx, d.ID, inNamespace(d))
			if err != nil {
				return exitf(1, "Error unblocking deployment: %v", err)
			}
			fmt.Fprintf(c.stdout, "Deployment %q unblocked\n\n", shortID(d.ID, o.verbose))
			return o.follow(c, client, resp)
		})
}
