package command

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// planErrorExit is the exit code of a failed plan; 1 says "would change".
const planErrorExit = 255

// jobPlan is the options of `job plan`.
type jobPlan struct {
	out            format
	file           jobFile
	diff, verbose  bool
	policyOverride bool
}

// jobPlanVerb shows what registering a job would do.
func jobPlanVerb() *verb {
	var o jobPlan
	return &verb{
		path: "job plan", aliases: []string{"plan"}, args: "<path>", min: 1, max: 1, usageExit: planErrorExit,
		short: "Show what running a job would change",
		long: `Ask the scheduler what registering the job of a file would do, and change
nothing. Exits 0 when no allocation would be created or destroyed, 1 when some
would, 255 on an error.`,
		flags: func(fs *flag.FlagSet) {
			o.file.define(fs)
			fs.BoolVar(&o.diff, "diff", true, "Show the difference to the running job.")
			fs.BoolVar(&o.policyOverride, "policy-override", false, "Accepted for compatibility.")
			fs.BoolVar(&o.verbose, "verbose", false, "Show unchanged fields as well.")
			fs.BoolVar(&o.out.json, "json-output", false, "Print the plan as JSON.")
			fs.StringVar(&o.out.tmpl, "t", "", "Print the plan through a Go `template`.")
		},
		run: func(c *cli, args []string) error {
			err := o.run(c, args[0])
			if err == nil || codeOf(err) != 1 || err.Error() == "" {
				return err
			}
			return exitf(planErrorExit, "%v", err)
		},
	}
}

func (o *jobPlan) run(c *cli, path string) error {
	job, _, err := o.file.read(c, path)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	req := &api.JobPlanRequest{Job: job, Diff: o.diff, PolicyOverride: o.policyOverride}
	resp, _, err := client.Jobs().Plan(c.ctx, req, c.jobWrite(job))
	if err != nil {
		return fmt.Errorf("Error during plan: %w", err)
	}
	if o.out.asked() {
		if err := o.out.print(c.stdout, resp); err != nil {
			return err
		}
		return planExit(resp)
	}
	if o.diff && resp.Diff != nil {
		newDiffPrinter(c, o.verbose).job(resp.Diff)
		fmt.Fprintln(c.stdout)
	}
	fmt.Fprintln(c.stdout, "Scheduler dry-run:")
	o.dryRun(c, job, resp)
	o.preemptions(c, resp)
	if resp.Warnings != "" {
		fmt.Fprintf(c.stdout, "\nJob Warnings:\n%s\n", cleanLines(resp.Warnings))
	}
	o.next(c, path, resp)
	return planExit(resp)
}

// dryRun tells what the scheduler would do and what it could not.
func (o *jobPlan) dryRun(c *cli, job *structs.Job, resp *api.JobPlanResponse) {
	if len(resp.FailedTGAllocs) == 0 {
		if resp.NextPeriodicLaunch.IsZero() {
			fmt.Fprintln(c.stdout, "- All tasks successfully allocated.")
		}
	} else {
		fmt.Fprintln(c.stdout, "- WARNING: Failed to place all allocations.")
		for _, g := range sortedKeys(resp.FailedTGAllocs) {
			m := resp.FailedTGAllocs[g]
			noun := "allocation"
			if m.CoalescedFailures > 0 {
				noun = "allocations"
			}
			fmt.Fprintf(c.stdout, "  Task Group %q (failed to place %d %s):\n", g, m.CoalescedFailures+1, noun)
			for _, reason := range placementReasons(m) {
				fmt.Fprintf(c.stdout, "    * %s\n", clean(reason))
			}
		}
	}
	for _, e := range resp.CreatedEvals {
		if e.TriggeredBy == structs.EvalTriggerRollingUpdate {
			fmt.Fprintln(c.stdout, "- Rolling update, next evaluation will be in "+e.Wait.String()+".")
		}
	}
	if next := resp.NextPeriodicLaunch; !next.IsZero() && job.Periodic != nil {
		fmt.Fprintf(c.stdout, "- If submitted now, next periodic launch would be at %s (%s from now).\n",
			next.In(c.now().Location()).Format("2006-01-02T15:04:05Z07:00"), coarse(next.Sub(c.now())))
	}
}

// maxEvicted is how many evicted allocations a plan lists before it counts them
// by job.
const maxEvicted = 10

// preemptions tells what would be evicted for the job.
func (o *jobPlan) preemptions(c *cli, resp *api.JobPlanResponse) {
	if resp.Annotations == nil || len(resp.Annotations.PreemptedAllocs) == 0 {
		return
	}
	evicted := resp.Annotations.PreemptedAllocs
	rows := [][]string{{"Alloc ID", "Job ID", "Task Group"}}
	if len(evicted) > maxEvicted {
		rows = [][]string{{"Job ID", "Namespace", "Preemptions"}}
		count := map[[2]string]int{}
		for _, a := range evicted {
			count[[2]string{a.JobID, a.Namespace}]++
		}
		for _, key := range slices.SortedFunc(maps.Keys(count), func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
			rows = append(rows, []string{key[0], key[1], strconv.Itoa(count[key])})
		}
	} else {
		for _, a := range evicted {
			rows = append(rows, []string{shortID(a.ID, o.verbose), a.JobID, a.TaskGroup})
		}
	}
	fmt.Fprintln(c.stdout, "\nPreemptions:")
	printTable(c.stdout, rows)
}

