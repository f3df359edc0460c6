package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobScalingEventsVerb prints how the groups of a job were scaled.
func jobScalingEventsVerb() *verb {
	var verbose bool
	return &verb{
		path: "job scaling-events", args: "<job>", min: 1, max: 1,
		short: "Show how the groups of a job were scaled",
		long:  "Show the newest 20 changes of each group's count, and what autoscalers said.",
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&verbose, "verbose", false, "Whole ids, metadata and dates.") },
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			status, _, err := client.Jobs().ScaleStatus(c.ctx, stub.ID, &api.QueryOptions{Namespace: stub.Namespace})
			if err != nil {
				return exitf(1, "Error listing scaling events: %v", err)
			}
			header := []string{"Task Group", "Count", "PrevCount", "Error", "Message", "Eval ID", "Date"}
			if verbose {
				header = append(header, "Meta")
			}
			rows := [][]string{header}
			for _, group := range sortedKeys(status.TaskGroups) {
				for _, e := range status.TaskGroups[group].Events {
					rows = append(rows, c.scalingRow(group, e, verbose))
				}
			}
			if len(rows) == 1 {
				fmt.Fprintln(c.stdout, "No events found")
				return nil
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

func (c *cli) scalingRow(group string, e *structs.ScalingEvent, verbose bool) []string {
	count := ""
	if e.Count != nil {
		count = strconv.FormatInt(*e.Count, 10)
	}
	row := []string{group, count, strconv.FormatInt(e.PreviousCount, 10), strconv.FormatBool(e.Error), e.Message,
		shortID(structs.Val(e.EvalID), verbose), c.timestamp(nanos(int64(e.Time)), verbose)}
	if !verbose {
		return row
	}
	meta := ""
	for _, k := range sortedKeys(e.Meta) {
		meta += fmt.Sprintf("%s=%v ", k, e.Meta[k])
	}
	return append(row, meta)
}
