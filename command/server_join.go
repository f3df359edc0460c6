package command

import (
	"flag"
	"fmt"
)

// serverJoinVerb makes a server's agent gossip with others.
func serverJoinVerb() *verb {
	return &verb{
		path: "server join", args: "<addr> [<addr>...]", min: 1, max: -1,
		short: "Join other agents by their gossip addresses",
		long: `Make the agent that is asked, a server, join others: any member will do, server
or client. Servers that find each other this way become Raft peers when they
belong to no other cluster.`,
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			out, err := client.Agent().Join(c.ctx, args...)
			switch {
			case err != nil:
				return exitf(1, "Error joining: %v", err)
			case out.Error != "":
				return exitf(1, "Error joining: %s", out.Error)
			}
			fmt.Fprintf(c.stdout, "Joined %d servers successfully\n", out.NumJoined)
			return nil
		},
	}
}

// serverForceLeaveVerb takes a failed member for one that left.
func serverForceLeaveVerb() *verb {
	var prune bool
	return &verb{
		path: "server force-leave", args: "<node>", min: 1, max: 1,
		short: "Take a failed member for one that left",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&prune, "prune", false, "Forget it altogether.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.Agent().ForceLeave(c.ctx, args[0], prune); err != nil {
				return exitf(1, "Error force-leaving server %s: %v", args[0], err)
			}
			return nil
		},
	}
}
