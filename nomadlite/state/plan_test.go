package state

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

func at(node, name uint32) structs.Placement { return structs.Placement{Node: node, NameIndex: name} }

func port(value int, ip string) *structs.PlacementExtra {
	return &structs.PlacementExtra{Ports: []structs.PortMapping{{Label: "http", Value: value, HostIP: ip}}}
}

// placed makes a world with two nodes and job "web" with allocations 0 and 1 on
// node 0, number 1 of which holds port 8080 and core 1.
func placed(t *testing.T) (*world, []string) {
	w := newWorld(t)
	w.node(0)
	w.node(1)
	w.register(testJob("web", 2), nil)
	second := at(0, 1)
	second.Extra = port(8080, "10.0.0.1")
	second.Extra.Cores = map[string][]uint16{"main": {1}}
	r := w.apply(w.plan("web", "e0", at(0, 0), second))
	if len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	return w, w.placed(r)
}

// mounting is a job "mounts" with a host volume.
func mounting(source string, readOnly bool) *structs.Job {
	job := testJob("mounts", 1)
	job.TaskGroups[0].Volumes = map[string]*structs.VolumeRequest{"v": {Name: "v", Type: "host", Source: source, ReadOnly: readOnly}}
	return job
}

// offer gives a node a host volume.
func offer(w *world, i int, name string, readOnly bool) {
	n := *w.s.Snapshot().Node(nodeID(i))
	n.HostVolumes = map[string]*structs.HostVolumeInfo{name: {Path: "/data", ReadOnly: readOnly}}
	must(w, (*Txn).RegisterNode, &NodeRegister{Node: &n})
}

// lose takes an allocation of node 0 for lost, and lets the node come back.
func lose(w *world, id string) {
	must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(0), Status: structs.NodeStatusDown})
	p := w.plan("web", "e1")
	p.Stops = []structs.AllocStop{{AllocID: id, DesiredStatus: structs.AllocDesiredStatusStop, ClientStatus: structs.AllocClientStatusLost}}
	w.apply(p)
	must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(0), Status: structs.NodeStatusReady})
}

