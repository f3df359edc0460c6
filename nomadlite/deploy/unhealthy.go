package deploy

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// sick is what a deployment's unhealthy allocations ask for.
type sick struct {
	// replace are the failed ones whose policy allows another attempt.
	replace []string
	// spent is set when one has no attempts left.
	spent bool
	// waits is set when one has not ended: it may fail yet, without a change of
	// the deployment.
	waits bool
}

// examine looks at the unhealthy allocations of a deployment. Within a
// deployment the scheduler replaces failed allocations only when it is asked.
func examine(snap *state.Snapshot, d *structs.Deployment) sick {
	var s sick
	unhealthy := 0
	for _, g := range d.TaskGroups {
		unhealthy += g.UnhealthyAllocs
	}
	if unhealthy == 0 || d.Status == structs.DeploymentStatusPaused {
		return s
	}
	for a := range snap.AllocsByDeployment(d.ID) {
		if a.ServerTerminal() || a.DeploymentStatus == nil || a.DeploymentStatus.Healthy == nil || *a.DeploymentStatus.Healthy {
			continue
		}
		g := a.Job.LookupGroup(a.TaskGroup)
		if g == nil {
			continue
		}
		_, again := g.ReschedulePolicy.Next(a, a.FailTime())
		switch {
		case !again:
			s.spent = true
		case a.ClientStatus != structs.AllocClientStatusFailed:
			s.waits = true
		case !structs.Val(a.DesiredTransition.Reschedule):
			s.replace = append(s.replace, a.ID)
		}
	}
	return s
}

// living counts the healthy allocations that have not ended, of the groups whose
// own counters do not do: they keep those that have. These are the canaries of a
// group that waits for its promotion, and of a service all groups, once they are
// complete by their counters; the totals of system jobs count what was healthy
// once.
func living(snap *state.Snapshot, d *structs.Deployment, job *structs.Job) map[string]int {
	out := map[string]int{}
	complete := job != nil && job.Type == structs.JobTypeService
	for _, g := range d.TaskGroups {
		complete = complete && g.HealthyAllocs >= g.DesiredTotal
	}
	for name, g := range d.TaskGroups {
		switch {
		case g.AwaitsPromotion():
			out[name] = 0
			for _, id := range g.PlacedCanaries {
				if a := snap.Alloc(id); a != nil && a.LivesHealthy() {
					out[name]++
				}
			}
		case complete:
			out[name] = 0
		}
	}
	if !complete {
		return out
	}
	for a := range snap.AllocsByDeployment(d.ID) {
		if g := d.TaskGroups[a.TaskGroup]; g != nil && !g.AwaitsPromotion() && a.LivesHealthy() {
			out[a.TaskGroup]++
		}
	}
	return out
}

func (w *Watcher) replace(ctx context.Context, ids []string, now time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	yes := structs.Ptr(true)
	c := &state.AllocTransition{Transitions: map[string]*structs.DesiredTransition{}, Now: now.UnixNano()}
	for _, id := range ids {
		c.Transitions[id] = &structs.DesiredTransition{Reschedule: yes}
	}
	return w.deps.Replace(ctx, c)
}
