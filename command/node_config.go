package command

import (
	"flag"
	"fmt"
)

// nodeConfigVerb shows or replaces the servers that the agent's client knows.
func nodeConfigVerb() *verb {
	var show, update bool
	return &verb{
		path: "node config", args: "[<server>...]", max: -1,
		short: "Show or replace the servers that the agent's client talks to",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&show, "servers", false, "Show them.")
			fs.BoolVar(&update, "update-servers", false, "Replace them by those of the arguments, host or host:port.")
		},
		run: func(c *cli, args []string) error {
			if show == update {
				return exitf(1, "Set one of -servers and -update-servers")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if show {
				list, err := client.Agent().Servers(c.ctx)
				if err != nil {
					return exitf(1, "Error querying server list: %v", err)
				}
				for _, s := range list {
					fmt.Fprintln(c.stdout, s)
				}
				return nil
			}
			if len(args) == 0 {
				return exitf(1, "Name at least one server")
			}
			if err := client.Agent().SetServers(c.ctx, args); err != nil {
				return exitf(1, "Error updating server list: %v", err)
			}
			fmt.Fprintln(c.stdout, "Updated server list")
			return nil
		},
	}
}