func TestPlanRefusals(t *testing.T) {
	stop := func(id string) structs.AllocStop {
		return structs.AllocStop{AllocID: id, DesiredStatus: structs.AllocDesiredStatusStop}
	}
	extra := func(p structs.Placement, x *structs.PlacementExtra) structs.Placement { p.Extra = x; return p }
	for _, c := range []struct {
		name  string
		setup func(w *world, ids []string) *structs.Plan
		want  string // part of the reason of the first refusal, "" for none
	}{
		{"fits", func(w *world, ids []string) *structs.Plan { return w.plan("web", "e", at(1, 2)) }, ""},
		{"older term", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			must(w, (*Txn).Epoch, &Epoch{Term: 3})
			return p
		}, "the plan is of term 0"},
		{"evaluation is done", func(w *world, ids []string) *structs.Plan {
			e := testEval("e", testJob("web", 1))
			e.Status = structs.EvalStatusComplete
			must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{e}})
			return w.plan("web", "e", at(1, 2))
		}, "already complete"},
		{"no job", func(w *world, ids []string) *structs.Plan { return w.plan("nope", "e", at(1, 2)) }, `job "nope" does not exist`},
		{"newer job", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			w.register(testJob("web", 5), nil)
			return p
		}, "was changed at index"},
		{"stopped job", func(w *world, ids []string) *structs.Plan {
			if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "web"}); err != nil {
				t.Fatal(err)
			}
			return w.plan("web", "e", at(1, 2))
		}, "is stopped"},
		{"stopped job, only stops", func(w *world, ids []string) *structs.Plan {
			if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "web"}); err != nil {
				t.Fatal(err)
			}
			p := w.plan("web", "e")
			p.Stops = []structs.AllocStop{stop(ids[0])}
			return p
		}, ""},
		{"unknown group", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			p.Groups[0].Group = "nope"
			return p
		}, `has no group "nope"`},
		{"inactive deployment", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			p.Groups[0].DeploymentID = "d"
			return p
		}, "deployment d is not active"},
		{"name is live", func(w *world, ids []string) *structs.Plan { return w.plan("web", "e", at(1, 0)) }, "web.web[0] has a live allocation"},
		{"name twice in the plan", func(w *world, ids []string) *structs.Plan { return w.plan("web", "e", at(1, 5), at(0, 5)) }, "web.web[5] has a live"},
		{"canary of a live name", func(w *world, ids []string) *structs.Plan {
			p := at(1, 0)
			p.Canary = true
			return w.plan("web", "e", p)
		}, ""},
		{"canary of a live canary's name", func(w *world, ids []string) *structs.Plan {
			p, q := at(1, 0), at(0, 0)
			p.Canary, q.Canary = true, true
			return w.plan("web", "e", p, q)
		}, "web.web[0] has a live"},
		{"stop of another job's", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			p := w.plan("other", "e")
			p.Stops = []structs.AllocStop{stop(ids[0])}
			return p
		}, "is of another job"},
		{"in-place change of another job's", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			p := w.plan("other", "e")
			p.InPlace = []structs.AllocInPlace{{AllocID: ids[0]}}
			return p
		}, "is of another job"},
		{"previous is another job's", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			p := at(1, 0)
			p.PreviousAlloc = ids[0]
			return w.plan("other", "e", p)
		}, "is of another job"},
		{"another job's deployment", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			must(w, (*Txn).UpsertDeployment, &DeploymentUpsert{Deployment: &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusRunning}})
			p := w.plan("other", "e", at(1, 0))
			p.Groups[0].DeploymentID = "d"
			return p
		}, "deployment d is of another job"},
		{"deployment that failed since", func(w *world, ids []string) *structs.Plan {
			failed := &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusFailed}
			must(w, (*Txn).UpsertDeployment, &DeploymentUpsert{Deployment: failed})
			p := w.plan("web", "e", at(1, 2))
			p.Deployment = &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusRunning}
			return p
		}, "deployment d is failed, not running"},
		{"end of another job's deployment", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			must(w, (*Txn).UpsertDeployment, &DeploymentUpsert{Deployment: &structs.Deployment{ID: "d", Namespace: "default", JobID: "web", Status: structs.DeploymentStatusRunning}})
			p := w.plan("other", "e")
			p.DeploymentUpdates = []*structs.DeploymentStatusUpdate{{DeploymentID: "d", Status: structs.DeploymentStatusCancelled}}
			return p
		}, "deployment d, which the plan ends, is of another job"},
		{"another evaluation's outcome", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			p.Eval = testEval("f", testJob("web", 1))
			return p
		}, "has the outcome of f"},
		{"another job's evaluation", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2))
			p.NewEvals = []*structs.Evaluation{testEval("f", testJob("other", 1))}
			return p
		}, `evaluation f in the plan is of job "other"`},
		{"evaluation of a job that loses an allocation", func(w *world, ids []string) *structs.Plan {
			w.register(testJob("other", 1), nil)
			p := w.plan("other", "e", at(0, 0))
			p.Preemptions = []structs.AllocPreemption{{AllocID: ids[0], Group: p.Groups[0].Group, NameIndex: 0}}
			p.NewEvals = []*structs.Evaluation{testEval("f", testJob("web", 1))}
			return p
		}, ""},
		{"lost allocation that completed since (B-06)", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 0))
			p.Groups[0].Placements[0].PreviousAlloc = ids[0]
			p.Stops = []structs.AllocStop{{AllocID: ids[0], DesiredStatus: structs.AllocDesiredStatusStop, ClientStatus: structs.AllocClientStatusLost}}
			w.report(0, &structs.AllocUpdate{AllocID: ids[0], Revision: 1, ClientStatus: structs.AllocClientStatusComplete})
			return p
		}, "which the plan takes for lost, has ended since"},
		{"moved allocation of a batch job that completed since (B-06)", func(w *world, ids []string) *structs.Plan {
			job := testJob("work", 1)
			job.Type = structs.JobTypeBatch
			w.register(job, nil)
			work := w.placed(w.apply(w.plan("work", "e1", at(0, 0))))
			p := w.plan("work", "e")
			p.Stops = []structs.AllocStop{{AllocID: work[0], DesiredStatus: structs.AllocDesiredStatusStop}}
			w.report(0, &structs.AllocUpdate{AllocID: work[0], Revision: 1, ClientStatus: structs.AllocClientStatusComplete})
			return p
		}, "which the plan stops, has completed since"},
		{"no such volume", func(w *world, ids []string) *structs.Plan {
			w.register(mounting("data", true), nil)
			return w.plan("mounts", "e", at(1, 0))
		}, `has no host volume "data"`},
		{"read-only volume", func(w *world, ids []string) *structs.Plan {
			offer(w, 1, "data", true)
			w.register(mounting("data", false), nil)
			return w.plan("mounts", "e", at(1, 0))
		}, `host volume "data" of node`},
		{"volume", func(w *world, ids []string) *structs.Plan {
			offer(w, 1, "data", true)
			w.register(mounting("data", true), nil)
			return w.plan("mounts", "e", at(1, 0))
		}, ""},
		{"port of a lost allocation whose node has not synced", func(w *world, ids []string) *structs.Plan {
			lose(w, ids[1])
			return w.plan("web", "e2", extra(at(0, 1), port(8080, "10.0.0.1")))
		}, "port 8080"},
		{"port of a lost allocation whose node has synced", func(w *world, ids []string) *structs.Plan {
			lose(w, ids[1])
			w.report(0)
			return w.plan("web", "e2", extra(at(0, 1), port(8080, "10.0.0.1")))
		}, ""},
		{"name leaves", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 0))
			p.Stops = []structs.AllocStop{stop(ids[0])}
			return p
		}, ""},
		{"previous is missing", func(w *world, ids []string) *structs.Plan {
			p := at(1, 2)
			p.PreviousAlloc = nodeID(77)
			return w.plan("web", "e", p)
		}, "which it replaces, does not exist"},
		{"previous was replaced", func(w *world, ids []string) *structs.Plan {
			p, q := at(1, 2), at(1, 3)
			p.PreviousAlloc, q.PreviousAlloc = ids[0], ids[0]
			return w.plan("web", "e", p, q)
		}, "was replaced already"},
		{"no node", func(w *world, ids []string) *structs.Plan { return w.plan("web", "e", at(9, 2)) }, "node number 9 does not exist"},
		{"node down", func(w *world, ids []string) *structs.Plan {
			must(w, (*Txn).UpdateNodeStatus, &NodeStatus{NodeID: nodeID(1), Status: structs.NodeStatusDown})
			return w.plan("web", "e", at(1, 2))
		}, "is down and eligible"},
		{"node drains", func(w *world, ids []string) *structs.Plan {
			must(w, (*Txn).UpdateNodeDrain, &NodeDrain{NodeID: nodeID(1), Strategy: &structs.DrainStrategy{}})
			return w.plan("web", "e", at(1, 2))
		}, "is ready and ineligible"},
		{"memory", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(0, 2))
			p.Groups[0].Resources = ask(1, 8192-2*64+1)
			return p
		}, "MiB of memory free"},
		{"memory freed by a stop", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(0, 2))
			p.Groups[0].Resources = ask(1, 8192-64)
			p.Stops = []structs.AllocStop{stop(ids[0])}
			return p
		}, ""},
		{"cpu taken by the plan itself", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", at(1, 2), at(1, 3))
			p.Groups[0].Resources = ask(2001, 1)
			return p
		}, "MHz of cpu free"},
		{"port is taken", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(0, 2), port(8080, "10.0.0.1")))
		}, "port 8080"},
		{"port on another address", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(0, 2), port(8080, "10.0.0.2")))
		}, ""},
		{"port on another node", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(1, 2), port(8080, "10.0.0.1")))
		}, ""},
		{"port is reserved", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(1, 2), port(8501, "")))
		}, "port 8501 of node"},
		{"port of a stopped allocation that still runs", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e", extra(at(0, 2), port(8080, "")))
			p.Stops = []structs.AllocStop{stop(ids[1])}
			return p
		}, "port 8080"},
		{"port passes to the successor", func(w *world, ids []string) *structs.Plan {
			next := extra(at(0, 1), port(8080, "10.0.0.1"))
			next.PreviousAlloc = ids[1]
			p := w.plan("web", "e", next)
			p.Stops = []structs.AllocStop{stop(ids[1])}
			return p
		}, ""},
		{"port is free once the client is done", func(w *world, ids []string) *structs.Plan {
			w.report(0, &structs.AllocUpdate{AllocID: ids[1], Revision: 1, ClientStatus: structs.AllocClientStatusFailed})
			return w.plan("web", "e", extra(at(0, 1), port(8080, "10.0.0.1")))
		}, ""},
		{"core is taken", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(0, 2), &structs.PlacementExtra{Cores: map[string][]uint16{"main": {1}}}))
		}, "core 1"},
		{"no such device", func(w *world, ids []string) *structs.Plan {
			return w.plan("web", "e", extra(at(0, 2), &structs.PlacementExtra{Devices: map[string][]*structs.AllocatedDeviceResource{"main": {{Vendor: "v", Type: "gpu", Name: "x", DeviceIDs: []string{"1"}}}}}))
		}, "device v/gpu/x/1"},
		{"stop of a missing allocation", func(w *world, ids []string) *structs.Plan {
			p := w.plan("web", "e")
			p.Stops = []structs.AllocStop{stop(nodeID(5))}
			return p
		}, "which the plan stops, does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, ids := placed(t)
			p := c.setup(w, ids)
			if p.Eval == nil {
				p.Eval = testEval(p.EvalID, testJob(p.JobID, 1))
			}
			r := w.apply(p)
			settled := w.s.Snapshot().Eval(p.Eval.ID)
			applied := settled != nil && settled.ModifyIndex == w.index
			if c.want == "" {
				if len(r.Refused) > 0 || !applied {
					t.Fatalf("refused: %+v", r.Refused)
				}
				return
			}
			if len(r.Refused) == 0 || !strings.Contains(r.Refused[0].Reason, c.want) {
				t.Fatalf("refusals %+v, want one with %q", r.Refused, c.want)
			}
			if applied {
				t.Error("the evaluation's outcome was applied with a refusal")
			}
		})
	}
}

