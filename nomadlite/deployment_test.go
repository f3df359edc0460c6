package nomadlite

import (
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// fleet plays a node whose allocations all start at once; healthy says what
// becomes of each.
type fleet struct {
	*testServer
	index    uint64
	revision uint64
	live     map[string]*structs.Allocation
}

func newFleet(s *testServer) *fleet {
	s.join()
	return &fleet{testServer: s, live: map[string]*structs.Allocation{}}
}

// sync fetches what changed, starts what is new and ends what shall stop;
// healthy judges each allocation that runs, nil for not yet. It does not wait
// long for a change: there may be none.
func (f *fleet) sync(healthy func(*structs.Allocation) *bool) {
	f.t.Helper()
	got, err := f.Allocs(f.context(), api.NodeAllocsRequest{NodeID: f.node.ID, SecretID: f.node.SecretID, Since: f.index, Wait: 20 * time.Millisecond})
	if err != nil {
		f.t.Fatal(err)
	}
	f.index = got.Index
	for _, a := range got.Allocs {
		f.live[a.ID] = a
	}
	f.revision++
	updates := make([]*structs.AllocUpdate, 0, len(f.live))
	for id, a := range f.live {
		u := &structs.AllocUpdate{AllocID: id, Revision: f.revision, ClientStatus: structs.AllocClientStatusRunning}
		if a.ServerTerminal() {
			u.ClientStatus = structs.AllocClientStatusComplete
			delete(f.live, id)
		} else if h := healthy(a); h != nil {
			u.DeploymentHealthy, u.DeploymentTime, u.DeploymentID = h, time.Now().UnixNano(), a.DeploymentID
			if !*h {
				u.ClientStatus = structs.AllocClientStatusFailed
			}
		}
		updates = append(updates, u)
	}
	req := api.NodeAllocUpdateRequest{NodeID: f.node.ID, SecretID: f.node.SecretID, Updates: updates}
	if err := f.UpdateAllocs(f.context(), req); err != nil {
		f.t.Fatal(err)
	}
}

func fit(*structs.Allocation) *bool { return structs.Ptr(true) }

// until syncs until the newest deployment of a job is as wanted.
func (f *fleet) until(job string, healthy func(*structs.Allocation) *bool, what string, ok func(*structs.Deployment) bool) *structs.Deployment {
	f.t.Helper()
	var d *structs.Deployment
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		if d = f.store.Snapshot().LatestDeployment("default", job); d != nil && ok(d) {
			return d
		}
		f.sync(healthy)
	}
	f.t.Fatalf("%s: the deployment is %+v", what, d)
	return nil
}

func inStatus(status string, version uint64) func(*structs.Deployment) bool {
	return func(d *structs.Deployment) bool { return d.Status == status && d.JobVersion == version }
}

// rolling is a service with an update block and a version in its environment.
func rolling(version string, count int, update *structs.UpdateStrategy) *structs.Job {
	job := testJob("web", structs.JobTypeService)
	g := job.TaskGroups[0]
	g.Count, g.Update = structs.Ptr(count), update
	g.Tasks[0].Env = map[string]string{"VERSION": version}
	return job
}

func TestRollingUpdateAndScale(t *testing.T) {
	s, _ := startServer(t, "")
	f := newFleet(s)
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1)}
	s.register(rolling("1", 2, update))
	f.until("web", fit, "first", inStatus("successful", 0))
	s.register(rolling("2", 2, update))
	d := f.until("web", fit, "second", inStatus("successful", 1))
	if g := d.TaskGroups["g"]; g.PlacedAllocs != 2 || g.HealthyAllocs != 2 {
		t.Errorf("%+v", g)
	}
	job, _, err := s.client.Jobs().Get(s.context(), "web", nil)
	if err != nil || !job.Stable {
		t.Errorf("stable %v, %v", job.Stable, err)
	}
	// The allocations that stay are updated in place and count as well.
	if _, _, err := s.client.Jobs().Scale(s.context(), "web", &api.ScalingRequest{Count: structs.Ptr(int64(3)), Target: map[string]string{"Group": "g"}}, nil); err != nil {
		t.Fatal(err)
	}
	f.until("web", fit, "scaled", inStatus("successful", 2))
}

