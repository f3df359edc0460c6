package command

import (
	"flag"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
)

// allocChecksVerb shows what the checks of an allocation's services say.
func allocChecksVerb() *verb {
	var out format
	var verbose bool
	return &verb{
		path: "alloc checks", args: "<allocation>", min: 1, max: 1,
		short: "Show the checks of an allocation's services",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&verbose, "verbose", false, "Output and times as well.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			alloc, err := resolveAlloc(c.ctx, c, client, args[0])
			if err != nil {
				return err
			}
			checks, _, err := client.Allocations().Checks(c.ctx, alloc.ID, &api.QueryOptions{Namespace: alloc.Namespace})
			if err != nil {
				return exitf(1, "Error querying allocation health checks: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, checks)
			}
			if len(checks) == 0 {
				fmt.Fprintln(c.stdout, "No checks")
				return nil
			}
			printTable(c.stdout, c.checkRows(checks, verbose))
			return nil
		},
	}
}

// checkRows lists checks by service, task and name.
func (c *cli) checkRows(checks map[string]*api.CheckResult, verbose bool) [][]string {
	rows := [][]string{}
	for _, k := range checks {
		task := k.Task
		if task == "" {
			task = "(group)"
		}
		row := []string{k.Service, task, k.Check, k.Mode, k.Status}
		if verbose {
			row = append(row, c.timestamp(time.Unix(k.Timestamp, 0), true), strings.ReplaceAll(k.Output, "\n", " "))
		}
		rows = append(rows, row)
	}
	sort.Slice(rows, func(i, j int) bool { return strings.Join(rows[i], "\x00") < strings.Join(rows[j], "\x00") })
	head := []string{"Service", "Task", "Name", "Mode", "Status"}
	if verbose {
		head = append(head, "Time", "Output")
	}
	return append([][]string{head}, rows...)
}
