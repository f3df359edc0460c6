package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// killLeader kills the leader once a condition holds, awaits the next one and
// starts the killed server again. It returns who leads.
func (c *Cluster) killLeader(t *testing.T, when string, cond func(leader *Member) error) *Member {
	t.Helper()
	leader := c.awaitLeader(t, c.Servers...)
	agenttest.Eventually(t, when, func() error { return cond(leader) })
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	next := c.awaitLeader(t, without(c.Servers, leader)...)
	if err := leader.Again(); err != nil {
		t.Fatal(err)
	}
	return next
}

// life is an allocation with what says to which version and place it belongs.
type life struct {
	Alloc
	JobVersion uint64
	Name       string
}

func lives(ask *Member, job string) (running, all []life, err error) {
	_, err = ask.Do("GET", "/v1/job/"+job+"/allocations", nil, &all)
	for _, a := range all {
		if a.ClientStatus == "running" && a.DesiredStatus == "run" {
			running = append(running, a)
		}
	}
	return running, all, err
}

// named checks that allocations have the names of a group of so many, each once.
func named(running []life, n int) error {
	names := map[string]bool{}
	for _, a := range running {
		names[a.Name] = true
	}
	if len(running) != n || len(names) != n {
		return fmt.Errorf("%d run, with %d names: %+v", len(running), len(names), running)
	}
	return nil
}

// rolled is a service whose allocations are replaced one after the other.
func rolled(id string, count int, mark string) map[string]any {
	job := Service(id, count)
	group := job["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["Update"] = map[string]any{"MaxParallel": 1, "HealthCheck": "task_states", "MinHealthyTime": 0, "HealthyDeadline": int64(60 * second), "ProgressDeadline": int64(120 * second)}
	group["Migrate"] = map[string]any{"MaxParallel": 1, "HealthCheck": "task_states", "MinHealthyTime": 0, "HealthyDeadline": int64(60 * second)}
	group["Tasks"].([]any)[0].(map[string]any)["Env"] = map[string]any{"MARK": mark}
	return job
}

// TestLeaderKilledInTheMiddle_B20_B40 kills the leader in the middle of a
// rollout, of a drain and of the ticks of a cron job: each goes on where it was,
// and ends as if nothing had happened.
func TestLeaderKilledInTheMiddle_B20_B40(t *testing.T) {
	const count = 6
	c := start(t, Options{Servers: 3, Clients: 2})
	ask := c.Servers[0]
	if _, err := ask.Do("PUT", "/v1/jobs", rolled("roll", count, "a"), nil); err != nil {
		t.Fatal(err)
	}
	succeeded := func(ask *Member, version uint64) func() error {
		return func() error {
			var d struct {
				JobVersion                uint64
				Status, StatusDescription string
			}
			if _, err := ask.Do("GET", "/v1/job/roll/deployment", nil, &d); err != nil || d.JobVersion != version || d.Status != "successful" {
				return fmt.Errorf("%+v %v", d, err)
			}
			running, _, err := lives(ask, "roll")
			if err != nil {
				return err
			}
			for _, a := range running {
				if a.JobVersion != version {
					return fmt.Errorf("%s runs version %d", a.Name, a.JobVersion)
				}
			}
			return named(running, count)
		}
	}
	agenttest.Eventually(t, "the first version", succeeded(ask, 0))

	if _, err := ask.Do("PUT", "/v1/jobs", rolled("roll", count, "b"), nil); err != nil {
		t.Fatal(err)
	}
	ask = c.killLeader(t, "the middle of the rollout", func(leader *Member) error {
		running, _, err := lives(leader, "roll")
		newer := slices.ContainsFunc(running, func(a life) bool { return a.JobVersion == 1 })
		older := slices.ContainsFunc(running, func(a life) bool { return a.JobVersion == 0 })
		if err != nil || !newer || !older {
			return fmt.Errorf("%+v %v", running, err)
		}
		return nil
	})
	agenttest.Eventually(t, "the rollout after a change of leader", succeeded(ask, 1))
	_, all, err := lives(ask, "roll")
	if err != nil || len(all) != 2*count {
		t.Errorf("%d allocations were made for two versions of %d: %v", len(all), count, err)
	}

	c.drainThrough(t, count)
	c.ticksThrough(t)
}

// drainThrough drains a node while the leader is killed.
func (c *Cluster) drainThrough(t *testing.T, count int) {
	ask := c.awaitLeader(t, c.Servers...)
	nodes, err := c.Nodes(ask)
	if err != nil {
		t.Fatal(err)
	}
	running, _, err := lives(ask, "roll")
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]int{}
	for _, a := range running {
		on[a.NodeID]++
	}
	node := nodes[0].ID
	if on[nodes[1].ID] > on[node] {
		node = nodes[1].ID
	}
	if on[node] < 2 {
		t.Fatalf("no node has enough to be drained of: %v", on)
	}
	spec := map[string]any{"DrainSpec": map[string]any{"Deadline": int64(3600 * second)}}
	if _, err := ask.Do("PUT", "/v1/node/"+node+"/drain", spec, nil); err != nil {
		t.Fatal(err)
	}
	ask = c.killLeader(t, "the middle of the drain", func(leader *Member) error {
		running, _, err := lives(leader, "roll")
		left := 0
		for _, a := range running {
			if a.NodeID == node {
				left++
			}
		}
		if err != nil || left == on[node] {
			return fmt.Errorf("%d of %d are left: %v", left, on[node], err)
		}
		return nil
	})
	agenttest.Eventually(t, "the end of the drain", func() error {
		var n struct {
			SchedulingEligibility string
			DrainStrategy         any
			LastDrain             struct{ Status string }
		}
		if _, err := ask.Do("GET", "/v1/node/"+node, nil, &n); err != nil || n.DrainStrategy != nil || n.LastDrain.Status != "complete" || n.SchedulingEligibility != "ineligible" {
			return fmt.Errorf("%+v %v", n, err)
		}
		running, all, err := lives(ask, "roll")
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.NodeID == node && a.ClientStatus == "running" {
				return fmt.Errorf("%s still runs there", a.Name)
			}
		}
		return named(running, count)
	})
	if _, err := ask.Do("PUT", "/v1/node/"+node+"/eligibility", map[string]any{"Eligibility": "eligible"}, nil); err != nil {
		t.Fatal(err)
	}
}