func TestPlanInParts(t *testing.T) {
	w, _ := placed(t)
	p := w.plan("web", "e", at(1, 2), at(9, 3), at(1, 4))
	r := w.apply(p)
	if len(r.Refused) != 1 || r.Refused[0].Placement != 1 || w.placed(r)[0] == "" || w.placed(r)[1] != "" || w.placed(r)[2] == "" {
		t.Fatalf("result: %+v", r)
	}
	p = w.plan("web", "e", at(1, 5), at(9, 6))
	p.AllAtOnce = true
	before := w.s.Snapshot().AllocCount()
	if r := w.apply(p); len(r.Refused) != 1 || w.placed(r)[0] != "" || w.s.Snapshot().AllocCount() != before {
		t.Fatalf("all at once: %+v", r)
	}
}

func TestPlanLinksAndPreemption(t *testing.T) {
	w, ids := placed(t)
	w.register(testJob("big", 1), nil)
	next := at(1, 0)
	next.PreviousAlloc = ids[0]
	p := w.plan("web", "e", next)
	p.Stops = []structs.AllocStop{{AllocID: ids[0], DesiredStatus: structs.AllocDesiredStatusStop, DesiredDescription: "moved"}}
	r := w.apply(p)
	snap := w.s.Snapshot()
	newer, older := snap.Alloc(w.placed(r)[0]), snap.Alloc(ids[0])
	if newer.PreviousAllocation != older.ID || older.NextAllocation != newer.ID || older.DesiredStatus != "stop" || older.DesiredDescription != "moved" {
		t.Fatalf("links: %+v\n%+v", newer, older)
	}

	p = w.plan("big", "e2", at(0, 0))
	p.Groups[0].Resources = ask(4000, 100)
	p.Preemptions = []structs.AllocPreemption{{AllocID: ids[1], Group: "web", NameIndex: 0}}
	r = w.apply(p)
	if len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	snap = w.s.Snapshot()
	winner, victim := snap.Alloc(w.placed(r)[0]), snap.Alloc(ids[1])
	if victim.DesiredStatus != structs.AllocDesiredStatusEvict || victim.PreemptedByAllocation != winner.ID || len(winner.PreemptedAllocations) != 1 || winner.PreemptedAllocations[0] != victim.ID {
		t.Fatalf("preemption: %+v\n%+v", winner, victim)
	}
}

