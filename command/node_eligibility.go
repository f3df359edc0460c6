package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/structs"
)

// nodeEligibilityVerb says whether new work may be placed on a node.
func nodeEligibilityVerb() *verb {
	var enable, disable, self bool
	return &verb{
		path: "node eligibility", args: "<node>", max: 1,
		short: "Say whether new work may be placed on a node",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&enable, "enable", false, "New work may be placed.")
			fs.BoolVar(&disable, "disable", false, "No new work; what runs stays.")
			fs.BoolVar(&self, "self", false, "The node of the agent that answers.")
		},
		run: func(c *cli, args []string) error {
			if enable == disable {
				return exitf(1, "Either the '-enable' or '-disable' flag must be set")
			}
			if self == (len(args) == 1) {
				return exitf(1, "Name one node, or pass -self")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			var id string
			if self {
				id, err = selfNode(c, client)
			} else {
				id, err = resolveNode(c.ctx, c, client, args[0])
			}
			if err != nil {
				return err
			}
			if _, _, err := client.Nodes().SetEligibility(c.ctx, id, enable, nil); err != nil {
				return exitf(1, "Error updating scheduling eligibility: %v", err)
			}
			text := structs.NodeIneligible + " for scheduling"
			if enable {
				text = structs.NodeEligible + " for scheduling"
			}
			fmt.Fprintf(c.stdout, "Node %q scheduling eligibility set: %s\n", id, text)
			return nil
		},
	}
}