// ticksThrough kills the leader between the ticks of a cron job.
func (c *Cluster) ticksThrough(t *testing.T) {
	ask := c.awaitLeader(t, c.Servers...)
	cron := map[string]any{"Job": map[string]any{"ID": "cron", "Type": "batch", "Datacenters": []string{"*"},
		"Periodic": map[string]any{"Enabled": true, "SpecType": "cron", "Specs": []string{"*/2 * * * * * *"}},
		"TaskGroups": []any{map[string]any{"Name": "g", "EphemeralDisk": map[string]any{"SizeMB": 10}, "Tasks": []any{map[string]any{
			"Name": "t", "Driver": "raw_exec", "LogConfig": map[string]any{"MaxFiles": 1, "MaxFileSizeMB": 1}, "Resources": map[string]any{"CPU": 10, "MemoryMB": 10},
			"Config": map[string]any{"command": "/bin/true"},
		}}}},
	}}
	if _, err := ask.Do("PUT", "/v1/jobs", cron, nil); err != nil {
		t.Fatal(err)
	}
	children := func(ask *Member) (ticks []int64, err error) {
		var jobs []struct{ ID string }
		if _, err := ask.Do("GET", "/v1/jobs?prefix=cron/periodic-", nil, &jobs); err != nil {
			return nil, err
		}
		for _, j := range jobs {
			n, err := strconv.ParseInt(strings.TrimPrefix(j.ID, "cron/periodic-"), 10, 64)
			if err != nil {
				return nil, err
			}
			ticks = append(ticks, n)
		}
		slices.Sort(ticks)
		return ticks, nil
	}
	var before []int64
	ask = c.killLeader(t, "two ticks", func(leader *Member) (err error) {
		if before, err = children(leader); err == nil && len(before) < 2 {
			err = fmt.Errorf("launched at %v", before)
		}
		return err
	})
	var ticks []int64
	agenttest.Eventually(t, "three ticks under the next leader", func() (err error) {
		if ticks, err = children(ask); err == nil && len(ticks) < len(before)+3 {
			err = fmt.Errorf("launched at %v", ticks)
		}
		return err
	})
	if _, err := ask.Do("DELETE", "/v1/job/cron", nil, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ticks[:len(before)], before) {
		t.Errorf("launches were lost: %v, then %v", before, ticks)
	}
	odd := 0
	for _, at := range ticks {
		if at%2 != 0 {
			odd++
		}
		var allocs []Alloc
		agenttest.Eventually(t, "an allocation of each tick", func() error {
			_, err := ask.Do("GET", fmt.Sprintf("/v1/job/cron%%2Fperiodic-%d/allocations", at), nil, &allocs)
			if err == nil && (len(allocs) == 0 || allocs[0].ClientStatus != "complete") {
				err = fmt.Errorf("%v", allocs)
			}
			return err
		})
		if len(allocs) != 1 {
			t.Errorf("the tick at %d ran %d times", at, len(allocs))
		}
	}
	if odd > 1 { // what was missed is made up for once, at the time of the new leader
		t.Errorf("%d launches are of no tick: %v", odd, ticks)
	}
}
