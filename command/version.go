package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/command/version"
)

// versionVerb prints the version of the contract first, which tools parse,
// then our own.
func versionVerb() *verb {
	return &verb{
		path: "version", short: "Print the version", max: 0, local: true,
		run: func(c *cli, _ []string) error {
			fmt.Fprintf(c.stdout, "Nomad v%s\n", version.Contract)
			fmt.Fprintf(c.stdout, "Nomadlite v%s\n", version.Nomadlite)
			if version.Revision != "" {
				fmt.Fprintf(c.stdout, "Revision %s\n", version.Revision)
			}
			return nil
		},
	}
}
