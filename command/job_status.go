package command

import (
	"flag"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobStatus is the options of `job status`.
type jobStatus struct {
	format
	allAllocs, evals, short, verbose bool
}

// jobStatusVerb lists jobs, or shows one.
func jobStatusVerb() *verb {
	var o jobStatus
	return &verb{
		path: "job status", args: "[<job>]", max: 1,
		short: "Show the jobs, or one of them",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&o.allAllocs, "all-allocs", false, "Allocations of older jobs with the same id as well.")
			fs.BoolVar(&o.evals, "evals", false, "List the evaluations.")
			fs.BoolVar(&o.short, "short", false, "Only the head.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids and absolute times.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return o.list(c, client)
			}
			return o.one(c, client, args[0])
		},
	}
}

// define adds -json and -t.
func (f *format) define(fs *flag.FlagSet) {
	fs.BoolVar(&f.json, "json", false, "Print JSON.")
	fs.StringVar(&f.tmpl, "t", "", "Print through a Go `template`.")
}

func (o *jobStatus) list(c *cli, client *api.Client) error {
	jobs, _, err := client.Jobs().List(c.ctx, nil)
	if err != nil {
		return exitf(1, "Error querying jobs: %v", err)
	}
	if o.asked() {
		return o.print(c.stdout, jobs)
	}
	if len(jobs) == 0 {
		fmt.Fprintln(c.stdout, "No running jobs")
		return nil
	}
	printTable(c.stdout, c.jobRows(jobs, c.conf.Namespace == structs.AllNamespaces))
	return nil
}

// jobRows is the table of jobs.
func (c *cli) jobRows(jobs []*structs.JobListStub, namespaces bool) [][]string {
	head := []string{"ID", "Type", "Priority", "Status", "Submit Date"}
	if namespaces {
		head = append(head[:1:1], append([]string{"Namespace"}, head[1:]...)...)
	}
	rows := [][]string{head}
	for _, j := range jobs {
		row := []string{j.ID}
		if namespaces {
			row = append(row, j.Namespace)
		}
		rows = append(rows, append(row, typeText(j.Type, j.Periodic, j.ParameterizedJob), strconv.Itoa(j.Priority),
			statusText(j.Status, j.Stop), nanos(j.SubmitTime).Format(time.RFC3339)))
	}
	return rows
}

func typeText(kind string, periodic, parameterized bool) string {
	if periodic {
		kind += "/periodic"
	}
	if parameterized {
		kind += "/parameterized"
	}
	return kind
}

func statusText(status string, stopped bool) string {
	if stopped && status == structs.JobStatusDead {
		return status + " (stopped)"
	}
	return status
}

// jobDetail is what is shown of one job; it is also its JSON.
type jobDetail struct {
	Summary          *structs.JobSummary
	Allocations      []*structs.AllocListStub
	LatestDeployment *structs.Deployment
	Evaluations      []*structs.Evaluation
}

func (o *jobStatus) one(c *cli, client *api.Client, arg string) error {
	stub, _, err := resolveJob(c.ctx, c, client, arg)
	if err != nil {
		return err
	}
	q := &api.QueryOptions{Namespace: stub.Namespace}
	job, _, err := client.Jobs().Get(c.ctx, stub.ID, q)
	if err != nil {
		return exitf(1, "Error querying job: %v", err)
	}
	detail, err := o.load(c, client, job, q)
	if err != nil {
		return err
	}
	if o.asked() {
		return o.print(c.stdout, []*jobDetail{detail})
	}
	o.head(c, client, job)
	switch {
	case o.short:
		return nil
	case job.Periodic != nil || job.Dispatchable():
		return o.parent(c, client, job, detail)
	}
	o.summary(c, detail)
	o.failure(c, detail.Evaluations)
	o.reschedules(c, detail)
	if o.evals {
		c.title("Evaluations")
		printTable(c.stdout, c.evalRows(detail.Evaluations, o.verbose))
	}
	if d := detail.LatestDeployment; d != nil {
		o.deployment(c, d)
	}
	c.title("Allocations")
	if len(detail.Allocations) == 0 {
		fmt.Fprintln(c.stdout, "No allocations placed")
		return nil
	}
	printTable(c.stdout, c.allocRows(detail.Allocations, o.verbose))
	return nil
}

