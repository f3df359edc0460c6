package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// jobAllocsVerb lists the allocations of a job.
func jobAllocsVerb() *verb {
	var out format
	var all, verbose bool
	return &verb{
		path: "job allocs", args: "<job>", min: 1, max: 1,
		short: "List the allocations of a job",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&all, "all", false, "Allocations of older jobs with the same id as well.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids and absolute times.")
		},
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			allocs, _, err := client.Jobs().Allocations(c.ctx, stub.ID, all, &api.QueryOptions{Namespace: stub.Namespace})
			if err != nil {
				return exitf(1, "Error retrieving allocations: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, allocs)
			}
			if len(allocs) == 0 {
				fmt.Fprintln(c.stdout, "No allocations placed")
				return nil
			}
			printTable(c.stdout, c.allocRows(allocs, verbose))
			return nil
		},
	}
}