// TestPlanPartlyRefusedKeepsWhatWaits: what was applied of a plan counts on the
// evaluations that are to follow: of a job that lost an allocation, and of an
// allocation that is to be looked at later.
func TestPlanPartlyRefusedKeepsWhatWaits(t *testing.T) {
	w, ids := placed(t)
	w.register(testJob("big", 2), nil)
	full := at(1, 1)
	p := w.plan("big", "e2", at(0, 0), full)
	p.Groups[0].Resources = ask(4000, 100)
	p.Preemptions = []structs.AllocPreemption{{AllocID: ids[1], Group: "web", NameIndex: 0}, {AllocID: ids[0], Group: "web", NameIndex: 0}}
	must(w, (*Txn).UpdateNodeEligibility, &NodeEligibility{NodeID: nodeID(1), Eligibility: structs.NodeIneligible})
	loses, waits := testEval("loses", testJob("web", 1)), testEval("waits", testJob("big", 1))
	blocked := testEval("blocked", testJob("big", 1))
	blocked.Status = structs.EvalStatusBlocked
	p.Eval, p.NewEvals = testEval("e2", testJob("big", 1)), []*structs.Evaluation{loses, waits, blocked}
	p.Eval.Status = structs.EvalStatusComplete
	if r := w.apply(p); len(r.Refused) != 1 || w.placed(r)[0] == "" {
		t.Fatalf("%+v", r)
	}
	snap := w.s.Snapshot()
	if snap.Alloc(ids[1]).DesiredStatus != structs.AllocDesiredStatusEvict {
		t.Error("nothing was evicted")
	}
	if snap.Eval("loses") == nil || snap.Eval("waits") == nil || snap.Eval("blocked") != nil || snap.Eval("e2") != nil {
		t.Errorf("loses %v, waits %v, blocked %v, the plan's own %v", snap.Eval("loses"), snap.Eval("waits"), snap.Eval("blocked"), snap.Eval("e2"))
	}
}

