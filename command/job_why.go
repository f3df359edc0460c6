package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobWhyVerb says why a job is as it is, from what the scheduler recorded.
func jobWhyVerb() *verb {
	var out format
	return &verb{
		path: "job why", args: "<job>", min: 1, max: 1,
		short: "Say why a job is as it is, and what would change that",
		flags: out.define,
		run: func(c *cli, args []string) error {
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			f, err := gatherFacts(c, client, stub)
			if err != nil {
				return exitf(1, "Error querying job: %v", err)
			}
			report := f.why(c.now())
			if out.asked() {
				return out.print(c.stdout, report)
			}
			report.show(c.stdout)
			return nil
		},
	}
}

// jobFacts is what `job why` reasons from.
type jobFacts struct {
	job        *structs.Job
	allocs     []*structs.AllocListStub
	evals      []*structs.Evaluation
	deployment *structs.Deployment     // the latest, nil for none
	nodes      []*structs.NodeListStub // read when a driver is missing
}

// missingDrivers is the scheduler's word for nodes without a driver that a group
// needs, or with one that is not healthy.
const missingDrivers = "missing drivers"

func gatherFacts(c *cli, client *api.Client, stub *structs.JobListStub) (*jobFacts, error) {
	q := &api.QueryOptions{Namespace: stub.Namespace}
	var f jobFacts
	var err error
	if f.job, _, err = client.Jobs().Get(c.ctx, stub.ID, q); err != nil {
		return nil, err
	}
	if f.allocs, _, err = client.Jobs().Allocations(c.ctx, stub.ID, false, q); err != nil {
		return nil, err
	}
	if f.evals, _, err = client.Jobs().Evaluations(c.ctx, stub.ID, q); err != nil {
		return nil, err
	}
	if f.deployment, _, err = client.Jobs().LatestDeployment(c.ctx, stub.ID, q); err != nil {
		return nil, err
	}
	if f.newest(lacksDriver) != nil {
		f.nodes, _, err = client.Nodes().List(c.ctx, nil)
	}
	return &f, err
}

func lacksDriver(e *structs.Evaluation) bool {
	if e.Status != structs.EvalStatusBlocked {
		return false
	}
	for _, m := range e.FailedTGAllocs {
		if m.ConstraintFiltered[missingDrivers] > 0 {
			return true
		}
	}
	return false
}

// whyReport is the answer of `job why`; it is also its JSON.
type whyReport struct {
	JobID     string
	Namespace string
	Status    string
	Sentence  string // the whole answer in one sentence
	Groups    []*whyGroup
}

// whyGroup is the answer for one group.
type whyGroup struct {
	Name      string
	Wanted    int // -1 for every node
	Running   int
	Starting  int
	Completed int
	Failed    int
	Waiting   int                  // cannot be placed now
	Reason    string               `json:",omitempty"` // why not
	Remedies  []string             `json:",omitempty"` // what would change that
	Metric    *structs.AllocMetric `json:",omitempty"` // what that follows from
}

// why is pure, so that it can be tested with tables.
func (f *jobFacts) why(now time.Time) *whyReport {
	r := &whyReport{JobID: f.job.ID, Namespace: f.job.Namespace, Status: f.job.Status}
	blocked := f.newest(func(e *structs.Evaluation) bool { return e.Status == structs.EvalStatusBlocked })
	for _, g := range f.job.TaskGroups {
		r.Groups = append(r.Groups, f.group(g, blocked))
	}
	r.Sentence = fmt.Sprintf("Job %q %s.", f.job.ID, f.verdict(r, now))
	return r
}

// newest is the newest evaluation for which a condition holds, or nil.
func (f *jobFacts) newest(is func(*structs.Evaluation) bool) *structs.Evaluation {
	var found *structs.Evaluation
	for _, e := range f.evals {
		if is(e) && (found == nil || e.CreateIndex > found.CreateIndex) {
			found = e
		}
	}
	return found
}

