package command

import (
	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentPromoteVerb promotes canaries.
func deploymentPromoteVerb() *verb {
	return deploymentChange("promote", "Promote the canaries of a deployment", (*changeFlags).defineGroups, promote)
}

// promote promotes the chosen canaries of a deployment.
func promote(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error {
	resp, _, err := client.Deployments().Promote(c.ctx, d.ID, o.groups, inNamespace(d))
	if err != nil {
		return exitf(1, "Error promoting deployment: %v", err)
	}
	return o.follow(c, client, resp)
}
