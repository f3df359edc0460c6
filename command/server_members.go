package command

import (
	"flag"
	"fmt"
	"sort"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
)

// serverMembersVerb lists the servers that the agent knows.
func serverMembersVerb() *verb {
	var out format
	var verbose bool
	return &verb{
		path: "server members", max: 0,
		short: "List the servers",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&verbose, "verbose", false, "Protocol and tags as well.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			members, err := client.Agent().Members(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying servers: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, members.Members)
			}
			sort.Slice(members.Members, func(i, j int) bool { return members.Members[i].Name < members.Members[j].Name })
			leader, leaderErr := client.Leader(c.ctx, nil)
			rows := [][]string{{"Name", "Address", "Port", "Status", "Leader", "Raft Version", "Build", "Datacenter", "Region"}}
			if verbose {
				rows[0] = append(rows[0], "Protocol", "Tags")
			}
			for _, m := range members.Members {
				rows = append(rows, memberRow(m, leader, verbose))
			}
			printTable(c.stdout, rows)
			if leaderErr != nil {
				return exitf(1, "\nError determining leaders: %v", leaderErr)
			}
			return nil
		},
	}
}

func memberRow(m *api.AgentMember, leader string, verbose bool) []string {
	isLeader := leader != "" && leader == m.Tags["rpc_addr"]+":"+m.Tags["port"]
	row := []string{
		m.Name, m.Addr, strconv.Itoa(int(m.Port)), m.Status, strconv.FormatBool(isLeader),
		m.Tags["raft_vsn"], m.Tags["build"], m.Tags["dc"], m.Tags["region"],
	}
	if verbose {
		tags := ""
		for _, k := range sortedKeys(m.Tags) {
			if tags != "" {
				tags += ","
			}
			tags += k + "=" + m.Tags[k]
		}
		row = append(row, fmt.Sprint(m.ProtocolCur), tags)
	}
	return row
}