func (o *jobStatus) load(c *cli, client *api.Client, job *structs.Job, q *api.QueryOptions) (*jobDetail, error) {
	d := &jobDetail{}
	var err error
	if d.Summary, _, err = client.Jobs().Summary(c.ctx, job.ID, q); err != nil {
		return nil, exitf(1, "Error querying job summary: %v", err)
	}
	if d.Allocations, _, err = client.Jobs().Allocations(c.ctx, job.ID, o.allAllocs, q); err != nil {
		return nil, exitf(1, "Error querying job allocations: %v", err)
	}
	if d.Evaluations, _, err = client.Jobs().Evaluations(c.ctx, job.ID, q); err != nil {
		return nil, exitf(1, "Error querying job evaluations: %v", err)
	}
	if d.LatestDeployment, _, err = client.Jobs().LatestDeployment(c.ctx, job.ID, q); err != nil {
		return nil, exitf(1, "Error querying latest job deployment: %v", err)
	}
	sort.Slice(d.Allocations, func(i, j int) bool { return d.Allocations[i].CreateIndex > d.Allocations[j].CreateIndex })
	sort.Slice(d.Evaluations, func(i, j int) bool { return d.Evaluations[i].CreateIndex > d.Evaluations[j].CreateIndex })
	return d, nil
}

func (o *jobStatus) head(c *cli, client *api.Client, job *structs.Job) {
	pairs := []pair{
		{"ID", job.ID}, {"Name", job.Name}, {"Submit Date", nanos(job.SubmitTime).Format(time.RFC3339)},
		{"Type", job.Type}, {"Priority", strconv.Itoa(job.Priority)}, {"Datacenters", strings.Join(job.Datacenters, ",")},
		{"Namespace", job.Namespace}, {"Node Pool", job.NodePool}, {"Status", statusText(job.Status, job.Stop)},
		{"Periodic", strconv.FormatBool(job.Periodic != nil)}, {"Parameterized", strconv.FormatBool(job.Dispatchable())},
	}
	if job.Periodic != nil && !job.Dispatchable() && !job.Stop && job.Periodic.Enabled != nil && *job.Periodic.Enabled {
		plan, _, err := client.Jobs().Plan(c.ctx, &api.JobPlanRequest{Job: job}, &api.WriteOptions{Namespace: job.Namespace})
		if err == nil && !plan.NextPeriodicLaunch.IsZero() {
			next := plan.NextPeriodicLaunch
			pairs = append(pairs, pair{"Next Periodic Launch", fmt.Sprintf("%s (%s from now)", next.In(c.now().Location()).Format(time.RFC3339), coarse(next.Sub(c.now())))})
		}
	}
	printPairs(c.stdout, pairs)
}

