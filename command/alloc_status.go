package command

import (
	"flag"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// allocStatus is the options of `alloc status`.
type allocStatus struct {
	format
	short, stats, verbose bool
}

// allocStatusVerb shows an allocation.
func allocStatusVerb() *verb {
	var o allocStatus
	return &verb{
		path: "alloc status", args: "<allocation>", max: 1,
		short: "Show an allocation",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&o.short, "short", false, "Tasks in one table.")
			fs.BoolVar(&o.stats, "stats", false, "What the tasks use, read from the node.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids, absolute times, how it was placed.")
		},
		run: o.run,
	}
}

func (o *allocStatus) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if !o.asked() {
			return exitf(1, "This command takes one of the following argument conditions:\n * A single <allocation>\n * No arguments, with output format specified")
		}
		allocs, _, err := client.Allocations().List(c.ctx, nil)
		if err != nil {
			return exitf(1, "Error querying allocations: %v", err)
		}
		return o.print(c.stdout, allocs)
	}
	alloc, err := resolveAlloc(c.ctx, c, client, args[0])
	if err != nil {
		return err
	}
	if o.asked() {
		return o.print(c.stdout, alloc)
	}
	printPairs(c.stdout, o.head(c, alloc))
	o.addresses(c, alloc)
	if o.short {
		o.taskTable(c, alloc)
		return nil
	}
	var usage *api.AllocResourceUsage
	if o.stats || alloc.ClientStatus == structs.AllocClientStatusRunning {
		usage, err = client.Allocations().Stats(c.ctx, alloc.ID, "", &api.QueryOptions{Namespace: alloc.Namespace})
		if err != nil && o.stats {
			fmt.Fprintf(c.stderr, "Couldn't retrieve stats: %v\n", err)
		}
	}
	for _, task := range tasksOf(alloc) {
		o.task(c, alloc, task, usage)
	}
	if o.verbose && alloc.Metrics != nil {
		o.placement(c, alloc.Metrics)
	}
	return nil
}

func (o *allocStatus) head(c *cli, a *structs.Allocation) []pair {
	version := ""
	if a.Job != nil {
		version = strconv.FormatUint(a.Job.Version, 10)
	}
	pairs := []pair{
		{"ID", a.ID}, {"Eval ID", shortID(a.EvalID, o.verbose)}, {"Name", a.Name}, {"Node ID", shortID(a.NodeID, o.verbose)},
		{"Node Name", a.NodeName}, {"Job ID", a.JobID}, {"Job Version", version}, {"Client Status", a.ClientStatus},
		{"Client Description", a.ClientDescription}, {"Desired Status", a.DesiredStatus},
		{"Desired Description", orText(a.DesiredDescription)}, {"Created", c.timestamp(nanos(a.CreateTime), o.verbose)},
		{"Modified", c.timestamp(nanos(a.ModifyTime), o.verbose)},
	}
	if a.DeploymentID != "" {
		pairs = append(pairs, pair{"Deployment ID", shortID(a.DeploymentID, o.verbose)}, pair{"Deployment Health", healthText(a.DeploymentStatus)})
	}
	for _, l := range []pair{{"Replacement Alloc ID", a.NextAllocation}, {"Previous Alloc ID", a.PreviousAllocation}, {"Preempted by", a.PreemptedByAllocation}} {
		if l.val != "" {
			pairs = append(pairs, pair{l.key, shortID(l.val, o.verbose)})
		}
	}
	if t := a.RescheduleTracker; t != nil && len(t.Events) > 0 {
		pairs = append(pairs, pair{"Reschedule Attempts", strconv.Itoa(len(t.Events))})
	}
	return pairs
}

func orText(s string) string {
	if s == "" {
		return noID
	}
	return s
}

func healthText(s *structs.AllocDeploymentStatus) string {
	switch {
	case s == nil || s.Healthy == nil:
		return "unset"
	case *s.Healthy:
		return "healthy"
	}
	return "unhealthy"
}

func (o *allocStatus) addresses(c *cli, a *structs.Allocation) {
	if a.AllocatedResources == nil || len(a.AllocatedResources.Shared.Ports) == 0 {
		return
	}
	c.title("Allocation Addresses:")
	rows := [][]string{{"Label", "Dynamic", "Address"}}
	for _, p := range a.AllocatedResources.Shared.Ports {
		dynamic := "yes"
		if staticPort(a, p.Label) {
			dynamic = "no"
		}
		addr := fmt.Sprintf("%s:%d", p.HostIP, p.Value)
		if p.To > 0 {
			addr += fmt.Sprintf(" -> %d", p.To)
		}
		rows = append(rows, []string{"*" + p.Label, dynamic, addr})
	}
	printTable(c.stdout, rows)
}

// staticPort reports whether the job names the port's number.
func staticPort(a *structs.Allocation, label string) bool {
	for _, tg := range a.Job.TaskGroups {
		if tg.Name != a.TaskGroup {
			continue
		}
		for _, n := range tg.Networks {
			for _, p := range n.ReservedPorts {
				if p.Label == label {
					return true
				}
			}
		}
	}
	return false
}

