package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/nomadlite"
	"github.com/nomadlite/nomadlite/structs"
)

// jobValidateVerb checks a job file, here and at the servers when they answer.
func jobValidateVerb() *verb {
	var file jobFile
	return &verb{
		path: "job validate", aliases: []string{"validate"}, args: "<path>", min: 1, max: 1,
		short: "Check a job file",
		long:  "Check a job file and register nothing. When an agent answers, the servers check\nit as well, with their own limits. Exits 0 for a valid file, else 1.",
		flags: func(fs *flag.FlagSet) { file.define(fs) },
		run: func(c *cli, args []string) error {
			job, _, err := file.read(c, args[0])
			if err != nil {
				return err
			}
			warnings, problems := validateRemote(c, job)
			if warnings != "" {
				fmt.Fprintf(c.stderr, "Job Warnings:\n%s\n\n", cleanLines(warnings))
			}
			if problems != "" {
				return exitf(1, "Job validation errors:\n%s", cleanLines(problems))
			}
			fmt.Fprintln(c.stdout, "Job validation successful")
			return nil
		},
	}
}

// validateRemote asks the servers; without them it does what can be done here.
func validateRemote(c *cli, job *structs.Job) (warnings, problems string) {
	client, err := c.client()
	if err != nil {
		return "", err.Error()
	}
	resp, _, err := client.Jobs().Validate(c.ctx, job, c.jobWrite(job))
	if err == nil {
		return resp.Warnings, resp.Error
	}
	local := *job
	local.Canonicalize()
	warn, verr := local.Validate(nomadlite.Checks(structs.MaxPriority, 0))
	warnings = "The servers did not answer, so only checks that need none were made.\n"
	for _, w := range warn {
		warnings += "* " + w + "\n"
	}
	if verr != nil {
		problems = verr.Error()
	}
	return warnings, problems
}
