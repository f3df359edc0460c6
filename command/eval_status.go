package command

import (
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// evalStatus is the options of `eval status`.
type evalStatus struct {
	format
	monitor, verbose bool
}

// evalStatusVerb shows an evaluation and explains what it could not place.
func evalStatusVerb() *verb {
	var o evalStatus
	return &verb{
		path: "eval status", args: "<evaluation>", min: 1, max: 1,
		short: "Show an evaluation",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&o.monitor, "monitor", false, "Follow it until it is done.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids, absolute times, related evaluations.")
		},
		run: o.run,
	}
}

func (o *evalStatus) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	id, err := resolveEval(c, client, args[0], o.verbose)
	if err != nil {
		return err
	}
	if o.monitor {
		return newMonitor(c, client, o.verbose).follow(c.ctx, id)
	}
	q := &api.QueryOptions{Namespace: structs.AllNamespaces, Params: map[string]string{"related": "true"}}
	eval, _, err := client.Evaluations().Get(c.ctx, id, q)
	if err != nil {
		return exitf(1, "Error querying evaluation: %v", err)
	}
	if o.asked() {
		return o.print(c.stdout, eval)
	}
	o.head(c, eval)
	o.failures(c, eval)
	o.annotations(c, eval)
	return o.placed(c, client, eval)
}

// resolveEval finds the one evaluation whose id begins with arg.
func resolveEval(c *cli, client *api.Client, arg string, verbose bool) (string, error) {
	prefix, err := uuidPrefix(arg)
	if err != nil {
		return "", err
	}
	evals, _, err := client.Evaluations().List(c.ctx, &api.QueryOptions{Prefix: prefix, Namespace: structs.AllNamespaces})
	if err != nil {
		return "", exitf(1, "Error querying evaluation: %v", err)
	}
	evals = having(evals, arg, func(e *structs.Evaluation) string { return e.ID })
	switch len(evals) {
	case 0:
		return "", exitf(1, "No evaluation(s) with prefix or id %q found", arg)
	case 1:
		return evals[0].ID, nil
	}
	var b strings.Builder
	printTable(&b, c.evalListRows(evals, true))
	return "", exitf(1, "Prefix matched multiple evaluations\n\n%s", strings.TrimRight(b.String(), "\n"))
}

func (o *evalStatus) head(c *cli, e *structs.Evaluation) {
	pairs := []pair{
		{"ID", shortID(e.ID, o.verbose)}, {"Create Time", c.timestamp(nanos(e.CreateTime), o.verbose)},
		{"Modify Time", c.timestamp(nanos(e.ModifyTime), o.verbose)}, {"Status", e.Status},
		{"Status Description", orText(e.StatusDescription)}, {"Type", e.Type}, {"TriggeredBy", e.TriggeredBy},
	}
	if e.JobID != "" {
		pairs = append(pairs, pair{"Job ID", e.JobID}, pair{"Namespace", e.Namespace})
	}
	if e.NodeID != "" {
		pairs = append(pairs, pair{"Node ID", shortID(e.NodeID, o.verbose)})
	}
	if e.DeploymentID != "" {
		pairs = append(pairs, pair{"Deployment ID", shortID(e.DeploymentID, o.verbose)})
	}
	pairs = append(pairs, pair{"Priority", strconv.Itoa(e.Priority)}, pair{"Placement Failures", failuresText(e)})
	if e.WaitUntil != nil {
		pairs = append(pairs, pair{"Wait Until", c.timestamp(*e.WaitUntil, true)})
	}
	for _, l := range []pair{{"Previous Eval", e.PreviousEval}, {"Next Eval", e.NextEval}, {"Blocked Eval", e.BlockedEval}} {
		if l.val != "" {
			pairs = append(pairs, pair{l.key, shortID(l.val, o.verbose)})
		}
	}
	printPairs(c.stdout, pairs)
}

func (o *evalStatus) failures(c *cli, e *structs.Evaluation) {
	if len(e.FailedTGAllocs) == 0 {
		return
	}
	c.title("Failed Placements")
	for _, g := range sortedKeys(e.FailedTGAllocs) {
		m := e.FailedTGAllocs[g]
		noun := "allocation"
		if m.CoalescedFailures > 0 {
			noun = "allocations"
		}
		fmt.Fprintf(c.stdout, "Task Group %q (failed to place %d %s):\n", g, m.CoalescedFailures+1, noun)
		for _, reason := range placementReasons(m) {
			fmt.Fprintf(c.stdout, "  * %s\n", clean(reason))
		}
	}
	if e.BlockedEval != "" {
		fmt.Fprintf(c.stdout, "\nEvaluation %q waiting for additional capacity to place remainder\n", shortID(e.BlockedEval, o.verbose))
	}
}

func (o *evalStatus) annotations(c *cli, e *structs.Evaluation) {
	if e.PlanAnnotations == nil || len(e.PlanAnnotations.DesiredTGUpdates) == 0 {
		return
	}
	c.title("Plan Annotations")
	rows := [][]string{{"Task Group", "Ignore", "Place", "Stop", "InPlace", "Destructive", "Migrate", "Canary", "Preemptions"}}
	for _, g := range sortedKeys(e.PlanAnnotations.DesiredTGUpdates) {
		u := e.PlanAnnotations.DesiredTGUpdates[g]
		row := []string{g}
		for _, n := range []uint64{u.Ignore, u.Place, u.Stop, u.InPlaceUpdate, u.DestructiveUpdate, u.Migrate, u.Canary, u.Preemptions} {
			row = append(row, strconv.FormatUint(n, 10))
		}
		rows = append(rows, row)
	}
	printTable(c.stdout, rows)
}

func (o *evalStatus) placed(c *cli, client *api.Client, e *structs.Evaluation) error {
	allocs, _, err := client.Evaluations().Allocations(c.ctx, e.ID, &api.QueryOptions{Namespace: e.Namespace})
	if err != nil {
		return exitf(1, "Error querying allocations: %v", err)
	}
	if len(allocs) > 0 {
		c.title("Placed Allocations")
		printTable(c.stdout, c.allocRows(allocs, o.verbose))
	}
	if !o.verbose || len(e.RelatedEvals) == 0 {
		return nil
	}
	c.title("Related Evaluations")
	rows := [][]string{{"ID", "Priority", "Triggered By", "Node ID", "Status", "Description"}}
	for _, r := range e.RelatedEvals {
		rows = append(rows, []string{r.ID, strconv.Itoa(r.Priority), r.TriggeredBy, shortID(r.NodeID, true), r.Status, r.StatusDescription})
	}
	printTable(c.stdout, rows)
	return nil
}