func (f *jobFacts) group(g *structs.TaskGroup, blocked *structs.Evaluation) *whyGroup {
	w := &whyGroup{Name: g.Name, Wanted: structs.Val(g.Count)}
	if f.job.Type == structs.JobTypeSystem || f.job.Type == structs.JobTypeSysBatch {
		w.Wanted = -1
	}
	for _, a := range f.allocs {
		if a.TaskGroup != g.Name {
			continue
		}
		switch {
		case a.ClientStatus == structs.AllocClientStatusComplete && a.DesiredStatus == structs.AllocDesiredStatusRun:
			w.Completed++
		case a.DesiredStatus != structs.AllocDesiredStatusRun:
		case a.ClientStatus == structs.AllocClientStatusRunning:
			w.Running++
		case a.ClientStatus == structs.AllocClientStatusPending:
			w.Starting++
		case a.ClientStatus == structs.AllocClientStatusFailed:
			w.Failed++
		}
	}
	if blocked == nil || f.job.Stop {
		return w
	}
	if m := blocked.FailedTGAllocs[g.Name]; m != nil {
		w.Waiting = max(blocked.QueuedAllocations[g.Name], m.CoalescedFailures+1)
		w.Reason, w.Remedies, w.Metric = m.Reason(), m.Remedies(), m
		if m.ConstraintFiltered[missingDrivers] > 0 {
			w.Remedies = append(f.driverRemedies(g), w.Remedies...)
		}
	}
	return w
}

// driverRemedies say of each driver of a group which ready nodes have it, and
// what is wrong with it on one that should.
func (f *jobFacts) driverRemedies(g *structs.TaskGroup) []string {
	var names, out []string
	for _, t := range g.Tasks {
		if !slices.Contains(names, t.Driver) {
			names = append(names, t.Driver)
		}
	}
	for _, name := range names {
		nodes, healthy, offered, sick := 0, 0, map[string]bool{}, ""
		for _, n := range f.nodes {
			if n.Status != structs.NodeStatusReady {
				continue
			}
			nodes++
			for other, info := range n.Drivers {
				offered[other] = offered[other] || info.Detected && info.Healthy
			}
			switch info := n.Drivers[name]; {
			case info == nil || !info.Detected && info.HealthDescription == "":
			case info.Detected && info.Healthy:
				healthy++
			case sick == "":
				sick = fmt.Sprintf("on node %s: %s", n.Name, info.HealthDescription)
			}
		}
		maps.DeleteFunc(offered, func(_ string, yes bool) bool { return !yes })
		switch text := fmt.Sprintf("driver %q is healthy on %d of %d ready nodes", name, healthy, nodes); {
		case healthy == nodes:
		case sick != "":
			out = append(out, text+"; "+sick)
		case healthy == 0:
			out = append(out, fmt.Sprintf("%s; they have %s", text, strings.Join(sortedKeys(offered), ", ")))
		default:
			out = append(out, text)
		}
	}
	return out
}

