package command

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobRun is the options of `job run`.
type jobRun struct {
	file                             jobFile
	checkIndex                       string
	detach, output, verbose          bool
	preserveCounts, preserveResource bool
	policyOverride                   bool
	evalPriority                     int
}

// jobRunVerb registers a job and follows it until it runs.
func jobRunVerb() *verb {
	var o jobRun
	return &verb{
		path: "job run", aliases: []string{"run"}, args: "<path>", min: 1, max: 1,
		short: "Run a new job or update an existing one",
		long: `Register the job of an HCL or JSON file (- is standard input), then follow its
evaluation and deployment. Exits 0 when all is placed, 1 on an error, 2 when
something could not be placed.`,
		flags: func(fs *flag.FlagSet) {
			o.file.define(fs)
			fs.StringVar(&o.checkIndex, "check-index", "", "Register only if the job's modify `index` is this one; 0 if there is no such job.")
			fs.BoolVar(&o.detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.IntVar(&o.evalPriority, "eval-priority", 0, "The `priority` of the evaluation, 1 to 100; the job's by default.")
			fs.BoolVar(&o.output, "output", false, "Print the request as JSON and send nothing.")
			fs.BoolVar(&o.policyOverride, "policy-override", false, "Accepted for compatibility.")
			fs.BoolVar(&o.preserveCounts, "preserve-counts", false, "Keep the counts of a running job's groups.")
			fs.BoolVar(&o.preserveResource, "preserve-resources", false, "Keep the resources of a running job's tasks.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
		},
		run: o.run,
	}
}

func (o *jobRun) run(c *cli, args []string) error {
	job, submission, err := o.file.read(c, args[0])
	if err != nil {
		return err
	}
	req := &api.JobRegisterRequest{
		Job: job, Submission: submission, EvalPriority: o.evalPriority, PolicyOverride: o.policyOverride,
		PreserveCounts: o.preserveCounts, PreserveResources: o.preserveResource,
	}
	if o.output {
		return printJSON(c.stdout, map[string]any{"Job": job})
	}
	if o.checkIndex != "" {
		n, err := strconv.ParseUint(o.checkIndex, 10, 64)
		if err != nil {
			return exitf(1, "Error parsing check-index value %q: it must be a number", o.checkIndex)
		}
		req.EnforceIndex, req.JobModifyIndex = true, n
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	w := c.jobWrite(job)
	resp, _, err := client.Jobs().Register(c.ctx, req, w)
	if err != nil {
		return registerError(err)
	}
	if resp.Warnings != "" {
		fmt.Fprintf(c.stderr, "Job Warnings:\n%s\n\n", cleanLines(resp.Warnings))
	}
	return o.after(c, client, job, resp)
}

// after reports a registered job.
func (o *jobRun) after(c *cli, client *api.Client, job *structs.Job, resp *api.JobRegisterResponse) error {
	if job.Periodic != nil || job.Dispatchable() || resp.EvalID == "" {
		fmt.Fprintln(c.stdout, "Job registration successful")
		if job.Periodic != nil && !job.Dispatchable() {
			c.nextLaunch(client, job)
		}
		return nil
	}
	if o.detach {
		fmt.Fprintln(c.stdout, "Job registration successful")
		fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
		return nil
	}
	err := newMonitor(c, client, o.verbose).follow(c.ctx, resp.EvalID)
	if err == nil {
		c.hint("Next: nomadlite job status %s · nomadlite alloc logs -job %s", job.ID, job.ID)
	}
	return err
}

// nextLaunch prints when a periodic job runs next, as a dry run answers it.
func (c *cli) nextLaunch(client *api.Client, job *structs.Job) {
	plan, _, err := client.Jobs().Plan(c.ctx, &api.JobPlanRequest{Job: job}, c.jobWrite(job))
	if err != nil || plan.NextPeriodicLaunch.IsZero() {
		return
	}
	now := c.now()
	fmt.Fprintf(c.stdout, "Approximate next launch time: %s (%s from now)\n",
		plan.NextPeriodicLaunch.In(now.Location()).Format("2006-01-02T15:04:05Z07:00"), coarse(plan.NextPeriodicLaunch.Sub(now)))
}

// jobWrite names the job's namespace and region: the file's win over the
// options, but for the region "global", which stands for any.
func (c *cli) jobWrite(job *structs.Job) *api.WriteOptions {
	w := &api.WriteOptions{Namespace: job.Namespace}
	if c.conf.Namespace != "" && (job.Namespace == "" || job.Namespace == structs.DefaultNamespace) {
		w.Namespace = c.conf.Namespace
	}
	if job.Region != "" && job.Region != structs.DefaultRegion {
		w.Region = job.Region
	}
	return w
}

// registerError words a refused registration.
func registerError(err error) error {
	if strings.Contains(err.Error(), "Enforcing job modify index") {
		return exitf(1, "%s\nJob not updated", serverText(err))
	}
	return exitf(1, "Error submitting job: %v", err)
}

// serverText is what the server said, without the client's frame around it.
func serverText(err error) string {
	var status *api.ResponseError
	if errors.As(err, &status) {
		return status.Body
	}
	return err.Error()
}

// cleanLines is clean for texts of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}