func TestCanariesByHand(t *testing.T) {
	s, _ := startServer(t, "")
	f, ctx, deployments := newFleet(s), s.context(), s.client.Deployments()
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), Canary: structs.Ptr(1), ProgressDeadline: structs.Ptr(time.Minute), HealthyDeadline: structs.Ptr(30 * time.Second)}
	s.register(rolling("1", 2, update))
	first := f.until("web", fit, "first", inStatus("successful", 0))
	_, _, err := deployments.Promote(ctx, first.ID, nil, nil)
	fails(t, "promote an ended one", err, "500 (can't promote terminal deployment)")
	_, _, err = deployments.Promote(ctx, newID(), nil, nil)
	fails(t, "promote an unknown one", err, "500 (deployment not found)")

	s.register(rolling("2", 2, update))
	unknown := func(*structs.Allocation) *bool { return nil }
	placed := func(d *structs.Deployment) bool {
		return d.JobVersion == 1 && len(d.TaskGroups["g"].PlacedCanaries) == 1
	}
	d := f.until("web", unknown, "canary", placed)
	if d.StatusDescription != structs.DeploymentDescManual {
		t.Errorf("description %q", d.StatusDescription)
	}
	_, _, err = deployments.Promote(ctx, d.ID, nil, nil)
	fails(t, "too early", err, `500 (Task group "g" has 0/1 healthy allocations)`)
	_, _, err = deployments.SetAllocHealth(ctx, &api.DeploymentAllocHealthRequest{DeploymentID: d.ID}, nil)
	fails(t, "health of nothing", err, "400 (must specify at least one healthy/unhealthy allocation ID)")
	if _, _, err = deployments.SetAllocHealth(ctx, &api.DeploymentAllocHealthRequest{DeploymentID: d.ID, HealthyAllocationIDs: d.TaskGroups["g"].PlacedCanaries}, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err = deployments.Unblock(ctx, d.ID, nil)
	if err == nil || !strings.Contains(err.Error(), "waits for no other region") {
		t.Errorf("unblock: %v", err)
	}
	out, _, err := deployments.Promote(ctx, d.ID, []string{"g"}, nil)
	if err != nil || out.EvalID == "" || out.DeploymentModifyIndex == 0 {
		t.Fatalf("%+v %v", out, err)
	}
	_, _, err = deployments.Promote(ctx, d.ID, nil, nil)
	fails(t, "promote twice", err, "500 (no canaries to promote)")
	f.until("web", fit, "promoted", inStatus("successful", 1))
}

func TestPausedDeploymentWaits(t *testing.T) {
	s, _ := startServer(t, "")
	f, ctx, deployments := newFleet(s), s.context(), s.client.Deployments()
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1)}
	s.register(rolling("1", 3, update))
	f.until("web", fit, "first", inStatus("successful", 0))
	s.register(rolling("2", 3, update))
	unknown := func(*structs.Allocation) *bool { return nil }
	d := f.until("web", unknown, "started", func(d *structs.Deployment) bool { return d.JobVersion == 1 && d.TaskGroups["g"].PlacedAllocs == 1 })
	if _, _, err := deployments.Pause(ctx, d.ID, true, nil); err != nil {
		t.Fatal(err)
	}
	f.sync(fit)
	if d = s.store.Snapshot().Deployment(d.ID); d.Status != structs.DeploymentStatusPaused || d.TaskGroups["g"].PlacedAllocs != 1 {
		t.Errorf("paused: %+v", d)
	}
	out, _, err := deployments.Pause(ctx, d.ID, false, nil)
	if err != nil || out.EvalID == "" {
		t.Fatalf("%+v %v", out, err)
	}
	f.until("web", fit, "resumed", inStatus("successful", 1))
}

