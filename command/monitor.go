package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// monitorWait bounds one blocking query of a monitor.
const monitorWait = 30 * time.Second

// monitor follows an evaluation and what comes of it, printing each change
// once as it happens.
type monitor struct {
	c       *cli
	client  *api.Client
	verbose bool
	wait    time.Duration // bounds one blocking query
	// evalOnly leaves the deployment out that the evaluation belongs to.
	evalOnly bool

	eval   *structs.Evaluation               // last seen
	allocs map[string]*structs.AllocListStub // last seen, by id
	told   map[string]int64                  // the time of the last event seen, by allocation and task
}

func newMonitor(c *cli, client *api.Client, verbose bool) *monitor {
	return &monitor{c: c, client: client, verbose: verbose, wait: monitorWait, allocs: map[string]*structs.AllocListStub{}, told: map[string]int64{}}
}

func (m *monitor) head(format string, args ...any) {
	fmt.Fprintf(m.c.stdout, "==> %s: %s\n", m.c.now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

func (m *monitor) say(format string, args ...any) {
	fmt.Fprintf(m.c.stdout, "    %s: %s\n", m.c.now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// follow watches the evaluation until it is terminal. The error carries exit
// code 2 when something could not be placed, 1 when a deployment failed.
func (m *monitor) follow(ctx context.Context, evalID string) error {
	m.head("Monitoring evaluation %q", shortID(evalID, m.verbose))
	var index uint64
	for {
		eval, meta, err := m.client.Evaluations().Get(ctx, evalID, &api.QueryOptions{WaitIndex: index, WaitTime: m.wait})
		if err != nil {
			if ctx.Err() != nil {
				return exitf(1, "Stopped monitoring; the evaluation goes on. See: nomadlite eval status %s", shortID(evalID, m.verbose))
			}
			return exitf(1, "Error reading evaluation: %v", err)
		}
		index = meta.LastIndex
		if err := m.seeAllocs(ctx, eval); err != nil {
			return err
		}
		m.seeEval(eval)
		if eval.Terminal() {
			return m.finish(ctx, eval)
		}
	}
}

// seeEval prints what changed in the evaluation.
func (m *monitor) seeEval(eval *structs.Evaluation) {
	old := m.eval
	m.eval = eval
	if old == nil {
		switch {
		case eval.NodeID != "":
			m.say("Evaluation triggered by node %q", shortID(eval.NodeID, m.verbose))
		case eval.JobID != "":
			m.say("Evaluation triggered by job %q", eval.JobID)
		}
		old = &structs.Evaluation{Status: structs.EvalStatusPending}
	}
	if eval.DeploymentID != "" && old.DeploymentID == "" {
		m.say("Evaluation within deployment: %q", shortID(eval.DeploymentID, m.verbose))
	}
	if eval.Status != old.Status {
		m.say("Evaluation status changed: %q -> %q", old.Status, eval.Status)
	}
}

// seeAllocs prints the allocations that the evaluation made or changed.
func (m *monitor) seeAllocs(ctx context.Context, eval *structs.Evaluation) error {
	stubs, _, err := m.client.Evaluations().Allocations(ctx, eval.ID, nil)
	if err != nil {
		return exitf(1, "Error reading allocations: %v", err)
	}
	m.seeStubs(stubs)
	return nil
}

func (m *monitor) seeStubs(stubs []*structs.AllocListStub) {
	sort.Slice(stubs, func(i, j int) bool { return stubs[i].Name < stubs[j].Name })
	for _, a := range stubs {
		m.seeAlloc(a)
		m.seeFailures(a)
	}
}

func (m *monitor) seeAlloc(a *structs.AllocListStub) {
	old, known := m.allocs[a.ID]
	m.allocs[a.ID] = a
	id, node := shortID(a.ID, m.verbose), shortID(a.NodeID, m.verbose)
	switch {
	case !known && (m.eval == nil || a.CreateIndex >= m.eval.CreateIndex):
		m.say("Allocation %q created: node %q, group %q", id, node, a.TaskGroup)
	case !known:
		m.say("Allocation %q modified: node %q, group %q", id, node, a.TaskGroup)
	case old.ClientStatus != a.ClientStatus && a.ClientDescription != "":
		m.say("Allocation %q status changed: %q -> %q (%s)", id, old.ClientStatus, a.ClientStatus, a.ClientDescription)
	case old.ClientStatus != a.ClientStatus:
		m.say("Allocation %q status changed: %q -> %q", id, old.ClientStatus, a.ClientStatus)
	}
}

// seeFailures prints why tasks of an allocation failed since the last look.
func (m *monitor) seeFailures(a *structs.AllocListStub) {
	for _, name := range sortedKeys(a.TaskStates) {
		key := a.ID + " " + name
		for _, e := range a.TaskStates[name].Events {
			if e.Time <= m.told[key] {
				continue
			}
			m.told[key] = e.Time
			if tellsFailure(e) {
				m.say("Allocation %q, task %q: %s: %s", shortID(a.ID, m.verbose), name, e.Type, clean(e.DisplayMessage))
			}
		}
	}
}

// tellsFailure reports whether an event says why a task does not run.
func tellsFailure(e *structs.TaskEvent) bool {
	switch e.Type {
	case structs.TaskSetupFailure, structs.TaskDriverFailure, structs.TaskFailedValidation, structs.TaskArtifactDownloadFailed, structs.TaskHookFailed,
		structs.TaskDiskExceeded, structs.TaskRestarting, structs.TaskNotRestarting, structs.TaskRestoreFailed:
		return true
	case structs.TaskTerminated:
		return e.Details["exit_code"] != "0" || e.Details["signal"] != "0"
	}
	return false
}

// finish prints the outcome of a terminal evaluation and follows what it led
// to: a retry, then a deployment.
func (m *monitor) finish(ctx context.Context, eval *structs.Evaluation) error {
	id := shortID(eval.ID, m.verbose)
	if len(eval.FailedTGAllocs) == 0 {
		m.head("Evaluation %q finished with status %q", id, eval.Status)
	} else {
		m.head("Evaluation %q finished with status %q but failed to place all allocations:", id, eval.Status)
		m.failedPlacements(eval)
	}
	if eval.NextEval != "" && eval.Status == structs.EvalStatusFailed {
		m.say("Waiting for the follow-up evaluation %q", shortID(eval.NextEval, m.verbose))
		return newMonitor(m.c, m.client, m.verbose).follow(ctx, eval.NextEval)
	}
	if eval.Status == structs.EvalStatusFailed {
		return exitf(1, "Evaluation failed: %s", eval.StatusDescription)
	}
	if len(eval.FailedTGAllocs) > 0 {
		return exitCode(2)
	}
	if eval.DeploymentID != "" && !m.evalOnly {
		return m.followDeployment(ctx, eval.DeploymentID)
	}
	return nil
}

func (m *monitor) failedPlacements(eval *structs.Evaluation) {
	groups := make([]string, 0, len(eval.FailedTGAllocs))
	for g := range eval.FailedTGAllocs {
		groups = append(groups, g)
	}
	sort.Strings(groups)
	for _, g := range groups {
		metric := eval.FailedTGAllocs[g]
		noun := "allocation"
		if metric.CoalescedFailures > 0 {
			noun = "allocations"
		}
		m.say("Task Group %q (failed to place %d %s):", g, metric.CoalescedFailures+1, noun)
		for _, reason := range placementReasons(metric) {
			fmt.Fprintf(m.c.stdout, "      * %s\n", clean(reason))
		}
	}
	if eval.BlockedEval != "" {
		m.say("Evaluation %q waiting for additional capacity to place remainder", shortID(eval.BlockedEval, m.verbose))
	}
}

// placementReasons explains in sentences why a group could not be placed.
func placementReasons(m *structs.AllocMetric) []string {
	var out []string
	if m.NodesEvaluated == 0 {
		out = append(out, "No nodes were eligible for evaluation")
	}
	for _, dc := range sortedKeys(m.NodesAvailable) {
		if m.NodesAvailable[dc] == 0 {
			out = append(out, fmt.Sprintf("No nodes are available in datacenter %q", dc))
		}
	}
	for _, class := range sortedKeys(m.ClassFiltered) {
		out = append(out, fmt.Sprintf("Class %q: %d nodes excluded by filter", class, m.ClassFiltered[class]))
	}
	for _, cs := range sortedKeys(m.ConstraintFiltered) {
		out = append(out, fmt.Sprintf("Constraint %q: %d nodes excluded by filter", cs, m.ConstraintFiltered[cs]))
		if strings.HasPrefix(cs, "${attr.consul.version} ") {
			out = append(out, "Services without a provider need Consul, which this build does not speak: set provider = \"nomad\" in the service blocks")
		}
	}
	if m.NodesExhausted > 0 {
		out = append(out, fmt.Sprintf("Resources exhausted on %d nodes", m.NodesExhausted))
	}
	for _, class := range sortedKeys(m.ClassExhausted) {
		out = append(out, fmt.Sprintf("Class %q exhausted on %d nodes", class, m.ClassExhausted[class]))
	}
	for _, dim := range sortedKeys(m.DimensionExhausted) {
		out = append(out, fmt.Sprintf("Dimension %q exhausted on %d nodes", dim, m.DimensionExhausted[dim]))
	}
	for _, near := range m.NearMisses {
		out = append(out, fmt.Sprintf("Nearest: it %s", near.Text()))
	}
	for _, q := range m.QuotaExhausted {
		out = append(out, fmt.Sprintf("Quota limit hit %q", q))
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// copyUntil copies a stream to w until it ends or the verb is interrupted.
func (c *cli) copyUntil(w io.Writer, r io.ReadCloser) error {
	stop := context.AfterFunc(c.ctx, func() { r.Close() })
	defer stop()
	_, err := io.Copy(w, r)
	r.Close()
	if c.ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
