package command

import (
	"context"
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// resolveDeployment finds the one deployment whose id begins with arg.
func resolveDeployment(ctx context.Context, c *cli, client *api.Client, arg string) (*structs.Deployment, error) {
	prefix, err := uuidPrefix(arg)
	if err != nil {
		return nil, err
	}
	list, _, err := client.Deployments().List(ctx, &api.QueryOptions{Prefix: prefix, Namespace: c.anyNamespace()})
	if err != nil {
		return nil, exitf(1, "Error retrieving deployment: %v", err)
	}
	list = having(list, arg, func(d *structs.Deployment) string { return d.ID })
	switch len(list) {
	case 0:
		return nil, exitf(1, "Deployment ID %q matched no deployments", arg)
	case 1:
		return list[0], nil
	}
	return nil, ambiguous("deployments", deploymentRows(list, true))
}

// deploymentRows is the table of deployments.
func deploymentRows(list []*structs.Deployment, verbose bool) [][]string {
	rows := [][]string{{"ID", "Job ID", "Job Version", "Status", "Description"}}
	for _, d := range list {
		rows = append(rows, []string{shortID(d.ID, verbose), d.JobID, strconv.FormatUint(d.JobVersion, 10), d.Status, d.StatusDescription})
	}
	return rows
}

// listDeployments prints deployments as list verbs do.
func listDeployments(c *cli, out *format, list []*structs.Deployment, verbose bool) error {
	if out.asked() {
		return out.print(c.stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(c.stdout, "No deployments found")
		return nil
	}
	printTable(c.stdout, deploymentRows(list, verbose))
	return nil
}

// changeFlags are the options of verbs that change a deployment.
type changeFlags struct {
	detach, verbose bool
	groups          stringsFlag
}

func (o *changeFlags) define(fs *flag.FlagSet) {
	fs.BoolVar(&o.detach, "detach", false, "Do not follow; print the evaluation's id.")
	fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
}

func (o *changeFlags) defineGroups(fs *flag.FlagSet) {
	o.define(fs)
	fs.Var(&o.groups, "group", "Promote only this `group`; may be repeated.")
}

// follow reports a change of a deployment and follows its evaluation.
func (o *changeFlags) follow(c *cli, client *api.Client, resp *api.DeploymentUpdateResponse) error {
	switch {
	case resp.EvalID == "":
		return nil
	case o.detach:
		fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
		return nil
	}
	m := newMonitor(c, client, o.verbose)
	m.evalOnly = true
	return m.follow(c.ctx, resp.EvalID)
}

// deploymentChange makes a verb that changes one deployment.
func deploymentChange(name, short string, define func(*changeFlags, *flag.FlagSet), change func(c *cli, o *changeFlags, client *api.Client, d *structs.Deployment) error) *verb {
	o := &changeFlags{}
	return &verb{
		path: "deployment " + name, args: "<deployment id>", min: 1, max: 1, short: short,
		flags: func(fs *flag.FlagSet) { define(o, fs) },
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			d, err := resolveDeployment(c.ctx, c, client, args[0])
			if err != nil {
				return err
			}
			return change(c, o, client, d)
		},
	}
}

func inNamespace(d *structs.Deployment) *api.WriteOptions {
	return &api.WriteOptions{Namespace: d.Namespace}
}