func (o *jobPlan) next(c *cli, path string, resp *api.JobPlanResponse) {
	fmt.Fprintf(c.stdout, "\nJob Modify Index: %d\n", resp.JobModifyIndex)
	args := fmt.Sprintf("-check-index %d", resp.JobModifyIndex)
	for _, v := range o.file.vars {
		args += fmt.Sprintf(" -var=%q", v)
	}
	for _, v := range o.file.varFiles {
		args += fmt.Sprintf(" -var-file=%q", v)
	}
	fmt.Fprintf(c.stdout, `To submit the job with version verification run:

nomadlite job run %s %s

When running the job with the check-index flag, the job will only be run if the
job modify index given matches the server-side version. If the index has
changed, another user has modified the job and the plan's results are
potentially invalid.
`, args, path)
}

// planExit is 1 when allocations would be created or destroyed.
func planExit(resp *api.JobPlanResponse) error {
	if resp.Annotations == nil {
		return nil
	}
	for _, u := range resp.Annotations.DesiredTGUpdates {
		if u.Stop+u.Place+u.Migrate+u.DestructiveUpdate+u.Canary > 0 {
			return exitCode(1)
		}
	}
	return nil
}

// diffPrinter writes the difference of a job as people read it.
type diffPrinter struct {
	c       *cli
	verbose bool
}

func newDiffPrinter(c *cli, verbose bool) *diffPrinter { return &diffPrinter{c, verbose} }

// mark is the sign of a change, coloured on a terminal.
func (p *diffPrinter) mark(kind string) string {
	sign, color := "    ", ""
	switch kind {
	case "Added":
		sign, color = "+   ", "32"
	case "Deleted":
		sign, color = "-   ", "31"
	case "Edited":
		sign, color = "+/- ", "33"
	}
	if p.c.color && color != "" {
		return "\033[" + color + "m" + sign + "\033[0m"
	}
	return sign
}

func (p *diffPrinter) line(kind string, indent int, text string) {
	fmt.Fprintf(p.c.stdout, "%s%s%s\n", p.mark(kind), strings.Repeat("  ", indent), clean(text))
}

func (p *diffPrinter) job(d *api.JobDiff) {
	p.line(d.Type, 0, fmt.Sprintf("Job: %q", d.ID))
	if d.Type != "None" || p.verbose {
		p.body(d.Fields, d.Objects, 0)
	}
	for _, g := range d.TaskGroups {
		p.group(g)
	}
}

func (p *diffPrinter) group(d *api.TaskGroupDiff) {
	p.line(d.Type, 0, fmt.Sprintf("Task Group: %q%s", d.Name, updatesText(d.Updates)))
	if d.Type != "None" || p.verbose {
		p.body(d.Fields, d.Objects, 1)
	}
	for _, t := range d.Tasks {
		if t.Type == "None" && !p.verbose && len(t.Annotations) == 0 {
			continue
		}
		p.line(t.Type, 1, fmt.Sprintf("Task: %q%s", t.Name, annotationText(t.Annotations)))
		p.body(t.Fields, t.Objects, 2)
	}
}

// updatesText is " (1 create, 2 in-place update)".
func updatesText(updates map[string]uint64) string {
	var parts []string
	for kind, n := range updates {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	sort.Strings(parts)
	return " (" + strings.Join(parts, ", ") + ")"
}

func annotationText(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

func (p *diffPrinter) body(fields []*api.FieldDiff, objects []*api.ObjectDiff, indent int) {
	width := 0
	for _, f := range fields {
		if f.Type != "None" || p.verbose {
			width = max(width, len(f.Name))
		}
	}
	for _, f := range fields {
		if f.Type == "None" && !p.verbose {
			continue
		}
		p.field(f, indent, width)
	}
	for _, o := range objects {
		if o.Type == "None" && !p.verbose {
			continue
		}
		p.line(o.Type, indent, o.Name+" {")
		p.body(o.Fields, o.Objects, indent+1)
		p.line("None", indent, "}")
	}
}

func (p *diffPrinter) field(f *api.FieldDiff, indent, width int) {
	name := f.Name + ":" + strings.Repeat(" ", width-len(f.Name))
	notes := annotationText(f.Annotations)
	switch f.Type {
	case "Added":
		p.line(f.Type, indent, fmt.Sprintf("%s %q%s", name, f.New, notes))
	case "Deleted":
		p.line(f.Type, indent, fmt.Sprintf("%s %q%s", name, f.Old, notes))
	case "Edited":
		p.line(f.Type, indent, fmt.Sprintf("%s %q => %q%s", name, f.Old, f.New, notes))
	default:
		p.line(f.Type, indent, fmt.Sprintf("%s %q%s", name, f.New, notes))
	}
}
