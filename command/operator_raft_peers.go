package command

import (
	"flag"
	"fmt"
)

// raftRemovePeerVerb removes a Raft peer.
func raftRemovePeerVerb() *verb {
	var id string
	return &verb{
		path: "operator raft remove-peer", max: 0,
		short: "Remove a Raft peer",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&id, "peer-id", "", "The `id` of the peer, as list-peers shows it.")
		},
		run: func(c *cli, _ []string) error {
			if id == "" {
				return exitf(1, "Missing peer id; set -peer-id to the ID that operator raft list-peers shows")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.Operator().RaftRemovePeer(c.ctx, id); err != nil {
				return exitf(1, "Failed to remove the peer: %v", err)
			}
			fmt.Fprintf(c.stdout, "Removed peer with id %q\n", id)
			return nil
		},
	}
}

// raftTransferVerb makes another server the leader.
func raftTransferVerb() *verb {
	var id, addr string
	return &verb{
		path: "operator raft transfer-leadership", max: 0,
		short: "Make another server the leader",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&id, "peer-id", "", "The `id` of the new leader.")
			fs.StringVar(&addr, "peer-address", "", "Its Raft `address`, host:port, instead of the id.")
		},
		run: func(c *cli, _ []string) error {
			if (id == "") == (addr == "") {
				return exitf(1, "Set one of -peer-id and -peer-address")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			out, err := client.Operator().RaftTransferLeadership(c.ctx, id, addr)
			if err != nil {
				return exitf(1, "Failed to transfer leadership: %v", err)
			}
			if out.Noop {
				fmt.Fprintf(c.stdout, "%s leads already\n", out.To.ID)
				return nil
			}
			fmt.Fprintf(c.stdout, "Leadership transferred from %s (%s) to %s (%s)\n", out.From.ID, out.From.Address, out.To.ID, out.To.Address)
			return nil
		},
	}
}
