package command

import (
	"flag"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// varListVerb lists variables.
func varListVerb() *verb {
	var perPage int
	var token, filter, form, tmpl string
	return &verb{
		path: "var list", args: "[<prefix>]", max: 1,
		short: "List variables",
		long:  "List the variables whose path begins with a prefix, without their items.",
		flags: func(fs *flag.FlagSet) {
			fs.IntVar(&perPage, "per-page", 0, "How many to show at most; 0 is all.")
			fs.StringVar(&token, "page-token", "", "The `token` that the page before ended with.")
			fs.StringVar(&filter, "filter", "", "An `expression` that the variables must match.")
			fs.StringVar(&form, "out", "", "The `form` of the output: table, terse, json or go-template; json when it is no terminal.")
			fs.StringVar(&tmpl, "template", "", "The Go `template` of -out go-template.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := &api.QueryOptions{Filter: filter, PerPage: perPage, NextToken: token}
			if len(args) == 1 {
				q.Prefix = args[0]
			}
			found, meta, err := client.Variables().List(c.ctx, q)
			if err != nil {
				return exitf(1, "Error retrieving vars: %v", err)
			}
			if err := c.printVariables(found, form, tmpl); err != nil {
				return err
			}
			if meta.NextToken != "" {
				c.hint("There are more; go on with -page-token %s", meta.NextToken)
			}
			return nil
		},
	}
}

func (c *cli) printVariables(found []*structs.VariableMetadata, form, tmpl string) error {
	switch {
	case form == "" && isTerminal(c.stdout):
		form = "table"
	case form == "":
		form = "json"
	}
	rows := [][]string{{"Namespace", "Path", "Last Updated"}}
	switch form {
	case "json":
		return printJSON(c.stdout, found)
	case "go-template":
		return (&format{tmpl: tmpl}).print(c.stdout, found)
	case "terse":
		rows = nil
		for _, v := range found {
			rows = append(rows, []string{v.Path})
		}
	case "table":
		if len(found) == 0 {
			rows = [][]string{{"No variables found"}}
		}
		for _, v := range found {
			rows = append(rows, []string{v.Namespace, v.Path, c.timestamp(nanos(v.ModifyTime), true)})
		}
	default:
		return exitf(1, "cannot print in the form %q: use table, terse, json or go-template", form)
	}
	printTable(c.stdout, rows)
	return nil
}
