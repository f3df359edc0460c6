package command

import (
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// serviceListVerb lists the names of services.
func serviceListVerb() *verb {
	var out format
	return &verb{
		path:  "service list",
		short: "List services of the built-in provider",
		flags: out.define,
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			found, _, err := client.Services().List(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error listing service registrations: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, found)
			}
			printTable(c.stdout, serviceRows(found, c.conf.Namespace == structs.AllNamespaces))
			return nil
		},
	}
}

func serviceRows(found []*api.ServiceList, namespaces bool) [][]string {
	rows := [][]string{{"Service Name", "Tags"}}
	if namespaces {
		rows[0] = []string{"Service Name", "Namespace", "Tags"}
	}
	for _, list := range found {
		for _, s := range list.Services {
			row := []string{s.ServiceName, "[" + strings.Join(s.Tags, ",") + "]"}
			if namespaces {
				row = []string{s.ServiceName, list.Namespace, row[1]}
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 1 {
		return [][]string{{"No service registrations found"}}
	}
	return rows
}
