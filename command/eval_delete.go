package command

import (
	"flag"
	"fmt"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// evalDeleteVerb removes evaluations.
func evalDeleteVerb() *verb {
	var filter string
	var yes bool
	return &verb{
		path: "eval delete", args: "[<evaluation>]", max: 1,
		short: "Remove evaluations",
		long: "Remove one evaluation, or all that a filter matches. The evaluation broker must be\n" +
			"paused: operator scheduler set-config -pause-eval-broker=true.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&filter, "filter", "", "Remove all evaluations that match this `expression`.")
			fs.BoolVar(&yes, "yes", false, "Do not ask.")
		},
		run: func(c *cli, args []string) error {
			if (len(args) == 1) == (filter != "") {
				return exitf(1, "Name one evaluation, or pass -filter")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			req, what := &api.EvalDeleteRequest{Filter: filter}, ""
			if len(args) == 1 {
				id, err := resolveEval(c, client, args[0], false)
				if err != nil {
					return err
				}
				req.EvalIDs, what = []string{id}, fmt.Sprintf("evaluation %q", id)
			} else {
				count, _, err := client.Evaluations().Count(c.ctx, &api.QueryOptions{Filter: filter, Namespace: structs.AllNamespaces})
				if err != nil {
					return exitf(1, "Error counting evaluations: %v", err)
				}
				if count.Count == 0 {
					return exitf(1, "No evals matched the filter")
				}
				what = fmt.Sprintf("%d evaluations", count.Count)
			}
			if !yes && (len(args) == 0 || !strings.EqualFold(args[0], req.EvalIDs[0])) {
				ok, err := c.confirm(fmt.Sprintf("Are you sure you want to delete %s?", what), "Cancelling eval deletion")
				if err != nil || !ok {
					return err
				}
			}
			out, _, err := client.Evaluations().Delete(c.ctx, req, nil)
			if err != nil {
				return exitf(1, "Error deleting evaluations: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully deleted %d evaluations\n", out.Count)
			return nil
		},
	}
}
