package command

import (
	"flag"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
)

// raftListPeersVerb lists the Raft peers.
func raftListPeersVerb() *verb {
	var stale bool
	return &verb{
		path: "operator raft list-peers", max: 0,
		short: "List the Raft peers",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&stale, "stale", false, "Let any server answer, as it knows them.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			conf, err := client.Operator().RaftConfiguration(c.ctx, &api.QueryOptions{AllowStale: stale})
			if err != nil {
				return exitf(1, "Failed to retrieve raft configuration: %v", err)
			}
			rows := [][]string{{"Node", "ID", "Address", "State", "Voter", "RaftProtocol"}}
			for _, s := range conf.Servers {
				state := "follower"
				if s.Leader {
					state = "leader"
				}
				rows = append(rows, []string{s.Node, s.ID, s.Address, state, strconv.FormatBool(s.Voter), s.RaftProtocol})
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}
