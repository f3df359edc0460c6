package command

import (
	"flag"
	"fmt"
)

// agentInfoVerb shows the figures of the agent that is asked.
func agentInfoVerb() *verb {
	var o format
	return &verb{
		path: "agent-info", max: 0,
		short: "Show the figures of the agent",
		flags: func(fs *flag.FlagSet) { o.define(fs) },
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			self, err := client.Agent().Self(c.ctx)
			if err != nil {
				return exitf(1, "Error querying agent info: %v", err)
			}
			if o.asked() {
				return o.print(c.stdout, self)
			}
			for _, group := range sortedKeys(self.Stats) {
				fmt.Fprintln(c.stdout, group)
				for _, key := range sortedKeys(self.Stats[group]) {
					fmt.Fprintf(c.stdout, "  %s = %s\n", key, self.Stats[group][key])
				}
			}
			return nil
		},
	}
}
