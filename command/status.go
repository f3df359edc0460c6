package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// statusVerb shows whatever an identifier names.
func statusVerb() *verb {
	var verbose bool
	v := &verb{
		path: "status", args: "[<identifier>]", max: 1,
		short: "Show the job, allocation, node, evaluation or deployment of an identifier",
		long:  "Show what an identifier (or the beginning of one) names. Without one, list the\njobs.",
	}
	v.flags = verboseFlag(&verbose)
	v.run = func(c *cli, args []string) error {
		if len(args) == 0 {
			return jobStatusVerb().run(c, nil)
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		found, err := lookUp(c, client, args[0])
		if err != nil {
			return err
		}
		table := map[string]*verb{
			api.ContextJobs: jobStatusVerb(), api.ContextAllocs: allocStatusVerb(),
			api.ContextNodes: nodeStatusVerb(), api.ContextEvals: evalStatusVerb(), api.ContextDeployments: deploymentStatusVerb(),
		}
		return table[found].run(c, args)
	}
	return v
}

// lookUp finds the one kind of thing that an identifier names.
func lookUp(c *cli, client *api.Client, arg string) (string, error) {
	resp, _, err := client.Search(c.ctx, &api.SearchRequest{Prefix: arg, Context: api.ContextAll}, &api.QueryOptions{Namespace: c.conf.Namespace})
	if err != nil {
		return "", exitf(1, "Error querying search with id: %q: %v", arg, err)
	}
	var found []string
	for _, kind := range []string{api.ContextJobs, api.ContextAllocs, api.ContextNodes, api.ContextEvals, api.ContextDeployments} {
		for _, id := range resp.Matches[kind] {
			if id == arg {
				return kind, nil
			}
		}
		if len(resp.Matches[kind]) > 0 {
			found = append(found, kind)
		}
	}
	switch len(found) {
	case 0:
		return "", exitf(1, "Unable to resolve ID: %q", arg)
	case 1:
		return found[0], nil
	}
	text := "Multiple matches found for id: " + fmt.Sprintf("%q", arg)
	for _, kind := range found {
		text += fmt.Sprintf("\n\n%s:\n%s", kind, bullets(resp.Matches[kind]))
	}
	return "", exitf(1, "%s", text)
}
