package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/jobspec"
)

// jobSchemaVerb prints the JSON Schema of a job.
func jobSchemaVerb() *verb {
	return &verb{
		path: "job schema", local: true,
		short: "Print the JSON Schema of a job",
		long:  "Print the JSON Schema (draft 2020-12) of a job in the API's JSON form, for editors\nand checkers.",
		run: func(c *cli, _ []string) error {
			schema, err := jobspec.Schema()
			if err != nil {
				return exitf(1, "Error making the schema: %v", err)
			}
			fmt.Fprintf(c.stdout, "%s\n", schema)
			return nil
		},
	}
}
