package command

import (
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// serviceInfoVerb shows the instances of a service.
func serviceInfoVerb() *verb {
	var out format
	var verbose bool
	var perPage int
	var token, filter string
	return &verb{
		path: "service info", args: "<service_name>", min: 1, max: 1,
		short: "Show the instances of a service",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&verbose, "verbose", false, "Ids, and all that is known.")
			fs.IntVar(&perPage, "per-page", 0, "How many to show at most; 0 is all.")
			fs.StringVar(&token, "page-token", "", "The `token` that the page before ended with.")
			fs.StringVar(&filter, "filter", "", "An `expression` that the instances must match.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			found, meta, err := client.Services().Get(c.ctx, args[0], &api.QueryOptions{PerPage: perPage, NextToken: token, Filter: filter})
			if err != nil {
				return exitf(1, "Error listing service registrations: %v", err)
			}
			if len(found) == 0 {
				fmt.Fprintln(c.stdout, "No service registrations found")
				return nil
			}
			if out.asked() {
				return out.print(c.stdout, found)
			}
			c.printInstances(found, verbose)
			if meta.NextToken != "" {
				c.hint("There are more; go on with -page-token %s", meta.NextToken)
			}
			return nil
		},
	}
}

func (c *cli) printInstances(found []*structs.ServiceRegistration, verbose bool) {
	if verbose {
		for i, s := range found {
			if i > 0 {
				fmt.Fprintln(c.stdout)
			}
			printPairs(c.stdout, []pair{
				{"ID", s.ID}, {"Service Name", s.ServiceName}, {"Namespace", s.Namespace}, {"Job ID", s.JobID}, {"Alloc ID", s.AllocID},
				{"Node ID", s.NodeID}, {"Datacenter", s.Datacenter}, {"Address", net.JoinHostPort(s.Address, strconv.Itoa(s.Port))}, {"Tags", "[" + strings.Join(s.Tags, ",") + "]"},
				{"Health", s.Health},
			})
		}
		return
	}
	rows := [][]string{{"Job ID", "Address", "Health", "Tags", "Node ID", "Alloc ID"}}
	for _, s := range found {
		rows = append(rows, []string{s.JobID, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), s.Health, "[" + strings.Join(s.Tags, ",") + "]", shortID(s.NodeID, false), shortID(s.AllocID, false)})
	}
	printTable(c.stdout, rows)
}