// verdict is the predicate of the report's sentence: the first thing that keeps
// the job from being as it should, else how it is.
func (f *jobFacts) verdict(r *whyReport, now time.Time) string {
	pending := f.newest(func(e *structs.Evaluation) bool { return e.Status == structs.EvalStatusPending })
	last := f.newest(func(*structs.Evaluation) bool { return true })
	switch {
	case f.job.Stop:
		return "is stopped"
	case f.job.Periodic != nil:
		return "is periodic: what runs are its children, listed by job status"
	case f.job.Dispatchable():
		return "waits to be dispatched: nomadlite job dispatch starts it"
	}
	for _, g := range r.Groups {
		if g.Waiting > 0 {
			return fmt.Sprintf("waits for room for %s of group %q: %s", count(g.Waiting, "allocation"), g.Name, g.Reason)
		}
	}
	d := f.deployment
	switch {
	case pending != nil && pending.WaitUntil != nil && pending.WaitUntil.After(now):
		return fmt.Sprintf("waits until %s, in %s: %s", pending.WaitUntil.Format(time.RFC3339),
			pending.WaitUntil.Sub(now).Round(time.Second), waitReason(pending))
	case pending != nil:
		return fmt.Sprintf("is about to be looked at: evaluation %s (%s) is in the queue", shortID(pending.ID, false), pending.TriggeredBy)
	case last != nil && last.Status == structs.EvalStatusFailed:
		return fmt.Sprintf("could not be scheduled: %s", last.StatusDescription)
	case d != nil && d.Active():
		return fmt.Sprintf("is being deployed (version %d): %s", d.JobVersion, lowerFirst(d.StatusDescription))
	}
	for _, g := range r.Groups {
		if g.Failed > 0 && g.Running+g.Starting < g.Wanted {
			return fmt.Sprintf("is not placed again: %s of group %q failed and its reschedule block allows no more", count(g.Failed, "allocation"), g.Name)
		}
	}
	return f.state(r)
}

// state says how a job is that nothing holds up.
func (f *jobFacts) state(r *whyReport) string {
	var parts []string
	for _, g := range r.Groups {
		of := ""
		if g.Wanted >= 0 {
			of = fmt.Sprintf(" of %d", g.Wanted)
		}
		what, n := "running", g.Running
		switch {
		case g.Running == 0 && g.Starting > 0:
			what, n = "starting", g.Starting
		case g.Running == 0 && g.Completed > 0:
			what, n = "complete", g.Completed
		}
		parts = append(parts, fmt.Sprintf("%d%s %s in group %q", n, of, what, g.Name))
	}
	return "is as it should be: " + strings.Join(parts, ", ")
}

// waitReason says what a delayed evaluation waits for.
func waitReason(e *structs.Evaluation) string {
	switch e.TriggeredBy {
	case structs.EvalTriggerMaxDisconnectTimeout:
		return "then allocations of a disconnected node count as lost"
	case structs.EvalTriggerAllocReschedule, structs.EvalTriggerRetryFailedAlloc:
		return "then failed allocations are placed again"
	}
	return e.TriggeredBy
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// show prints the sentence, the groups, and for each that waits the nodes by
// reason and what would help.
func (r *whyReport) show(w io.Writer) {
	fmt.Fprintln(w, r.Sentence)
	fmt.Fprintln(w)
	rows := [][]string{{"Group", "Wanted", "Running", "Starting", "Complete", "Failed", "Waiting"}}
	for _, g := range r.Groups {
		wanted := "every node"
		if g.Wanted >= 0 {
			wanted = strconv.Itoa(g.Wanted)
		}
		rows = append(rows, []string{g.Name, wanted, strconv.Itoa(g.Running), strconv.Itoa(g.Starting),
			strconv.Itoa(g.Completed), strconv.Itoa(g.Failed), strconv.Itoa(g.Waiting)})
	}
	printTable(w, rows)
	for _, g := range r.Groups {
		if g.Metric == nil {
			continue
		}
		fmt.Fprintf(w, "\nGroup %q: %s\n", g.Name, g.Reason)
		rows := [][]string{{"Reason", "Nodes"}}
		for _, key := range sortedKeys(g.Metric.ConstraintFiltered) {
			rows = append(rows, []string{"filtered by " + key, strconv.Itoa(g.Metric.ConstraintFiltered[key])})
		}
		for _, key := range sortedKeys(g.Metric.DimensionExhausted) {
			rows = append(rows, []string{"exhausted " + key, strconv.Itoa(g.Metric.DimensionExhausted[key])})
		}
		if len(rows) > 1 {
			printTable(w, rows)
		}
		for _, remedy := range g.Remedies {
			fmt.Fprintf(w, "To unblock: %s\n", remedy)
		}
	}
}