// tasksOf lists the allocation's tasks in the order of the job.
func tasksOf(a *structs.Allocation) []*structs.Task {
	for _, tg := range a.Job.TaskGroups {
		if tg.Name == a.TaskGroup {
			return tg.Tasks
		}
	}
	return nil
}

func (o *allocStatus) taskTable(c *cli, a *structs.Allocation) {
	c.title("Tasks")
	rows := [][]string{{"Name", "State", "Last Event", "Time", "Lifecycle"}}
	for _, t := range tasksOf(a) {
		s := taskState(a, t.Name)
		last, at := "", time.Time{}
		if n := len(s.Events); n > 0 {
			last, at = s.Events[n-1].Type, nanos(s.Events[n-1].Time)
		}
		rows = append(rows, []string{t.Name, s.State, last, c.timestamp(at, o.verbose), lifecycleText(t)})
	}
	printTable(c.stdout, rows)
}

func taskState(a *structs.Allocation, name string) *structs.TaskState {
	if s := a.TaskStates[name]; s != nil {
		return s
	}
	return &structs.TaskState{State: structs.TaskStatePending}
}

func lifecycleText(t *structs.Task) string {
	switch {
	case t.Lifecycle == nil:
		return "main"
	case t.Lifecycle.Sidecar:
		return t.Lifecycle.Hook + "_sidecar"
	}
	return t.Lifecycle.Hook
}

func (o *allocStatus) task(c *cli, a *structs.Allocation, t *structs.Task, usage *api.AllocResourceUsage) {
	s := taskState(a, t.Name)
	kind := ""
	if t.Lifecycle != nil {
		kind = " (" + lifecycleText(t) + ")"
	}
	c.title(fmt.Sprintf("Task %q%s is %q", t.Name, kind, s.State))
	fmt.Fprintln(c.stdout, "Task Resources:")
	printTable(c.stdout, taskResources(a, t, usage))
	fmt.Fprintln(c.stdout, "\nTask Events:")
	printPairs(c.stdout, []pair{
		{"Started At", timeText(s.StartedAt)}, {"Finished At", timeText(s.FinishedAt)},
		{"Total Restarts", strconv.FormatUint(s.Restarts, 10)}, {"Last Restart", timeText(s.LastRestart)},
	})
	fmt.Fprintln(c.stdout, "\nRecent Events:")
	rows := [][]string{{"Time", "Type", "Description"}}
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := s.Events[i]
		text := e.DisplayMessage
		if text == "" {
			text = e.Message
		}
		rows = append(rows, []string{nanos(e.Time).Format(time.RFC3339), e.Type, text})
	}
	printTable(c.stdout, rows)
}

func timeText(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "N/A"
	}
	return t.Format(time.RFC3339)
}

func taskResources(a *structs.Allocation, t *structs.Task, usage *api.AllocResourceUsage) [][]string {
	cpu, memory, disk := "0 MHz", "0 MiB", "0 MiB"
	var memMax int64
	if r := a.AllocatedResources; r != nil {
		disk = fmt.Sprintf("%d MiB", r.Shared.DiskMB)
		if tr := r.Tasks[t.Name]; tr != nil {
			cpu = fmt.Sprintf("%d MHz", tr.Cpu.CpuShares)
			memory = fmt.Sprintf("%d MiB", tr.Memory.MemoryMB)
			memMax = tr.Memory.MemoryMaxMB
		}
	}
	if usage != nil && usage.Tasks[t.Name] != nil && usage.Tasks[t.Name].ResourceUsage != nil {
		u := usage.Tasks[t.Name].ResourceUsage
		if u.CpuStats != nil {
			cpu = fmt.Sprintf("%.0f/%s", u.CpuStats.TotalTicks, cpu)
		}
		if u.MemoryStats != nil {
			used := max(u.MemoryStats.RSS, u.MemoryStats.Usage)
			memory = bytesText(used) + "/" + memory
		}
	}
	rows := [][]string{{"CPU", "Memory", "Disk", "Addresses"}, {cpu, memory, disk, ""}}
	if memMax > 0 {
		rows = append(rows, []string{"", fmt.Sprintf("Max: %d MiB", memMax)})
	}
	return rows
}

// placement shows how the allocation's node was chosen.
func (o *allocStatus) placement(c *cli, m *structs.AllocMetric) {
	c.title("Placement Metrics")
	for _, reason := range placementReasons(m) {
		fmt.Fprintf(c.stdout, "  * %s\n", clean(reason))
	}
	names := map[string]bool{}
	for _, s := range m.ScoreMetaData {
		for name := range s.Scores {
			names[name] = true
		}
	}
	if len(m.ScoreMetaData) == 0 {
		return
	}
	columns := sortedKeys(names)
	rows := [][]string{append(append([]string{"Node"}, columns...), "final score")}
	scores := append([]*structs.NodeScoreMeta(nil), m.ScoreMetaData...)
	sort.SliceStable(scores, func(i, j int) bool { return scores[i].NormScore > scores[j].NormScore })
	for _, s := range scores {
		row := []string{s.NodeID}
		for _, name := range columns {
			row = append(row, strconv.FormatFloat(s.Scores[name], 'g', 3, 64))
		}
		rows = append(rows, append(row, strconv.FormatFloat(s.NormScore, 'g', 3, 64)))
	}
	printTable(c.stdout, rows)
}
