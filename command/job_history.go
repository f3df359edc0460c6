package command

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobHistory is the options of `job history`.
type jobHistory struct {
	format
	diff, full  bool
	version     string
	diffTag     string
	diffVersion string
}

// jobHistoryVerb shows the versions of a job.
func jobHistoryVerb() *verb {
	var o jobHistory
	return &verb{
		path: "job history", args: "<job>", min: 1, max: 1,
		short: "Show the versions of a job",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&o.diff, "p", false, "Show what each version changed.")
			fs.StringVar(&o.diffTag, "diff-tag", "", "With -p, show the differences to the version of this `tag`.")
			fs.StringVar(&o.diffVersion, "diff-version", "", "With -p, show the differences to this `version`.")
			fs.BoolVar(&o.full, "full", false, "Show each version whole, as JSON.")
			fs.StringVar(&o.version, "version", "", "Only this `version`, by number or tag.")
		},
		run: o.run,
	}
}

func (o *jobHistory) run(c *cli, args []string) error {
	client, stub, err := findJob(c, args[0])
	if err != nil {
		return err
	}
	q := &api.QueryOptions{Namespace: stub.Namespace, Params: map[string]string{}}
	if o.diffTag != "" {
		q.Params["diff_tag"] = o.diffTag
	}
	if o.diffVersion != "" {
		q.Params["diff_version"] = o.diffVersion
	}
	resp, _, err := client.Jobs().Versions(c.ctx, stub.ID, o.diff || len(q.Params) > 0, q)
	if err != nil {
		return exitf(1, "Error retrieving job versions: %v", err)
	}
	shown := 0
	for i, v := range resp.Versions {
		tagged := v.VersionTag != nil && v.VersionTag.Name == o.version
		if o.version != "" && o.version != strconv.FormatUint(v.Version, 10) && !tagged {
			continue
		}
		shown++
		if !o.asked() {
			var diff *api.JobDiff
			if i < len(resp.Diffs) {
				diff = resp.Diffs[i]
			}
			if err := o.show(c, v, diff, shown > 1); err != nil {
				return err
			}
		}
	}
	if shown == 0 {
		return exitf(1, "Job %q has no version %q", stub.ID, o.version)
	}
	if o.asked() {
		return o.print(c.stdout, resp.Versions)
	}
	return nil
}

func (o *jobHistory) show(c *cli, v *structs.Job, diff *api.JobDiff, gap bool) error {
	if gap {
		fmt.Fprintln(c.stdout)
	}
	pairs := []pair{
		{"Version", strconv.FormatUint(v.Version, 10)}, {"Stable", strconv.FormatBool(v.Stable)},
		{"Submit Date", nanos(v.SubmitTime).Format(time.RFC3339)},
	}
	if v.VersionTag != nil {
		pairs = append(pairs, pair{"Tag Name", v.VersionTag.Name}, pair{"Tag Description", v.VersionTag.Description})
	}
	printPairs(c.stdout, pairs)
	if diff != nil {
		fmt.Fprintln(c.stdout, "Diff:")
		newDiffPrinter(c, false).job(diff)
	}
	if o.full {
		return printJSON(c.stdout, v)
	}
	return nil
}