// TestAutoPromote: canaries that are all healthy promote themselves, one that
// is not keeps the others from it.
func TestAutoPromote(t *testing.T) {
	s, _ := startServer(t, "")
	f := newFleet(s)
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), Canary: structs.Ptr(2), AutoPromote: structs.Ptr(true)}
	s.register(rolling("1", 2, update))
	f.until("web", fit, "first", inStatus("successful", 0))
	s.register(rolling("2", 2, update))
	first := ""
	oneFit := func(a *structs.Allocation) *bool {
		if a.Job.Version == 1 && first == "" {
			first = a.ID
		}
		if a.Job.Version == 1 && a.ID != first {
			return nil
		}
		return structs.Ptr(true)
	}
	d := f.until("web", oneFit, "one canary of two", func(d *structs.Deployment) bool {
		g := d.TaskGroups["g"]
		return d.JobVersion == 1 && len(g.PlacedCanaries) == 2 && g.HealthyAllocs == 1
	})
	if d.StatusDescription != structs.DeploymentDescAuto {
		t.Errorf("description %q", d.StatusDescription)
	}
	f.sync(oneFit)
	if d = s.store.Snapshot().Deployment(d.ID); d.TaskGroups["g"].Promoted {
		t.Errorf("promoted with one canary of two: %+v", d.TaskGroups["g"])
	}
	d = f.until("web", fit, "all canaries", inStatus("successful", 1))
	if !d.TaskGroups["g"].Promoted {
		t.Errorf("%+v", d.TaskGroups["g"])
	}
}

// TestDeadlineOfACanary_B29: a canary that never becomes healthy, whether it
// fails or only stays silent, does not hold its deployment for ever.
func TestDeadlineOfACanary_B29(t *testing.T) {
	for name, healthy := range map[string]func(*structs.Allocation) *bool{
		"fails": func(a *structs.Allocation) *bool { return structs.Ptr(a.Job.Version == 0) },
		"silent": func(a *structs.Allocation) *bool {
			if a.Job.Version == 0 {
				return structs.Ptr(true)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := startServer(t, "")
			f := newFleet(s)
			update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), Canary: structs.Ptr(1),
				MinHealthyTime: structs.Ptr(time.Duration(0)), HealthyDeadline: structs.Ptr(time.Second), ProgressDeadline: structs.Ptr(2 * time.Second)}
			job := func(version string) *structs.Job {
				job := rolling(version, 1, update)
				job.TaskGroups[0].Tasks[0].KillTimeout = structs.Ptr(time.Second)
				return job
			}
			s.register(job("1"))
			f.until("web", fit, "first", inStatus("successful", 0))
			s.register(job("2"))
			d := f.until("web", healthy, "second", inStatus("failed", 1))
			if d.StatusDescription != "Failed due to progress deadline" || d.TaskGroups["g"].Promoted {
				t.Errorf("%q, %+v", d.StatusDescription, d.TaskGroups["g"])
			}
			old := 0
			for a := range s.store.Snapshot().AllocsByJob("default", "web", false) {
				if a.Job.Version == 0 && !a.Terminal() {
					old++
				}
			}
			if old != 1 {
				t.Errorf("%d allocations of the old version run", old)
			}
		})
	}
}