// TestPlanPreemptsForTheAccepted_I03: of two placements with one name, the one that
// is accepted evicts: a node never holds more than it has.
func TestPlanPreemptsForTheAccepted_I03(t *testing.T) {
	w, ids := placed(t)
	w.register(testJob("big", 2), nil)
	if r := w.apply(w.plan("big", "e1", at(1, 0))); len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	canary := at(0, 0)
	canary.Canary = true
	p := w.plan("big", "e2", at(0, 0), canary) // big.g[0] lives already
	p.Groups[0].Resources = ask(3900, 100)
	p.Preemptions = []structs.AllocPreemption{{AllocID: ids[0], Group: p.Groups[0].Group, NameIndex: 0}, {AllocID: ids[1], Group: p.Groups[0].Group, NameIndex: 0}}
	r := w.apply(p)
	if len(r.Refused) != 1 || w.placed(r)[1] == "" {
		t.Fatalf("%+v", r)
	}
	for _, id := range ids[:2] {
		if a := w.s.Snapshot().Alloc(id); a.DesiredStatus != structs.AllocDesiredStatusEvict || a.PreemptedByAllocation != w.placed(r)[1] {
			t.Errorf("%s is %s, preempted by %q", id, a.DesiredStatus, a.PreemptedByAllocation)
		}
	}
}

// TestPlanOfAnOlderVersion: a group of a plan may run an earlier version of the
// job, which must be known.
func TestPlanOfAnOlderVersion(t *testing.T) {
	w, ids := placed(t)
	changed := testJob("web", 3)
	changed.Meta = map[string]string{"v": "1"}
	w.register(changed, nil)
	replacement := at(1, 0)
	replacement.PreviousAlloc = ids[0]
	p := w.plan("web", "e", replacement)
	p.Groups[0].Older = 1
	p.Stops = []structs.AllocStop{{AllocID: ids[0], DesiredStatus: structs.AllocDesiredStatusStop}}
	r := w.apply(p)
	if len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	if a := w.s.Snapshot().Alloc(w.placed(r)[0]); a.Job.Version != 0 || a.PreviousAllocation != ids[0] {
		t.Errorf("it runs version %d", a.Job.Version)
	}
	p = w.plan("web", "e2", at(1, 7))
	p.Groups[0].Older = 2
	if r := w.apply(p); len(r.Refused) != 1 {
		t.Errorf("a version that never was: %+v", r)
	}
}

func TestInPlaceUpdate(t *testing.T) {
	w, ids := placed(t)
	job := testJob("web", 3)
	w.register(job, nil)
	p := w.plan("web", "e1")
	p.InPlace = []structs.AllocInPlace{{AllocID: ids[0], JobVersion: 1}, {AllocID: ids[1], JobVersion: 1, Resources: ask(200, 64)}}
	if r := w.apply(p); len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	snap := w.s.Snapshot()
	for _, id := range ids {
		if a := snap.Alloc(id); a.Job.Version != 1 || a.EvalID != "e1" || a.AllocModifyIndex != w.index || a.CreateIndex == w.index {
			t.Errorf("updated in place: %+v", a)
		}
	}
	if a := snap.Alloc(ids[1]); len(a.AllocatedResources.Shared.Ports) != 1 {
		t.Error("the ports are lost")
	}
	if u := snap.NodeUsage(0); u.CPU != 300 {
		t.Errorf("usage %+v, want 300 MHz", u)
	}
}

