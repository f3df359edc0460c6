package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
)

// jobTagApplyVerb names a version of a job.
func jobTagApplyVerb() *verb {
	var name, description, version string
	return &verb{
		path: "job tag apply", args: "<jobname>", min: 1, max: 1,
		short: "Name a version of a job, so that it is kept",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&name, "name", "", "The `name`; required.")
			fs.StringVar(&description, "description", "", "A `text` about the version.")
			fs.StringVar(&version, "version", "", "The `version` to name; the newest when not given.")
		},
		run: func(c *cli, args []string) error {
			if name == "" {
				return exitf(1, "A tag name must be specified using the -name flag")
			}
			req := &api.TagVersionRequest{Description: description}
			if version != "" {
				n, err := strconv.ParseUint(version, 10, 64)
				if err != nil {
					return exitf(1, "Error parsing the version value %q: it is not a whole number", version)
				}
				req.Version = n
			}
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			if version == "" { // read here, so that it can be told
				job, err := jobVersion(c, client, stub, "")
				if err != nil {
					return err
				}
				req.Version = job.Version
			}
			if _, _, err := client.Jobs().Tag(c.ctx, stub.ID, name, req, &api.WriteOptions{Namespace: stub.Namespace}); err != nil {
				return exitf(1, "Error tagging job version: %v", err)
			}
			fmt.Fprintf(c.stdout, "Job version %d tagged with name %q\n", req.Version, name)
			return nil
		},
	}
}

// jobTagUnsetVerb removes the name of a version.
func jobTagUnsetVerb() *verb {
	var name string
	return &verb{
		path: "job tag unset", args: "-name <tag> <job>", min: 1, max: 1,
		short: "Remove the name of a version of a job",
		flags: func(fs *flag.FlagSet) { fs.StringVar(&name, "name", "", "The `name`; required.") },
		run: func(c *cli, args []string) error {
			if name == "" {
				return exitf(1, "A tag name must be specified using the -name flag")
			}
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			if _, _, err := client.Jobs().Untag(c.ctx, stub.ID, name, &api.WriteOptions{Namespace: stub.Namespace}); err != nil {
				return exitf(1, "Error removing tag: %v", err)
			}
			fmt.Fprintf(c.stdout, "Tag %q removed from job %q\n", name, stub.ID)
			return nil
		},
	}
}
