package command

import (
	"errors"
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobInspect is the options of `job inspect`.
type jobInspect struct {
	format
	version  string
	hcl      bool
	withVars bool
}

// jobInspectVerb prints a registered job.
func jobInspectVerb() *verb {
	var o jobInspect
	return &verb{
		path: "job inspect", aliases: []string{"inspect"}, args: "<job>", min: 1, max: 1,
		short: "Print a registered job",
		long:  "Print a registered job as JSON that `nomadlite job run -json` takes, or with -hcl\nthe source that it was registered from.",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.StringVar(&o.version, "version", "", "The `version` of the job; the newest by default.")
			fs.BoolVar(&o.hcl, "hcl", false, "The source as it was submitted.")
			fs.BoolVar(&o.withVars, "with-vars", false, "With -hcl, the variables as well.")
		},
		run: o.run,
	}
}

func (o *jobInspect) run(c *cli, args []string) error {
	client, stub, err := findJob(c, args[0])
	if err != nil {
		return err
	}
	job, err := jobVersion(c, client, stub, o.version)
	if err != nil {
		return err
	}
	switch {
	case o.hcl:
		return o.source(c, client, job)
	case o.tmpl != "":
		return o.print(c.stdout, job)
	}
	return printJSON(c.stdout, map[string]any{"Job": job})
}

func (o *jobInspect) source(c *cli, client *api.Client, job *structs.Job) error {
	sub, _, err := client.Jobs().Submission(c.ctx, job.ID, job.Version, &api.QueryOptions{Namespace: job.Namespace})
	if err != nil {
		var status *api.ResponseError
		if errors.As(err, &status) && status.Code == 404 {
			return exitf(1, "No source of job %q version %d is kept", job.ID, job.Version)
		}
		return exitf(1, "Error reading the job's source: %v", err)
	}
	fmt.Fprintln(c.stdout, sub.Source)
	if o.withVars {
		fmt.Fprintln(c.stdout, "\nVariables:")
		for _, k := range sortedKeys(sub.VariableFlags) {
			fmt.Fprintf(c.stdout, "%s = %q\n", k, sub.VariableFlags[k])
		}
		if sub.Variables != "" {
			fmt.Fprintln(c.stdout, sub.Variables)
		}
	}
	return nil
}

// jobVersion reads one version of a job, the newest when text is empty.
func jobVersion(c *cli, client *api.Client, stub *structs.JobListStub, text string) (*structs.Job, error) {
	q := &api.QueryOptions{Namespace: stub.Namespace}
	if text == "" {
		job, _, err := client.Jobs().Get(c.ctx, stub.ID, q)
		if err != nil {
			return nil, exitf(1, "Error inspecting job: %v", err)
		}
		return job, nil
	}
	versions, _, err := client.Jobs().Versions(c.ctx, stub.ID, false, q)
	if err != nil {
		return nil, exitf(1, "Error retrieving job versions: %v", err)
	}
	for _, v := range versions.Versions {
		if strconv.FormatUint(v.Version, 10) == text || (v.VersionTag != nil && v.VersionTag.Name == text) {
			return v, nil
		}
	}
	return nil, exitf(1, "Job %q has no version %q", stub.ID, text)
}
