package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// run processes an evaluation of a job, shows the plan and applies it.
func (tr *transcript) run(job string, args []string, apply bool) string {
	trigger := cmp.Or(value(args, "trigger"), structs.EvalTriggerJobRegister)
	eval := tr.eval(job, trigger)
	if id := value(args, "eval"); id != "" {
		eval.ID = id
	}
	if t := value(args, "type"); t != "" {
		eval.Type = t
	}
	r, err := tr.process(eval)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	out := tr.showPlan(r.Plan, slices.Contains(args, "scores"))
	if r.NoOp() {
		out = "nothing to do\n" + out
	}
	if apply {
		tr.apply(r.Plan)
	}
	return out
}

func (tr *transcript) showPlan(p *structs.Plan, scores bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, u := range p.DeploymentUpdates {
		line("deployment %s %s: %s", u.DeploymentID, u.Status, u.StatusDescription)
	}
	if d := p.Deployment; d != nil {
		line("deployment %s of v%d: %s", d.ID, d.JobVersion, d.StatusDescription)
		for _, name := range slices.Sorted(maps.Keys(d.TaskGroups)) {
			s := d.TaskGroups[name]
			line("  %s total=%d canaries=%d", name, s.DesiredTotal, s.DesiredCanaries)
		}
	}
	for _, s := range p.Stops {
		line("stop %s %s %q%s", tr.allocText(s.AllocID), s.DesiredStatus, s.DesiredDescription, prefixed(" client ", s.ClientStatus))
	}
	for _, c := range p.InPlace {
		line("update %s to v%d%s%s%s", tr.allocText(c.AllocID), c.JobVersion, prefixed(" in ", c.DeploymentID), prefixed(" client ", c.ClientStatus), prefixed(" follow-up ", c.FollowupEvalID))
	}
	for _, v := range p.Preemptions {
		line("preempt %s for %s[%d]", tr.allocText(v.AllocID), v.Group, v.NameIndex)
	}
	for _, g := range p.Groups {
		for i := range g.Placements {
			line("%s", tr.placementText(p, g, &g.Placements[i]))
		}
		if scores {
			for _, m := range g.Metrics.ScoreMetaData {
				line("  score %s", scoreText(m))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Eval.FailedTGAllocs)) {
		line("%s", metricText(name, p.Eval.FailedTGAllocs[name]))
	}
	for _, e := range p.NewEvals {
		wait := ""
		if e.WaitUntil != nil {
			wait = " after " + e.WaitUntil.Sub(tr.now).String()
		}
		line("new evaluation %s %s %s %q%s%s", e.ID, e.Status, e.TriggeredBy, e.StatusDescription, wait, classText(e))
	}
	if p.Deployment != nil && p.Eval.DeploymentID != p.Deployment.ID {
		line("evaluation outside the deployment: %q", p.Eval.DeploymentID)
	}
	if p.Eval.Status != structs.EvalStatusComplete {
		line("evaluation %s%s", p.Eval.Status, classText(p.Eval))
	}
	return b.String()
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func classText(e *structs.Evaluation) string {
	if e.Status != structs.EvalStatusBlocked {
		return ""
	}
	eligible := 0
	for _, ok := range e.ClassEligibility {
		if ok {
			eligible++
		}
	}
	text := fmt.Sprintf(" classes %d/%d", eligible, len(e.ClassEligibility))
	if e.EscapedComputedClass {
		text += " escaped"
	}
	return text
}

func (tr *transcript) allocText(id string) string {
	a := tr.alloc(id)
	if a == nil {
		return id
	}
	return fmt.Sprintf("%s %s on %s", id, a.Name, a.NodeName)
}

func (tr *transcript) placementText(p *structs.Plan, g *structs.PlanGroup, pl *structs.Placement) string {
	text := fmt.Sprintf("place %s on %s", structs.AllocName(p.JobID, g.Group, uint(pl.NameIndex)), tr.nodes[pl.Node].Name)
	if pl.Canary {
		text += " canary"
	}
	text += prefixed(" for ", pl.PreviousAlloc)
	if g.Older > 0 {
		text += fmt.Sprintf(" of v%d", p.JobVersion-g.Older)
	}
	if g.DeploymentID != "" && p.Deployment == nil {
		text += " in " + g.DeploymentID
	}
	if x := pl.Extra; x != nil {
		for _, m := range x.Ports {
			text += fmt.Sprintf(" %s=%s:%d", m.Label, m.HostIP, m.Value)
		}
		if x.Reschedule != nil {
			last := x.Reschedule.Events[len(x.Reschedule.Events)-1]
			text += fmt.Sprintf(" attempt %d delay %v", len(x.Reschedule.Events), last.Delay)
		}
		for _, task := range slices.Sorted(maps.Keys(x.Cores)) {
			text += fmt.Sprintf(" cores=%v", x.Cores[task])
		}
		for _, task := range slices.Sorted(maps.Keys(x.Devices)) {
			for _, d := range x.Devices[task] {
				text += fmt.Sprintf(" %s/%s/%s=%v", d.Vendor, d.Type, d.Name, d.DeviceIDs)
			}
		}
	}
	return text
}

func scoreText(m *structs.NodeScoreMeta) string {
	text := fmt.Sprintf("%s %.3f:", m.NodeID, m.NormScore)
	for _, name := range slices.Sorted(maps.Keys(m.Scores)) {
		text += fmt.Sprintf(" %s=%.3f", name, m.Scores[name])
	}
	return text
}

func metricText(group string, m *structs.AllocMetric) string {
	text := fmt.Sprintf("failed %s x%d: pool=%d available=%v evaluated=%d", group, m.CoalescedFailures+1, m.NodesInPool, m.NodesAvailable, m.NodesEvaluated)
	if m.NodesFiltered > 0 {
		text += fmt.Sprintf(" filtered=%d %v", m.NodesFiltered, counts(m.ConstraintFiltered))
	}
	if len(m.ClassFiltered) > 0 {
		text += fmt.Sprintf(" by class %v", counts(m.ClassFiltered))
	}
	if m.NodesExhausted > 0 {
		text += fmt.Sprintf(" exhausted=%d %v", m.NodesExhausted, counts(m.DimensionExhausted))
	}
	for _, near := range m.NearMisses {
		text += "\n  " + near.Text() + ": " + near.Remedy()
	}
	return text
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%q:%d", k, m[k]))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// show lists the allocations of a job.
func (tr *transcript) show(job string) string {
	var b strings.Builder
	for _, a := range tr.JobAllocs("", job) {
		fmt.Fprintf(&b, "%s %s on %s v%d %s %s\n", a.ID, a.Name, a.NodeName, a.Job.Version, a.DesiredStatus, a.ClientStatus)
	}
	return b.String()
}
