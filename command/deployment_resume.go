package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentResumeVerb lets a paused deployment go on.
func deploymentResumeVerb() *verb {
	return deploymentChange("resume", "Let a paused deployment go on", (*changeFlags).define,
		func(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error {
			resp, _, err := client.Deployments().Pause(c.ctx, d.ID, false, inNamespace(d))
			if err != nil {
				return exitf(1, "Error resuming deployment: %v", err)
			}
			fmt.Fprintf(c.stdout, "Deployment %q resumed\n\n", shortID(d.ID, o.verbose))
			return o.follow(c, client, resp)
		})
}
