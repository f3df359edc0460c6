package command

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// evalQueuesVerb shows where evaluations wait for the scheduler.
func evalQueuesVerb() *verb {
	var out format
	var limit int
	var verbose bool
	return &verb{
		path: "eval queues", max: 0,
		short: "Show where evaluations wait for the scheduler",
		long: "Show the queues of the evaluation broker: how many evaluations are with workers (unacked),\n" +
			"ready, pending behind another one of their job, waiting for a time, and blocked for want of\n" +
			"room; then the first of them, in the order in which they are worked on.",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.IntVar(&limit, "limit", 20, "How many evaluations at most.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			queues, err := client.Evaluations().Queues(c.ctx, limit, nil)
			if err != nil {
				return exitf(1, "Error querying the evaluation broker: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, queues)
			}
			c.printQueues(queues, verbose)
			return nil
		},
	}
}

func (c *cli) printQueues(q *api.EvalQueues, verbose bool) {
	printPairs(c.stdout, []pair{
		{"Paused", strconv.FormatBool(q.Paused)}, {"Unacked", strconv.Itoa(q.Unacked)}, {"Ready", strconv.Itoa(q.Ready)},
		{"Pending", strconv.Itoa(q.Pending)}, {"Waiting", strconv.Itoa(q.Waiting)}, {"Blocked", strconv.Itoa(q.Blocked)},
	})
	if len(q.Evals) == 0 {
		return
	}
	rows := [][]string{{"ID", "Queue", "Priority", "Type", "Triggered By", "Job ID", "Namespace", "Deliveries", "Since", "Until"}}
	for _, e := range q.Evals {
		until := "-"
		if e.Until != nil {
			until = e.Until.Format(time.RFC3339)
		}
		rows = append(rows, []string{shortID(e.ID, verbose), e.Place, strconv.Itoa(e.Priority), e.Type, e.TriggeredBy, clean(e.JobID),
			firstOf(e.Namespace, structs.DefaultNamespace), strconv.Itoa(e.Deliveries), e.Since.Format(time.RFC3339), until})
	}
	fmt.Fprintln(c.stdout)
	printTable(c.stdout, rows)
}
