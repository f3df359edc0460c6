package command

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// deploymentNews is one answer about a deployment: itself or its allocations.
type deploymentNews struct {
	deployment *structs.Deployment
	allocs     []*structs.AllocListStub
	err        error
}

// followDeployment prints the progress of a deployment, what becomes of its
// allocations and why tasks fail, until it ends. The error carries exit code 1
// when it failed.
func (m *monitor) followDeployment(ctx context.Context, id string) error {
	m.head("Monitoring deployment %q", shortID(id, m.verbose))
	followed, stop := context.WithCancel(ctx)
	defer stop()
	news := make(chan deploymentNews)
	deployments := m.client.Deployments()
	go tellChanges(followed, news, m.wait, func(q *api.QueryOptions) (deploymentNews, *api.QueryMeta, error) {
		d, meta, err := deployments.Get(followed, id, q)
		return deploymentNews{deployment: d}, meta, err
	})
	go tellChanges(followed, news, m.wait, func(q *api.QueryOptions) (deploymentNews, *api.QueryMeta, error) {
		allocs, meta, err := deployments.Allocations(followed, id, q)
		return deploymentNews{allocs: allocs}, meta, err
	})
	last := ""
	for {
		n := <-news
		switch {
		case ctx.Err() != nil:
			return exitf(1, "Stopped monitoring; the deployment goes on. See: nomadlite deployment status %s", shortID(id, m.verbose))
		case n.err != nil:
			return exitf(1, "Error reading deployment: %v", n.err)
		case n.deployment == nil:
			m.seeStubs(n.allocs)
			continue
		}
		d := n.deployment
		if !d.Active() { // what its allocations came to may still be under way
			allocs, _, err := deployments.Allocations(ctx, id, nil)
			if err != nil {
				return exitf(1, "Error reading allocations: %v", err)
			}
			m.seeStubs(allocs)
		}
		if text := deploymentProgress(d); text != last {
			m.say("%s", text)
			if waitsForOperator(d) {
				m.say("All canaries are healthy. To go on: nomadlite deployment promote %s", shortID(id, m.verbose))
			}
			last = text
		}
		if !d.Active() {
			m.head("Deployment %q finished with status %q: %s", shortID(id, m.verbose), d.Status, d.StatusDescription)
			if d.Status == structs.DeploymentStatusFailed {
				return exitCode(1)
			}
			return nil
		}
	}
}

// tellChanges sends what a blocking query answers, whenever that changes, until
// ctx ends; an error is the last that it sends.
func tellChanges(ctx context.Context, out chan<- deploymentNews, wait time.Duration, query func(*api.QueryOptions) (deploymentNews, *api.QueryMeta, error)) {
	var index uint64
	for {
		n, meta, err := query(&api.QueryOptions{WaitIndex: index, WaitTime: wait})
		n.err = err
		select {
		case out <- n:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		index = meta.LastIndex
	}
}

// waitsForOperator reports whether nothing but a promotion by hand is missing.
func waitsForOperator(d *structs.Deployment) bool {
	if d.Status != structs.DeploymentStatusRunning || d.RunningDescription() != structs.DeploymentDescManual {
		return false
	}
	for _, g := range d.TaskGroups {
		if g.AwaitsPromotion() && g.HealthyAllocs < g.DesiredCanaries {
			return false
		}
	}
	return true
}

// deploymentProgress is one line about all groups of a deployment.
func deploymentProgress(d *structs.Deployment) string {
	groups := make([]string, 0, len(d.TaskGroups))
	for g := range d.TaskGroups {
		groups = append(groups, g)
	}
	sort.Strings(groups)
	parts := make([]string, len(groups))
	for i, g := range groups {
		s := d.TaskGroups[g]
		parts[i] = fmt.Sprintf("group %q: %d of %d healthy", g, s.HealthyAllocs, s.DesiredTotal)
		if s.UnhealthyAllocs > 0 {
			parts[i] += fmt.Sprintf(", %d unhealthy", s.UnhealthyAllocs)
		}
		if s.AwaitsPromotion() {
			parts[i] += fmt.Sprintf(", %d of %d canaries placed", len(s.PlacedCanaries), s.DesiredCanaries)
		}
	}
	return "Deployment " + d.Status + ": " + strings.Join(parts, "; ")
}