func (o *jobStatus) summary(c *cli, d *jobDetail) {
	c.title("Summary")
	rows := [][]string{{"Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"}}
	for _, g := range sortedKeys(d.Summary.Summary) {
		s := d.Summary.Summary[g]
		row := []string{g}
		for _, n := range []int{s.Queued, s.Starting, s.Running, s.Failed, s.Complete, s.Lost, s.Unknown} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	printTable(c.stdout, rows)
}

// failure explains why something waits: from the blocked evaluation, else the
// newest one.
func (o *jobStatus) failure(c *cli, evals []*structs.Evaluation) {
	var newest *structs.Evaluation
	blocked := false
	for _, e := range evals {
		if newest == nil && e.Status != structs.EvalStatusBlocked {
			newest = e
		}
		blocked = blocked || e.Status == structs.EvalStatusBlocked
	}
	if newest == nil || !blocked || len(newest.FailedTGAllocs) == 0 {
		return
	}
	c.title("Placement Failure")
	for _, g := range sortedKeys(newest.FailedTGAllocs) {
		fmt.Fprintf(c.stdout, "Task Group %q:\n", g)
		for _, reason := range placementReasons(newest.FailedTGAllocs[g]) {
			fmt.Fprintf(c.stdout, "  * %s\n", clean(reason))
		}
	}
}

func (o *jobStatus) reschedules(c *cli, d *jobDetail) {
	waiting := map[string]*structs.Evaluation{}
	for _, e := range d.Evaluations {
		if e.WaitUntil != nil && !e.Terminal() {
			waiting[e.ID] = e
		}
	}
	rows := [][]string{{"Task Group", "Reschedule Policy", "Eval ID", "Eval Time"}}
	seen := map[string]bool{}
	for _, a := range d.Allocations {
		e := waiting[a.FollowupEvalID]
		if e == nil || seen[a.TaskGroup] {
			continue
		}
		seen[a.TaskGroup] = true
		rows = append(rows, []string{a.TaskGroup, e.TriggeredBy, shortID(e.ID, o.verbose), coarse(e.WaitUntil.Sub(c.now())) + " from now"})
	}
	if len(rows) > 1 {
		c.title("Future Rescheduling Attempts")
		printTable(c.stdout, rows)
	}
}

func (o *jobStatus) deployment(c *cli, d *structs.Deployment) {
	c.title("Latest Deployment")
	printPairs(c.stdout, []pair{{"ID", shortID(d.ID, o.verbose)}, {"Status", d.Status}, {"Description", d.StatusDescription}})
	c.title("Deployed")
	printTable(c.stdout, deployedRows(d, c))
}

// deployedRows is the table of a deployment's groups.
func deployedRows(d *structs.Deployment, c *cli) [][]string {
	canaries := false
	for _, s := range d.TaskGroups {
		canaries = canaries || s.DesiredCanaries > 0
	}
	revert := d.AutoReverts()
	head := []string{"Task Group"}
	if revert {
		head = append(head, "Auto Revert")
	}
	if canaries {
		head = append(head, "Promoted", "Desired", "Canaries")
	} else {
		head = append(head, "Desired")
	}
	rows := [][]string{append(head, "Placed", "Healthy", "Unhealthy", "Progress Deadline")}
	for _, g := range sortedKeys(d.TaskGroups) {
		s := d.TaskGroups[g]
		row := []string{g}
		if revert {
			row = append(row, strconv.FormatBool(s.AutoRevert))
		}
		if canaries {
			row = append(row, strconv.FormatBool(s.Promoted), strconv.Itoa(s.DesiredTotal), strconv.Itoa(s.DesiredCanaries))
		} else {
			row = append(row, strconv.Itoa(s.DesiredTotal))
		}
		deadline := "N/A"
		if !s.RequireProgressBy.IsZero() {
			deadline = s.RequireProgressBy.In(c.now().Location()).Format(time.RFC3339)
		}
		rows = append(rows, append(row, strconv.Itoa(s.PlacedAllocs), strconv.Itoa(s.HealthyAllocs), strconv.Itoa(s.UnhealthyAllocs), deadline))
	}
	return rows
}

// parent shows a periodic or parameterized job: its children.
func (o *jobStatus) parent(c *cli, client *api.Client, job *structs.Job, d *jobDetail) error {
	if job.Dispatchable() {
		p := job.ParameterizedJob
		c.title("Parameterized Job")
		printPairs(c.stdout, []pair{{"Payload", p.Payload}, {"Required Metadata", orNone(p.MetaRequired)}, {"Optional Metadata", orNone(p.MetaOptional)}})
		c.title("Parameterized Job Summary")
	} else {
		c.title("Children Job Summary")
	}
	children := &structs.JobChildrenSummary{}
	if d.Summary != nil && d.Summary.Children != nil {
		children = d.Summary.Children
	}
	printTable(c.stdout, [][]string{{"Pending", "Running", "Dead"},
		{fmt.Sprint(children.Pending), fmt.Sprint(children.Running), fmt.Sprint(children.Dead)}})
	infix, name := "/periodic-", "Previously Launched Jobs"
	if job.Dispatchable() {
		infix, name = "/dispatch-", "Dispatched Jobs"
	}
	jobs, _, err := client.Jobs().List(c.ctx, &api.QueryOptions{Prefix: job.ID + infix, Namespace: job.Namespace})
	if err != nil {
		return exitf(1, "Error querying job prefix %q: %v", job.ID+infix, err)
	}
	rows := [][]string{{"ID", "Status"}}
	for _, j := range jobs {
		if j.ParentID == job.ID {
			rows = append(rows, []string{j.ID, statusText(j.Status, j.Stop)})
		}
	}
	if len(rows) == 1 {
		what := "periodic"
		if job.Dispatchable() {
			what = "dispatched"
		}
		fmt.Fprintf(c.stdout, "\nNo instances of %s job found\n", what)
		return nil
	}
	c.title(name)
	printTable(c.stdout, rows)
	return nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return noID
	}
	return strings.Join(list, ", ")
}

// allocRows is the table of allocations.
func (c *cli) allocRows(allocs []*structs.AllocListStub, verbose bool) [][]string {
	head := []string{"ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}
	if verbose {
		head = []string{"ID", "Eval ID", "Node ID", "Node Name", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}
	}
	rows := [][]string{head}
	for _, a := range allocs {
		row := c.allocRow(a, verbose)
		if verbose {
			row = append([]string{row[0], a.EvalID, row[1], a.NodeName}, row[2:]...)
		}
		rows = append(rows, row)
	}
	return rows
}

func (c *cli) allocRow(a *structs.AllocListStub, verbose bool) []string {
	return []string{
		shortID(a.ID, verbose), shortID(a.NodeID, verbose), a.TaskGroup, strconv.FormatUint(a.JobVersion, 10),
		a.DesiredStatus, a.ClientStatus, c.timestamp(nanos(a.CreateTime), verbose), c.timestamp(nanos(a.ModifyTime), verbose),
	}
}

// evalRows is the table of evaluations of one job.
func (c *cli) evalRows(evals []*structs.Evaluation, verbose bool) [][]string {
	rows := [][]string{{"ID", "Priority", "Triggered By", "Status", "Placement Failures"}}
	for _, e := range evals {
		rows = append(rows, []string{shortID(e.ID, verbose), strconv.Itoa(e.Priority), e.TriggeredBy, e.Status, failuresText(e)})
	}
	return rows
}

func failuresText(e *structs.Evaluation) string {
	if e.Status == structs.EvalStatusBlocked {
		return "N/A - In Progress"
	}
	return strconv.FormatBool(len(e.FailedTGAllocs) > 0)
}