// TestAutoRevert_B31: a failed deployment goes back to the stable
// version once, and what fails again is left as it is.
func TestAutoRevert_B31(t *testing.T) {
	s, _ := startServer(t, "")
	f, ctx := newFleet(s), s.context()
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), AutoRevert: structs.Ptr(true), ProgressDeadline: structs.Ptr(time.Duration(0))}
	s.register(rolling("1", 1, update))
	f.until("web", fit, "first", inStatus("successful", 0))
	s.register(rolling("2", 1, update))
	sick := func(a *structs.Allocation) *bool { return structs.Ptr(a.Job.Version == 0) }
	f.until("web", sick, "fails twice", inStatus("failed", 2))
	list, _, err := s.client.Jobs().Deployments(ctx, "web", false, nil)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d deployments, %v", len(list), err)
	}
	byVersion := map[uint64]string{}
	for _, d := range list {
		byVersion[d.JobVersion] = d.StatusDescription
	}
	if byVersion[1] != "Failed due to unhealthy allocations - rolling back to job version 0" ||
		byVersion[2] != "Failed due to unhealthy allocations - not rolling back to stable job version 0 as current job has same specification" {
		t.Errorf("%v", byVersion)
	}
	job, _, err := s.client.Jobs().Get(ctx, "web", nil)
	if err != nil || job.Version != 2 || job.Stable || job.TaskGroups[0].Tasks[0].Env["VERSION"] != "1" {
		t.Errorf("version %d, stable %v, %v", job.Version, job.Stable, err)
	}
}

func TestFailByHand(t *testing.T) {
	s, _ := startServer(t, "")
	f, ctx, deployments := newFleet(s), s.context(), s.client.Deployments()
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), AutoRevert: structs.Ptr(true)}
	s.register(rolling("1", 1, update))
	f.until("web", fit, "first", inStatus("successful", 0))
	s.register(rolling("2", 1, update))
	unknown := func(*structs.Allocation) *bool { return nil }
	d := f.until("web", unknown, "started", func(d *structs.Deployment) bool { return d.JobVersion == 1 && d.Active() })
	out, _, err := deployments.Fail(ctx, d.ID, nil)
	if err != nil || out.RevertedJobVersion == nil || *out.RevertedJobVersion != 0 {
		t.Fatalf("%+v %v", out, err)
	}
	if d = s.store.Snapshot().Deployment(d.ID); d.StatusDescription != "Deployment marked as failed - rolling back to job version 0" {
		t.Errorf("description %q", d.StatusDescription)
	}
	_, _, err = deployments.Fail(ctx, d.ID, nil)
	fails(t, "fail twice", err, "500 (can't fail terminal deployment)")
	f.until("web", fit, "back", inStatus("successful", 2))
}

// TestSystemCanaries rolls a system job out: a part of the nodes first, the
// rest when their health has promoted them; a bad version goes back by itself.
func TestSystemCanaries(t *testing.T) {
	s, _ := startServer(t, "")
	f := newFleet(s)
	update := &structs.UpdateStrategy{MaxParallel: structs.Ptr(1), Canary: structs.Ptr(50), AutoPromote: structs.Ptr(true),
		AutoRevert: structs.Ptr(true), ProgressDeadline: structs.Ptr(time.Duration(0))}
	agent := func(version string) *structs.Job {
		job := rolling(version, 1, update)
		job.ID, job.Name, job.Type = "agent", "agent", structs.JobTypeSystem
		return job
	}
	s.register(agent("1"))
	first := f.until("agent", fit, "first", inStatus("successful", 0))
	if g := first.TaskGroups["g"]; g.DesiredTotal != 1 || g.DesiredCanaries != 0 {
		t.Errorf("first: %+v", g)
	}
	s.register(agent("2"))
	second := f.until("agent", fit, "second", inStatus("successful", 1))
	if g := second.TaskGroups["g"]; g.DesiredCanaries != 1 || len(g.PlacedCanaries) != 1 || !g.Promoted || g.HealthyAllocs != 1 {
		t.Errorf("second: %+v", g)
	}
	s.register(agent("3"))
	sick := func(a *structs.Allocation) *bool {
		return structs.Ptr(a.Job.TaskGroups[0].Tasks[0].Env["VERSION"] != "3")
	}
	f.until("agent", sick, "back", inStatus("successful", 3))
	job, _, err := s.client.Jobs().Get(s.context(), "agent", nil)
	if err != nil || job.TaskGroups[0].Tasks[0].Env["VERSION"] != "2" {
		t.Errorf("went back to %+v, %v", job, err)
	}
}
