package deploy

import (
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

func TestDecide(t *testing.T) {
	now := time.Unix(1000, 0)
	job := &structs.Job{CreateIndex: 5}
	type group = structs.DeploymentState
	for _, tt := range []struct {
		name    string
		job     *structs.Job
		first   bool // the job's first version
		status  string
		healthy int
		spent   bool
		live    map[string]int // healthy allocations that have not ended
		lost    time.Time
		groups  map[string]*group
		want    Action
	}{
		{name: "ended", job: job, status: structs.DeploymentStatusSuccessful},
		{name: "paused", job: job, status: structs.DeploymentStatusPaused, groups: map[string]*group{"g": {DesiredTotal: 1, RequireProgressBy: now}}},
		{name: "purged", want: Action{Status: "cancelled", Description: descStopped}},
		{name: "stopped", job: &structs.Job{CreateIndex: 5, Stop: true}, want: Action{Status: "cancelled", Description: descStopped}},
		{name: "another job of that name", job: &structs.Job{CreateIndex: 6}, want: Action{Status: "cancelled", Description: descStopped}},
		{name: "complete", job: job, groups: map[string]*group{"g": {DesiredTotal: 2, HealthyAllocs: 2}, "h": {DesiredTotal: 1, HealthyAllocs: 1}},
			want: Action{Status: "successful", Description: descSuccessful}},
		{name: "complete, but for one that has ended", job: job, healthy: 2, live: map[string]int{"g": 1},
			groups: map[string]*group{"g": {DesiredTotal: 2, HealthyAllocs: 2, RequireProgressBy: now.Add(time.Minute)}}, want: Action{After: time.Minute}},
		{name: "progress", job: job, healthy: 1, groups: map[string]*group{"g": {DesiredTotal: 3, HealthyAllocs: 2, RequireProgressBy: now.Add(time.Minute)}},
			want: Action{Evaluate: true, After: time.Minute}},
		{name: "progress of a first version", first: true, job: job, groups: map[string]*group{"g": {DesiredTotal: 3, HealthyAllocs: 2, RequireProgressBy: now.Add(time.Minute)}},
			want: Action{After: time.Minute}},
		{name: "no progress", job: job, healthy: 2, groups: map[string]*group{"g": {DesiredTotal: 3, HealthyAllocs: 2, RequireProgressBy: now.Add(time.Minute)}},
			want: Action{After: time.Minute}},
		{name: "deadline", job: job, groups: map[string]*group{"g": {DesiredTotal: 3, HealthyAllocs: 2, RequireProgressBy: now, AutoRevert: true}},
			want: Action{Status: "failed", Description: descDeadline, Evaluate: true, Revert: true}},
		{name: "deadline of a complete group", job: job, healthy: 1, groups: map[string]*group{"g": {DesiredTotal: 1, HealthyAllocs: 1, RequireProgressBy: now}, "h": {DesiredTotal: 1}}},
		{name: "unhealthy without deadline", job: job, groups: map[string]*group{"g": {DesiredTotal: 3, UnhealthyAllocs: 1}},
			want: Action{Status: "failed", Description: descUnhealthy, Evaluate: true}},
		{name: "unhealthy with deadline", job: job, groups: map[string]*group{"g": {DesiredTotal: 3, UnhealthyAllocs: 1, ProgressDeadline: time.Minute, RequireProgressBy: now.Add(time.Second)}},
			want: Action{After: time.Second}},
		{name: "no attempts left", job: job, spent: true, groups: map[string]*group{"g": {DesiredTotal: 3, UnhealthyAllocs: 1, ProgressDeadline: time.Minute, RequireProgressBy: now.Add(time.Second)}},
			want: Action{Status: "failed", Description: descUnhealthy, Evaluate: true}},
		{name: "canaries for an operator", job: job, healthy: 1, groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 1, HealthyAllocs: 1, RequireProgressBy: now}}},
		{name: "canaries that promote themselves", job: job, healthy: 1, groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 1, HealthyAllocs: 1, AutoPromote: true, RequireProgressBy: now}},
			want: Action{Promote: true}},
		{name: "a canary that was healthy and is lost", job: job, healthy: 2, live: map[string]int{"g": 1},
			groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 2, HealthyAllocs: 2, AutoPromote: true, RequireProgressBy: now}},
			want:   Action{Status: "failed", Description: descDeadline, Evaluate: true}},
		{name: "a canary lost while an operator decides", job: job, healthy: 2, live: map[string]int{"g": 1}, lost: now.Add(-time.Second),
			groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 2, HealthyAllocs: 2, ProgressDeadline: time.Minute, RequireProgressBy: now}},
			want:   Action{After: 59 * time.Second}},
		{name: "a canary lost while an operator decides, and not placed in time", job: job, healthy: 2, live: map[string]int{"g": 1}, lost: now.Add(-time.Minute),
			groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 2, HealthyAllocs: 2, ProgressDeadline: time.Minute, RequireProgressBy: now.Add(-time.Hour)}},
			want:   Action{Status: "failed", Description: descDeadline, Evaluate: true}},
		{name: "canaries late", job: job, groups: map[string]*group{"g": {DesiredTotal: 3, DesiredCanaries: 1, RequireProgressBy: now}},
			want: Action{Status: "failed", Description: descDeadline, Evaluate: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &structs.Deployment{ID: "d", Status: tt.status, JobCreateIndex: 5, TaskGroups: tt.groups}
			if !tt.first {
				d.JobVersion = 1
			}
			if d.Status == "" {
				d.Status = structs.DeploymentStatusRunning
			}
			if got := Decide(d, Facts{Job: tt.job, Asked: tt.healthy, Spent: tt.spent, Living: tt.live, Lost: tt.lost}, now); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
