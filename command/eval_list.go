package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// pageFlags are the options of paged lists.
type pageFlags struct {
	perPage int
	token   string
	filter  string
}

func (p *pageFlags) define(fs *flag.FlagSet) {
	fs.IntVar(&p.perPage, "per-page", 0, "How many at most; 0 is all.")
	fs.StringVar(&p.token, "page-token", "", "Where to go on: the `token` of the last page.")
	fs.StringVar(&p.filter, "filter", "", "An `expression` that the objects must match.")
}

// more tells how to see the next page.
func (p *pageFlags) more(c *cli, meta *api.QueryMeta) {
	if meta.NextToken != "" {
		fmt.Fprintf(c.stdout, "\nResults have been paginated. To get the next page run:\n\n  -page-token %s\n", meta.NextToken)
	}
}

// evalListVerb lists evaluations.
func evalListVerb() *verb {
	var out format
	var page pageFlags
	var verbose bool
	var job, status string
	return &verb{
		path: "eval list", max: 0,
		short: "List evaluations",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			page.define(fs)
			fs.StringVar(&job, "job", "", "Only those of this `job`.")
			fs.StringVar(&status, "status", "", "Only those of this `status`.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := &api.QueryOptions{PerPage: page.perPage, NextToken: page.token, Filter: page.filter, Params: map[string]string{}}
			if job != "" {
				q.Params["job"] = job
			}
			if status != "" {
				q.Params["status"] = status
			}
			evals, meta, err := client.Evaluations().List(c.ctx, q)
			if err != nil {
				return exitf(1, "Error querying evaluations: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, evals)
			}
			if len(evals) == 0 {
				fmt.Fprintln(c.stdout, "No evals found")
				return nil
			}
			printTable(c.stdout, c.evalListRows(evals, verbose))
			page.more(c, meta)
			return nil
		},
	}
}

// evalListRows is the table of evaluations of all jobs.
func (c *cli) evalListRows(evals []*structs.Evaluation, verbose bool) [][]string {
	rows := [][]string{{"ID", "Priority", "Triggered By", "Job ID", "Namespace", "Node ID", "Status", "Placement Failures"}}
	for _, e := range evals {
		rows = append(rows, []string{
			shortID(e.ID, verbose), strconv.Itoa(e.Priority), e.TriggeredBy, e.JobID, e.Namespace,
			shortID(e.NodeID, verbose), e.Status, failuresText(e),
		})
	}
	return rows
}