// TestNoOverCommit applies random plans of competing, stale schedulers and
// proves that no node ever holds more than it has, no name is live twice and no
// port is held twice.
func TestNoOverCommit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		for i := range 3 {
			w.node(i)
		}
		w.register(testJob("web", 50), nil)
		for range rapid.IntRange(1, 15).Draw(r, "plans") {
			var list []structs.Placement
			for range rapid.IntRange(0, 12).Draw(r, "placements") {
				p := at(uint32(rapid.IntRange(0, 3).Draw(r, "node")), uint32(rapid.IntRange(0, 30).Draw(r, "name")))
				if rapid.IntRange(0, 3).Draw(r, "ported") == 0 {
					p.Extra = port(rapid.IntRange(8080, 8082).Draw(r, "port"), "")
				}
				list = append(list, p)
			}
			p := w.plan("web", "e", list...)
			if len(p.Groups) > 0 {
				p.Groups[0].Resources = ask(int64(rapid.IntRange(1, 900).Draw(r, "cpu")), 10)
			}
			stopped := map[string]bool{}
			for a := range w.s.Snapshot().AllocsByJob("default", "web", true) {
				if !stopped[a.ID] && rapid.IntRange(0, 5).Draw(r, "stop") == 0 {
					stopped[a.ID] = true
					p.Stops = append(p.Stops, structs.AllocStop{AllocID: a.ID, DesiredStatus: structs.AllocDesiredStatusStop})
				}
			}
			w.apply(p)
			checkCommitted(r, w.s.Snapshot())
		}
	})
}

func checkCommitted(r *rapid.T, snap *Snapshot) {
	names, ports := map[string]bool{}, map[string]bool{}
	used := map[string]int64{}
	for a := range snap.Allocs() {
		if a.ClientTerminal() {
			continue
		}
		for _, p := range a.AllocatedResources.Shared.Ports {
			key := fmt.Sprint(a.NodeID, p.Value)
			if ports[key] {
				r.Fatalf("port %s is held twice", key)
			}
			ports[key] = true
		}
		if a.ServerTerminal() {
			continue
		}
		used[a.NodeID] += a.AllocatedResources.Tasks["main"].Cpu.CpuShares
		if names[a.Name] {
			r.Fatalf("%s is live twice", a.Name)
		}
		names[a.Name] = true
	}
	for n := range snap.Nodes() {
		if used[n.ID] > n.NodeResources.Cpu.CpuShares {
			r.Fatalf("node %s holds %d MHz of %d", n.ID, used[n.ID], n.NodeResources.Cpu.CpuShares)
		}
	}
}

// TestPlanPreemptionPassesOn: what a victim holds is the preemptor's alone,
// and a preemption is matched with the placement on the victim's node.
func TestPlanPreemptionPassesOn(t *testing.T) {
	w := newWorld(t)
	w.node(0)
	w.node(1)
	w.register(testJob("low", 2), nil)
	holds := func(node, index uint32) structs.Placement {
		pl := at(node, index)
		pl.Extra = &structs.PlacementExtra{Ports: []structs.PortMapping{{Label: "p", Value: 80}},
			Volumes: []structs.VolumeClaim{{Source: "data", Exclusive: true}}}
		return pl
	}
	low := w.apply(w.plan("low", "e1", holds(0, 0), holds(1, 1)))
	if len(low.Refused) > 0 {
		t.Fatal(low.Refused)
	}
	sys := testJob("sys", 1)
	sys.Type = structs.JobTypeSystem
	w.register(sys, nil)
	p := w.plan("sys", "e2", holds(0, 0), holds(1, 0))
	if r := w.apply(p); len(r.Refused) != 2 {
		t.Fatalf("ports and volumes of others were given: %+v", r)
	}
	p = w.plan("sys", "e3", holds(0, 0), holds(1, 0))
	for n, id := range w.placed(low) {
		p.Preemptions = append(p.Preemptions, structs.AllocPreemption{AllocID: id, Group: "web", Node: uint32(n)})
	}
	r := w.apply(p)
	if len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	snap := w.s.Snapshot()
	for n, id := range w.placed(low) {
		if victim := snap.Alloc(id); victim.PreemptedByAllocation != w.placed(r)[n] {
			t.Errorf("victim on node %d was preempted by %s, want %s", n, victim.PreemptedByAllocation, w.placed(r)[n])
		}
	}
	w.register(testJob("third", 1), nil)
	if r := w.apply(w.plan("third", "e4", holds(0, 0))); len(r.Refused) != 1 {
		t.Error("a third job got what the preemptor holds")
	}
}
