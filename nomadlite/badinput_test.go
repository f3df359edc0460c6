package nomadlite

import (
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// TestBadInputChangesNothing holds the table of what the control loops are asked
// for and must refuse: one sentence each, the contract's status, and no row of
// the state is another afterwards.
func TestBadInputChangesNothing(t *testing.T) {
	s, _ := startServer(t, "")
	c := newCrowd(s, 1)
	ctx, jobs := s.context(), s.client.Jobs()
	if _, err := s.client.Namespaces().Set(ctx, &structs.Namespace{Name: "shop"}, nil); err != nil {
		t.Fatal(err)
	}
	web := testJob("web", structs.JobTypeService)
	s.register(web)
	inShop := testJob("till", structs.JobTypeService)
	inShop.Namespace = "shop"
	s.register(inShop)
	hello := testJob("hello", structs.JobTypeBatch)
	hello.ParameterizedJob = &structs.ParameterizedJobConfig{MetaRequired: []string{"who"}, Payload: "optional"}
	s.register(hello)
	c.until("placed", func() bool { return c.running("web", 0) == 1 })
	var deployment *structs.Deployment
	c.until("a deployment that runs or has succeeded", func() bool {
		deployment = s.store.Snapshot().LatestDeployment("default", "web")
		return deployment != nil
	})
	c.until("settled", func() bool {
		d := s.store.Snapshot().LatestDeployment("default", "web")
		e := s.store.Snapshot().LatestDeployment("shop", "till")
		return !d.Active() && e != nil && !e.Active()
	})
	never := testJob("never", structs.JobTypeBatch)
	never.Periodic = &structs.PeriodicConfig{Specs: []string{"0 0 31 2 *"}}
	dispatch := func(meta map[string]string, size int) error {
		_, _, err := jobs.Dispatch(ctx, &api.JobDispatchRequest{JobID: "hello", Meta: meta, Payload: make([]byte, size)}, nil)
		return err
	}
	who := map[string]string{"who": "x"}
	for _, bad := range []struct {
		what, want string
		do         func() error
	}{
		{"promote without canaries", "500 (can't promote terminal deployment)", func() error {
			_, _, err := s.client.Deployments().Promote(ctx, deployment.ID, nil, nil)
			return err
		}},
		{"unblock", "500 (can't unblock terminal deployment)", func() error {
			_, _, err := s.client.Deployments().Unblock(ctx, deployment.ID, nil)
			return err
		}},
		{"an unknown deployment", "500 (deployment not found)", func() error {
			_, _, err := s.client.Deployments().Fail(ctx, newID(), nil)
			return err
		}},
		{"revert to the current version", "500 (can't revert to current version)", func() error {
			_, _, err := jobs.Revert(ctx, &api.JobRevertRequest{JobID: "web", JobVersion: 0}, nil)
			return err
		}},
		{"revert to no version", `500 (job "web" in namespace "default" at version 9 not found)`, func() error {
			_, _, err := jobs.Revert(ctx, &api.JobRevertRequest{JobID: "web", JobVersion: 9}, nil)
			return err
		}},
		{"drain of an unknown node", "500 (node not found)", func() error {
			_, _, err := s.client.Nodes().Drain(ctx, &api.NodeDrainRequest{NodeID: newID(), DrainSpec: &structs.DrainSpec{}}, nil)
			return err
		}},
		{"a cron that never fires", "500 (1 error occurred:\n\t* Invalid cron spec \"0 0 31 2 *\": it never comes true: no such date exists, or all of them are past\n\n)", func() error {
			_, _, err := jobs.Register(ctx, &api.JobRegisterRequest{Job: never}, nil)
			return err
		}},
		{"a dispatch without required meta", "500 (Dispatch did not provide required meta keys: [who])", func() error { return dispatch(nil, 1) }},
		{"a dispatch with unknown meta", "500 (Dispatch request included unpermitted metadata keys: [how])", func() error {
			return dispatch(map[string]string{"who": "x", "how": "y"}, 1)
		}},
		{"a dispatch one byte too large", "413 (Payload exceeds maximum size; 16385 > 16384)", func() error { return dispatch(who, 16385) }},
		{"a namespace that is not empty", `500 (cannot delete namespace "shop": job "till" in it is running; stop its jobs first)`, func() error {
			_, err := s.client.Namespaces().Delete(ctx, "shop", nil)
			return err
		}},
		{"force of a job that is not periodic", "500 (can't force launch non-periodic job)", func() error {
			_, _, err := jobs.PeriodicForce(ctx, "web", nil)
			return err
		}},
		{"a group that is not there", `400 (task group "x" specified for scaling does not exist in job)`, func() error {
			_, _, err := jobs.Scale(ctx, "web", &api.ScalingRequest{Count: structs.Ptr(int64(2)), Target: map[string]string{"Group": "x"}}, nil)
			return err
		}},
	} {
		before := changes(s.store.Snapshot())
		fails(t, bad.what, bad.do(), bad.want)
		if after := changes(s.store.Snapshot()); after != before {
			t.Errorf("%s: the state changed: %v, was %v", bad.what, after, before)
		}
	}
	if err := dispatch(who, 16384); err != nil && !strings.Contains(err.Error(), "200") {
		t.Errorf("a dispatch of the largest payload: %v", err)
	}
}

// changes are the last changes of the tables that people write.
func changes(s *state.Snapshot) (at [7]uint64) {
	for i, table := range []state.Table{state.TableJobs, state.TableJobVersions, state.TableDeployments, state.TableNamespaces, state.TableNodes, state.TableScalingEvents, state.TableEvals} {
		at[i] = s.TableIndex(table)
	}
	return at
}
