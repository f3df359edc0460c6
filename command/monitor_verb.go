package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
)

// monitorVerb follows the log of an agent.
func monitorVerb() *verb {
	var req api.MonitorRequest
	return &verb{
		path: "monitor", max: 0,
		short: "Follow the log of an agent",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&req.LogLevel, "log-level", "INFO", "The `level`, whatever the agent's own is.")
			fs.BoolVar(&req.LogJSON, "json", false, "One JSON object a line.")
			fs.StringVar(&req.NodeID, "node-id", "", "The log of this `node`.")
			fs.StringVar(&req.ServerID, "server-id", "", "The log of this `server`.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if req.NodeID != "" {
				if req.NodeID, err = resolveNode(c.ctx, c, client, req.NodeID); err != nil {
					return err
				}
			}
			r, err := client.Agent().Monitor(c.ctx, req, nil)
			if err != nil {
				return exitf(1, "Error starting monitor: %v", err)
			}
			return c.copyUntil(c.stdout, r)
		},
	}
}
